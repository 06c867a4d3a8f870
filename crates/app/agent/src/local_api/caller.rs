//! Who calls: the guest whose token has the digest that the executor observed. And not too often.

use super::{Api, Refusal};
use crate::ask;
use crate::shared::Shared;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use felhom_model::{Digest, GuestName, GuestUuid};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls that a guest may make at once, and how many more each second.
const BURST: f64 = 60.0;
const RATE: f64 = 20.0;
/// Unknown tokens make the executor observe anew at most this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A guest that showed its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who it is.
    pub(crate) guest: GuestUuid,
    /// Its name.
    pub(crate) name: Option<GuestName>,
}

/// What is remembered of callers.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    buckets: Mutex<BTreeMap<GuestUuid, (f64, Instant)>>,
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl Callers {
    /// Takes one call out of a guest's bucket.
    fn may_call(&self, guest: GuestUuid) -> bool {
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, at) = buckets.entry(guest).or_insert((BURST, now));
        *level = (*level + now.duration_since(*at).as_secs_f64() * RATE).min(BURST);
        *at = now;
        if *level < 1.0 {
            return false;
        }
        *level -= 1.0;
        true
    }

    /// Finds the guest of a token that the last observation does not know, by observing anew: it may have been started,
    /// with a new token, since then.
    ///
    /// `Ok(None)` only if it was looked for after the call came; else the guest is to try again.
    async fn look(&self, shared: &Shared, digest: Digest) -> Result<Option<Caller>, Refusal> {
        let mut looked = self.looked.lock().await;
        // Somebody else may have looked while this one waited.
        if let Some(caller) = known(shared, digest) {
            return Ok(Some(caller));
        }
        if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_looked_up",
                "try again in a second",
            ));
        }
        let observation = ask::patient(ask::PATIENCE, || shared.executor.observation()).await?;
        *looked = Some(Instant::now());
        shared.set_view(|view| view.observation = Some(Arc::new(observation)));
        Ok(known(shared, digest))
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "no_token", "a guest's token is needed"));
        };
        let digest = Digest::of(token.as_bytes());
        let caller = match known(&api.shared, digest) {
            Some(caller) => Some(caller),
            None => api.callers.look(&api.shared, digest).await?,
        };
        let unknown =
            || Refusal::new(StatusCode::UNAUTHORIZED, "unknown_token", "no guest of this box has this token");
        let caller = caller.ok_or_else(unknown)?;
        if !api.callers.may_call(caller.guest) {
            let message = "this guest calls too often; wait a second";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", message));
        }
        Ok(caller)
    }
}

fn known(shared: &Shared, digest: Digest) -> Option<Caller> {
    let view = shared.view();
    let guest = view.guest_of_token(digest)?;
    Some(Caller { guest: guest.uuid?, name: guest.name.clone() })
}
