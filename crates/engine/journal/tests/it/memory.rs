//! A store in memory that outlives a "process" and fails or loses its answer at the n-th write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use felhom_journal::{
    Event, JournalStore, Operation, OperationId, Progress, Recorded, StoreError, StoredOperation, Which,
};

#[derive(Debug, Default)]
struct Data {
    operations: BTreeMap<OperationId, StoredOperation>,
    owned: BTreeSet<(OperationId, String)>,
    seq: u64,
}

/// When a write goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written.
    Before,
    /// It was written, but the caller is told otherwise.
    After,
}

#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    writes: Arc<Mutex<u64>>,
    fault: Option<(u64, Fault)>,
}

impl MemoryStore {
    /// The same durable data seen by a new process, with another fault.
    pub fn reopened(&self, fault: Option<(u64, Fault)>) -> Self {
        Self { data: Arc::clone(&self.data), writes: Arc::default(), fault }
    }

    pub fn writes(&self) -> u64 {
        *self.writes.lock().unwrap()
    }

    fn write(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError> {
        let mut writes = self.writes.lock().unwrap();
        *writes += 1;
        let failed = || StoreError { what: "memory".to_owned(), why: "injected".to_owned() };
        let fault = self.fault.filter(|(at, _)| *at == *writes).map(|(_, fault)| fault);
        if fault == Some(Fault::Before) {
            return Err(failed());
        }
        let mut data = self.data.lock().unwrap();
        let mut numbers = Vec::new();
        for event in events {
            data.seq += 1;
            let seq = data.seq;
            numbers.push(seq);
            if let Event::StepIntended { owns, .. } = event {
                data.owned.extend(owns.iter().map(|r| (after.id(), r.clone())));
            }
            data.operations
                .entry(after.id())
                .or_insert_with(|| StoredOperation {
                    new: after.new.clone(),
                    events: vec![],
                    progress: vec![],
                })
                .events
                .push(Recorded { seq, at: after.updated_at, event: event.clone() });
        }
        if fault == Some(Fault::After) { Err(failed()) } else { Ok(numbers) }
    }
}

impl JournalStore for MemoryStore {
    fn create(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError> {
        self.write(events, after)
    }

    fn append(&self, events: &[Event], after: &Operation) -> Result<Vec<u64>, StoreError> {
        self.write(events, after)
    }

    fn progress(&self, _: OperationId, _: usize, _: &Progress) -> Result<(), StoreError> {
        Ok(())
    }

    fn load(&self, id: OperationId) -> Result<Option<StoredOperation>, StoreError> {
        Ok(self.data.lock().unwrap().operations.get(&id).cloned())
    }

    fn by_request_key(&self, key: &str) -> Result<Option<OperationId>, StoreError> {
        let data = self.data.lock().unwrap();
        Ok(data.operations.iter().find(|(_, s)| s.new.envelope.request_key == key).map(|(id, _)| *id))
    }

    fn list(&self, which: Which, limit: usize) -> Result<Vec<OperationId>, StoreError> {
        let data = self.data.lock().unwrap();
        let active = |s: &StoredOperation| Operation::fold(s.clone()).unwrap().state.is_active();
        let all = data.operations.iter().filter(|(id, stored)| match which {
            Which::Active => active(stored),
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

    fn events_after(&self, _: u64, _: usize) -> Result<Vec<(OperationId, Recorded)>, StoreError> {
        Ok(vec![])
    }

    fn owns(&self, id: OperationId, resource: &str) -> Result<bool, StoreError> {
        Ok(self.data.lock().unwrap().owned.contains(&(id, resource.to_owned())))
    }
}
