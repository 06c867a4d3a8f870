//! The journal in use: legality check, durable append, then broadcast; refuses everything after one failed write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::event::{Event, Recorded};
use crate::fold::IllegalEvent;
use crate::state::Operation;
use crate::store::{
    Body, Envelope, JournalStore, NewOperation, OperationId, Progress, StoreError, Which, WriteError,
};

const NOTICES_KEPT: usize = 1024;

/// The journal could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The write failed. No side effect may follow; the program exits and probes again at its next start.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An earlier write failed.
    #[error("the journal refuses further writes after an earlier failure: {0}")]
    Broken(String),
    /// The state forbids the event (an error in a program or in the file).
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// There is no such operation.
    #[error("operation {0} is not in the journal")]
    Unknown(OperationId),
    /// A token is good once, and was used before. Nothing was written; the journal goes on.
    #[error("`{token}` was used before: it is good once")]
    AlreadyConsumed {
        /// The token.
        token: String,
    },
    /// Another operation holds what these events would take. Nothing was written; ask again later.
    #[error(
        "operation {by} is active on {claim}: wait for it to end; its reason says what to do if it needs an operator"
    )]
    Busy {
        /// The active operation.
        by: OperationId,
        /// The claim that both have.
        claim: String,
    },
}

/// Something that listeners may want to show.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The operation.
    pub operation: OperationId,
    /// What happened.
    pub body: NoticeBody,
}

/// What a [`Notice`] is about.
#[derive(Debug, Clone)]
pub enum NoticeBody {
    /// A journaled event.
    Event(Recorded),
    /// Progress of a step; not numbered.
    Progress {
        /// Index of the step.
        step: usize,
        /// How far it is.
        progress: Progress,
    },
    /// The operation waits for something outside and tries again; not numbered.
    Stalled {
        /// Index of the step.
        step: usize,
        /// What it waits for.
        reason: String,
    },
}

/// Answer to [`Journal::create`].
#[derive(Debug)]
pub(crate) enum Created {
    /// Recorded.
    New(Operation),
    /// The idempotency key was used before: this is that operation.
    Existing(Operation),
}

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// The one way to the stored events.
pub struct Journal {
    store: Arc<dyn JournalStore>,
    clock: Clock,
    // Active operations as folded. The lock also serialises appends.
    active: Mutex<HashMap<OperationId, Operation>>,
    notices: broadcast::Sender<Notice>,
    broken: watch::Sender<Option<String>>,
    // Changes with each journaled wish to cancel something.
    cancels: watch::Sender<u64>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// Loads the active operations. `clock` is for people's eyes only.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read or holds an illegal sequence.
    pub fn open(
        store: Arc<dyn JournalStore>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, JournalError> {
        let mut active = HashMap::new();
        for id in store.list(Which::Active, usize::MAX)? {
            if let Some(stored) = store.load(id)? {
                active.insert(id, Operation::fold(stored)?);
            }
        }
        let (notices, _) = broadcast::channel(NOTICES_KEPT);
        let (broken, _) = watch::channel(None);
        let (cancels, _) = watch::channel(0);
        Ok(Self { store, clock: Box::new(clock), active: Mutex::new(active), notices, broken, cancels })
    }

    /// What time it is by the clock of [`Self::open`].
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// One operation with all that is known of it.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read.
    pub fn get(&self, id: OperationId) -> Result<Option<Operation>, JournalError> {
        if let Some(op) = self.active().get(&id) {
            return Ok(Some(op.clone()));
        }
        self.stored(id)
    }

    fn stored(&self, id: OperationId) -> Result<Option<Operation>, JournalError> {
        match self.store.load(id)? {
            Some(stored) => Ok(Some(Operation::fold(stored)?)),
            None => Ok(None),
        }
    }

    /// The operation made under an idempotency key.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read.
    pub fn by_request_key(&self, key: &str) -> Result<Option<Operation>, JournalError> {
        match self.store.by_request_key(key)? {
            Some(id) => self.get(id),
            None => Ok(None),
        }
    }

    /// Active operations, oldest first.
    #[must_use]
    pub fn active_operations(&self) -> Vec<Operation> {
        let mut all: Vec<Operation> = self.active().values().cloned().collect();
        all.sort_by_key(Operation::id);
        all
    }

    /// At most `limit` operations.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read.
    pub fn list(&self, which: Which, limit: usize) -> Result<Vec<Operation>, JournalError> {
        let mut out = Vec::new();
        for id in self.store.list(which, limit)? {
            out.extend(self.get(id)?);
        }
        Ok(out)
    }

    /// Journaled events of all operations after number `seq`, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read.
    pub fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<(OperationId, Recorded)>, JournalError> {
        Ok(self.store.events_after(seq, limit)?)
    }

    /// Did the operation announce this resource as its own?
    ///
    /// # Errors
    /// [`JournalError`] if the store cannot be read.
    pub fn owns(&self, id: OperationId, resource: &str) -> Result<bool, JournalError> {
        Ok(self.store.owns(id, resource)?)
    }

    /// Notices from now on. A slow listener misses some and reads [`Journal::events_after`].
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Resolves when a write failed; the program must exit then.
    pub async fn broken(&self) -> String {
        let mut watch = self.broken.subscribe();
        match watch.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Records a request that the gate refused. The same idempotency key gives the same operation.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn refuse(
        &self,
        envelope: Envelope,
        body: Body,
        reason: String,
        evidence: Value,
    ) -> Result<Operation, JournalError> {
        let claimless = Body { claims: Vec::new(), ..body };
        match self.create(envelope, claimless, vec![Event::Refused { reason, evidence }])? {
            Created::New(op) | Created::Existing(op) => Ok(op),
        }
    }

    pub(crate) fn create(
        &self,
        envelope: Envelope,
        body: Body,
        events: Vec<Event>,
    ) -> Result<Created, JournalError> {
        self.still_whole()?;
        let mut active = self.active();
        if let Some(id) = self.store.by_request_key(&envelope.request_key)? {
            let known = match active.get(&id) {
                Some(op) => Some(op.clone()),
                None => self.stored(id)?,
            };
            return known.map(Created::Existing).ok_or(JournalError::Unknown(id));
        }
        let new = NewOperation { envelope, body, created_at: self.now() };
        let op = Operation::pending(new);
        let (op, recorded) = self.write(&active, op, events, true)?;
        self.publish(&mut active, &op, recorded);
        Ok(Created::New(op))
    }

    /// Appends events in one transaction and tells the listeners. Returns the operation after them.
    ///
    /// # Errors
    /// [`JournalError`]; nothing was recorded.
    pub fn append(&self, id: OperationId, events: Vec<Event>) -> Result<Operation, JournalError> {
        self.decide(id, |_| Ok(events))
    }

    /// As [`Journal::append`], with events that are chosen by where the operation stands; nothing comes between the look and
    /// the write. No events: nothing is written.
    pub(crate) fn decide<E: From<JournalError>>(
        &self,
        id: OperationId,
        choose: impl FnOnce(&Operation) -> Result<Vec<Event>, E>,
    ) -> Result<Operation, E> {
        self.still_whole()?;
        let mut active = self.active();
        let op = match active.get(&id) {
            Some(op) => op.clone(),
            None => self.stored(id)?.ok_or(JournalError::Unknown(id))?,
        };
        let events = choose(&op)?;
        if events.is_empty() {
            return Ok(op);
        }
        let (op, recorded) = self.write(&active, op, events, false)?;
        self.publish(&mut active, &op, recorded);
        Ok(op)
    }

    /// Resolves when somebody wants the operation cancelled (also if that was before).
    pub(crate) async fn cancel_requested(&self, id: OperationId) {
        let mut changes = self.cancels.subscribe();
        loop {
            let cancelled = self.active().get(&id).is_some_and(|op| op.cancel.is_some());
            if cancelled {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps and announces the progress of a step.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn progress(&self, id: OperationId, step: usize, progress: Progress) -> Result<(), JournalError> {
        self.still_whole()?;
        let mut active = self.active();
        let slot =
            active.get_mut(&id).and_then(|op| op.steps.get_mut(step)).ok_or(JournalError::Unknown(id))?;
        if slot.progress.as_ref() == Some(&progress) {
            return Ok(());
        }
        self.guard(self.store.progress(id, step, &progress))?;
        slot.progress = Some(progress.clone());
        let _ = self.notices.send(Notice { operation: id, body: NoticeBody::Progress { step, progress } });
        Ok(())
    }

    pub(crate) fn stalled(&self, id: OperationId, step: usize, reason: String) {
        tracing::warn!(operation = %id, step, reason, "waits and tries again");
        if let Some(slot) = self.active().get_mut(&id).and_then(|op| op.steps.get_mut(step)) {
            slot.stalled = Some(reason.clone());
        }
        let _ = self.notices.send(Notice { operation: id, body: NoticeBody::Stalled { step, reason } });
    }

    fn write(
        &self,
        active: &HashMap<OperationId, Operation>,
        before: Operation,
        events: Vec<Event>,
        first: bool,
    ) -> Result<(Operation, Vec<Recorded>), JournalError> {
        let at = self.now();
        let fold = |numbers: Option<Vec<u64>>| -> Result<(Operation, Vec<Recorded>), IllegalEvent> {
            let mut after = before.clone();
            after.updated_at = at;
            // Whatever happens is progress; what hinders it is said again.
            after.steps.iter_mut().for_each(|step| step.stalled = None);
            let mut recorded = Vec::with_capacity(events.len());
            for (i, event) in events.iter().enumerate() {
                let seq = numbers.as_ref().and_then(|n| n.get(i)).copied().unwrap_or(0);
                let one = Recorded { seq, at, event: event.clone() };
                after.apply(&one)?;
                recorded.push(one);
            }
            Ok((after, recorded))
        };
        let (after, _) = fold(None)?;
        free(active, &before, &after)?;
        let written =
            if first { self.store.create(&events, &after) } else { self.store.append(&events, &after) };
        let numbers = match written {
            Ok(numbers) => numbers,
            Err(WriteError::AlreadyConsumed { token }) => {
                return Err(JournalError::AlreadyConsumed { token });
            }
            Err(WriteError::Store(e)) => return self.guard(Err(e)),
        };
        Ok(fold(Some(numbers))?)
    }

    fn publish(&self, active: &mut HashMap<OperationId, Operation>, op: &Operation, recorded: Vec<Recorded>) {
        let id = op.id();
        if op.state.is_active() {
            active.insert(id, op.clone());
        } else {
            active.remove(&id);
        }
        for one in recorded {
            if matches!(one.event, Event::CancelRequested { .. }) {
                self.cancels.send_modify(|n| *n = n.wrapping_add(1));
            }
            // No listener is no error.
            let _ = self.notices.send(Notice { operation: id, body: NoticeBody::Event(one) });
        }
    }

    /// Passes on the result of a domain's own write to the same database; a failed one breaks the journal, too.
    ///
    /// # Errors
    /// [`JournalError::Store`] with what failed.
    pub fn guard<T>(&self, written: Result<T, StoreError>) -> Result<T, JournalError> {
        written.map_err(|e| {
            tracing::error!(error = %e, "the journal could not be written: the program must exit");
            self.broken.send_replace(Some(e.to_string()));
            JournalError::Store(e)
        })
    }

    fn still_whole(&self) -> Result<(), JournalError> {
        match &*self.broken.borrow() {
            Some(reason) => Err(JournalError::Broken(reason.clone())),
            None => Ok(()),
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<OperationId, Operation>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is everything that the operation newly takes held by nobody else?
fn free(
    active: &HashMap<OperationId, Operation>,
    before: &Operation,
    after: &Operation,
) -> Result<(), JournalError> {
    let held: Vec<&String> = before.claims().collect();
    let taken: Vec<&String> = after.claims().filter(|claim| !held.contains(claim)).collect();
    for other in active.values().filter(|other| other.id() != after.id()) {
        if let Some(claim) = other.claims().find(|claim| taken.contains(claim)) {
            return Err(JournalError::Busy { by: other.id(), claim: claim.clone() });
        }
    }
    Ok(())
}
