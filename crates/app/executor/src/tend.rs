//! Tending: a tenant that was started by somebody else (a reboot of the host) has an empty `/run` and gets bootstrap and
//! token again. Changes nothing else, and never touches a guest that an operation holds.

use std::sync::Arc;
use std::time::Duration;

use felhom_gate::Mark;
use felhom_journal::StepError;
use felhom_model::observed::Purpose;
use felhom_pve::RunState;

use crate::ledger::{GuestRow, GuestRun, RowState};
use crate::marks::read_guest_mark;
use crate::observe::configured;
use crate::operations::{current_run, not_observed, push_bootstrap, run_of};
use crate::recent::refresh;
use crate::services::{Services, step_error};

/// How often guests are looked at.
pub const EVERY: Duration = Duration::from_secs(10);

/// Looks after tenants until the process ends, and reads again what is shown of guests.
pub async fn tend(s: Arc<Services>) {
    loop {
        if let Err(e) = pass(&s).await {
            tracing::debug!(error = %e, "tending is tried again");
        }
        if let Err(e) = refresh(&s).await {
            tracing::debug!(error = %e, "guests are read again later");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One pass over all tenants.
///
/// # Errors
/// [`StepError`] if Proxmox or the ledger cannot be asked.
pub async fn pass(s: &Services) -> Result<(), StepError> {
    let local_api = s.local_api()?;
    let rows = s.ledger.guests().map_err(StepError::failed)?;
    let tenants: Vec<GuestRow> = rows
        .into_iter()
        .filter(|row| row.purpose == Purpose::Tenant && row.state == RowState::Present)
        .collect();
    if tenants.is_empty() {
        return Ok(());
    }
    let listed = s.node.guests().await.map_err(|e| step_error(&e))?;
    for row in tenants {
        let Some(status) = listed.iter().find(|guest| guest.vmid() == Some(row.vmid)) else { continue };
        if status.state() != RunState::Running || held(s, &row) {
            continue;
        }
        // At rest the list is all that is asked for.
        let done = |run: GuestRun| row.detail.bootstrapped.as_ref() == Some(&run);
        if done(run_of(s, status, &local_api)) {
            continue;
        }
        let guest = configured(s, status.clone(), row.vmid).await.map_err(|e| not_observed(&e))?;
        let mark = guest.map(|guest| read_guest_mark(guest.config.description()));
        if mark != Some(Mark::Names(row.uuid, row.made_by))
            || done(current_run(s, row.vmid, &local_api).await?)
        {
            continue;
        }
        tracing::info!(guest = %row.uuid, vmid = %row.vmid, "started by somebody else: bootstrap and token again");
        let nonce = s.secret()?;
        if let Err(e) = push_bootstrap(s, row.uuid, &nonce).await {
            tracing::warn!(guest = %row.uuid, error = %e, "bootstrap is tried again");
        }
    }
    Ok(())
}

fn held(s: &Services, row: &GuestRow) -> bool {
    let claim = format!("guest:{}", row.uuid);
    s.journal.active_operations().iter().any(|op| op.claims().any(|held| *held == claim))
}
