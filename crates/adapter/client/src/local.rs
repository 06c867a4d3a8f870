//! The agent's local API as a guest sees it: `felhom_protocol::local_api`.

use crate::error::Error;
use crate::transport::{Call, Transport};
use felhom_model::{Digest, OperationId};
use felhom_protocol::SignedBytes;
use felhom_protocol::audit::AuditPage;
use felhom_protocol::local_api::{
    BackupDue, BackupPhase, BackupRequest, BackupStatus, HeartbeatAnswer, RestoreTestStatus, RollbackRequest,
    RollbackStatus, Thawed,
};
use felhom_protocol::status;
use felhom_signing::consent::Armored;
use reqwest::Method;
use std::net::IpAddr;
use std::time::Duration;

/// A guest's client.
#[derive(Clone)]
pub struct LocalApiClient {
    transport: Transport,
    token: String,
}

impl std::fmt::Debug for LocalApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalApiClient({:?}, token hidden)", self.transport)
    }
}

impl LocalApiClient {
    /// Speaks with the agent at `url`, whose certificate has this SHA-256, as the guest who holds `token`; from the given
    /// source address, if one is given.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(url: &str, fingerprint: Digest, token: String, from: Option<IpAddr>) -> Result<Self, Error> {
        let transport = match from {
            Some(from) => Transport::pinned_from(url, fingerprint, from)?,
            None => Transport::pinned(url, fingerprint)?,
        };
        Ok(Self { transport, token })
    }

    fn call(&self, method: Method, path: &str) -> Call {
        self.transport.request(method, path).bearer(&self.token)
    }

    /// Sends a signed [`Heartbeat`](felhom_protocol::local_api::Heartbeat).
    ///
    /// # Errors
    /// [`Error`], as all calls here.
    pub async fn heartbeat(&self, heartbeat: &SignedBytes) -> Result<HeartbeatAnswer, Error> {
        self.call(Method::POST, "/v1/heartbeat").json(heartbeat).send().await?.json().await
    }

    /// Waits up to `wait_s` seconds for a backup to fall due.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup_due(&self, wait_s: u32) -> Result<BackupDue, Error> {
        let path = format!("/v1/backup/due?wait_s={wait_s}");
        self.call(Method::GET, &path).wait(Duration::from_secs(wait_s.into())).send().await?.json().await
    }

    /// Asks for the backup that is due.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn request_backup(&self, request: &BackupRequest) -> Result<BackupStatus, Error> {
        self.call(Method::POST, "/v1/backup").json(request).send().await?.json().await
    }

    /// Waits up to `wait_s` seconds for the backup to get past `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(
        &self,
        id: OperationId,
        after: Option<BackupPhase>,
        wait_s: u32,
    ) -> Result<BackupStatus, Error> {
        let path = backup_path("/v1/backup", id, after, wait_s);
        self.call(Method::GET, &path).wait(Duration::from_secs(wait_s.into())).send().await?.json().await
    }

    /// Says that the apps stand still: a signed [`Frozen`](felhom_protocol::local_api::Frozen).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn frozen(&self, id: OperationId, frozen: &SignedBytes) -> Result<BackupStatus, Error> {
        self.call(Method::POST, &format!("/v1/backup/{id}/frozen")).json(frozen).send().await?.json().await
    }

    /// Says that they run again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn thawed(&self, id: OperationId, thawed: &Thawed) -> Result<BackupStatus, Error> {
        self.call(Method::POST, &format!("/v1/backup/{id}/thawed")).json(thawed).send().await?.json().await
    }

    /// Entries of the audit log that concern this guest, behind number `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit(&self, after: u64) -> Result<AuditPage, Error> {
        self.call(Method::GET, &format!("/v1/audit?after={after}")).send().await?.json().await
    }

    /// Last backup, last proven restore.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn restore_test_status(&self) -> Result<RestoreTestStatus, Error> {
        self.call(Method::GET, "/v1/restore-test/status").send().await?.json().await
    }

    /// Challenges that concern this guest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn challenges(&self) -> Result<Vec<status::Challenge>, Error> {
        self.call(Method::GET, "/v1/challenges").send().await?.json().await
    }

    /// Hands in the customer's confirmation.
    ///
    /// # Errors
    /// [`Error`]; a refusal carries the check that failed as its word.
    pub async fn confirm(&self, challenge: Digest, signed: &Armored) -> Result<status::Operation, Error> {
        let path = format!("/v1/challenges/{challenge}/confirmation");
        self.call(Method::POST, &path).json(signed).send().await?.json().await
    }

    /// Hands in the customer's veto.
    ///
    /// # Errors
    /// As [`Self::confirm`].
    pub async fn veto(&self, operation: OperationId, signed: &Armored) -> Result<status::Operation, Error> {
        let path = format!("/v1/operations/{operation}/veto");
        self.call(Method::POST, &path).json(signed).send().await?.json().await
    }

    /// Asks for an earlier state of the guest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn roll_back(&self, request: &RollbackRequest) -> Result<RollbackStatus, Error> {
        self.call(Method::POST, "/v1/rollback").json(request).send().await?.json().await
    }

    /// How far the last rollback is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rollback(&self) -> Result<Option<RollbackStatus>, Error> {
        self.call(Method::GET, "/v1/rollback").send().await?.json().await
    }
}

/// The path of a long poll on a backup's phase.
pub(crate) fn backup_path(base: &str, id: OperationId, after: Option<BackupPhase>, wait_s: u32) -> String {
    let after = after
        .and_then(|phase| serde_json::to_value(phase).ok()?.as_str().map(|name| format!("&after={name}")))
        .unwrap_or_default();
    format!("{base}/{id}?wait_s={wait_s}{after}")
}
