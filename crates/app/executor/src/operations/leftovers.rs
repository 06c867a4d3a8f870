//! What killed workers leave; the operation that made it clears it, through the gate.
//!
//! **A restore** (F77, F78): a tar that goes on, mounts, the lock `create`, volumes without a configuration. It is cleared
//! before the rest is destroyed as the operation's own: our role on the VMID, since what died early is in no pool and
//! hidden; the gate, with everything that lies there; then the worker's processes, mounts, the lock (noted before), and the
//! volumes are entered into the configuration, so that the destruction takes them along.
//!
//! **A backup** (F91, F99): a tar that goes on, the lock `backup` or `snapshot`, half-written files, a snapshot `vzdump`, and
//! a guest that stays frozen while Proxmox calls it running. They go in the order: processes, lock, thaw, snapshot, files.
//!
//! **A destroy**: see [`super::destroy`].
//!
//! Twice is once.

use felhom_gate::{LeftoverFacts, Mark, Part, Stage, Unmarked};
use felhom_host::{AclGrant, AclPlace, DeadBackup, DeadWorker, HostError};
use felhom_journal::{Operation as Journaled, StepContext, StepError, Which};
use felhom_model::{GuestUuid, Operation, OperationId, OperationKind, StorageId, Vmid, Volid};
use felhom_pve::{RunState, SnapshotName, TaskFilter, TaskState, Upid};
use serde_json::json;

use super::backup::DUMP;
use super::destroy::{begun, emptied};
use super::judge::{domain, judge_as, refused};
use super::restore::{Plan, RESTORE};
use super::task;
use crate::audit::{Kind, Record};
use crate::facts::referenced;
use crate::ledger::{GuestRow, RowState};
use crate::marks::{from_journal, read_guest_mark, to_journal};
use crate::observe::{ObserveError, Seen};
use crate::services::{Services, step_error};

const ROLE: &str = "FelhomGuests";
const LOCK: &str = "create";
/// The note that this operation itself takes the lock off.
pub(super) const UNLOCKED: &str = "create_lock_taken_off";

/// Clears what the killed worker of this operation's own restore left, up to its destruction.
///
/// # Errors
/// [`StepError::Unclear`] with the gate's refusal: a person looks.
pub(super) async fn clear_restore(s: &Services, cx: &StepContext, row: &GuestRow) -> Result<(), StepError> {
    let op = cx.operation()?;
    let vmid = row.vmid;
    show(s, vmid).await?;
    let (_, chosen) = domain(&op)?;
    let operation = Operation::ClearLeftovers(row.uuid);
    let verdict = judge_as(s, &op, &operation, (&chosen, Stage::BeforeAct, None)).await?;
    let approved = verdict.map_err(|reason| match refused(&reason) {
        StepError::Failed(why) => StepError::Unclear(why),
        other => other,
    })?;
    tracing::warn!(operation = %op.id(), %vmid, reason = %approved.reason(), "clearing what a killed restore left");
    if let Some(worker) = task_of(&op).map(|upid| worker(&upid)).transpose()? {
        let mut paths = Vec::new();
        for volid in volumes(s, vmid).await? {
            paths.push(s.host.volume_path(&volid).await.map_err(later)?);
        }
        let ended = s.host.end_processes(vmid, worker, &paths).await.map_err(later)?;
        tracing::info!(%vmid, ended = ended.len(), "processes of the dead worker ended");
    }
    s.host.unmount_guest(vmid).await.map_err(later)?;
    if !was_unlocked(&op) {
        cx.note(UNLOCKED, json!({ "vmid": vmid }))?;
    }
    let unlocked = s.host.unlock(vmid, LOCK).await.map_err(later)?;
    tracing::info!(%vmid, ?unlocked, "lock of the dead restore");
    s.host.rescan(vmid).await.map_err(later)
}

/// Our role on a VMID: what a worker left outside the pool is hidden from the token.
///
/// # Errors
/// [`StepError::Transient`] if it cannot be given.
pub(super) async fn show(s: &Services, vmid: Vmid) -> Result<(), StepError> {
    let token = s.config.pve.token_id.clone();
    let grant = AclGrant { place: AclPlace::Guest(vmid), role: ROLE.to_owned(), token };
    s.host.grant(&grant).await.map_err(later)
}

/// Clears what the killed worker of this operation's own backup left: nothing if its lock, snapshot and files are gone.
///
/// # Errors
/// [`StepError::Unclear`] with the gate's refusal: a person looks.
pub(super) async fn clear_backup(
    s: &Services,
    cx: &StepContext,
    dead: &DeadDump<'_>,
) -> Result<(), StepError> {
    let op = cx.operation()?;
    let guest = s.node.guest(dead.vmid);
    let config = guest.config().await.map_err(|e| step_error(&e))?;
    let snapshot = has_snapshot(&guest, dead.upid).await?;
    let (_, chosen) = domain(&op)?;
    let operation = Operation::ClearLeftovers(dead.guest);
    let verdict = judge_as(s, &op, &operation, (&chosen, Stage::BeforeAct, None)).await?;
    let approved = verdict.map_err(|reason| StepError::Unclear(format!("refused, {reason}")))?;
    tracing::warn!(operation = %op.id(), vmid = %dead.vmid, reason = %approved.reason(), "clearing what a killed backup left");
    let worker = worker(dead.upid)?;
    let files = dump_files(s, worker, dead).await?;
    let names: Vec<String> = files.iter().map(|file| file.name.to_string()).collect();
    let data = json!({ "guest": dead.guest, "vmid": dead.vmid, "snapshot": snapshot, "files": names, "task": dead.upid.to_string() });
    let record = |kind| Record::new(kind, data.clone()).of(from_journal(op.id()), Some(dead.guest));
    s.audit(&record(Kind::ClearingLeftovers))?;
    let mut paths = Vec::new();
    for volid in config.volumes().map_err(StepError::failed)? {
        paths.push(s.host.volume_path(&volid).await.map_err(later)?);
    }
    s.host.end_processes(dead.vmid, worker, &paths).await.map_err(later)?;
    if let Some(lock) = config.lock().filter(|lock| BACKUP_LOCKS.contains(lock)) {
        let unlocked = s.host.unlock(dead.vmid, lock).await.map_err(later)?;
        tracing::info!(vmid = %dead.vmid, lock, ?unlocked, "lock of the dead backup");
    }
    if guest.status().await.map_err(|e| step_error(&e))?.state() == RunState::Running {
        s.host.unfreeze(dead.vmid).await.map_err(later)?;
    }
    if snapshot {
        let name = SnapshotName::new(SNAPSHOT).map_err(StepError::failed)?;
        let upid = guest.force_delete_snapshot(&name).await.map_err(|e| step_error(&e))?;
        let exit = task::end_of(s, &upid).await?;
        if has_snapshot(&guest, dead.upid).await? {
            // A half-made one sets a lock of its own on the first try (F100).
            return Err(StepError::Transient(format!(
                "the snapshot `{SNAPSHOT}` of {} is still there: {exit}",
                dead.vmid
            )));
        }
    }
    for backup in &files {
        let removed = s.host.remove_dump_files(backup).await.map_err(later)?;
        tracing::info!(vmid = %dead.vmid, removed = removed.len(), "half-written files of the dead backup");
    }
    Ok(s.audit(&record(Kind::ClearedLeftovers))?)
}

/// Half-written files of a dead backup.
async fn dump_files(
    s: &Services,
    worker: DeadWorker,
    dead: &DeadDump<'_>,
) -> Result<Vec<DeadBackup>, StepError> {
    // The path of a name that need not exist: only the directory counts.
    let any: Volid = format!("{}:backup/vzdump-lxc-{}-1970_01_01-00_00_00.tar.zst", dead.target, dead.vmid)
        .parse()
        .map_err(StepError::failed)?;
    let path = s.host.volume_path(&any).await.map_err(later)?;
    let Some(dump_dir) = path.parent() else { return Ok(Vec::new()) };
    let names = s.host.half_written(dump_dir, dead.vmid, dead.upid.starttime()).map_err(later)?;
    Ok(names.into_iter().map(|name| DeadBackup { worker, dump_dir: dump_dir.to_owned(), name }).collect())
}

/// A backup whose worker is dead.
pub(super) struct DeadDump<'a> {
    /// Whose.
    pub guest: GuestUuid,
    /// Where it stands.
    pub vmid: Vmid,
    /// The target.
    pub target: &'a StorageId,
    /// Its task.
    pub upid: &'a Upid,
}

/// Operations that are searched for a guest's newest backup.
const LOOKED_AT: usize = 500;
pub(super) const BACKUP_LOCKS: [&str; 3] = ["backup", "snapshot", "snapshot-delete"];
/// vzdump's own name for it.
const SNAPSHOT: &str = "vzdump";

/// Whether there is a snapshot of this very backup. One that is older than its task is somebody else's and stays.
pub(super) async fn has_snapshot(guest: &felhom_pve::Guest, of: &Upid) -> Result<bool, StepError> {
    let all = guest.snapshots().await.map_err(|e| step_error(&e))?;
    let made_since = |at: Option<u64>| at.is_some_and(|at| at >= of.starttime());
    Ok(all.iter().any(|snapshot| snapshot.name == SNAPSHOT && made_since(snapshot.snaptime)))
}

/// What a dead backup left on a guest that is proven ours: the backup is the operation itself, or one that is over.
async fn of_backup(
    s: &Services,
    op: &Journaled,
    row: &GuestRow,
    seen: &Seen,
) -> Result<LeftoverFacts, ObserveError> {
    let Some(upid) = backup_task(op) else { return Ok(nothing()) };
    let lock = seen.real.get(&row.vmid).and_then(|real| real.config.lock().map(str::to_owned));
    // The gate let the backup begin only while no lock was there. While its operation keeps the guest, one of these is of its
    // task; afterwards only if nobody else's task could have set it since.
    let of_another =
        if op.state.is_active() { None } else { may_have_locked_since(s, row.vmid, &upid).await? };
    let mut parts: Vec<Part> = lock
        .into_iter()
        .map(|lock| Part { own: BACKUP_LOCKS.contains(&lock.as_str()), what: format!("lock {lock}") })
        .collect();
    parts.extend(of_another.map(|task| Part { own: false, what: format!("task {task}") }));
    Ok(LeftoverFacts {
        maker: Some(from_journal(op.id())),
        task_over: matches!(s.pve.task(&upid).state().await?, TaskState::Stopped(_)),
        running_tasks: running(s, row.vmid).await?,
        parts,
        unmarked: Unmarked::NoReason,
    })
}

/// What a dead destroy of this operation left: a number and a lock.
async fn of_destroy(s: &Services, op: &Journaled, row: &GuestRow) -> Result<LeftoverFacts, ObserveError> {
    let running = running(s, row.vmid).await?;
    Ok(LeftoverFacts {
        maker: Some(from_journal(op.id())),
        task_over: running.is_empty(),
        running_tasks: running,
        parts: vec![Part { own: true, what: "an emptied configuration".to_owned() }],
        unmarked: Unmarked::WhileDestroyed,
    })
}

/// The task of a backup, as its journal has it.
pub(super) fn backup_task(op: &Journaled) -> Option<Upid> {
    let step = op.step(DUMP)?;
    step.undo_handle.as_ref().or(step.handle.as_ref())?.as_str()?.parse().ok()
}

/// The newest backup of a guest that left the journal's care, if its task is known and its container is still the guest's.
///
/// # Errors
/// [`ObserveError`] if the journal cannot be read.
pub(super) fn ended_backup(s: &Services, row: &GuestRow) -> Result<Option<Journaled>, ObserveError> {
    let of_guest = |op: &Journaled| {
        op.new.body.kind == OperationKind::BackupGuest.name()
            && domain(op).is_ok_and(|(operation, _)| operation.guest() == Some(row.uuid))
            && op.started_at.is_some()
    };
    let newest = s.journal.list(Which::Newest, LOOKED_AT)?.into_iter().find(of_guest);
    let of_container = |op: &Journaled| backup_task(op).is_some_and(|upid| upid.id() == row.vmid.to_string());
    Ok(newest.filter(|op| !op.state.is_active() && of_container(op)))
}

/// A task of somebody else that began after this backup's and may have locked the guest. A backup of all guests names none.
async fn may_have_locked_since(s: &Services, vmid: Vmid, of: &Upid) -> Result<Option<Upid>, ObserveError> {
    let filter = TaskFilter { vmid: None, kind: None, since: Some(of.starttime()), limit: Some(500) };
    let ours = |upid: &Upid| upid == of || upid.token().is_some() && upid.token() == of.token();
    let locks = |upid: &Upid| match upid.kind() {
        "vzdump" => upid.id().is_empty() || upid.id() == vmid.to_string(),
        "vzsnapshot" | "vzdelsnapshot" | "vzrollback" => upid.id() == vmid.to_string(),
        _ => false,
    };
    let tasks = s.node.tasks(&filter).await?.into_iter().map(|task| task.upid);
    Ok(tasks.into_iter().find(|upid| locks(upid) && !ours(upid)))
}

fn nothing() -> LeftoverFacts {
    LeftoverFacts {
        maker: None,
        task_over: false,
        running_tasks: Vec::new(),
        parts: Vec::new(),
        unmarked: Unmarked::NoReason,
    }
}

/// Whether this operation has noted that it takes the lock `create` off.
pub(super) fn was_unlocked(op: &Journaled) -> bool {
    op.notes.iter().any(|note| note.name == UNLOCKED)
}

fn later(e: HostError) -> StepError {
    StepError::Transient(e.to_string())
}

fn worker(upid: &Upid) -> Result<DeadWorker, StepError> {
    let pid = u32::try_from(upid.pid()).ok().filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| StepError::Unclear(format!("{upid} names no process of a worker")))?;
    Ok(DeadWorker { pid, started: upid.pstart() })
}

/// The restore's task, as the journal has it.
fn task_of(op: &Journaled) -> Option<Upid> {
    let step = op.step(RESTORE)?;
    let handle = step.undo_handle.as_ref().or(step.handle.as_ref())?;
    handle.as_str()?.parse().ok()
}

async fn volumes(s: &Services, vmid: Vmid) -> Result<Vec<Volid>, StepError> {
    let storage = s.node.storage(&s.config.storages.guest);
    let listed = storage.volumes(Some(vmid)).await.map_err(|e| step_error(&e))?;
    Ok(listed.into_iter().map(|content| content.volid).collect())
}

/// The facts that clearing a guest's leftovers is judged by: what its maker's journal says, and what lies there now.
///
/// # Errors
/// [`ObserveError`] if Proxmox or the journal cannot be read.
pub async fn facts(
    s: &Services,
    seen: &Seen,
    guest: GuestUuid,
    within: OperationId,
) -> Result<LeftoverFacts, ObserveError> {
    let Some(row) = s.ledger.guest(guest)? else { return Ok(nothing()) };
    let asks = s.journal.get(to_journal(within))?;
    let is_empty = seen.real.get(&row.vmid).is_some_and(|real| emptied(&real.config));
    if let Some(op) = asks.as_ref().filter(|op| is_empty && begun(op, row.vmid)) {
        return of_destroy(s, op, &row).await;
    }
    let backup = asks.filter(|op| op.new.body.kind == OperationKind::BackupGuest.name());
    if let Some(op) = backup {
        return of_backup(s, &op, &row, seen).await;
    }
    if row.state != RowState::Making {
        return match ended_backup(s, &row)? {
            Some(op) => of_backup(s, &op, &row, seen).await,
            None => Ok(nothing()),
        };
    }
    if row.made_by != within {
        // Its maker takes it back itself, with all that belongs to it.
        return Ok(nothing());
    }
    let Some(op) = s.journal.get(to_journal(row.made_by))? else { return Ok(nothing()) };
    let intent = op.step(RESTORE).and_then(|step| step.intent.clone());
    let Some(plan) = intent.and_then(|intent| serde_json::from_value::<Plan>(intent).ok()) else {
        return Ok(nothing());
    };
    let over = match task_of(&op) {
        Some(upid) => matches!(s.pve.task(&upid).state().await?, TaskState::Stopped(_)),
        // No task is known, so none was forked: what lies there is not this operation's.
        None => return Ok(nothing()),
    };
    let storage = s.node.storage(&s.config.storages.guest);
    let mut there: Vec<Volid> = storage.volumes(Some(row.vmid)).await?.into_iter().map(|c| c.volid).collect();
    let real = seen.real.get(&row.vmid);
    there.extend(real.map(referenced).unwrap_or_default());
    there.sort();
    there.dedup();
    let own = |volid: &Volid| !plan.volumes_before.contains(&volid.to_string());
    let unmarked = real.is_none_or(|real| match read_guest_mark(real.config.description()) {
        Mark::None => true,
        Mark::Names(uuid, operation) => uuid == row.uuid && operation == row.made_by,
        Mark::Unreadable => false,
    });
    Ok(LeftoverFacts {
        maker: Some(row.made_by),
        task_over: over,
        running_tasks: running(s, row.vmid).await?,
        unmarked: if plan.vmid == row.vmid && unmarked && there.iter().all(own) {
            Unmarked::WhileMade
        } else {
            Unmarked::NoReason
        },
        parts: there.iter().map(|volid| Part { what: volid.to_string(), own: own(volid) }).collect(),
    })
}

/// Tasks that hold a guest: the list says which there are, the status says whether they run (F89, F90).
async fn running(s: &Services, vmid: Vmid) -> Result<Vec<String>, ObserveError> {
    let filter = TaskFilter { vmid: Some(vmid), kind: None, since: None, limit: Some(50) };
    let mut running = Vec::new();
    for task in s.node.tasks(&filter).await?.into_iter().filter(|task| task.endtime.is_none()) {
        if s.pve.task(&task.upid).state().await? == TaskState::Running {
            running.push(task.upid.to_string());
        }
    }
    Ok(running)
}
