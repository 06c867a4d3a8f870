//! The serving process: what it holds beside the state directory, and its ten-second round (pvestatd's work).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::Semaphore;

use crate::http::access_log::AccessLog;
use crate::http::ticket::TicketKey;
use crate::pvestatd;
use crate::state::Host;
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
}

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
        Ok(Self { host, ticket_key, fingerprint, limits, workers, access_log })
    }

    /// What the last round knew of each guest: `/cluster/resources` and pool members show this, up to ten seconds old (F48).
    pub(crate) fn statistics(&self) -> BTreeMap<u32, Json> {
        pvestatd::statistics(&self.host)
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
