//! A hub of a few routes, over TLS, in a runtime of its own.

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use felhom_model::Digest;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// It serves while this lives.
pub(crate) struct Serving {
    url: String,
    fingerprint: Digest,
    _runtime: tokio::runtime::Runtime,
}

impl Serving {
    pub(crate) fn new(router: Router) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let fingerprint = Digest::of(made.cert.der());
        let key = made.signing_key.serialize_der();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        runtime.block_on(async {
            let tls = RustlsConfig::from_der(vec![made.cert.der().to_vec()], key).await.unwrap();
            let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
            tokio::spawn(server.serve(router.into_make_service()));
        });
        Self { url, fingerprint, _runtime: runtime }
    }

    /// Makes a command ask this hub, with the token in `home`.
    pub(crate) fn point_to(&self, command: &mut assert_cmd::Command, home: &Path) {
        command.env("FELHOM_HUB_URL", &self.url).env("FELHOM_HUB_FINGERPRINT", self.fingerprint.to_string());
        command.env("FELHOM_TOKEN_FILE", home.join("token"));
    }
}
