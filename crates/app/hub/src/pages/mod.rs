//! The operators' pages: server-rendered, the same facts as the API, kept fresh by polling fragments that changed.
//!
//! | module | page |
//! |---|---|
//! | `login` | `/login`, `/logout` |
//! | `fleet` | `/` |
//! | `authorizations` | `/authorizations` |
//! | `box_page` | `/boxes/{name}` |
//! | `guests` | a guest as wanted and as it is |
//! | `sections` | parts of a page that are polled, and sent only if they changed |
//! | `parts` | pills and times |
//!
//! **Architecture invariant:** no script or style stands in a page (the content security policy forbids it), nothing is
//! loaded from elsewhere, and no value of a box becomes a link unless it is an http(s) address.

mod assets;
mod audit;
mod authorizations;
mod box_page;
mod fleet;
mod guests;
mod login;
mod parts;
mod sections;
mod session;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};

use crate::hub::Hub;
use crate::store::StoreError;

/// Largest form, bytes.
const MAX_FORM: usize = 16 << 10;

/// The routes.
pub(crate) fn router() -> Router<Hub> {
    Router::new()
        .route("/", get(fleet::page))
        .route("/live", get(fleet::live))
        .route("/login", get(login::page).post(login::submit))
        .route("/logout", post(login::logout))
        .route("/authorizations", get(authorizations::page))
        .route("/authorizations/live", get(authorizations::live))
        .route("/boxes/{name}", get(box_page::page))
        .route("/boxes/{name}/live", get(box_page::live))
        .route("/boxes/{name}/jobs", post(box_page::add_job))
        .route("/assets/{file}", get(assets::serve))
        .fallback(async || PageError::not_found("There is no such page."))
        .layer(DefaultBodyLimit::max(MAX_FORM))
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum PageError {
    /// Log in first; after that, go there.
    LoginFirst { next: String, fragment: bool },
    /// Anything else, with what to tell.
    Told { status: StatusCode, title: &'static str, message: String },
}

impl PageError {
    fn not_found(message: &str) -> Self {
        Self::Told { status: StatusCode::NOT_FOUND, title: "Not found", message: message.to_owned() }
    }

    fn forbidden(message: &str) -> Self {
        Self::Told { status: StatusCode::FORBIDDEN, title: "Refused", message: message.to_owned() }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    user: Option<&'a session::User>,
    title: &'a str,
    message: &'a str,
}

impl axum::response::IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::LoginFirst { next, fragment: false } if next == "/" => {
                Redirect::to("/login").into_response()
            }
            Self::LoginFirst { next, fragment: false } => {
                Redirect::to(&format!("/login?next={}", encode_path(&next))).into_response()
            }
            // htmx follows this header; a redirect would be followed below it, and end in a fragment.
            Self::LoginFirst { fragment: true, .. } => {
                (StatusCode::UNAUTHORIZED, [("hx-redirect", "/login")]).into_response()
            }
            Self::Told { status, title, message } => {
                html(status, &ErrorPage { user: None, title, message: &message })
            }
        }
    }
}

/// Box names hold nothing that needs more than this.
fn encode_path(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        let message = "The hub's database failed; see the hub's log. Nothing was lost.".to_owned();
        Self::Told { status: StatusCode::SERVICE_UNAVAILABLE, title: "Database failed", message }
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a page could not be rendered");
        let message = "The page could not be made; see the hub's log.".to_owned();
        Self::Told { status: StatusCode::INTERNAL_SERVER_ERROR, title: "No page", message }
    }
}

fn html<T: Template>(status: StatusCode, page: &T) -> Response {
    let body = match page.render() {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Headers that each page carries, and each answer of the operators' API.
pub(crate) async fn security_headers(mut response: Response) -> Response {
    const HEADERS: [(&str, &str); 6] = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
