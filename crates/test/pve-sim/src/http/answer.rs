//! Answers as pveproxy writes them: the message in the reason phrase and in the body (F5), its headers, its closed connections (F9).

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use serde_json::{Value as Json, json};

use crate::error::ApiError;

/// How the caller wants answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `/api2/json`.
    Json,
    /// `/api2/extjs`: always 200, with `success` and `status` (F19).
    Extjs,
}

/// A successful answer; one that a worker daemon gave (`protected`) closes the connection.
pub(crate) fn success(format: Format, data: &Json, total: Option<usize>, protected: bool) -> Response<Body> {
    let mut body = json!({ "data": data });
    if let Some(total) = total {
        body["total"] = json!(total);
    }
    if format == Format::Extjs {
        body["success"] = json!(1);
    }
    let mut response = plain(200, "OK", "application/json;charset=UTF-8", body.to_string());
    connection(&mut response, protected);
    if protected {
        response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("Keep-Alive"));
    }
    response
}

/// A task log as a file: the only answer that is no JSON.
pub(crate) fn text(body: String) -> Response<Body> {
    let mut response = plain(200, "OK", "text/plain", body);
    connection(&mut response, true);
    response
}

/// An error answer.
pub(crate) fn failure(format: Format, error: &ApiError) -> Response<Body> {
    let message = if error.newline { format!("{}\n", error.message) } else { error.message.clone() };
    let mut body = json!({ "data": null, "message": message });
    if !error.errors.is_empty() {
        body["errors"] = json!(error.errors);
    }
    let mut response = if format == Format::Extjs {
        body["success"] = json!(0);
        body["status"] = json!(error.status);
        plain(200, "OK", "application/json;charset=UTF-8", body.to_string())
    } else {
        let reason = error.message.lines().next().unwrap_or_default().to_owned();
        plain(error.status, &reason, "application/json;charset=UTF-8", body.to_string())
    };
    connection(&mut response, true);
    response
}

/// An answer from before any endpoint: text, or nothing at all.
pub(crate) fn refusal(status: u16, reason: &str, body: &str) -> Response<Body> {
    let mut response = plain(status, reason, "text/plain", body.to_owned());
    response.headers_mut().remove(header::CONTENT_TYPE);
    connection(&mut response, true);
    response
}

fn connection(response: &mut Response<Body>, close: bool) {
    let value = if close { "close" } else { "Keep-Alive" };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static(value));
}

fn plain(status: u16, reason: &str, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let clean: String = reason.chars().filter(|c| !c.is_control()).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(clean) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
