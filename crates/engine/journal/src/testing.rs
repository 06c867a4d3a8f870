//! Stores for crash tests: one in memory that outlives a "process", and one that lets the n-th write of another go wrong.
//!
//! A store acknowledges a write by returning from it, after a sync. So a power cut has two outcomes only: every
//! acknowledged write is there, and the one under way is there ([`When::After`]) or not ([`When::Before`]).
//! A test enumerates n and both, and looks at what the next process makes of it.
//!
//! Always compiled, so that every crate is built with the same set of features. **Architecture invariant:** no program
//! names this module.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Event, Recorded};
use crate::state::Operation;
use crate::store::{JournalStore, OperationId, Progress, StoreError, StoredOperation, Which, WriteError};

#[derive(Debug, Default)]
struct Data {
    operations: BTreeMap<OperationId, StoredOperation>,
    owned: BTreeSet<(OperationId, String)>,
    consumed: BTreeMap<String, OperationId>,
    seq: u64,
}

/// A store in memory. Clones share the data, as two processes one after the other share a disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
}

impl MemoryStore {
    /// The operation that used a token up.
    #[must_use]
    pub fn consumed_by(&self, token: &str) -> Option<OperationId> {
        self.data().consumed.get(token).copied()
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError> {
        let mut data = self.data();
        let mut fresh = BTreeSet::new();
        for event in events {
            let Event::Authorized { consumes, .. } = event else { continue };
            for token in consumes {
                if data.consumed.contains_key(token) || !fresh.insert(token.clone()) {
                    return Err(WriteError::AlreadyConsumed { token: token.clone() });
                }
            }
        }
        data.consumed.extend(fresh.into_iter().map(|token| (token, after.id())));
        data.operations.entry(after.id()).or_insert_with(|| StoredOperation {
            new: after.new.clone(),
            events: Vec::new(),
            progress: Vec::new(),
        });
        let mut numbers = Vec::new();
        for event in events {
            data.seq += 1;
            let seq = data.seq;
            numbers.push(seq);
            if let Event::StepIntended { owns, .. } = event {
                data.owned.extend(owns.iter().map(|resource| (after.id(), resource.clone())));
            }
            if let Some(stored) = data.operations.get_mut(&after.id()) {
                stored.events.push(Recorded { seq, at: after.updated_at, event: event.clone() });
            }
        }
        Ok(numbers)
    }
}

fn is_active(stored: &StoredOperation) -> bool {
    Operation::fold(stored.clone()).is_ok_and(|op| op.state.is_active())
}

impl JournalStore for MemoryStore {
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError> {
        self.write(events, after)
    }

    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError> {
        self.write(events, after)
    }

    fn progress(&self, id: OperationId, step: usize, progress: &Progress) -> Result<(), StoreError> {
        if let Some(stored) = self.data().operations.get_mut(&id) {
            stored.progress.retain(|(n, _)| *n != step);
            stored.progress.push((step, progress.clone()));
        }
        Ok(())
    }

    fn load(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        Ok(self.data().operations.get(&id).cloned())
    }

    fn by_request_key(&self, key: &str) -> Result<Option<OperationId>, StoreError> {
        let data = self.data();
        let mut all = data.operations.iter();
        Ok(all.find(|(_, stored)| stored.new.envelope.request_key == key).map(|(id, _)| *id))
    }

    fn list(&self, which: Which, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        let data = self.data();
        let all = data.operations.iter().filter(|(id, stored)| match which {
            Which::Active => is_active(stored),
            Which::Newest => true,
            Which::After(after) => **id > after,
        });
        let mut ids: Vec<OperationId> = all.map(|(id, _)| *id).collect();
        if which == Which::Newest {
            ids.reverse();
        }
        ids.truncate(limit);
        Ok(ids)
    }

    fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<(OperationId, Recorded)>, StoreError> {
        let data = self.data();
        let all =
            data.operations.iter().flat_map(|(id, stored)| stored.events.iter().map(|e| (*id, e.clone())));
        let mut found: Vec<(OperationId, Recorded)> = all.filter(|(_, e)| e.seq > seq).collect();
        found.sort_by_key(|(_, e)| e.seq);
        found.truncate(limit);
        Ok(found)
    }

    fn owns(&self, id: OperationId, resource: &str) -> Result<bool, StoreError> {
        Ok(self.data().owned.contains(&(id, resource.to_owned())))
    }
}

/// What is found afterwards of a write that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Before,
    /// All of it, though the caller is told otherwise.
    After,
}

/// What the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full.
    NoSpace,
    /// The disk is broken, or the power went.
    Io,
}

/// Which write goes wrong, and how. All later ones fail, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The number of the write, from 1.
    pub at: u64,
    /// What is found of it.
    pub when: When,
    /// What the caller is told.
    pub trouble: Trouble,
}

#[derive(Debug, Default)]
struct Log {
    writes: Vec<String>,
    acknowledged: Vec<(OperationId, u64)>,
}

/// Another store, with one fault and a log of its writes. One of these is one process's view: the next process gets a new
/// one over the same inner store.
pub struct FaultyStore {
    inner: Arc<dyn JournalStore>,
    fault: Option<Fault>,
    log: Mutex<Log>,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// A view of `inner`; without a fault it only keeps the log.
    #[must_use]
    pub fn new(inner: Arc<dyn JournalStore>, fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self { inner, fault, log: Mutex::default() })
    }

    /// The writes that were tried, by name and in order: the crash points of what ran (for example
    /// `put: step_intended 0`).
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.log().writes.clone()
    }

    /// The operations and numbers of all events that were acknowledged: they are never lost.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<(OperationId, u64)> {
        self.log().acknowledged.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn through<T, E: From<StoreError>>(
        &self,
        name: String,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let number = {
            let mut log = self.log();
            log.writes.push(name.clone());
            log.writes.len() as u64
        };
        let Some(fault) = self.fault.filter(|fault| fault.at <= number) else { return write() };
        if fault.at == number && fault.when == When::After {
            write()?;
        }
        let why = match fault.trouble {
            Trouble::NoSpace => "No space left on device (os error 28)",
            Trouble::Io => "Input/output error (os error 5)",
        };
        Err(StoreError { what: name, why: why.to_owned() }.into())
    }

    fn events(
        &self,
        events: &[Event],
        after: &Operation,
        write: impl FnOnce() -> Result<Vec<u64>, WriteError>,
    ) -> Result<Vec<u64>, WriteError> {
        let numbers = self.through(name(events, after), write)?;
        self.log().acknowledged.extend(numbers.iter().map(|seq| (after.id(), *seq)));
        Ok(numbers)
    }
}

fn name(events: &[Event], after: &Operation) -> String {
    let names = events.iter().map(|event| {
        let json = serde_json::to_value(event).unwrap_or_default();
        let step = json.get("n").map(|n| format!(" {n}")).unwrap_or_default();
        format!("{}{step}", json.get("event").and_then(|e| e.as_str()).unwrap_or_default())
    });
    format!("{}: {}", after.new.body.kind, names.collect::<Vec<_>>().join(", "))
}

impl JournalStore for FaultyStore {
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError> {
        self.events(events, after, || self.inner.create(events, after))
    }

    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, WriteError> {
        self.events(events, after, || self.inner.append(events, after))
    }

    fn progress(&self, id: OperationId, step: usize, progress: &Progress) -> Result<(), StoreError> {
        self.through(format!("progress {step}"), || self.inner.progress(id, step, progress))
    }

    fn load(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        self.inner.load(id)
    }

    fn by_request_key(&self, key: &str) -> Result<Option<OperationId>, StoreError> {
        self.inner.by_request_key(key)
    }

    fn list(&self, which: Which, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        self.inner.list(which, limit)
    }

    fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<(OperationId, Recorded)>, StoreError> {
        self.inner.events_after(seq, limit)
    }

    fn owns(&self, id: OperationId, resource: &str) -> Result<bool, StoreError> {
        self.inner.owns(id, resource)
    }
}
