//! The serving process: what it holds beside the state directory, and its ten-second round (pvestatd's work).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::Semaphore;

use crate::http::access_log::AccessLog;
use crate::http::ticket::TicketKey;
use crate::pvestatd;
use crate::state::{Host, atomic, guests};
use crate::task::index;

/// pvedaemon's number of workers (F18).
const WORKERS: usize = 3;

/// Times of the server, as they are on a real host unless somebody wants them shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long a failed authentication is held back (3 s on a real host, F1).
    pub(crate) auth_delay: Duration,
    /// After this pveproxy gives up on pvedaemon (30 s, F18).
    pub(crate) proxy: Duration,
    /// A connection on which nothing comes for this long is dropped (5 s).
    pub(crate) idle: Duration,
}

impl Limits {
    /// For calls that come over no connection.
    pub(crate) const NONE: Self =
        Self { auth_delay: Duration::ZERO, proxy: Duration::MAX, idle: Duration::MAX };
}

/// A serving simulator.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The host.
    pub(crate) host: Host,
    /// Signs tickets.
    pub(crate) ticket_key: TicketKey,
    /// The certificate's fingerprint.
    pub(crate) fingerprint: String,
    /// Times of the server.
    pub(crate) limits: Limits,
    /// Protected calls run on these.
    pub(crate) workers: Arc<Semaphore>,
    /// Who called what.
    pub(crate) access_log: AccessLog,
    /// The last round that was read, and which one that was.
    statistics: Mutex<Round>,
    /// What was last read of each configuration.
    lock_and_tags: Mutex<BTreeMap<u32, (Option<atomic::Version>, Pairs)>>,
}

type Round = (Option<atomic::Version>, Arc<BTreeMap<u32, Json>>);
/// Keys and values of a configuration.
type Pairs = Vec<(&'static str, String)>;

impl Daemon {
    /// Puts it together; nothing runs yet.
    pub(crate) fn new(
        host: Host,
        ticket_key: TicketKey,
        fingerprint: String,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let workers = Arc::new(Semaphore::new(WORKERS));
        let access_log = AccessLog::open(&host)?;
        Ok(Self {
            host,
            ticket_key,
            fingerprint,
            limits,
            workers,
            access_log,
            statistics: Mutex::default(),
            lock_and_tags: Mutex::default(),
        })
    }

    /// What the last round knew of each guest: `/cluster/resources` and pool members show this, up to ten seconds old (F48).
    pub(crate) fn statistics(&self) -> Arc<BTreeMap<u32, Json>> {
        let version = atomic::version(&self.host.dir.statistics());
        let mut last = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != version {
            *last = (version, Arc::new(pvestatd::statistics(&self.host)));
        }
        Arc::clone(&last.1)
    }

    /// A guest's lock and tags as they are now; a configuration is read anew when it was written.
    pub(crate) fn lock_and_tags(&self, vmid: u32) -> Pairs {
        let version = atomic::version(&self.host.dir.guest_config(vmid));
        let mut known = self.lock_and_tags.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&vmid) {
            Some((of, pairs)) if *of == version => pairs.clone(),
            _ => {
                let pairs = guests::properties(&self.host, vmid, &["lock", "tags"]);
                known.insert(vmid, (version, pairs.clone()));
                pairs
            }
        }
    }

    /// Rounds until the runtime ends. The list of active tasks is not refreshed in the first one, so that after a restart it shows
    /// dead workers as running for a while, as on a real host (F90).
    pub(crate) async fn rounds(self: Arc<Self>, every: Duration) {
        loop {
            let daemon = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || pvestatd::round(&daemon.host)).await;
            tokio::time::sleep(every).await;
            let daemon = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || index::refresh(&daemon.host)).await;
        }
    }
}
