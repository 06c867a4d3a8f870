//! The executor's socket: `felhom_protocol::executor`.

use crate::error::{Error, ErrorKind};
use crate::local::backup_path;
use crate::transport::Transport;
use felhom_model::desired::Tightening;
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_protocol::SignedBytes;
use felhom_protocol::audit::AuditPage;
use felhom_protocol::executor::{
    BoxIdentity, Event, LocalApi, Observation, OperationRequest, OperatorAnswer,
};
use felhom_protocol::local_api::{BackupPhase, BackupStatus, Thawed};
use felhom_protocol::receipt::SignedReceipt;
use felhom_protocol::status;
use felhom_signing::consent::Armored;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use std::path::Path;
use std::time::Duration;
use tokio_stream::wrappers::LinesStream;

/// A client of the executor's socket.
#[derive(Debug, Clone)]
pub struct ExecutorClient {
    transport: Transport,
}

impl ExecutorClient {
    /// Speaks on this socket. Nothing is opened yet.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        Ok(Self { transport: Transport::unix(socket)? })
    }

    /// Everything the executor sees, read from Proxmox just now.
    ///
    /// # Errors
    /// [`Error`], as all calls here.
    pub async fn observation(&self) -> Result<Observation, Error> {
        self.transport.request(Method::GET, "/v1/observation").send().await?.json().await
    }

    /// Entries of the audit log behind number `after`; with a guest, only that guest's own ones.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit(&self, after: u64, guest: Option<GuestUuid>) -> Result<AuditPage, Error> {
        let of = guest.map(|guest| format!("&guest={guest}")).unwrap_or_default();
        let path = format!("/v1/audit?after={after}{of}");
        self.transport.request(Method::GET, &path).send().await?.json().await
    }

    /// Tells where guests reach the agent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_local_api(&self, local_api: &LocalApi) -> Result<(), Error> {
        self.transport.request(Method::PUT, "/v1/local-api").json(local_api).send().await.map(drop)
    }

    /// Says which limits the operator wishes to be stricter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_limits(&self, wish: &Tightening) -> Result<(), Error> {
        self.transport.request(Method::PUT, "/v1/limits").json(wish).send().await.map(drop)
    }

    /// Tells which box this is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_box(&self, identity: &BoxIdentity) -> Result<(), Error> {
        self.transport.request(Method::PUT, "/v1/box").json(identity).send().await.map(drop)
    }

    /// Asks for an operation; a refused one is an answer, not an error.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn request(&self, request: &OperationRequest) -> Result<status::Operation, Error> {
        self.transport.request(Method::POST, "/v1/operations").json(request).send().await?.json().await
    }

    /// Operations after the given one, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn operations(&self, after: Option<OperationId>) -> Result<Vec<status::Operation>, Error> {
        let path = after.map_or("/v1/operations".to_owned(), |id| format!("/v1/operations?after={id}"));
        self.transport.request(Method::GET, &path).send().await?.json().await
    }

    /// One operation.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn operation(&self, id: OperationId) -> Result<status::Operation, Error> {
        self.transport.request(Method::GET, &format!("/v1/operations/{id}")).send().await?.json().await
    }

    /// Events after the given sequence number, those that were missed first. Ends when the executor ends.
    ///
    /// # Errors
    /// [`Error`]; the stream yields one where an event cannot be read, or the connection breaks.
    pub async fn events(
        &self,
        after: u64,
    ) -> Result<impl Stream<Item = Result<Event, Error>> + use<>, Error> {
        let path = format!("/v1/events?after={after}");
        let answer = self.transport.request(Method::GET, &path).endless().send().await?;
        let call = answer.call.clone();
        let bytes = answer.response.bytes_stream().map_err(std::io::Error::other);
        let reader = tokio_util::io::StreamReader::new(Box::pin(bytes));
        let lines = LinesStream::new(tokio::io::AsyncBufReadExt::lines(reader));
        Ok(lines.filter_map(move |line| {
            let event = read_event(&call, line);
            async move { event }
        }))
    }

    /// Waits up to `wait_s` seconds for a backup to get past `after`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(
        &self,
        id: OperationId,
        after: Option<BackupPhase>,
        wait_s: u32,
    ) -> Result<BackupStatus, Error> {
        let path = backup_path("/v1/backups", id, after, wait_s);
        let wait = Duration::from_secs(wait_s.into());
        self.transport.request(Method::GET, &path).wait(wait).send().await?.json().await
    }

    /// Passes on a guest's signed word that its apps stand still.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn frozen(&self, id: OperationId, frozen: &SignedBytes) -> Result<BackupStatus, Error> {
        let path = format!("/v1/backups/{id}/frozen");
        self.transport.request(Method::POST, &path).json(frozen).send().await?.json().await
    }

    /// Passes on a guest's word that they run again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn thawed(&self, id: OperationId, thawed: &Thawed) -> Result<BackupStatus, Error> {
        let path = format!("/v1/backups/{id}/thawed");
        self.transport.request(Method::POST, &path).json(thawed).send().await?.json().await
    }

    /// What waits for people.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn challenges(&self) -> Result<Vec<status::Challenge>, Error> {
        self.transport.request(Method::GET, "/v1/challenges").send().await?.json().await
    }

    /// Passes on an operator's armored signature over a challenge.
    ///
    /// # Errors
    /// [`Error`]; a refusal carries the check that failed as its word.
    pub async fn answer(&self, challenge: Digest, signature: &str) -> Result<status::Operation, Error> {
        let path = format!("/v1/challenges/{challenge}/answers");
        let answer = OperatorAnswer { signature: signature.to_owned() };
        self.transport.request(Method::POST, &path).json(&answer).send().await?.json().await
    }

    /// SHA-256 of the signatures to a challenge that were accepted, also if it is not open any more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn answers(&self, challenge: Digest) -> Result<Vec<Digest>, Error> {
        let path = format!("/v1/challenges/{challenge}/answers");
        self.transport.request(Method::GET, &path).send().await?.json().await
    }

    /// Asks for a challenge that lives longer in place of this one.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn renew(&self, challenge: Digest) -> Result<status::Challenge, Error> {
        let path = format!("/v1/challenges/{challenge}/renew");
        self.transport.request(Method::POST, &path).send().await?.json().await
    }

    /// Passes on a customer's confirmation.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn confirm(&self, challenge: Digest, signed: &Armored) -> Result<status::Operation, Error> {
        let path = format!("/v1/challenges/{challenge}/confirmations");
        self.transport.request(Method::POST, &path).json(signed).send().await?.json().await
    }

    /// Passes on a veto.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn veto(&self, operation: OperationId, signed: &Armored) -> Result<status::Operation, Error> {
        let path = format!("/v1/operations/{operation}/veto");
        self.transport.request(Method::POST, &path).json(signed).send().await?.json().await
    }

    /// Passes on a guest's signed heartbeat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn heartbeat(&self, heartbeat: &SignedBytes) -> Result<(), Error> {
        self.transport.request(Method::POST, "/v1/heartbeats").json(heartbeat).send().await.map(drop)
    }

    /// Receipts, newest first, of one guest or all.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn receipts(&self, guest: Option<GuestUuid>) -> Result<Vec<SignedReceipt>, Error> {
        let path = guest.map_or("/v1/receipts".to_owned(), |guest| format!("/v1/receipts?guest={guest}"));
        self.transport.request(Method::GET, &path).send().await?.json().await
    }
}

/// One line of the stream: `data:` holds an event, everything else (comments, ids, blank lines) is framing.
fn read_event(call: &str, line: std::io::Result<String>) -> Option<Result<Event, Error>> {
    let fail = |kind| Some(Err(Error { call: call.to_owned(), kind }));
    match line {
        Err(error) => fail(ErrorKind::Unreachable(error.to_string())),
        Ok(line) => {
            let data = line.strip_prefix("data:")?;
            match serde_json::from_str(data.trim()) {
                Ok(event) => Some(Ok(event)),
                Err(error) => fail(ErrorKind::Malformed(error.to_string())),
            }
        }
    }
}
