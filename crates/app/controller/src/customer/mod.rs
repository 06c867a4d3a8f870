//! The customer's say: what the box asks and tells, checked with the key that the executor itself pushed, and the answers,
//! signed with the guest key.
//!
//! ```text
//!   agent ──challenges──▶ [`asked`] ──box's signature──▶ page ──name typed──▶ Confirmation ──▶ agent ──▶ executor
//!   executor ──pct push──▶ [`notices`] ──box's signature──▶ every page ──seen, veto──▶ answers ◀──pct exec── executor
//! ```
//! **Architecture invariant:** nothing is shown of a challenge or notice, nor signed, but what stands in bytes that the
//! box's key signed.

pub mod asked;
pub mod notices;
mod plain;

pub use plain::plain;

use crate::{
    link::{NoSession, Session, Sessions},
    paths::Paths,
};
use asked::{Asked, Shown};
use felhom_client::Error as ClientError;
use felhom_model::{BoxId, Digest, GuestUuid, OperationId};
use felhom_signing::{
    Key,
    consent::{Confirmation, ConsentError, Veto, confirm},
};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::{
    io,
    sync::{Arc, Mutex},
};

/// Speaks for the customer.
#[derive(Debug)]
pub struct Customer {
    paths: Paths,
    key: Arc<Key>,
    sessions: Arc<Sessions>,
    /// Held while the answers are written.
    answers: Mutex<()>,
}

/// Why an answer was not given.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    /// There is no link to the box.
    #[error(transparent)]
    NoLink(#[from] NoSession),
    /// The agent does not answer, or it or the executor refuses.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// It is not among what the box asks or tells now.
    #[error("this is not asked any more")]
    Gone,
    /// The customer of this guest is not asked.
    #[error("the customer of this guest is not asked for a confirmation here")]
    NotAsked,
    /// Another name was typed.
    #[error("what was typed is not the name of what would be changed")]
    TypedOther,
    /// It could not be signed.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// It could not be kept.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CustomerError {
    /// The word for the text that says it plainly.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoLink(_) => "no-link",
            Self::Gone => "gone",
            Self::NotAsked => "not-yours",
            Self::TypedOther => "typed-other",
            Self::Consent(_) | Self::Io(_) => "failed",
            Self::Call(error) => match error.refusal() {
                None => "no-link",
                Some("executor_unavailable" | "too_many_calls") => "no-link",
                Some("challenge_not_open" | "target_changed" | "not_waiting") => "gone",
                Some("challenge_expired" | "confirmation_expired") => "expired",
                Some("other_boot" | "other_epoch" | "other_box") => "restarted",
                Some("typed_other") => "typed-other",
                Some("not_yours" | "other_object" | "customer_not_asked" | "unknown_key") => "not-yours",
                Some(_) => "failed",
            },
        }
    }
}

/// What became of a veto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vetoed {
    /// The executor took it.
    Now,
    /// It is signed and kept; the executor fetches it itself.
    Kept,
}

impl Customer {
    /// Signs with `key`, speaks through `sessions`.
    pub fn new(paths: Paths, key: Arc<Key>, sessions: Arc<Sessions>) -> Self {
        Self { paths, key, sessions, answers: Mutex::default() }
    }

    /// What people are asked about this guest now.
    ///
    /// # Errors
    /// [`CustomerError`] if the box cannot be asked.
    pub async fn asked(&self) -> Result<(GuestUuid, Vec<Shown>), CustomerError> {
        let session = self.sessions.now()?;
        Ok((session.bootstrap.guest, asked_in(&session).await?))
    }

    /// Confirms the challenge with this digest, whose own label the customer typed.
    ///
    /// # Errors
    /// [`CustomerError`].
    pub async fn confirm(&self, digest: Digest, typed: &str) -> Result<(), CustomerError> {
        let session = self.sessions.now()?;
        let guest = session.bootstrap.guest;
        let Asked { challenge, .. } =
            find(asked_in(&session).await?, |asked| asked.digest == digest).ok_or(CustomerError::Gone)?;
        if !asked::may_confirm(&challenge, guest) {
            return Err(CustomerError::NotAsked);
        }
        if asked::label(&challenge, guest).is_none_or(|label| label.trim() != typed.trim()) {
            return Err(CustomerError::TypedOther);
        }
        let confirmation = Confirmation {
            v: 1,
            challenge: digest,
            object: guest,
            typed: typed.trim().to_owned(),
            at: Timestamp::now(),
            boottime_ms: boottime_ms(),
            boot_id: challenge.boot_id,
        };
        session.client.confirm(digest, &confirm(&self.key, &confirmation)?).await?;
        tracing::info!(operation = %challenge.operation.id, kind = %challenge.operation.kind, "confirmed");
        Ok(())
    }

    /// Vetoes an operation that the box asks or tells about. The veto is kept for the executor to fetch, and handed to the
    /// agent as well.
    ///
    /// # Errors
    /// [`CustomerError`].
    pub async fn veto(&self, operation: OperationId) -> Result<Vetoed, CustomerError> {
        let (guest, box_id) = self.subject(operation).await?;
        let reason = "the customer vetoed it in the guest".to_owned();
        let (object, at) = (Some(guest), Timestamp::now());
        let veto = Veto { v: 1, box_id, veto: operation, object, act: None, reason, at };
        let armored = veto.sign(&self.key)?;
        self.keep_veto(guest, &armored)?;
        let session = match self.sessions.now() {
            Ok(session) => session,
            Err(_) => return Ok(Vetoed::Kept),
        };
        match session.client.veto(operation, &armored).await {
            Ok(_) => Ok(Vetoed::Now),
            Err(error) if error.refusal() == Some("not_waiting") => Err(error.into()),
            // An agent that drops or refuses it cannot keep the executor from fetching it.
            Err(error) => {
                tracing::warn!(%operation, "the veto was not taken by the agent: {error}");
                Ok(Vetoed::Kept)
            }
        }
    }

    /// Guest and box of an operation that was told of or is asked about.
    async fn subject(&self, operation: OperationId) -> Result<(GuestUuid, BoxId), CustomerError> {
        if let Some(Ok(told)) = self.told()
            && told.notices.iter().any(|notice| notice.operation == operation)
        {
            return Ok((told.guest, told.box_id));
        }
        let session = self.sessions.now()?;
        let of = |asked: &Asked| asked.challenge.operation.id == operation;
        let asked = find(asked_in(&session).await?, of).ok_or(CustomerError::Gone)?;
        Ok((session.bootstrap.guest, asked.challenge.box_id))
    }
}

async fn asked_in(session: &Session) -> Result<Vec<Shown>, CustomerError> {
    let bootstrap = &session.bootstrap;
    Ok(asked::open(session.client.challenges().await?, bootstrap))
}

fn find(shown: Vec<Shown>, is: impl Fn(&Asked) -> bool) -> Option<Asked> {
    shown.into_iter().find_map(|shown| match shown {
        Shown::Genuine(asked) if is(&asked) => Some(*asked),
        Shown::Genuine(_) | Shown::Alarm { .. } => None,
    })
}

/// Milliseconds since the boot of the host, whose clock a container shares.
fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let whole = u64::try_from(now.tv_sec).unwrap_or_default().saturating_mul(1000);
    whole + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}
