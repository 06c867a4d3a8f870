//! Style, scripts and icon, built into the program.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::PageError;

#[derive(rust_embed::RustEmbed)]
#[folder = "assets"]
struct Assets;

/// `GET /assets/{file}`; asked for anew each time, answered with 304 while it is the same.
pub(crate) async fn serve(Path(file): Path<String>, request: HeaderMap) -> Result<Response, PageError> {
    let (path, kind) = match file.as_str() {
        "felhom.css" => ("felhom.css", "text/css; charset=utf-8"),
        "felhom.js" => ("felhom.js", "text/javascript; charset=utf-8"),
        "htmx.min.js" => ("vendor/htmx.min.js", "text/javascript; charset=utf-8"),
        "icon.svg" => ("icon.svg", "image/svg+xml"),
        _ => return Err(PageError::not_found("There is no such file.")),
    };
    let asset = Assets::get(path).ok_or_else(|| PageError::not_found("There is no such file."))?;
    let tag = format!("\"{}\"", hex::encode(asset.metadata.sha256_hash()));
    let known = request.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(asset.data.into_owned()))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
