//! A TLS server that answers from a script: raw bytes, so that reason phrases, empty bodies and cut connections are real.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use felhom_pve::{Auth, Endpoint, Fingerprint, Pve};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path with query.
    pub(crate) target: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Which connection, counted from 1.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the script says.
pub(crate) enum Reply {
    /// These bytes; then the connection is closed if they say so.
    Bytes(String),
    /// The connection is closed without a word.
    Hangup,
}

/// 200 with `data`, connection kept.
pub(crate) fn data(json: &str) -> Reply {
    status("200 OK", &format!("{{\"data\":{json}}}"), "Keep-Alive")
}

/// An error as PVE gives it, connection closed.
pub(crate) fn error(line: &str, body: &str) -> Reply {
    status(line, body, "close")
}

fn status(line: &str, body: &str, connection: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!(
        "HTTP/1.1 {line}\r\nConnection: {connection}\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {length}\r\n\
         Content-Type: application/json;charset=UTF-8\r\n\r\n{body}"
    ))
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// A running server; it lives until the process ends.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) fingerprint: Fingerprint,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn key_of(pair: &rcgen::KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
}

impl Server {
    /// `script` gets the number of the request, counted from 0, and the request.
    pub(crate) fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with_key(script, None)
    }

    /// A server that shows a certificate whose key it does not have.
    pub(crate) fn impostor() -> Self {
        let other = rcgen::KeyPair::generate().unwrap();
        Self::with_key(|_, _| data("{}"), Some(key_of(&other)))
    }

    fn with_key(
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
        other_key: Option<PrivateKeyDer<'static>>,
    ) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["pve".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = certified.cert.der().clone();
        let fingerprint = Fingerprint::of_der(&certificate);
        let key = other_key.unwrap_or_else(|| key_of(&certified.signing_key));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let signing = provider.key_provider.load_private_key(key).unwrap();
        let resolver = Always(Arc::new(CertifiedKey::new(vec![certificate], signing)));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Arc<Script>) = (Arc::clone(&requests), Arc::new(script));
        let connections = AtomicUsize::new(0);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                let (config, seen, script) = (Arc::clone(&config), Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), config, number, &seen, &*script));
            }
        });
        Self { url, fingerprint, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url, self.fingerprint).unwrap()
    }

    /// A client with a token.
    pub(crate) fn client(&self) -> Pve {
        let auth = Auth::Token { id: "felhom@pve!executor".parse().unwrap(), secret: "s3cret".into() };
        Pve::new(self.endpoint(), auth).unwrap()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    number: usize,
    seen: &Mutex<Vec<Request>>,
    script: &Script,
) {
    let tls = ServerConnection::new(config).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(tls, stream));
    while let Some(request) = read_request(&mut reader, number) {
        let n = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let Reply::Bytes(bytes) = script(n, &request) else { return };
        if reader.get_mut().write_all(bytes.as_bytes()).is_err() || bytes.contains("Connection: close") {
            return;
        }
    }
}

fn read_request(
    reader: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
    number: usize,
) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body: String::from_utf8(body).unwrap(), connection: number })
}
