//! One request, one answer: sending, and turning every way to fail into [`Error`].

use crate::error::{Error, ErrorKind};
use crate::tls;
use felhom_model::Digest;
use felhom_protocol::ErrorBody;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;
use std::time::Duration;

/// A connection to one server: base URL and the HTTP client that pins it.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    base: String,
    client: Client,
}

/// How long a call may take that is no long poll.
pub(crate) const CALL: Duration = Duration::from_secs(20);

fn builder() -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
}

impl Transport {
    /// HTTPS to a server whose certificate is pinned.
    pub(crate) fn pinned(base: &str, fingerprint: Digest) -> Result<Self, Error> {
        let local = |why: String| Error { call: base.to_owned(), kind: ErrorKind::Local(why) };
        if !base.starts_with("https://") {
            return Err(local("the URL must begin with https://".to_owned()));
        }
        let config = tls::pinned(fingerprint).map_err(|e| local(e.to_string()))?;
        let client = builder().tls_backend_preconfigured(config).build().map_err(|e| local(chain(&e)))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// HTTP on a unix socket.
    pub(crate) fn unix(socket: &Path) -> Result<Self, Error> {
        let call = format!("socket {}", socket.display());
        let client = builder()
            .unix_socket(socket)
            .build()
            .map_err(|e| Error { call, kind: ErrorKind::Local(chain(&e)) })?;
        Ok(Self { base: "http://executor".to_owned(), client })
    }

    /// HTTPS from a given source address: a guest speaks from its own network link.
    pub(crate) fn pinned_from(
        base: &str,
        fingerprint: Digest,
        from: std::net::IpAddr,
    ) -> Result<Self, Error> {
        let local = |why: String| Error { call: base.to_owned(), kind: ErrorKind::Local(why) };
        let config = tls::pinned(fingerprint).map_err(|e| local(e.to_string()))?;
        let client = builder()
            .tls_backend_preconfigured(config)
            .local_address(from)
            .build()
            .map_err(|e| local(chain(&e)))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Begins a request to a path below the base URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.base);
        let name = format!("{method} {url}");
        Call { name, request: self.client.request(method, url).timeout(CALL) }
    }
}

/// A request about to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    name: String,
    request: RequestBuilder,
}

impl Call {
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.request = self.request.bearer_auth(token);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// The whole call may take this long on top of [`CALL`]: for long polls.
    pub(crate) fn wait(mut self, extra: Duration) -> Self {
        self.request = self.request.timeout(CALL + extra);
        self
    }

    /// No limit: for streams.
    pub(crate) fn endless(mut self) -> Self {
        self.request = self.request.timeout(Duration::from_secs(u32::MAX.into()));
        self
    }

    pub(crate) fn json<T: Serialize>(mut self, body: &T) -> Self {
        self.request = self.request.json(body);
        self
    }

    pub(crate) fn bytes(mut self, body: Vec<u8>) -> Self {
        self.request = self.request.header("content-type", "application/json").body(body);
        self
    }

    /// Sends; an answer that is no success is an error with the server's own words.
    pub(crate) async fn send(self) -> Result<Answer, Error> {
        let Self { name, request } = self;
        let response = request.send().await.map_err(|e| failed(&name, &e))?;
        let answer = Answer { call: name, response };
        if answer.response.status().is_success() { Ok(answer) } else { Err(answer.into_refusal().await) }
    }

    /// Sends and returns the answer whatever its status.
    pub(crate) async fn send_any(self) -> Result<Answer, Error> {
        let Self { name, request } = self;
        let response = request.send().await.map_err(|e| failed(&name, &e))?;
        Ok(Answer { call: name, response })
    }
}

/// An answer whose body is not read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) call: String,
    pub(crate) response: Response,
}

impl Answer {
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error { call: self.call.clone(), kind }
    }

    pub(crate) async fn bytes(self) -> Result<Vec<u8>, Error> {
        let call = self.call;
        self.response.bytes().await.map(Into::into).map_err(|e| failed(&call, &e))
    }

    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let call = self.call.clone();
        parse(&call, &self.bytes().await?)
    }

    async fn into_refusal(self) -> Error {
        let (call, status) = (self.call.clone(), self.response.status().as_u16());
        match self.bytes().await {
            Ok(bytes) => Error {
                call,
                kind: ErrorKind::Refused { status, body: refusal_body(&bytes).into(), time: None },
            },
            Err(error) => error,
        }
    }
}

/// The server's own words, whatever they look like.
pub(crate) fn refusal_body(bytes: &[u8]) -> ErrorBody {
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
        let message = if text.trim().is_empty() { "refused without a word" } else { text.trim() };
        ErrorBody { error: "unknown".to_owned(), message: message.to_owned(), hint: None }
    })
}

pub(crate) fn parse<T: DeserializeOwned>(call: &str, bytes: &[u8]) -> Result<T, Error> {
    let malformed =
        |e: serde_json::Error| Error { call: call.to_owned(), kind: ErrorKind::Malformed(e.to_string()) };
    serde_json::from_slice(bytes).map_err(malformed)
}

fn failed(call: &str, error: &reqwest::Error) -> Error {
    let kind = if let Some(other) = tls::other_certificate(error) {
        ErrorKind::OtherCertificate { expected: other.expected, seen: other.seen }
    } else if error.is_timeout() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Unreachable(chain(error))
    };
    Error { call: call.to_owned(), kind }
}

/// The innermost cause, which is the one that tells something: "Connection refused".
fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    // What TLS says of a server that ended in the middle of a connection helps nobody.
    if text.contains("close_notify") { "the other side closed the connection".to_owned() } else { text }
}

/// A path segment, percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
