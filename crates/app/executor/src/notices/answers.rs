//! What a guest's customer answered, read from its controller by `pct exec` and believed by the guest key's signature.

use std::time::Duration;

use felhom_host::GuestCommand;
use felhom_journal::StepError;
use felhom_model::{GuestUuid, OperationId};
use felhom_protocol::SignedBytes;
use felhom_protocol::notices::{Acknowledged, Answers, NOTICES_VERSION};
use felhom_signing::consent::{Armored, Veto};
use felhom_signing::{Context, Signed};

use super::carry::running;
use super::record::present;
use crate::ledger::NoticeRow;
use crate::operations::CONTROLLER;
use crate::services::Services;

/// A controller answers at once; one that does not must not delay the other customers.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than a controller ever keeps.
const LIMIT: usize = 256 << 10;
/// More vetoes are not looked at in one pass.
const VETOES: usize = 32;

/// Reads the answers: acknowledgements are kept in the ledger, vetoes returned with the operation that each names. Those are
/// not believed yet.
///
/// # Errors
/// [`StepError::Transient`] if the controller does not answer as it should; else what the ledger says.
pub async fn read_answers(s: &Services, guest: GuestUuid) -> Result<Vec<(OperationId, Armored)>, StepError> {
    let Some(run) = running(s, guest).await? else { return Ok(Vec::new()) };
    let key = present(s, guest).map_err(StepError::failed)?.and_then(|row| row.detail.key);
    let Some(key) = key else { return Ok(Vec::new()) };
    let command = GuestCommand::new(CONTROLLER, ["answers"]).with_timeout(PATIENCE).with_limit(LIMIT);
    let transient =
        |e: &dyn std::fmt::Display| StepError::Transient(format!("answers of guest {guest}: {e}"));
    let output = s.host.exec(run.vmid, &command).await.map_err(|e| transient(&e))?;
    if !output.success() {
        return Err(transient(&format!("it ended with {:?}: {}", output.code, output.stderr_tail())));
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let signed: SignedBytes = serde_json::from_slice(&output.stdout).map_err(|e| transient(&e))?;
    let bytes = Signed::from(signed).verify(&key, Context::Answers).map_err(|e| transient(&e))?;
    let answers: Answers = serde_json::from_slice(bytes.get()).map_err(|e| transient(&e))?;
    if answers.guest != guest || answers.v != NOTICES_VERSION {
        return Err(transient(&"they are another guest's, or of another version"));
    }
    // Only what is open is written: a guest cannot make the journal's disk work.
    let open = s.ledger.newest_notices().map_err(StepError::failed)?;
    let open = |seen: &Acknowledged| {
        let is = |row: &NoticeRow| row.guest == guest && row.notice.acknowledged() == *seen;
        open.iter().any(|row| row.acknowledged_s.is_none() && row.told_s.is_some() && is(row))
    };
    let mut acknowledged: Vec<Acknowledged> = answers.acknowledged.into_iter().filter(open).collect();
    acknowledged.dedup();
    for seen in acknowledged {
        s.ledger.notice_acknowledged(guest, seen, s.running.ran_s())?;
    }
    let vetoes = answers.vetoes.into_iter().take(VETOES);
    Ok(vetoes.filter_map(|armored| Some((Veto::read(&armored.bytes).ok()?.veto, armored))).collect())
}
