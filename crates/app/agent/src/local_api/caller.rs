//! Who calls: the guest whose token has the digest that the executor observed. And not too often.

use super::{Api, Refusal};
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
    looked: Mutex<Option<Instant>>,
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

    /// Whether it is time to look again for a token that is unknown.
    fn may_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN);
        if due {
            *looked = Some(Instant::now());
        }
        due
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
        let mut caller = known(&api.shared, digest);
        if caller.is_none() && api.callers.may_look() {
            // The guest may have been started, with a new token, since the last observation.
            observe(&api.shared).await;
            caller = known(&api.shared, digest);
        }
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

async fn observe(shared: &Shared) {
    match shared.executor.observation().await {
        Ok(observation) => shared.set_view(|view| view.observation = Some(Arc::new(observation))),
        Err(error) => tracing::debug!("{error}"),
    }
}
