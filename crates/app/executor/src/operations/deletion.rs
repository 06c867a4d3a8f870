//! An archive goes: looked at before and after, and written into the audit log before and after. Whoever calls shows the gate's
//! approval.

use felhom_gate::Approved;
use felhom_journal::StepError;
use felhom_model::{GuestUuid, OperationId, StorageId, Volid};
use felhom_pve::{Attributes, Error as PveError, ExitStatus};
use serde_json::json;

use super::task;
use crate::audit::{Kind, Record};
use crate::services::{Services, step_error};

/// The archive's attributes, or nothing if it is certainly not there.
///
/// # Errors
/// [`StepError::Unclear`] if it is listed and cannot be read, [`StepError::Transient`] while its storage is not active.
pub(super) async fn look(
    s: &Services,
    target: &StorageId,
    volid: &Volid,
) -> Result<Option<Attributes>, StepError> {
    let storage = s.node.storage(target);
    match storage.attributes(volid).await {
        Ok(attributes) => Ok(Some(attributes)),
        // Proxmox says of a file that is gone only that its size cannot be read. Rights were checked before that.
        Err(PveError::NotFound(_) | PveError::Refused(_)) => {
            let status = storage.status().await.map_err(|e| step_error(&e))?;
            if !status.active {
                return Err(StepError::Transient(format!("storage {target} is not active")));
            }
            let listed = storage.backups(None).await.map_err(|e| step_error(&e))?;
            match listed.iter().any(|content| content.volid == *volid) {
                false => Ok(None),
                true => Err(StepError::Unclear(format!("{volid} is listed, and cannot be read"))),
            }
        }
        Err(e) => Err(step_error(&e)),
    }
}

/// Deletes an archive of this guest, and sees it gone. How Proxmox's task ended: whether to try again is the caller's to say.
///
/// # Errors
/// [`StepError::Unclear`] if it is still there although its task says that it is not; else as the calls fail.
pub(super) async fn delete<T>(
    s: &Services,
    approved: &Approved<T>,
    archive: &Volid,
    (operation, guest): (OperationId, GuestUuid),
) -> Result<ExitStatus, StepError> {
    let data = json!({ "archive": archive, "why": approved.reason().code });
    let record = |kind| Record::new(kind, data.clone()).of(operation, Some(guest));
    s.audit(&record(Kind::DeletingArchive))?;
    tracing::info!(%archive, %operation, %guest, reason = %approved.reason(), "deleting an archive");
    let target: StorageId = archive.storage().parse().map_err(StepError::failed)?;
    if let Some(upid) = s.node.storage(&target).delete(archive).await.map_err(|e| step_error(&e))? {
        let exit = task::end_of(s, &upid).await?;
        if !exit.is_success() {
            return Ok(exit);
        }
    }
    match look(s, &target, archive).await? {
        None => s.audit(&record(Kind::DeletedArchive))?,
        Some(_) => {
            return Err(StepError::Unclear(format!("{archive} is still there after its deletion")));
        }
    }
    Ok(ExitStatus::Ok)
}
