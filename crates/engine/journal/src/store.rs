//! The port to durable storage, and the records that cross it.

use std::fmt;
use std::str::FromStr;

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

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// `bytes`, `files`, `seconds` …
    pub unit: String,
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
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError>;
    /// Appends events; `after` is the state that they lead to, for the tables that people and queries read. The events'
    /// time is `after.updated_at`.
    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError>;
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
