//! What the agent's tasks share: configuration, memory, the executor's client, the newest view, and how they wake each
//! other. Nothing here decides anything.

use crate::config::Config;
use crate::store::{Store, StoreError};
use felhom_client::executor::ExecutorClient;
use felhom_clock::Clock;
use felhom_model::{GuestUuid, OperationId};
use felhom_planner::{Condition, Status};
use felhom_protocol::executor::Observation;
use felhom_protocol::local_api::HeartbeatSummary;
use felhom_protocol::receipt::SignedReceipt;
use felhom_protocol::status;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Notify, watch};

/// What was seen last.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The executor's observation; `None` until it answered once.
    pub(crate) observation: Option<Arc<Observation>>,
    /// Operations by id: all that are not over, and the newest ones.
    pub(crate) operations: BTreeMap<OperationId, status::Operation>,
    /// Receipts, newest first.
    pub(crate) receipts: Vec<SignedReceipt>,
}

impl View {
    /// The guest whose token has this digest, if it is a tenant that is shown to be ours.
    pub(crate) fn guest_of_token(&self, digest: felhom_model::Digest) -> Option<&status::Guest> {
        let guests = &self.observation.as_ref()?.guests;
        guests.iter().find(|guest| {
            guest.token_digest == Some(digest) && guest.purpose == "tenant" && guest.provenance == "proven"
        })
    }

    /// The guest with this uuid.
    pub(crate) fn guest(&self, uuid: GuestUuid) -> Option<&status::Guest> {
        self.observation.as_ref()?.guests.iter().find(|guest| guest.uuid == Some(uuid))
    }
}

/// Shared by all tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Configuration.
    pub(crate) config: Config,
    /// Time zone of the schedules.
    pub(crate) zone: TimeZone,
    /// Memory.
    pub(crate) store: Store,
    /// The executor.
    pub(crate) executor: ExecutorClient,
    /// Rung when there is something new to decide on.
    pub(crate) pass: Notify,
    /// Rung when the hub should be asked now.
    pub(crate) sync: Notify,
    clock: Clock,
    view: RwLock<Arc<View>>,
    heartbeats: Mutex<BTreeMap<GuestUuid, HeartbeatSummary>>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Nothing seen yet.
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        zone: TimeZone,
        store: Store,
        executor: ExecutorClient,
    ) -> Self {
        Self {
            config,
            clock,
            zone,
            store,
            executor,
            pass: Notify::new(),
            sync: Notify::new(),
            view: RwLock::default(),
            heartbeats: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// What time it is on the box.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What was seen last.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something new was seen.
    pub(crate) fn set_view(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut view));
        drop(view);
        self.tell();
    }

    /// A heartbeat came. One that says the same as the last wakes nobody: all guests send one every few seconds, and whoever
    /// wakes looks at all guests.
    pub(crate) fn set_heartbeat(&self, guest: GuestUuid, summary: HeartbeatSummary) {
        let said = |heartbeat: &HeartbeatSummary| HeartbeatSummary { received: None, ..heartbeat.clone() };
        let says = said(&summary);
        let before = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).insert(guest, summary);
        if before.is_none_or(|before| said(&before) != says) {
            self.tell();
        }
    }

    /// The last heartbeat of each guest.
    pub(crate) fn heartbeats(&self) -> BTreeMap<GuestUuid, HeartbeatSummary> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes whoever waits for something to change: the report, long polls.
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// To wait for changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets a condition of the agent itself.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn condition(
        &self,
        kind: &str,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Result<(), StoreError> {
        let condition = Condition { kind: kind.to_owned(), status, reason, message: message.into() };
        self.store.set_condition(&condition, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_heartbeat_that_says_nothing_new_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agent.sqlite")).unwrap();
        let executor = ExecutorClient::new(&dir.path().join("executor.sock")).unwrap();
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        let shared = Shared::new(Config::default(), clock, TimeZone::UTC, store, executor);
        let mut changes = shared.changes();
        let guest = GuestUuid::from_random([1; 16]);
        let mut beat = |slot: &str, second| {
            let received = Some(Timestamp::from_second(second).unwrap());
            let (version, slot) = ("1".to_owned(), slot.to_owned());
            shared
                .set_heartbeat(guest, HeartbeatSummary { version, slot, apps: vec![], url: None, received });
            let woke = changes.has_changed().unwrap();
            changes.mark_unchanged();
            woke
        };
        assert!(beat("A", 1) && !beat("A", 2) && beat("B", 3) && !beat("B", 4));
        let kept = shared.heartbeats().remove(&guest).unwrap();
        assert_eq!(kept.received.unwrap().as_second(), 4, "that it came is kept");
    }
}
