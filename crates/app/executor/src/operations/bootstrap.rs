//! What a started guest is told, and how it answers: guest key, bootstrap and token, first heartbeat.
//!
//! Bootstrap and token lie in the guest's `/run/felhom`, which is empty at each start, so no archive ever holds them.

use std::sync::Arc;
use std::time::Duration;

use felhom_host::GuestCommand;
use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Vmid};
use felhom_protocol::executor::LocalApi;
use felhom_protocol::local_api::{BOOTSTRAP_FILE, Bootstrap, TOKEN_FILE};
use felhom_pve::{ConfigUpdate, GuestStatus};
use felhom_signing::PublicKey;
use serde_json::{Value, json};

use super::act::Act;
use super::running::keep_up;
use crate::ledger::{GuestRow, GuestRun, RowState};
use crate::services::{Services, step_error};

/// The controller in the guest.
pub const CONTROLLER: &str = "/usr/bin/felhom-controller";
const READ_KEY: &str = "read_guest_key";
const BETWEEN_TRIES: Duration = Duration::from_millis(150);

/// `read_guest_key`: waits until the controller answers, and pins its key.
pub(super) struct ReadGuestKey {
    /// Services.
    pub s: Arc<Services>,
    /// Whose.
    pub guest: GuestUuid,
}

impl Act for ReadGuestKey {
    fn name(&self) -> &'static str {
        READ_KEY
    }

    async fn intent(&self, _: &StepContext) -> Result<Intent, StepError> {
        let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
        Intent::of(&json!({ "before": row.and_then(|row| row.detail.key) }))
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        keep_up(&self.s, cx, vmid(&self.s, self.guest)?).await
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        let vmid = vmid(&self.s, self.guest)?;
        let timeout = Duration::from_secs(u64::from(self.s.config.timeouts.guest_answers_s));
        let key = wait_for_key(&self.s, vmid, timeout).await?;
        self.s.ledger.change_guest(self.guest, |row| row.detail.key = Some(key))?;
        Ok(json!({ "guest_key": key.to_string(), "fingerprint": key.fingerprint() }))
    }

    /// The guest that comes back after a cutover has the key that it had: the copy's may be an older one.
    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(intent) = cx.intent_of::<Value>(READ_KEY)? else { return Ok(()) };
        let before: Option<PublicKey> =
            serde_json::from_value(intent["before"].clone()).map_err(StepError::failed)?;
        Ok(self.s.ledger.change_guest(self.guest, |row| row.detail.key = before)?)
    }
}

fn vmid(s: &Services, guest: GuestUuid) -> Result<Vmid, StepError> {
    let row = s.ledger.guest(guest).map_err(StepError::failed)?;
    row.map(|row| row.vmid).ok_or_else(|| StepError::Failed(format!("guest {guest} is not in the ledger")))
}

async fn wait_for_key(s: &Services, vmid: Vmid, timeout: Duration) -> Result<PublicKey, StepError> {
    let deadline = tokio::time::Instant::now() + timeout;
    let command = GuestCommand::new(CONTROLLER, ["public-key"]).with_timeout(Duration::from_secs(20));
    loop {
        let why = match s.host.exec(vmid, &command).await {
            Ok(output) if output.success() => {
                let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                match text.parse() {
                    Ok(key) => return Ok(key),
                    Err(e) => format!("it answered {text:?}: {e}"),
                }
            }
            Ok(output) => format!("it ended with {:?}: {}", output.code, output.stderr_tail()),
            Err(e) => e.to_string(),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(StepError::Failed(format!(
                "the controller in guest {vmid} gave no public key within {} s: {why}",
                timeout.as_secs()
            )));
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// `bootstrap`: pushes bootstrap and token into a running guest, with a new nonce.
pub(super) struct PushBootstrap {
    /// Services.
    pub s: Arc<Services>,
    /// Into which.
    pub guest: GuestUuid,
}

impl Act for PushBootstrap {
    fn name(&self) -> &'static str {
        "bootstrap"
    }

    fn class(&self) -> StepClass {
        StepClass::Compensable
    }

    async fn intent(&self, _: &StepContext) -> Result<Intent, StepError> {
        Intent::of(&json!({ "nonce": self.s.secret()? }))
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        keep_up(&self.s, cx, vmid(&self.s, self.guest)?).await?;
        let intent: Value = cx.intent()?;
        let nonce = intent["nonce"].as_str().unwrap_or_default();
        push(&self.s, self.guest, nonce).await
    }
}

/// Pushes bootstrap and token, and notes for which run of the guest it was.
///
/// # Errors
/// [`StepError::Transient`] while the agent has not said where guests reach it, or the guest is not ready for a push.
pub async fn push(s: &Services, guest: GuestUuid, nonce: &str) -> Result<(), StepError> {
    let row = s.ledger.guest(guest).map_err(StepError::failed)?;
    let row = row.ok_or_else(|| StepError::Failed(format!("guest {guest} is not in the ledger")))?;
    let local_api = s.local_api()?;
    let name = row
        .detail
        .name
        .clone()
        .ok_or_else(|| StepError::Failed("only a tenant is bootstrapped".to_owned()))?;
    let token = match &row.detail.token {
        Some(token) => token.clone(),
        None => s.secret()?,
    };
    let run = current_run(s, row.vmid, &local_api).await?;
    let bootstrap = Bootstrap {
        guest,
        name,
        box_id: s.box_id(),
        local_api: local_api.url,
        local_api_fingerprint: local_api.fingerprint,
        attestation_key: s.key.public(),
        boot_nonce: nonce.to_owned(),
        apps: row.detail.apps.clone(),
    };
    // The ledger first: a heartbeat may come before the push has returned.
    s.ledger.change_guest(guest, |row| {
        row.detail.token = Some(token.clone());
        row.detail.boot_nonce = Some(nonce.to_owned());
    })?;
    let content = serde_json::to_vec(&bootstrap).map_err(StepError::failed)?;
    s.put(row.vmid, TOKEN_FILE, token.into_bytes()).await?;
    s.put(row.vmid, BOOTSTRAP_FILE, content).await?;
    Ok(s.ledger.change_guest(guest, |row| row.detail.bootstrapped = Some(run.clone()))?)
}

/// The run that a guest is in now.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub async fn current_run(s: &Services, vmid: Vmid, local_api: &LocalApi) -> Result<GuestRun, StepError> {
    let status = s.node.guest(vmid).status().await.map_err(|e| step_error(&e))?;
    Ok(run_of(s, &status, local_api))
}

/// The run that a guest's state shows.
pub fn run_of(s: &Services, status: &GuestStatus, local_api: &LocalApi) -> GuestRun {
    let named = s.box_id().map_or_else(|| "not enrolled".to_owned(), |id| id.to_string());
    let told = format!("{} {} {named}", local_api.url, local_api.fingerprint);
    GuestRun { boot: s.boot.clone(), pid: status.pid.unwrap_or_default(), local_api: told }
}

/// `first_heartbeat`: waits for a heartbeat that signs the nonce of this operation's bootstrap.
pub(super) struct FirstHeartbeat {
    /// Services.
    pub s: Arc<Services>,
    /// Whose.
    pub guest: GuestUuid,
}

impl Act for FirstHeartbeat {
    fn name(&self) -> &'static str {
        "first_heartbeat"
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        self.told_in_this_run(cx).await?;
        let seconds = self.s.config.timeouts.first_heartbeat_s;
        let answered = |row: &GuestRow| {
            row.detail.boot_nonce.is_some() && row.detail.boot_nonce == row.detail.heartbeat_nonce
        };
        let heard = self
            .s
            .wait_until_told(Duration::from_secs(u64::from(seconds)), || {
                let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
                Ok(row.filter(answered).map(|_| ()))
            })
            .await?;
        heard.ok_or_else(|| {
            StepError::Failed(format!(
                "no heartbeat signed by the guest's key within {seconds} s; does the agent run, and does the guest \
                 reach it?"
            ))
        })
    }
}

impl FirstHeartbeat {
    /// What it was told went with the run of the guest that it was told in.
    async fn told_in_this_run(&self, cx: &StepContext) -> Result<(), StepError> {
        let vmid = vmid(&self.s, self.guest)?;
        keep_up(&self.s, cx, vmid).await?;
        let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
        let run = current_run(&self.s, vmid, &self.s.local_api()?).await?;
        if row.is_some_and(|row| row.detail.bootstrapped == Some(run)) {
            return Ok(());
        }
        push(&self.s, self.guest, &self.s.secret()?).await
    }
}

/// `put_into_service`: from now on the guest starts with the host.
pub(super) struct PutIntoService {
    /// Services.
    pub s: Arc<Services>,
    /// Which.
    pub guest: GuestUuid,
}

impl Act for PutIntoService {
    fn name(&self) -> &'static str {
        "put_into_service"
    }

    async fn probe(&self, _: &StepContext) -> Result<Probe, StepError> {
        Ok(if self.config().await?.onboot() { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, _: &StepContext) -> Result<(), StepError> {
        let update = ConfigUpdate {
            onboot: Some(true),
            tags: Some(vec!["felhom".to_owned(), "tenant".to_owned()]),
            ..ConfigUpdate::default()
        };
        self.handle()?.set_config(&update).await.map_err(|e| step_error(&e))
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        if !self.config().await?.onboot() {
            return Err(StepError::Failed("`onboot` reads back as off".to_owned()));
        }
        self.s.ledger.change_guest(self.guest, |row| row.state = RowState::Present)?;
        let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
        Ok(json!({ "guest": self.guest, "vmid": row.map(|r| r.vmid) }))
    }
}

impl PutIntoService {
    fn handle(&self) -> Result<felhom_pve::Guest, StepError> {
        Ok(self.s.node.guest(vmid(&self.s, self.guest)?))
    }

    async fn config(&self) -> Result<felhom_pve::GuestConfig, StepError> {
        self.handle()?.config().await.map_err(|e| step_error(&e))
    }
}
