//! Tending: a tenant that was started by somebody else (a reboot of the host) has an empty `/run` and gets bootstrap and
//! token again, and each one keeps the box's watermark. Changes nothing else, and never touches a guest that an operation
//! holds.

use std::sync::Arc;
use std::time::Duration;

use felhom_gate::Mark;
use felhom_journal::StepError;
use felhom_model::GuestUuid;
use felhom_model::observed::Purpose;
use felhom_protocol::executor::LocalApi;
use felhom_pve::{GuestStatus, RunState};

use crate::ledger::{GuestRow, GuestRun, RowState};
use crate::marks::read_guest_mark;
use crate::observe::configured;
use crate::operations::{current_run, not_observed, push_bootstrap, run_of};
use crate::recent::refresh;
use crate::rollback::InGuests;
use crate::services::{Services, step_error};
use crate::submit::Executor;

/// How often guests are looked at.
pub const EVERY: Duration = Duration::from_secs(10);

/// Looks after tenants until the process ends, and reads again what is shown of guests.
pub async fn tend(executor: Arc<Executor>) {
    let s = &executor.services;
    let mut watermarks = InGuests::default();
    loop {
        if let Err(e) = pass(&executor, &mut watermarks).await {
            tracing::debug!(error = %e, "tending is tried again");
        }
        if let Err(e) = refresh(s).await {
            tracing::debug!(error = %e, "guests are read again later");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One pass over all tenants.
///
/// # Errors
/// [`StepError`] if Proxmox or the ledger cannot be asked.
pub async fn pass(executor: &Executor, watermarks: &mut InGuests) -> Result<(), StepError> {
    let s = &executor.services;
    let local_api = s.local_api()?;
    let tenants = running_tenants(s).await?;
    for (row, status) in &tenants {
        greet(s, row, status, &local_api).await?;
    }
    let tenants: Vec<GuestUuid> = tenants.iter().map(|(row, _)| row.uuid).collect();
    watermarks.pass(executor, &tenants).await
}

/// Tenants that run and that no operation holds. At rest this list is all that is asked for.
async fn running_tenants(s: &Services) -> Result<Vec<(GuestRow, GuestStatus)>, StepError> {
    let rows = s.ledger.guests().map_err(StepError::failed)?;
    let is_tenant = |row: &GuestRow| row.purpose == Purpose::Tenant && row.state == RowState::Present;
    let rows: Vec<GuestRow> = rows.into_iter().filter(is_tenant).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let listed = s.node.guests().await.map_err(|e| step_error(&e))?;
    let runs = |row: GuestRow| {
        let status = listed.iter().find(|guest| guest.vmid() == Some(row.vmid))?;
        (status.state() == RunState::Running && !held(s, &row)).then(|| (row, status.clone()))
    };
    Ok(rows.into_iter().filter_map(runs).collect())
}

/// Gives a guest bootstrap and token, if it has not had them in this run.
async fn greet(
    s: &Services,
    row: &GuestRow,
    status: &GuestStatus,
    local_api: &LocalApi,
) -> Result<(), StepError> {
    let done = |run: GuestRun| row.detail.bootstrapped.as_ref() == Some(&run);
    if done(run_of(s, status, local_api)) {
        return Ok(());
    }
    let guest = configured(s, status.clone(), row.vmid).await.map_err(|e| not_observed(&e))?;
    let mark = guest.map(|guest| read_guest_mark(guest.config.description()));
    if mark != Some(Mark::Names(row.uuid, row.made_by)) || done(current_run(s, row.vmid, local_api).await?) {
        return Ok(());
    }
    tracing::info!(guest = %row.uuid, vmid = %row.vmid, "started by somebody else: bootstrap and token again");
    let nonce = s.secret()?;
    if let Err(e) = push_bootstrap(s, row.uuid, &nonce).await {
        tracing::warn!(guest = %row.uuid, error = %e, "bootstrap is tried again");
    }
    Ok(())
}

fn held(s: &Services, row: &GuestRow) -> bool {
    let claim = format!("guest:{}", row.uuid);
    s.journal.active_operations().iter().any(|op| op.claims().any(|held| *held == claim))
}
