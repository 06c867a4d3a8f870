//! `verify_archive`: the digest of the file that is about to be unpacked, while its attributes stand still.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use felhom_gate::{VmidFact, archive_config};
use felhom_journal::{Intent, StepContext, StepError};
use felhom_model::{Digest, StorageId, Vmid, Volid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::reclaim::archived_of;
use super::restore::RESTORE;
use super::task::unless_cancelled;
use crate::facts::ArchiveSeen;
use crate::marks::read_archive_mark;
use crate::services::{Services, step_error};

/// The step's name.
pub(super) const VERIFY: &str = "verify_archive";

/// What tells that a file is still the one that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Outcome of `verify_archive`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Verified {
    /// SHA-256 of the file, if it could be read.
    pub digest: Option<Digest>,
    /// What it is now.
    pub stamp: Option<Stamp>,
    /// Why it could not be read.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Reads an archive's file for its digest.
pub(super) struct VerifyArchive {
    /// Services.
    pub s: Arc<Services>,
    /// Which.
    pub archive: Volid,
    /// An archive that cannot be read is an outcome (of a restore test), not a failure.
    pub tolerant: bool,
}

impl Act for VerifyArchive {
    fn name(&self) -> &'static str {
        VERIFY
    }

    async fn intent(&self, _: &StepContext) -> Result<Intent, StepError> {
        Intent::of(&json!({ "archive": self.archive }))
    }

    async fn act(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        match read(&self.s, cx, &self.archive).await {
            Ok((digest, stamp)) => {
                outcome(&Verified { digest: Some(digest), stamp: Some(stamp), problem: None })
            }
            Err(StepError::Failed(why)) if self.tolerant => {
                outcome(&Verified { digest: None, stamp: None, problem: Some(why) })
            }
            Err(e) => Err(e),
        }
    }
}

async fn read(s: &Services, cx: &StepContext, archive: &Volid) -> Result<(Digest, Stamp), StepError> {
    let path = s.host.volume_path(archive).await.map_err(StepError::failed)?;
    let before = stamp(&path)?;
    let digest = digest(cx, &path, before.bytes).await?;
    if stamp(&path)? != before {
        return Err(StepError::Failed(format!("{archive} changed while it was read")));
    }
    Ok((digest, before))
}

/// SHA-256 of a file, with progress in bytes.
///
/// # Errors
/// [`StepError::Failed`] if it cannot be read, [`StepError::Transient`] if the operation was cancelled meanwhile.
pub(super) async fn digest(cx: &StepContext, path: &Path, bytes: u64) -> Result<Digest, StepError> {
    let reporter = cx.clone();
    let mut last = Instant::now();
    let report = move |done: u64| {
        if last.elapsed() >= Duration::from_secs(1) {
            last = Instant::now();
            // A failing journal stops the step at its next write.
            let _ = reporter.progress(done, Some(bytes), "bytes");
        }
    };
    let read = async { felhom_host::digest_file(path, report).await.map_err(StepError::failed) };
    Ok(unless_cancelled(cx, read).await?.digest)
}

fn stamp(path: &Path) -> Result<Stamp, StepError> {
    let meta = std::fs::metadata(path).map_err(|e| StepError::Failed(format!("{}: {e}", path.display())))?;
    Ok(Stamp { inode: meta.ino(), bytes: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) })
}

/// Everything about an archive that the gate wants to know right before it is unpacked.
///
/// # Errors
/// [`StepError::Failed`] if the file is not the one that was verified any more, or cannot be asked about.
pub(super) async fn seen_before_act(
    s: &Services,
    archive: &Volid,
    verified: &Verified,
    vmid: Vmid,
) -> Result<ArchiveSeen, StepError> {
    let unread =
        || StepError::Failed(verified.problem.clone().unwrap_or_else(|| "it was not read".to_owned()));
    let digest = verified.digest.ok_or_else(unread)?;
    let path = s.host.volume_path(archive).await.map_err(StepError::failed)?;
    if Some(stamp(&path)?) != verified.stamp {
        return Err(StepError::Failed(format!("{archive} changed since its digest was computed")));
    }
    let volid = archive.clone();
    let config = s.node.extract_config(&volid).await.map_err(|e| step_error(&e))?;
    let storage: StorageId = volid.storage().parse().map_err(StepError::failed)?;
    let attributes = s.node.storage(&storage).attributes(&volid).await.map_err(|e| step_error(&e))?;
    Ok(ArchiveSeen {
        digest,
        forbidden: archive_config::forbidden_lines(&config),
        notes_guest: attributes.notes.as_deref().and_then(read_archive_mark).map(|mark| mark.guest),
        vmid: vmid_fact(s, vmid).await?,
    })
}

/// Whether a VMID is taken, and how many archives lie under it.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer.
pub(super) async fn vmid_fact(s: &Services, vmid: Vmid) -> Result<VmidFact, StepError> {
    let number = vmid;
    let free = s.pve.vmid_is_free(number).await.map_err(|e| step_error(&e))?;
    let mut archives = 0;
    for storage in s.config.all_storages() {
        let storage = s.node.storage(&storage);
        let listed = storage.backups(Some(number)).await.map_err(|e| step_error(&e))?;
        archives += u32::try_from(listed.len()).unwrap_or(u32::MAX);
    }
    Ok(VmidFact { vmid, taken: !free, archives_under_it: archives })
}

/// The first VMID of a range that nothing of ours or anybody's ever stood on, as far as can be seen, and that no other operation has
/// chosen.
///
/// # Errors
/// [`StepError::Failed`] if all are taken.
pub(super) async fn choose_vmid(
    s: &Services,
    cx: &StepContext,
    [first, last]: [u32; 2],
) -> Result<Vmid, StepError> {
    // One chooses at a time, and what it chose is its own until it is over.
    let mut chosen = s.chosen.lock().await;
    let active = s.journal.active_operations();
    chosen.retain(|by, _| active.iter().any(|op| op.id() == *by));
    let mine = cx.operation_id();
    let planned = active.iter().filter(|op| op.id() != mine).filter_map(planned_vmid);
    let others: Vec<Vmid> =
        planned.chain(chosen.iter().filter(|(by, _)| **by != mine).map(|(_, vmid)| *vmid)).collect();
    let rows = s.ledger.guests().map_err(StepError::failed)?;
    let standing = |vmid: Vmid| {
        rows.iter().any(|row| {
            let there =
                matches!(row.state, crate::ledger::RowState::Making | crate::ledger::RowState::Present);
            row.vmid == vmid && there
        })
    };
    // Proxmox can hide a backup, the ledger cannot: a VMID with backups is not used again.
    let archives = s.ledger.archives().map_err(StepError::failed)?;
    let kept = |vmid: Vmid| archives.iter().any(|row| archived_of(&row.volid) == Some(vmid));
    for number in first..=last {
        let vmid = Vmid::try_from(number).map_err(StepError::failed)?;
        if standing(vmid) || kept(vmid) || others.contains(&vmid) {
            continue;
        }
        let fact = vmid_fact(s, vmid).await?;
        if !fact.taken && fact.archives_under_it == 0 {
            chosen.insert(mine, vmid);
            return Ok(vmid);
        }
    }
    Err(StepError::Failed(format!("no VMID between {first} and {last} is free")))
}

/// The VMID that an operation chose for what it restores, also if that was before a restart.
fn planned_vmid(op: &felhom_journal::Operation) -> Option<Vmid> {
    let intent = op.step(RESTORE)?.intent.as_ref()?;
    serde_json::from_value(intent.get("vmid")?.clone()).ok()
}
