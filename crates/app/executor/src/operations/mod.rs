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
//! | `cutover_guest`, `reverse_cutover_guest` | stop_old → stop_new → unprotect_new → close_old → move_volumes → change_places → start → read_guest_key → bootstrap → first_heartbeat → put_into_service → entomb_old |
//! | `retire_guest` | tell → stop → close → entomb |
//! | `reclaim_guest` | tell → unprotect → reclaim → keep_backups_readable |
//! | `discard_restored_copy` | discard |
//! | `prune_backups` | prune |
//! | `resolve_operation` | resolve |
//! | `rotate_operators` | install_operators |
//! | `clear_stale_lock` | take_lock_off |
//! | `clear_leftovers` | clear |

mod act;
mod advice;
mod archive;
mod backup;
mod bootstrap;
mod clearing;
mod configure;
mod copy;
mod deletion;
mod destroy;
mod explained;
mod growth;
mod judge;
mod leftovers;
mod missing;
mod people;
mod picture;
mod places;
mod power;
mod prune;
mod reclaim;
mod restore;
mod restore_test;
mod running;
mod task;
mod tell;
mod undo;
mod undo_archive;
mod volumes;

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::Step;
use felhom_model::observed::Purpose;
use felhom_model::operation::{Backup, Provision, RestoreTest};
use felhom_model::{GuestUuid, Operation, OperationKind, Volid};

pub use advice::advice;
pub use bootstrap::{CONTROLLER, current_run, push as push_bootstrap, run_of};
pub use judge::{domain, judge, not_observed};
pub use leftovers::facts as leftover_facts;

use self::act::boxed;
use self::archive::VerifyArchive;
use self::bootstrap::{FirstHeartbeat, PushBootstrap, PutIntoService, ReadGuestKey};
use self::people::{InstallOperators, ResolveStanding};
use self::picture::{Look, Reconfigure};
use self::places::ChangePlaces;
use self::power::{Power, PowerStep, Subject};
use self::reclaim::{DestroyForGood, KeepBackupsReadable};
use self::restore::{NewGuest, RestoreArchive};
use self::volumes::MoveVolumes;
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
        | K::CutoverGuest
        | K::ReverseCutoverGuest
        | K::RetireGuest
        | K::ReclaimGuest
        | K::DiscardRestoredCopy
        | K::PruneBackups
        | K::RotateOperators
        | K::ResolveOperation
        | K::ClearStaleLock
        | K::ClearLeftovers
        | K::DestroyScratch => true,
        K::HealGuest
        | K::AttachDisk
        | K::DetachDisk
        | K::DecommissionDisk
        | K::AssignDisk
        | K::FormatDisk
        | K::RotateBackupKey
        | K::ForgetKey
        | K::ReplaceRecoveryCode
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
    let power = |guest: GuestUuid, power| boxed(power_step(s, guest, power));
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
        Operation::CutoverGuest(ask) => cutover(s, ask.guest, ask.copy),
        Operation::ReverseCutoverGuest(guest) => {
            let other = chosen.other.ok_or("the journal does not say which tombstone was chosen")?;
            cutover(s, *guest, other)
        }
        Operation::RetireGuest(guest) => vec![
            boxed(tell::Tell { s: s.clone() }),
            power(*guest, Power::Stop),
            look(s, "close", *guest, Look::Closed),
            look(s, "entomb", *guest, Look::Entombed),
        ],
        Operation::ReclaimGuest(guest) => vec![
            boxed(tell::Tell { s: s.clone() }),
            look(s, "unprotect", *guest, Look::Unprotected),
            boxed(DestroyForGood { s: s.clone(), name: "reclaim", guest: *guest }),
            boxed(KeepBackupsReadable { s: s.clone(), guest: *guest }),
        ],
        Operation::DiscardRestoredCopy(guest) => {
            vec![boxed(DestroyForGood { s: s.clone(), name: "discard", guest: *guest })]
        }
        Operation::PruneBackups(ask) => {
            vec![boxed(prune::RemoveBackups { s: s.clone(), ask: ask.clone() })]
        }
        Operation::ResolveOperation(ask) => vec![boxed(ResolveStanding { s: s.clone(), ask: *ask })],
        Operation::ClearStaleLock(guest) => {
            vec![boxed(clearing::TakeLockOff { s: s.clone(), guest: *guest })]
        }
        Operation::ClearLeftovers(guest) => {
            vec![boxed(clearing::ClearBackup { s: s.clone(), guest: *guest })]
        }
        Operation::RotateOperators(ask) => {
            vec![boxed(InstallOperators { s: s.clone(), version: ask.version })]
        }
        other => return Err(format!("`{}` has no steps in this program", other.kind())),
    };
    Ok(explained::explained(s, steps))
}

fn power_step(s: &Arc<Services>, guest: GuestUuid, power: Power) -> PowerStep {
    let subject = Subject::Known(guest);
    PowerStep { s: s.clone(), subject, power, tolerant: false, named: None, stage: Stage::BeforeAct }
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
    boxed(PowerStep {
        s: s.clone(),
        subject: Subject::Restored,
        power: Power::Start,
        tolerant,
        named: None,
        stage: Stage::BeforeAct,
    })
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

fn look(s: &Arc<Services>, name: &'static str, guest: GuestUuid, look: Look) -> Box<dyn Step> {
    boxed(Reconfigure { s: s.clone(), name, guest, look })
}

/// The guest goes over to the other one's container; that one becomes the tombstone. Before `change_places` the names stand
/// where they stood, after it each stands where the other did.
fn cutover(s: &Arc<Services>, guest: GuestUuid, other: GuestUuid) -> Vec<Box<dyn Step>> {
    let stop = |guest, named| PowerStep { named: Some(named), ..power_step(s, guest, Power::Stop) };
    let start = PowerStep { stage: Stage::Resume, ..power_step(s, guest, Power::Start) };
    vec![
        boxed(stop(guest, "stop_old")),
        boxed(stop(other, "stop_new")),
        look(s, "unprotect_new", other, Look::Unprotected),
        look(s, "close_old", guest, Look::Closed),
        boxed(MoveVolumes { s: s.clone(), from: guest, to: other }),
        boxed(ChangePlaces { s: s.clone(), tenant: guest, other }),
        boxed(start),
        boxed(ReadGuestKey { s: s.clone(), guest }),
        boxed(PushBootstrap { s: s.clone(), guest }),
        boxed(FirstHeartbeat { s: s.clone(), guest }),
        look(s, "put_into_service", guest, Look::InService),
        look(s, "entomb_old", other, Look::Entombed),
    ]
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
