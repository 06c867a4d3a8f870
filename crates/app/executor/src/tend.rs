//! Tending: a tenant that was started by somebody else (a reboot of the host) has an empty `/run` and gets bootstrap and
//! token again, and each one keeps the box's watermark. Changes nothing else, and puts nothing into a guest that an operation
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

/// A tenant that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) row: GuestRow,
    status: GuestStatus,
    /// No operation holds it.
    pub(crate) free: bool,
}

/// Looks after tenants until the process ends, and reads again what is shown of guests.
pub async fn tend(executor: Arc<Executor>, mut watermarks: InGuests) {
    let s = &executor.services;
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
async fn pass(executor: &Executor, watermarks: &mut InGuests) -> Result<(), StepError> {
    let s = &executor.services;
    let running = running_tenants(s).await?;
    match s.local_api() {
        Ok(local_api) => {
            for one in running.iter().filter(|one| one.free) {
                // One guest that cannot be told holds up no other.
                if let Err(e) = greet(s, &one.row, &one.status, &local_api).await {
                    tracing::debug!(guest = %one.row.uuid, error = %e, "bootstrap is looked at again");
                }
            }
        }
        Err(e) => tracing::debug!(error = %e, "no guest is told where the agent is"),
    }
    let all: Vec<GuestUuid> = running.iter().map(|one| one.row.uuid).collect();
    watermarks.read(executor, &all).await?;
    let free: Vec<GuestUuid> = running.iter().filter(|one| one.free).map(|one| one.row.uuid).collect();
    watermarks.keep(executor, &free).await
}

/// Tenants that run. At rest this list is all that is asked for.
pub(crate) async fn running_tenants(s: &Services) -> Result<Vec<Running>, StepError> {
    let rows = tenants(s)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let listed = s.node.guests().await.map_err(|e| step_error(&e))?;
    let runs = |row: GuestRow| {
        let status = listed.iter().find(|guest| guest.vmid() == Some(row.vmid))?;
        let free = !held(s, &row);
        (status.state() == RunState::Running).then(|| Running { row, status: status.clone(), free })
    };
    Ok(rows.into_iter().filter_map(runs).collect())
}

/// Tenants of the ledger.
pub(crate) fn tenants(s: &Services) -> Result<Vec<GuestRow>, StepError> {
    let rows = s.ledger.guests().map_err(StepError::failed)?;
    let is_tenant = |row: &GuestRow| row.purpose == Purpose::Tenant && row.state == RowState::Present;
    Ok(rows.into_iter().filter(is_tenant).collect())
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
