//! What every request handler gets: the database, the hub's identity, its settings, and what lives in memory only.

use std::sync::Arc;

use felhom_clock::Clock;
use felhom_model::Digest;
use felhom_protocol::hub_api::BoxEvent;
use felhom_signing::Key;
use jiff::{Timestamp, Unit};
use tokio::sync::{Semaphore, watch};
use ulid::Ulid;

use crate::config::Config;
use crate::random::{self, NoRandom};
use crate::risk::Limits;
use crate::store::{Store, StoreError, events};
use crate::throttle::Throttle;
use crate::wait::Waiters;

/// The hub, shared by all requests.
pub(crate) type Hub = Arc<Inner>;

/// See [`Hub`].
pub(crate) struct Inner {
    /// The database.
    pub(crate) store: Store,
    /// Effective configuration.
    pub(crate) config: Config,
    /// Says what time it is.
    pub(crate) clock: Clock,
    /// From when on ages count.
    pub(crate) limits: Limits,
    /// Signs answers and desired state.
    pub(crate) key: Key,
    /// SHA-256 of the TLS certificate.
    pub(crate) fingerprint: Digest,
    /// URL that goes into tickets.
    pub(crate) public_url: String,
    /// Wakes long polls.
    pub(crate) waiters: Waiters,
    /// Counts failures of those who prove who they are.
    pub(crate) throttle: Throttle,
    /// How many passwords are checked at once: each takes a core and 19 MiB.
    pub(crate) password_checks: Semaphore,
    /// Becomes true when the hub stops; long polls end then.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Inner {
    /// The hub's clock, in whole milliseconds as the database keeps them.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        now.round(Unit::Millisecond).unwrap_or(now)
    }

    /// A new id that sorts by time.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub(crate) fn new_ulid(&self, now: Timestamp) -> Result<Ulid, NoRandom> {
        let random = u128::from_be_bytes(random::bytes::<16>()?);
        Ok(Ulid::from_parts(now.as_millisecond().unsigned_abs(), random))
    }

    /// Records what happened with a box; a failure to do so is logged, it must not change the answer.
    pub(crate) async fn record(&self, box_name: &str, kind: &str, message: String) {
        tracing::info!(box_name, kind, message, "event");
        let event = BoxEvent { time: self.now(), kind: kind.to_owned(), message };
        if let Err(error) = self.try_record(box_name.to_owned(), event).await {
            tracing::error!(box_name, %error, "the event was not recorded");
        }
    }

    async fn try_record(&self, box_name: String, event: BoxEvent) -> Result<(), StoreError> {
        let (name, same) = (box_name.clone(), event.clone());
        let recent = self
            .store
            .read("looking for the same event", |c| {
                Box::pin(async move { events::has_recent(c, &name, &same).await })
            })
            .await?;
        if recent {
            return Ok(());
        }
        let id = Ulid::from_parts(
            event.time.as_millisecond().unsigned_abs(),
            u128::from_be_bytes(random::bytes::<16>().unwrap_or_default()),
        );
        self.store
            .write("recording an event", move |c| {
                Box::pin(async move { events::add(c, id, &box_name, &event).await })
            })
            .await
    }
}
