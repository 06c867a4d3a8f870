//! The client itself: one server, one identity, calls with context.
//!
//! 1. build: pinned TLS, no proxy, no redirects, HTTP/1.1;
//! 2. call: path and parameters encoded; parameters of GET and DELETE go into the query (a body is refused there);
//! 3. mutating calls always use a fresh connection, so that a kept-alive one that the server closes just then never makes
//!    it unclear whether the call arrived; reading calls keep connections and are repeated once if theirs was stale;
//! 4. answers: `data` out of the envelope, or an [`Error`] of its class.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::error::{Answer, Call, Error, Refusal};
use crate::form::Form;
use crate::ids::{TokenId, UserId};
use crate::tls::{Fingerprint, pin_mismatch, pinned_config};

/// PVE's proxy gives up on its daemon after 30 s; a little more than that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the server keeps an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// No answer of the calls made here comes near it.
const MAX_ANSWER: usize = 32 << 20;

/// Where the server is and which certificate it must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    fingerprint: Fingerprint,
}

impl Endpoint {
    /// `url` is `https://HOST[:PORT]`; the port defaults to 8006.
    ///
    /// # Errors
    /// [`Error::Configuration`] if it is not https or has a path, user or query.
    pub fn new(url: &str, fingerprint: Fingerprint) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Configuration {
            what: "Proxmox VE URL",
            reason: format!("{url:?}: {reason}"),
        };
        let mut parsed = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
        if parsed.scheme() != "https" {
            return Err(wrong("only https is spoken"));
        }
        let plain =
            matches!(parsed.path(), "" | "/") && parsed.query().is_none() && parsed.username().is_empty();
        if !plain || parsed.host_str().is_none() {
            return Err(wrong("expected https://HOST[:PORT] and nothing behind it"));
        }
        let has_port =
            url.trim_end_matches('/').rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        if !has_port {
            parsed.set_port(Some(8006)).map_err(|()| wrong("cannot carry a port"))?;
        }
        Ok(Self { url: parsed, fingerprint })
    }

    /// `host:port`.
    #[must_use]
    pub fn server(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or(8006);
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// The pinned fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// Who calls.
#[derive(Clone)]
pub enum Auth {
    /// An API token: the way of normal operation.
    Token {
        /// `USER@REALM!TOKEN`.
        id: TokenId,
        /// Its secret.
        secret: SecretString,
    },
    /// A login's ticket: for setting up only, because a token cannot make tokens. Lives two hours.
    Ticket {
        /// Who logged in.
        user: UserId,
        /// The cookie's value.
        ticket: SecretString,
        /// Sent with each mutating call.
        csrf: SecretString,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id, .. } => write!(f, "Token({id})"),
            Self::Ticket { user, .. } => write!(f, "Ticket({user})"),
        }
    }
}

impl Auth {
    fn headers(&self, mutating: bool) -> Result<HeaderMap, Error> {
        let secret_header = |text: String| {
            let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Configuration {
                what: "secret",
                reason: "it holds characters that no header can carry".to_owned(),
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let mut headers = HeaderMap::new();
        match self {
            Self::Token { id, secret } => {
                let text = format!("PVEAPIToken={id}={}", secret.expose_secret());
                headers.insert(AUTHORIZATION, secret_header(text)?);
            }
            Self::Ticket { ticket, csrf, .. } => {
                let cookie = format!("PVEAuthCookie={}", crate::form::encode(ticket.expose_secret()));
                headers.insert(COOKIE, secret_header(cookie)?);
                if mutating {
                    headers.insert("CSRFPreventionToken", secret_header(csrf.expose_secret().to_owned())?);
                }
            }
        }
        Ok(headers)
    }
}

/// Sees every mutating call before it is sent and after it was answered. Crash points live in such a hook.
pub trait Hook: Send + Sync {
    /// The call is about to be sent.
    ///
    /// # Errors
    /// Whatever should come of the call instead of sending it.
    fn before_mutation(&self, call: &Call) -> Result<(), Error>;
    /// The server answered, the caller does not know it yet.
    ///
    /// # Errors
    /// Whatever the caller should hear instead of the answer.
    fn after_mutation(&self, _call: &Call) -> Result<(), Error> {
        Ok(())
    }
}

struct Inner {
    endpoint: Endpoint,
    auth: Option<Auth>,
    reading: reqwest::Client,
    mutating: reqwest::Client,
    hook: Option<Arc<dyn Hook>>,
}

/// A client of one server with one identity; cheap to clone.
#[derive(Clone)]
pub struct Pve {
    inner: Arc<Inner>,
}

impl fmt::Debug for Pve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pve")
            .field("server", &self.inner.endpoint.server())
            .field("auth", &self.inner.auth)
            .finish()
    }
}

impl Pve {
    /// A client for a server; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] if TLS cannot be set up.
    pub fn new(endpoint: Endpoint, auth: Auth) -> Result<Self, Error> {
        Self::build(endpoint, Some(auth))
    }

    /// A client without identity, for the login call and to see whether the pinned server answers.
    ///
    /// # Errors
    /// [`Error::Configuration`] if TLS cannot be set up.
    pub fn anonymous(endpoint: Endpoint) -> Result<Self, Error> {
        Self::build(endpoint, None)
    }

    fn build(endpoint: Endpoint, auth: Option<Auth>) -> Result<Self, Error> {
        let http = |keep: usize| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(pinned_config(endpoint.fingerprint)?)
                .https_only(true)
                .http1_only()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(ANSWER_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(keep)
                .build()
                .map_err(|e| Error::Configuration { what: "HTTP client", reason: e.to_string() })
        };
        let (reading, mutating) = (http(4)?, http(0)?);
        Ok(Self { inner: Arc::new(Inner { endpoint, auth, reading, mutating, hook: None }) })
    }

    /// The same client with a hook that sees its mutating calls.
    #[must_use]
    pub fn with_hook(&self, hook: Arc<dyn Hook>) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                endpoint: inner.endpoint.clone(),
                auth: inner.auth.clone(),
                reading: inner.reading.clone(),
                mutating: inner.mutating.clone(),
                hook: Some(hook),
            }),
        }
    }

    /// Where it calls.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The user or token that it calls as, for messages.
    #[must_use]
    pub fn identity(&self) -> String {
        match &self.inner.auth {
            Some(Auth::Token { id, .. }) => id.to_string(),
            Some(Auth::Ticket { user, .. }) => user.to_string(),
            None => "nobody".to_owned(),
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &Form) -> Result<T, Error> {
        let call = self.call("GET", path);
        let first = self.send(&call, query).await;
        let data = match first {
            // The kept-alive connection was closed by the server in that moment; reading twice harms nobody.
            Err(Error::NoAnswer { reason, .. }) if reason.starts_with(STALE) => {
                self.send(&call, query).await?
            }
            other => other?,
        };
        decode(&call, data)
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Form) -> Result<T, Error> {
        self.mutate("POST", path, body).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &Form) -> Result<T, Error> {
        self.mutate("PUT", path, body).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str, query: &Form) -> Result<T, Error> {
        self.mutate("DELETE", path, query).await
    }

    /// A POST whose answer says nothing (PVE gives null, at times an object).
    pub(crate) async fn post_done(&self, path: &str, body: &Form) -> Result<(), Error> {
        self.mutate::<IgnoredAny>("POST", path, body).await.map(drop)
    }

    /// As [`Self::post_done`].
    pub(crate) async fn put_done(&self, path: &str, body: &Form) -> Result<(), Error> {
        self.mutate::<IgnoredAny>("PUT", path, body).await.map(drop)
    }

    /// As [`Self::post_done`].
    pub(crate) async fn delete_done(&self, path: &str, query: &Form) -> Result<(), Error> {
        self.mutate::<IgnoredAny>("DELETE", path, query).await.map(drop)
    }

    async fn mutate<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        form: &Form,
    ) -> Result<T, Error> {
        let call = self.call(method, path);
        if let Some(hook) = &self.inner.hook {
            hook.before_mutation(&call)?;
        }
        let answer = self.send(&call, form).await;
        if let Some(hook) = &self.inner.hook {
            hook.after_mutation(&call)?;
        }
        decode(&call, answer?)
    }

    fn call(&self, method: &'static str, path: &str) -> Call {
        Call { method, path: path.to_owned(), server: self.inner.endpoint.server() }
    }

    async fn send(&self, call: &Call, form: &Form) -> Result<Value, Error> {
        let in_query = matches!(call.method, "GET" | "DELETE");
        let mut url = self.inner.endpoint.url.clone();
        url.set_path(&format!("/api2/json{}", call.path));
        if in_query && !form.is_empty() {
            url.set_query(Some(&form.encode()));
        }
        let client = if call.is_mutation() { &self.inner.mutating } else { &self.inner.reading };
        let method = Method::from_bytes(call.method.as_bytes())
            .map_err(|e| Error::Configuration { what: "method", reason: e.to_string() })?;
        let mut request = client.request(method, url);
        if let Some(auth) = &self.inner.auth {
            request = request.headers(auth.headers(call.is_mutation())?);
        }
        if !in_query {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.encode());
        }
        tracing::debug!(%call, "calling Proxmox VE");
        let response = request.send().await.map_err(|e| transport(call, &e))?;
        read(call, response).await
    }
}

/// How a reason starts when a connection was closed before any answer came.
const STALE: &str = "connection closed";

fn transport(call: &Call, error: &reqwest::Error) -> Error {
    if let Some((expected, seen)) = pin_mismatch(error) {
        return Error::PinMismatch { server: call.server.clone(), expected, seen };
    }
    let call = Box::new(call.clone());
    if error.is_timeout() && !error.is_connect() {
        return Error::NoAnswer { call, reason: format!("nothing for {} s", ANSWER_TIMEOUT.as_secs()) };
    }
    let innermost = innermost(error);
    if error.is_connect() {
        return Error::Unreachable { call, reason: innermost };
    }
    Error::NoAnswer { call, reason: format!("{STALE}: {innermost}") }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

async fn read(call: &Call, mut response: reqwest::Response) -> Result<Value, Error> {
    let status = response.status();
    let reason = reason_phrase(&response);
    let mut body = Vec::new();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // PVE's 401 has neither body nor length and ends without closing TLS; the status line says it all.
            Err(_) if status != StatusCode::OK => break,
            Err(e) => {
                let reason = format!("answer cut: {}", innermost(&e));
                return Err(Error::NoAnswer { call: Box::new(call.clone()), reason });
            }
        };
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(unreadable(call, format!("longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if status == StatusCode::OK {
        let mut value: Value = serde_json::from_slice(&body).map_err(|e| unreadable(call, e.to_string()))?;
        let data = value
            .get_mut("data")
            .map(Value::take)
            .ok_or_else(|| unreadable(call, "no `data` in it".to_owned()))?;
        return Ok(data);
    }
    let answer = answer(status.as_u16(), reason, &body);
    Err(Error::from_refusal(Refusal { call: call.clone(), answer }))
}

fn reason_phrase(response: &reqwest::Response) -> String {
    match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).trim().to_owned(),
        None => response.status().canonical_reason().unwrap_or_default().to_owned(),
    }
}

/// Reads an error body; it may be empty (401, 595, 596) or plain text (501).
fn answer(status: u16, reason: String, body: &[u8]) -> Answer {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let message = value.get("message").and_then(Value::as_str).map(|m| m.trim().to_owned());
    let errors = value.get("errors").and_then(Value::as_object).map(|map| {
        map.iter()
            .map(|(key, v)| (key.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect()
    });
    Answer {
        status,
        message: message.filter(|m| !m.is_empty()).unwrap_or_else(|| reason.clone()),
        reason,
        errors: errors.unwrap_or_default(),
    }
}

pub(crate) fn unreadable(call: &Call, reason: String) -> Error {
    Error::Unreadable { call: Box::new(call.clone()), reason }
}

fn decode<T: DeserializeOwned>(call: &Call, data: Value) -> Result<T, Error> {
    serde_json::from_value(data).map_err(|e| unreadable(call, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Fingerprint {
        Fingerprint::from_bytes([7; 32])
    }

    #[test]
    fn endpoints_are_https_and_nothing_else() {
        assert_eq!(Endpoint::new("https://pve.lan", pin()).unwrap().server(), "pve.lan:8006");
        assert_eq!(Endpoint::new("https://127.0.0.1:9000/", pin()).unwrap().server(), "127.0.0.1:9000");
        assert_eq!(Endpoint::new("https://[::1]:8006", pin()).unwrap().server(), "[::1]:8006");
        for url in ["http://pve:8006", "https://pve/api2", "https://root@pve", "pve:8006", ""] {
            assert!(matches!(Endpoint::new(url, pin()), Err(Error::Configuration { .. })), "{url}");
        }
    }

    #[test]
    fn secrets_are_in_no_debug_text() {
        let auth = Auth::Token { id: "felhom@pve!executor".parse().unwrap(), secret: "canary-1".into() };
        let client = Pve::new(Endpoint::new("https://pve", pin()).unwrap(), auth).unwrap();
        assert!(!format!("{client:?}").contains("canary-1"));
        assert_eq!(client.identity(), "felhom@pve!executor");
    }

    #[test]
    fn error_bodies_are_read_in_all_their_shapes() {
        let full = answer(
            400,
            "Parameter verification failed.".into(),
            br#"{"errors":{"upid":"no such task"},"data":null,"message":"Parameter verification failed.\n"}"#,
        );
        assert_eq!(full.errors["upid"], "no such task");
        assert_eq!(full.message, "Parameter verification failed.");
        let empty = answer(401, "Authentication failed!".into(), b"");
        assert_eq!(empty.message, "Authentication failed!");
        assert_eq!(answer(501, "Unexpected content".into(), b"plain").message, "Unexpected content");
    }
}
