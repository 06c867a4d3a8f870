//! The guest's pages, on its own network, while the link is up.
//!
//! | page | shows |
//! |---|---|
//! | `/`, and as JSON `/api/status` | how the guest stands; nothing can be changed there |
//! | `/confirm` | what the box asks its customer; confirm, veto; on the LAN only ([`forms`]) |
//!
//! On top of both are the notices that the customer has not acknowledged.

pub mod banner;
pub mod confirm_page;
mod customer;
pub mod forms;
pub mod page;
pub mod text;

pub use forms::Forms;

use crate::{
    app::{Catalogue, manifest::Text},
    customer::Customer,
    engine::{Engine, net::Net},
    identity::{self, Identity},
    link::proof::Proofs,
    paths::Paths,
    state::{BackupRecord, LinkState, State},
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State as Shared},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use banner::Banner;
use felhom_model::AppName;
use serde::Serialize;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;

/// Only what this page itself brings may run or be shown in it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A form may have this many bytes.
const FORM: usize = 16 << 10;

/// What the pages look at.
#[derive(Clone)]
pub struct Web {
    /// The guest's paths.
    pub paths: Paths,
    /// Knows the apps' names.
    pub catalogue: Catalogue,
    /// Knows what they do.
    pub engine: Arc<dyn Engine>,
    /// What is kept.
    pub state: Arc<State>,
    /// The customer's say.
    pub customer: Arc<Customer>,
    /// Whose forms are taken.
    pub forms: Forms,
    /// Where the pages are served now.
    pub address: IpAddr,
}

/// Everything that the page shows; `GET /api/status` answers with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The controller's version.
    pub version: String,
    /// Who this guest is; `null` before its first bootstrap.
    pub guest: Option<Identity>,
    /// Each app that should run.
    pub apps: Vec<AppView>,
    /// The last backup as this guest saw it.
    pub backup: Option<BackupRecord>,
    /// What is believed of backups and restores.
    pub proofs: Proofs,
    /// How the link to the box stands.
    pub link: LinkState,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AppView {
    /// Its name in the catalogue.
    pub app: AppName,
    /// What people call it; `null` if its files cannot be read.
    pub name: Option<TextView>,
    /// `running`, `starting`, `stopped`, `failed`, `frozen`.
    pub state: String,
    /// Whether its health checks are answered by this very instance.
    pub healthy: bool,
    /// Why not.
    pub message: Option<String>,
    /// Where its pages are, while the network is there.
    pub url: Option<String>,
}

/// A text in both languages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextView {
    /// Hungarian.
    pub hu: String,
    /// English.
    pub en: String,
}

impl From<Text> for TextView {
    fn from(Text { hu, en }: Text) -> Self {
        Self { hu, en }
    }
}

impl Web {
    /// Looks at everything now.
    pub fn status(&self) -> Status {
        let view = |name: AppName| {
            let status = self.engine.status(&name);
            AppView {
                name: self.catalogue.load(&name).ok().map(|app| app.manifest.name.into()),
                app: name,
                state: status.state.name().to_owned(),
                healthy: status.healthy,
                message: status.message,
                url: status.url,
            }
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            guest: identity::kept(&self.paths).unwrap_or_default(),
            apps: self.state.apps().into_iter().map(view).collect(),
            backup: self.state.backup(),
            proofs: self.state.proofs(),
            link: self.state.link(),
        }
    }

    /// Serves while the link is up, for ever.
    pub async fn serve(self, mut net: Net, port: u16) {
        loop {
            let address = *net.borrow_and_update();
            let Some(address) = address else {
                if net.changed().await.is_err() {
                    return;
                }
                continue;
            };
            tokio::select! {
                () = self.listen(address, port) => {}
                changed = net.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn listen(&self, address: IpAddr, port: u16) {
        loop {
            let served = match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(listener) => {
                    let router = Self { address, ..self.clone() }.router();
                    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
                }
                Err(e) => Err(e),
            };
            if let Err(e) = served {
                tracing::warn!(%address, port, "the page cannot be served: {e}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn router(self) -> Router {
        Router::new()
            .route("/", get(show))
            .route("/confirm", get(customer::show).post(customer::confirm))
            .route("/veto", post(customer::veto))
            .route("/seen", post(customer::seen))
            .layer(DefaultBodyLimit::max(FORM))
            .route("/api/status", get(|Shared(web): Shared<Self>| async move { Json(web.status()) }))
            .route(
                "/style.css",
                get(|| file("text/css; charset=utf-8", include_str!("../../assets/style.css"))),
            )
            .route("/refresh.js", get(|| file("text/javascript", include_str!("../../assets/refresh.js"))))
            .with_state(self)
    }
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text).into_response()
}

async fn show(
    Shared(web): Shared<Web>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let language = customer::language(&query, &headers);
    let banner = Banner::new(web.customer.unseen(), web.forms.token(), language);
    match page::render(&web.status(), banner, language, jiff::Timestamp::now()) {
        Ok(page) => (self::headers(), Html(page)).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

fn headers() -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept-language"),
    ]
}
