//! Health checks by HTTP that accept one instance only.
//!
//! Where guests share a machine's addresses, a good answer alone proves nothing: a live twin could give it for a restored
//! copy. Each start has a nonce of its own, the service gets it as `HEALTH_NONCE` and answers with it in the header
//! `x-health-nonce`. An answer with another one, or with none, is not accepted.

use crate::app::service::HealthCheck;
use std::net::Ipv4Addr;

/// The header that carries the nonce.
pub const NONCE_HEADER: &str = "x-health-nonce";

/// Why a service is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    /// No answer.
    #[error("{url} does not answer: {why}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// An answer with another status.
    #[error("{url} answers with status {found} instead of {expected}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer's.
        found: u16,
        /// The one that was asked for.
        expected: u16,
    },
    /// An answer of somebody else.
    #[error("{url} was answered by another instance: {NONCE_HEADER} is {found} and not this start's")]
    OtherInstance {
        /// What was asked.
        url: String,
        /// The nonce in the answer, or `missing`.
        found: String,
    },
}

/// Makes checks.
#[derive(Debug, Clone)]
pub struct HealthClient(reqwest::Client);

impl HealthClient {
    /// A client that follows no redirect and knows no proxy.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0);
        client.build().map(Self)
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`HealthError`].
    pub async fn check(
        &self,
        lo: Ipv4Addr,
        check: &HealthCheck,
        expected: u16,
        nonce: &str,
    ) -> Result<(), HealthError> {
        let url = format!("http://{lo}:{}{}", check.port, check.path);
        let answer = match self.0.get(&url).timeout(check.timeout).send().await {
            Ok(answer) => answer,
            Err(e) => return Err(HealthError::NoAnswer { why: root_cause(&e), url }),
        };
        let found = answer.status().as_u16();
        let by = answer.headers().get(NONCE_HEADER).and_then(|value| value.to_str().ok());
        if by != Some(nonce) {
            return Err(HealthError::OtherInstance { url, found: by.unwrap_or("missing").to_owned() });
        }
        if found != expected {
            return Err(HealthError::Status { url, found, expected });
        }
        Ok(())
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
