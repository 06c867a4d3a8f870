//! Who looks at a page: a session cookie, and a token that every form repeats.
//!
//! The cookie is `__Host-`, `Secure`, `HttpOnly`, `SameSite=Strict`; only its SHA-256 is kept. Beyond the form's token, a
//! browser that says where a form was sent from must name this hub.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::{HeaderMap, header, request::Parts};
use felhom_model::Digest;

use super::PageError;
use crate::hub::{Hub, Inner};
use crate::store::operators;

/// Name of the session's cookie.
const SESSION: &str = "__Host-felhom";

/// The operator who looks.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// Name.
    pub(crate) name: String,
    /// What every form repeats.
    pub(crate) csrf: String,
    /// Digest of the session's cookie.
    pub(crate) session: Digest,
}

impl User {
    /// Checks that a form came from a page of this session.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn check_form(&self, csrf: &str, headers: &HeaderMap) -> Result<(), PageError> {
        check_origin(headers)?;
        if equal(csrf, &self.csrf) {
            return Ok(());
        }
        Err(PageError::forbidden("The form is not of this session. Load the page anew and try again."))
    }
}

/// Compares digests, so that time tells nothing.
pub(super) fn equal(a: &str, b: &str) -> bool {
    Digest::of(a.as_bytes()) == Digest::of(b.as_bytes())
}

/// Refuses a form that another site sent.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), PageError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        (Some(_), None) => false,
        (None, _) => text(header::HeaderName::from_static("sec-fetch-site"))
            .is_none_or(|site| site == "same-origin" || site == "none"),
    };
    if same { Ok(()) } else { Err(PageError::forbidden("The form was sent by another site.")) }
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// A `Set-Cookie` value; an age of 0 removes the cookie.
pub(super) fn set_cookie(name: &str, value: &str, max_age_s: u32) -> String {
    format!("{name}={value}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Strict")
}

/// `Set-Cookie` of a session.
pub(super) fn session_cookie(token: &str, max_age_s: u32) -> String {
    set_cookie(SESSION, token, max_age_s)
}

async fn find(parts: &Parts, hub: &Inner) -> Result<Option<User>, PageError> {
    let Some(token) = cookie(&parts.headers, SESSION) else { return Ok(None) };
    let (digest, now) = (Digest::of(token.as_bytes()), hub.now());
    let found = hub
        .store
        .read("looking for a session", |c| Box::pin(async move { operators::session(c, digest, now).await }))
        .await?;
    Ok(found.map(|session| User { name: session.operator, csrf: session.csrf, session: digest }))
}

impl FromRequestParts<Hub> for User {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, PageError> {
        let fragment = parts.headers.contains_key("hx-request");
        let next = parts.uri.path().to_owned();
        find(parts, hub).await?.ok_or(PageError::LoginFirst { next, fragment })
    }
}

impl OptionalFromRequestParts<Hub> for User {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Option<Self>, PageError> {
        find(parts, hub).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let all = headers(&[("cookie", "x__Host-felhom=1; __Host-felhom=abc; other=2")]);
        assert_eq!(cookie(&all, SESSION), Some("abc"));
        assert_eq!(cookie(&all, "felhom"), None);
    }

    #[test]
    fn only_this_site_may_send_forms() {
        for (pairs, ok) in [
            (&[("origin", "https://hub:1"), ("host", "hub:1")][..], true),
            (&[("origin", "https://evil:1"), ("host", "hub:1")][..], false),
            (&[("origin", "http://hub:1"), ("host", "hub:1")][..], false),
            (&[("origin", "null"), ("host", "hub:1")][..], false),
            (&[("sec-fetch-site", "cross-site"), ("host", "hub:1")][..], false),
            (&[("sec-fetch-site", "same-site"), ("host", "hub:1")][..], false),
            (&[("host", "hub:1")][..], true),
        ] {
            assert_eq!(check_origin(&headers(pairs)).is_ok(), ok, "{pairs:?}");
        }
    }
}
