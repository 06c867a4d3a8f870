//! The port to durable storage, and the records that cross it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::event::{Event, Recorded};
use crate::state::Operation;

/// Identity of an operation (a ULID, made by the caller).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub Ulid);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OperationId {
    type Err = ulid::DecodeError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(s).map(Self)
    }
}

/// Who asks, under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Identity of the new operation.
    pub id: OperationId,
    /// Idempotency key: a second request with it is the same operation.
    pub request_key: String,
    /// Free text for people, for example `hub job 7`.
    pub requested_by: String,
    /// Identity of the machine's current boot.
    pub boot: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Name of the operation.
    pub kind: String,
    /// Version of its parameters and steps.
    pub kind_version: u32,
    /// Parameters as the steps read them.
    pub params: Value,
    /// What the operation excludes others from while it is active (for example `guest:UUID`).
    pub claims: Vec<String>,
}

/// A request as it is journaled.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    /// Who asks.
    pub envelope: Envelope,
    /// What.
    pub body: Body,
    /// Wall clock.
    pub created_at: Timestamp,
}

/// A request with all its events.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOperation {
    /// The request.
    pub new: NewOperation,
    /// Its events in order.
    pub events: Vec<Recorded>,
    /// Last progress of a step, if any: `(step, progress)`.
    pub progress: Vec<(usize, Progress)>,
}

/// How far a step is. What is stored outlives the process, and so do rate and remaining time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// `bytes`, `files`, `seconds` …
    pub unit: String,
}

impl Progress {
    /// Units a second since the step began, rounded down. Nothing in the first second, nor while the clock stands before the
    /// beginning.
    #[must_use]
    pub fn rate_per_s(&self, started_at: Timestamp, now: Timestamp) -> Option<u64> {
        let millis = elapsed_millis(started_at, now)?;
        Some(u64::try_from(u128::from(self.done) * 1000 / millis).unwrap_or(u64::MAX))
    }

    /// How long the rest takes if it goes on as it went so far, in whole seconds, rounded up. Nothing where the total is not
    /// known, nothing was done yet, or the rate is not known; zero when everything is done.
    #[must_use]
    pub fn eta(&self, started_at: Timestamp, now: Timestamp) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done);
        if left == 0 {
            return Some(Duration::ZERO);
        }
        let millis = elapsed_millis(started_at, now)?;
        let done = u128::from(self.done).checked_mul(1000).filter(|done| *done > 0)?;
        u64::try_from(u128::from(left).checked_mul(millis)?.div_ceil(done)).ok().map(Duration::from_secs)
    }
}

/// Milliseconds between, if it is a second or more.
fn elapsed_millis(started_at: Timestamp, now: Timestamp) -> Option<u128> {
    let millis = now.as_millisecond().checked_sub(started_at.as_millisecond())?;
    u128::try_from(millis).ok().filter(|millis| *millis >= 1000)
}

/// The storage failed. The text says what was tried on which file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("journal: {what}: {why}")]
pub struct StoreError {
    /// What was tried.
    pub what: String,
    /// Why it failed.
    pub why: String,
}

/// Why events were not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// A token that an event consumes was consumed before; nothing was written, and the storage is whole.
    #[error("`{token}` was used before: it is good once")]
    AlreadyConsumed {
        /// The token.
        token: String,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which operations are listed, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are not over, oldest first.
    Active,
    /// All, newest first.
    Newest,
    /// Those begun after this one, oldest first.
    After(OperationId),
}

/// Durable storage of operations. A method that returns `Ok` has synced to disk.
pub trait JournalStore: Send + Sync + 'static {
    /// Stores a new operation with its first events; `after` is the state that they lead to. Returns the events' numbers.
    /// What [`Event::Authorized`] consumes is stored with them, all or nothing.
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError>;
    /// Appends events; `after` is the state that they lead to, for the tables that people and queries read. The events'
    /// time is `after.updated_at`. What [`Event::Authorized`] consumes is stored with them, all or nothing.
    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError>;
    /// Keeps the progress of a step (not an event; overwritten).
    fn progress(&self, id: OperationId, step: usize, progress: &Progress) -> Result<(), StoreError>;
    /// One operation.
    fn load(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError>;
    /// The operation that was made under an idempotency key.
    fn by_request_key(&self, key: &str) -> Result<Option<OperationId>, StoreError>;
    /// At most `limit` operations.
    fn list(&self, which: Which, limit: usize) -> Result<Vec<OperationId>, StoreError>;
    /// Events of all operations with a number above `seq`, at most `limit`.
    fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<(OperationId, Recorded)>, StoreError>;
    /// Does the operation own the resource?
    fn owns(&self, id: OperationId, resource: &str) -> Result<bool, StoreError>;
}
