//! From the ledger into the guest: all that its customer has not acknowledged, signed as one document.

use felhom_journal::StepError;
use felhom_model::{GuestUuid, Vmid};
use felhom_protocol::notices::{NOTICES_FILE, NOTICES_VERSION, Notice, Notices};
use felhom_pve::RunState;
use felhom_signing::Context;

use super::record::present;
use crate::marks::read_guest_mark;
use crate::services::{Services, step_error};

/// What came of telling a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The notices lie in the running guest.
    Told,
    /// It does not run, or is not there: nobody can be told in it.
    NotRunning,
}

/// One run of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where it runs.
    pub(crate) vmid: Vmid,
    /// The process id of its init at the host.
    pid: Option<u64>,
}

/// Puts the notices into the guest if it runs and is ours.
///
/// # Errors
/// [`StepError::Transient`] if Proxmox does not answer or the push fails; else what the ledger says.
pub async fn deliver(s: &Services, guest: GuestUuid, notices: &[Notice]) -> Result<Delivery, StepError> {
    let Some(run) = running(s, guest).await? else { return Ok(Delivery::NotRunning) };
    push(s, run, (guest, notices)).await?;
    Ok(Delivery::Told)
}

/// Puts the notices into a guest that runs.
pub(super) async fn push(
    s: &Services,
    run: Run,
    (guest, notices): (GuestUuid, &[Notice]),
) -> Result<(), StepError> {
    let box_id = s.box_id().ok_or_else(|| StepError::Failed("this box is not enrolled".to_owned()))?;
    let document = Notices { v: NOTICES_VERSION, guest, box_id, notices: notices.to_vec() };
    s.put_signed(run.vmid, NOTICES_FILE, Context::Notices, &document).await?;
    Ok(s.ledger.notices_told(guest, notices, s.running.ran_s())?)
}

/// The run of a guest that runs and bears our mark.
pub(crate) async fn running(s: &Services, guest: GuestUuid) -> Result<Option<Run>, StepError> {
    let Some(row) = present(s, guest).map_err(StepError::failed)? else { return Ok(None) };
    let real = s.node.guest(row.vmid);
    let config = match real.config().await {
        Ok(config) => config,
        Err(felhom_pve::Error::NotFound(_) | felhom_pve::Error::Forbidden(_)) => return Ok(None),
        Err(e) => return Err(step_error(&e)),
    };
    let ours = read_guest_mark(config.description()) == felhom_gate::Mark::Names(row.uuid, row.made_by);
    let status = real.status().await.map_err(|e| step_error(&e))?;
    let runs = status.state() == RunState::Running;
    Ok((ours && runs).then_some(Run { vmid: row.vmid, pid: status.pid }))
}
