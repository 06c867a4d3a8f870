//! Operations: which steps a kind has. Each step is in the file of its concern.
//!
//! | operation | steps |
//! |---|---|
//! | `provision_guest` | verify_archive → restore_archive → start → read_guest_key → bootstrap → first_heartbeat → put_into_service |
//! | `start_guest`, `reboot_guest` | start / reboot → bootstrap |
//! | `stop_guest` | stop |
//! | `configure_guest` | set_limits → grow_disk |
//! | `backup_guest` | await_freeze → vzdump → verify → record |
//! | `restore_guest` | verify_archive → restore_archive → start → keep_copy |
//! | `restore_test` | verify_archive → restore_archive → start → probe → write_receipt → destroy_scratch |
//! | `destroy_scratch` | destroy_scratch |

mod act;
mod advice;
mod archive;
mod backup;
mod bootstrap;
mod configure;
mod copy;
mod explained;
mod judge;
mod power;
mod restore;
mod restore_test;
mod task;
mod undo;
mod undo_archive;

use std::sync::Arc;

use felhom_journal::Step;
use felhom_model::observed::Purpose;
use felhom_model::operation::{Backup, Provision, RestoreTest};
use felhom_model::{GuestUuid, Operation, OperationKind, Volid};

pub use advice::advice;
pub use bootstrap::{current_run, push as push_bootstrap};
pub use judge::{domain, judge, not_observed};

use self::act::boxed;
use self::archive::VerifyArchive;
use self::bootstrap::{FirstHeartbeat, PushBootstrap, PutIntoService, ReadGuestKey};
use self::power::{Power, PowerStep, Subject};
use self::restore::{NewGuest, RestoreArchive};
use crate::ledger::GuestDetail;
use crate::request::Chosen;
use crate::services::Services;

/// Whether this program has steps for the kind; `deploy_app` and `update_app` are the controller's.
#[must_use]
pub fn is_built(kind: OperationKind) -> bool {
    use OperationKind as K;
    match kind {
        K::ProvisionGuest
        | K::StartGuest
        | K::StopGuest
        | K::RebootGuest
        | K::ConfigureGuest
        | K::BackupGuest
        | K::RestoreGuest
        | K::RestoreTest
        | K::ReclaimGuest
        | K::DestroyScratch => true,
        K::HealGuest
        | K::CutoverGuest
        | K::ReverseCutoverGuest
        | K::RetireGuest
        | K::DiscardRestoredCopy
        | K::ClearStaleLock
        | K::ClearLeftovers
        | K::PruneBackups
        | K::AttachDisk
        | K::DetachDisk
        | K::DecommissionDisk
        | K::AssignDisk
        | K::FormatDisk
        | K::RotateBackupKey
        | K::ForgetKey
        | K::ReplaceRecoveryCode
        | K::RotateOperators
        | K::ResolveOperation
        | K::ChangeTunnel
        | K::UpdateHost
        | K::UpdateController
        | K::DeployApp
        | K::UpdateApp
        | K::OpenSupportAccess
        | K::CollectDiagnostics => false,
    }
}

/// The steps of an operation.
///
/// # Errors
/// Text for people, if the kind has none here or a choice is missing.
pub fn steps(s: &Arc<Services>, op: &Operation, chosen: &Chosen) -> Result<Vec<Box<dyn Step>>, String> {
    let power = |guest: GuestUuid, power| {
        boxed(PowerStep { s: s.clone(), subject: Subject::Known(guest), power, tolerant: false })
    };
    let bootstrap = |guest: GuestUuid| boxed(PushBootstrap { s: s.clone(), guest });
    let steps = match op {
        Operation::ProvisionGuest(ask) => provision(s, ask, chosen)?,
        Operation::StartGuest(guest) => vec![power(*guest, Power::Start), bootstrap(*guest)],
        Operation::StopGuest(guest) => vec![power(*guest, Power::Stop)],
        Operation::RebootGuest(guest) => vec![power(*guest, Power::Reboot), bootstrap(*guest)],
        Operation::ConfigureGuest(ask) => vec![
            boxed(configure::SetLimits { s: s.clone(), ask: ask.clone() }),
            boxed(configure::GrowDisk { s: s.clone(), ask: ask.clone() }),
        ],
        Operation::BackupGuest(ask) => backup(s, ask),
        Operation::RestoreGuest(ask) => copy(s, ask.guest, chosen)?,
        Operation::RestoreTest(ask) => restore_test(s, ask, chosen)?,
        Operation::DestroyScratch(guest) => {
            vec![boxed(restore_test::DestroyScratch { s: s.clone(), guest: Some(*guest) })]
        }
        other => return Err(format!("`{}` has no steps in this program", other.kind())),
    };
    Ok(explained::explained(s, steps))
}

fn new_guest(chosen: &Chosen, purpose: Purpose, detail: GuestDetail) -> Result<NewGuest, String> {
    let missing = |what: &str| format!("the journal does not say which {what} was chosen");
    Ok(NewGuest {
        uuid: chosen.new_guest.ok_or_else(|| missing("guest"))?,
        purpose,
        archive: chosen.archive.clone().ok_or_else(|| missing("archive"))?,
        hostname: None,
        limits: None,
        disk_gib: None,
        detail,
    })
}

fn verify(s: &Arc<Services>, archive: &Volid, tolerant: bool) -> Box<dyn Step> {
    boxed(VerifyArchive { s: s.clone(), archive: archive.clone(), tolerant })
}

fn start_restored(s: &Arc<Services>, tolerant: bool) -> Box<dyn Step> {
    boxed(PowerStep { s: s.clone(), subject: Subject::Restored, power: Power::Start, tolerant })
}

fn provision(s: &Arc<Services>, ask: &Provision, chosen: &Chosen) -> Result<Vec<Box<dyn Step>>, String> {
    let detail = GuestDetail {
        name: Some(ask.name.clone()),
        apps: ask.apps.clone(),
        golden: chosen.golden,
        ..GuestDetail::empty()
    };
    let guest = NewGuest {
        hostname: Some(ask.name.to_string()),
        limits: Some(ask.limits),
        disk_gib: Some(ask.disk_gib),
        ..new_guest(chosen, Purpose::Tenant, detail)?
    };
    let uuid = guest.uuid;
    Ok(vec![
        verify(s, &guest.archive, false),
        boxed(RestoreArchive { s: s.clone(), guest, tolerant: false }),
        start_restored(s, false),
        boxed(ReadGuestKey { s: s.clone(), guest: uuid }),
        boxed(PushBootstrap { s: s.clone(), guest: uuid }),
        boxed(FirstHeartbeat { s: s.clone(), guest: uuid }),
        boxed(PutIntoService { s: s.clone(), guest: uuid }),
    ])
}

fn backup(s: &Arc<Services>, ask: &Backup) -> Vec<Box<dyn Step>> {
    vec![
        boxed(backup::AwaitFreeze { s: s.clone(), backup: ask.clone() }),
        boxed(backup::Dump { s: s.clone(), backup: ask.clone() }),
        boxed(backup::Verify { s: s.clone() }),
        boxed(backup::Record { s: s.clone(), backup: ask.clone() }),
    ]
}

fn restored_from(chosen: &Chosen, from: GuestUuid) -> GuestDetail {
    GuestDetail { archive: chosen.archive.clone(), restored_from: Some(from), ..GuestDetail::empty() }
}

fn copy(s: &Arc<Services>, from: GuestUuid, chosen: &Chosen) -> Result<Vec<Box<dyn Step>>, String> {
    let guest = new_guest(chosen, Purpose::Copy, restored_from(chosen, from))?;
    let uuid = guest.uuid;
    Ok(vec![
        verify(s, &guest.archive, false),
        boxed(RestoreArchive { s: s.clone(), guest, tolerant: false }),
        start_restored(s, false),
        boxed(copy::KeepCopy { s: s.clone(), guest: uuid }),
    ])
}

fn restore_test(s: &Arc<Services>, ask: &RestoreTest, chosen: &Chosen) -> Result<Vec<Box<dyn Step>>, String> {
    let guest = new_guest(chosen, Purpose::Scratch, restored_from(chosen, ask.guest))?;
    Ok(vec![
        verify(s, &guest.archive, true),
        boxed(RestoreArchive { s: s.clone(), guest, tolerant: true }),
        start_restored(s, true),
        boxed(restore_test::ProbeGuest { s: s.clone(), test: ask.clone() }),
        boxed(restore_test::WriteReceipt { s: s.clone(), test: ask.clone() }),
        boxed(restore_test::DestroyScratch { s: s.clone(), guest: None }),
    ])
}
