//! Asking the executor for an operation, so that a crash at any instant asks for the same one again.

use crate::shared::Shared;
use crate::store::StoreError;
use felhom_client::{Error as ClientError, ErrorKind};
use felhom_model::OperationId;
use felhom_protocol::executor::OperationRequest;
use felhom_protocol::status;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The executor's word for a guest on which something is under way.
const BUSY: &str = "busy";

/// Why a pass could not be finished; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    /// The agent's own memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The executor.
    #[error(transparent)]
    Executor(#[from] ClientError),
    /// Something that could not be written as JSON.
    #[error("a request could not be written: {0}")]
    Json(serde_json::Error),
}

/// Whether the executor has something else under way on the same guest. That may be so for days, if it waits for people, and
/// concerns nobody else: whoever asked goes on, and the next pass asks again.
pub(crate) fn busy(error: &ClientError) -> bool {
    error.refusal() == Some(BUSY)
}

/// Asks for what a wish wants, unless that is under way or the guest is busy. A refusal is noted as a try that ended.
pub(crate) async fn wished(shared: &Shared, wish: &str, request: &OperationRequest) -> Result<(), PassError> {
    if shared.store.inflight(wish)?.is_some() {
        return Ok(());
    }
    let operation = match shared.executor.request(request).await {
        Err(error) if busy(&error) => return Ok(()),
        other => other?,
    };
    tracing::info!(kind = request.kind, id = %operation.id, state = %operation.state, "{}", request.reason);
    shared.store.begun(wish, operation.id)?;
    if operation.state.is_final() {
        shared.store.ended(wish, end_of(shared, &operation))?;
    }
    Ok(())
}

fn end_of(shared: &Shared, operation: &status::Operation) -> Timestamp {
    operation.ended.unwrap_or_else(|| shared.now())
}

/// When an operation ended; `None` while it has not. One that the executor does not know (its database was lost) has ended.
pub(crate) async fn ended(shared: &Shared, id: OperationId) -> Result<Option<Timestamp>, PassError> {
    match find(shared, id).await? {
        Some(operation) if operation.state.is_final() => Ok(Some(end_of(shared, &operation))),
        Some(_) => Ok(None),
        None => Ok(Some(shared.now())),
    }
}

/// An operation as it was seen last, else as the executor has it.
pub(crate) async fn find(shared: &Shared, id: OperationId) -> Result<Option<status::Operation>, PassError> {
    if let Some(operation) = shared.view().operations.get(&id) {
        return Ok(Some(operation.clone()));
    }
    match patient(PATIENCE, || shared.executor.operation(id)).await {
        Ok(operation) => Ok(Some(operation)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How long calls on behalf of a guest wait for an executor that is being started again: apps may stand still meanwhile.
/// All of them mean the same if they are made twice.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries while the executor is away.
const AGAIN: Duration = Duration::from_millis(50);

/// A call that took longer than this had reached an executor.
const ANSWERED: Duration = Duration::from_secs(1);

/// Repeats a call that means the same twice while the executor is being started again, for as long as `patience`.
///
/// # Errors
/// The executor's refusal at once; that it is away, once the patience is over.
pub(crate) async fn patient<T, F: Future<Output = Result<T, ClientError>>>(
    patience: Duration,
    call: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut away_since: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let error = match call().await {
            Err(error) if matches!(error.kind, ErrorKind::Unreachable(_)) => error,
            other => return other,
        };
        // A long poll that hung for a while was answered by somebody until now.
        let since = away_since.filter(|_| asked.elapsed() < ANSWERED).unwrap_or_else(Instant::now);
        if since.elapsed() >= patience {
            return Err(error);
        }
        away_since = Some(since);
        sleep(AGAIN).await;
    }
}
