//! Login with a password or an API token, and logout.
//!
//! Steps of a login: the form is ours (a cookie and a field agree) → not too many failures → a token is looked up, a
//! password is hashed (for an unknown name as well, so that time tells nothing) → a fresh session.

use std::net::SocketAddr;
use std::time::Instant;

use argon2::{Argon2, PasswordVerifier as _};
use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use felhom_model::Digest;
use jiff::SignedDuration;
use serde::Deserialize;

use super::session::{User, check_origin, cookie, equal, session_cookie, set_cookie};
use super::{PageError, html};
use crate::hub::{Hub, Inner};
use crate::random;
use crate::store::operators::{self, Session};
use crate::throttle::{Source, subscriber};

/// Cookie that the login form has to repeat.
const FORM: &str = "__Host-felhom-login";
/// How long a login form is good, seconds.
const FORM_S: u32 = 3600;
/// Argon2id of nothing that anybody knows, to spend the same time on unknown names.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Tm9ib2R5S25vd3NUaGlz$4K2bcVnV4cAn0nVHtmdYl9jeXsHtT1Q8CqkPmJHzdQU";

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    user: Option<&'a User>,
    form: &'a str,
    next: &'a str,
    name: &'a str,
    problem: Option<&'a str>,
}

/// Where to go after a login.
#[derive(Deserialize)]
pub(crate) struct Target {
    #[serde(default)]
    next: String,
}

/// The login form.
#[derive(Deserialize)]
pub(crate) struct Attempt {
    form: String,
    name: String,
    secret: String,
    #[serde(default)]
    next: String,
}

/// `GET /login`.
pub(crate) async fn page(user: Option<User>, Query(target): Query<Target>) -> Result<Response, PageError> {
    if user.is_some() {
        return Ok(Redirect::to("/").into_response());
    }
    show(StatusCode::OK, &target.next, "", None)
}

fn show(status: StatusCode, next: &str, name: &str, problem: Option<&str>) -> Result<Response, PageError> {
    let form = random::hex::<16>().map_err(|e| PageError::Told {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        title: "No random bytes",
        message: e.to_string(),
    })?;
    let page = LoginPage { user: None, form: &form, next: local(next), name, problem };
    let mut response = html(status, &page);
    add_cookie(&mut response, &set_cookie(FORM, &form, FORM_S));
    Ok(response)
}

fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Only a page of this hub.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if next.starts_with('/') && !next.starts_with("//") && plain { next } else { "/" }
}

/// `POST /login`.
pub(crate) async fn submit(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(attempt): Form<Attempt>,
) -> Result<Response, PageError> {
    check_origin(&headers)?;
    if !cookie(&headers, FORM).is_some_and(|form| equal(form, &attempt.form)) {
        let problem = "The form was too old. Please try again.";
        return show(StatusCode::FORBIDDEN, &attempt.next, &attempt.name, Some(problem));
    }
    let sources =
        [Source::Login(subscriber(peer.ip())), Source::Operator(attempt.name.chars().take(64).collect())];
    let by_token = token_fits(&hub, &attempt).await?;
    if !by_token {
        let blocked = sources.iter().filter_map(|s| hub.throttle.blocked(s, Instant::now())).max();
        if let Some(wait) = blocked {
            let problem =
                format!("Too many failures. Wait {} s, or use your API token.", wait.as_secs().max(1));
            return show(StatusCode::TOO_MANY_REQUESTS, &attempt.next, &attempt.name, Some(&problem));
        }
    }
    if !by_token && !password_fits(&hub, &attempt).await? {
        tracing::warn!(name = attempt.name, %peer, "login refused");
        for source in sources {
            hub.throttle.failed(source, Instant::now());
        }
        let problem = "Name and password (or token) do not fit.";
        return show(StatusCode::UNAUTHORIZED, &attempt.next, &attempt.name, Some(problem));
    }
    tracing::info!(name = attempt.name, %peer, "login");
    begin(&hub, &attempt).await
}

async fn token_fits(hub: &Inner, attempt: &Attempt) -> Result<bool, PageError> {
    let digest = Digest::of(attempt.secret.trim().as_bytes());
    let found = hub
        .store
        .read("looking for an operator", |c| Box::pin(async move { operators::by_token(c, digest).await }))
        .await?;
    Ok(found.is_some_and(|operator| operator.name == attempt.name))
}

async fn password_fits(hub: &Inner, attempt: &Attempt) -> Result<bool, PageError> {
    let name = attempt.name.clone();
    let found = hub
        .store
        .read("looking for an operator", |c| Box::pin(async move { operators::by_name(c, &name).await }))
        .await?;
    let known = found.and_then(|operator| operator.password_hash);
    let (hash, exists) = known.map_or_else(|| (NOBODY.to_owned(), false), |hash| (hash, true));
    let secret = attempt.secret.clone();
    // Each check takes 19 MiB and a core; the permit bounds both.
    let permit = hub.password_checks.acquire().await;
    let fits = tokio::task::spawn_blocking(move || {
        Argon2::default().verify_password(secret.as_bytes(), hash.as_str()).is_ok()
    })
    .await
    .unwrap_or(false);
    drop(permit);
    Ok(fits && exists)
}

async fn begin(hub: &Inner, attempt: &Attempt) -> Result<Response, PageError> {
    let unlucky = |e: random::NoRandom| PageError::Told {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        title: "No random bytes",
        message: e.to_string(),
    };
    let token = random::hex::<32>().map_err(unlucky)?;
    let now = hub.now();
    let session = Session {
        operator: attempt.name.clone(),
        csrf: random::hex::<16>().map_err(unlucky)?,
        expires: now + SignedDuration::from_secs(hub.config.session_s.into()),
    };
    let digest = Digest::of(token.as_bytes());
    hub.store
        .write("beginning a session", move |c| {
            Box::pin(async move { operators::add_session(c, digest, &session, now).await })
        })
        .await?;
    let mut response = Redirect::to(local(&attempt.next)).into_response();
    add_cookie(&mut response, &session_cookie(&token, hub.config.session_s));
    add_cookie(&mut response, &set_cookie(FORM, "", 0));
    Ok(response)
}

/// A form with nothing but its token.
#[derive(Deserialize)]
pub(crate) struct Logout {
    csrf: String,
}

/// `POST /logout`.
pub(crate) async fn logout(
    State(hub): State<Hub>,
    user: User,
    headers: HeaderMap,
    Form(form): Form<Logout>,
) -> Result<Response, PageError> {
    user.check_form(&form.csrf, &headers)?;
    let session = user.session;
    hub.store
        .write("ending a session", move |c| Box::pin(async move { operators::end_session(c, session).await }))
        .await?;
    let mut response = Redirect::to("/login").into_response();
    add_cookie(&mut response, &session_cookie("", 0));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_this_hub_only() {
        assert_eq!(local("/boxes/home"), "/boxes/home");
        for elsewhere in ["", "//evil", "https://evil", "/\\evil", "/a\r\nb", "javascript:x"] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }

    #[test]
    fn the_hash_of_nobody_costs_as_much_as_a_real_one() {
        let hash = argon2::PasswordHash::new(NOBODY).unwrap();
        let mine: argon2::PasswordHash =
            argon2::PasswordHasher::hash_password(&Argon2::default(), b"x").unwrap();
        assert_eq!(hash.params, mine.params);
        assert!(Argon2::default().verify_password(b"x", NOBODY).is_err());
    }
}
