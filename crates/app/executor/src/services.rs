//! What operations, observation and server work with, built once in `wiring`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use felhom_gate::BoxLimits;
use felhom_host::{FilePush, Host};
use felhom_journal::{Journal, Runner, StepError, StoreError};
use felhom_model::desired::Tightening;
use felhom_model::{BoxId, GuestUuid, OperationId, Vmid};
use felhom_protocol::SignedBytes;
use felhom_protocol::executor::{BoxIdentity, LocalApi, Observation};
use felhom_pve::{Node, Pve};
use felhom_signing::{Context, Key, Signed};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::audit::HourlyLimit;
use crate::authorization::RunningClock;
use crate::config::Config;
use crate::driver::ExecutorDriver;
use crate::ledger::Ledger;
use crate::recent::Recent;
use crate::rights::Rights;

/// Everything that is handed in.
#[derive(Debug)]
pub struct Services {
    /// Configuration.
    pub config: Config,
    /// Proxmox.
    pub pve: Pve,
    /// Our node.
    pub node: Node,
    /// What the token should have, to say what it lacks.
    pub rights: Rights,
    /// Root acts.
    pub host: Host,
    /// The journal.
    pub journal: Arc<Journal>,
    /// The ledger.
    pub ledger: Ledger,
    /// The attestation key.
    pub key: Key,
    /// Time that nobody can set.
    pub running: RunningClock,
    /// Identity of the host's current boot.
    pub boot: String,
    /// Counts answers that do not count.
    pub refusals: HourlyLimit,
    /// Enrolments that were written down.
    pub enrolments: HourlyLimit,
    /// How many refused requests are written down in an hour.
    pub refused: HourlyLimit,
    /// Rises when a guest or the agent told something that a step may wait for.
    pub told: watch::Sender<u64>,
    /// The runner, for the one operation that leads another one on.
    pub runs: OnceLock<Weak<Runner<ExecutorDriver>>>,
    /// VMIDs that operations have chosen since this process began; what others chose before is in the journal.
    pub chosen: tokio::sync::Mutex<BTreeMap<felhom_journal::OperationId, Vmid>>,
    /// Guests as they were read last, for whoever only plans.
    pub recent: Recent,
    /// The last complete observation, for when Proxmox does not answer.
    pub last_seen: Mutex<Option<Observation>>,
}

/// The setting in which [`Services::wished_limits`] are kept.
pub const WISHED_LIMITS: &str = "wished_limits";

impl Services {
    /// The runner, while it lives.
    #[must_use]
    pub fn runner(&self) -> Option<Arc<Runner<ExecutorDriver>>> {
        self.runs.get()?.upgrade()
    }

    /// What time it is on the box.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.journal.now()
    }

    /// Wakes steps that wait for somebody's word.
    pub fn tell(&self) {
        self.told.send_modify(|n| *n += 1);
    }

    /// Where the agent serves guests, if it said so.
    ///
    /// # Errors
    /// [`StepError::Transient`] if it did not, or the ledger cannot be read.
    pub fn local_api(&self) -> Result<LocalApi, StepError> {
        match self.ledger.setting("local_api") {
            Ok(Some(api)) => Ok(api),
            Ok(None) => Err(StepError::Transient(
                "the agent has not said where guests reach it; start felhom-agent".to_owned(),
            )),
            Err(e) => Err(StepError::Transient(e.to_string())),
        }
    }

    /// The limits in force: the box's own, made stricter where the operator wishes so and the configuration heeds it.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn limits(&self) -> Result<BoxLimits, StoreError> {
        Ok(self.config.limits_with(&self.wished_limits()?))
    }

    /// What the operator wishes the limits to be, as the agent said last.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn wished_limits(&self) -> Result<Tightening, StoreError> {
        Ok(self.ledger.setting(WISHED_LIMITS)?.unwrap_or_default())
    }

    /// Which box this is, once the agent said so.
    #[must_use]
    pub fn box_id(&self) -> Option<BoxId> {
        self.ledger.setting::<BoxIdentity>("box").ok().flatten().map(|b| b.box_id)
    }

    /// A new operation's identity.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new_operation_id(&self) -> Result<OperationId, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let ms = u64::try_from(self.now().as_millisecond()).unwrap_or_default();
        Ok(OperationId::from_parts(ms, u128::from_be_bytes(random) >> 48))
    }

    /// A new guest's identity.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new_guest_uuid(&self) -> Result<GuestUuid, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(GuestUuid::from_random(random))
    }

    /// 256 random bits as hexadecimal digits, for tokens and nonces.
    ///
    /// # Errors
    /// [`StepError::Failed`] if the system has no randomness.
    pub fn secret(&self) -> Result<String, StepError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(StepError::failed)?;
        Ok(hex::encode(random))
    }

    /// Puts a file into a running guest that only the guest's root reads.
    ///
    /// # Errors
    /// [`StepError::Transient`] if the guest is not ready for it.
    pub async fn put(&self, vmid: Vmid, path: &str, content: Vec<u8>) -> Result<(), StepError> {
        let file = FilePush { path: path.to_owned(), content, mode: 0o600 };
        self.host.push(vmid, &file).await.map_err(|e| StepError::Transient(e.to_string()))
    }

    /// The same of a document that this box signs.
    ///
    /// # Errors
    /// As [`Services::put`]; [`StepError::Failed`] if it cannot be JSON.
    pub async fn put_signed(
        &self,
        vmid: Vmid,
        path: &str,
        context: Context,
        document: &impl Serialize,
    ) -> Result<(), StepError> {
        let bytes = serde_json::to_vec(document).map_err(StepError::failed)?;
        let signed: SignedBytes = Signed::new(&self.key, context, bytes).into();
        self.put(vmid, path, serde_json::to_vec(&signed).map_err(StepError::failed)?).await
    }

    /// Asks `ready` now and whenever somebody told something, until it says yes or the time is over.
    ///
    /// # Errors
    /// What `ready` says.
    pub async fn wait_until_told<T>(
        &self,
        timeout: Duration,
        mut ready: impl FnMut() -> Result<Option<T>, StepError>,
    ) -> Result<Option<T>, StepError> {
        let mut told = self.told.subscribe();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(answer) = ready()? {
                return Ok(Some(answer));
            }
            match tokio::time::timeout_at(deadline, told.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return ready(),
            }
        }
    }

    /// The last observation.
    #[must_use]
    pub fn last_observation(&self) -> Option<Observation> {
        self.last_seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an observation.
    pub fn keep_observation(&self, observation: &Observation) {
        *self.last_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(observation.clone());
    }
}

/// What a failed call to Proxmox means for a step. A mutating call that may have been carried out is tried again from
/// the step's probe.
#[must_use]
pub fn step_error(error: &felhom_pve::Error) -> StepError {
    let file_lock = matches!(error, felhom_pve::Error::Locked { lock: None, .. });
    let later = matches!(error, felhom_pve::Error::StillRunning { .. });
    if error.is_transient() || error.may_have_happened() || file_lock || later {
        StepError::Transient(error.to_string())
    } else {
        StepError::Failed(error.to_string())
    }
}
