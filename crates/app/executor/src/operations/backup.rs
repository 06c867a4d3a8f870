//! `backup_guest`: slot → freeze (by the controller) → vzdump → snapshotted (it thaws) → archive → verify → ledger.
//!
//! Phases are notes of the journal: `granted`, `frozen`, `snapshotted`, `archiving`, `verifying`; `crate::wire` makes the
//! wire's phase of them. Nothing is ever frozen while it waits for somebody else's lock: the slot is this operation's
//! claim, and vzdump gets `lockwait=0`. A backup that fails after the POST leaves no archive: `vzdump`'s undo deletes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use felhom_gate::{ArchiveIntent, Stage};
use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::backup::Consistency;
use felhom_model::operation::Backup;
use felhom_model::{AppName, Digest, Vmid, Volid};
use felhom_pve::{AttributeUpdate, BackupMode, ExitStatus, VzdumpRequest};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::archive;
use super::growth::Growing;
use super::judge::judge;
use super::leftovers::{DeadDump, clear_backup};
use super::power::Subject;
use super::{task, undo_archive};
use crate::ledger::{ArchiveDetail, ArchiveRow};
use crate::marks::{ArchiveMark, from_journal, read_archive_mark};
use crate::services::{Services, step_error};
use crate::vzdump_log::{LogReader, Phase};

const FREEZE: &str = "await_freeze";
pub(super) const DUMP: &str = "vzdump";
const VERIFY: &str = "verify";
const TASK: &str = "vzdump";

/// `await_freeze`: tells the controller that the slot is its own, and waits for its word, for a time.
pub(super) struct AwaitFreeze {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub backup: Backup,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Freeze {
    frozen: bool,
    why: Option<String>,
}

impl Act for AwaitFreeze {
    fn name(&self) -> &'static str {
        FREEZE
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        if !self.backup.quiesced {
            return Ok(());
        }
        once(cx, "granted", Value::Null)?;
        self.s.tell();
        let id = from_journal(cx.operation_id());
        let seconds = u64::from(self.s.config.timeouts.frozen_s);
        let heard = self
            .s
            .wait_until_told(Duration::from_secs(seconds), || {
                let said = self.s.ledger.freeze(id).map_err(StepError::failed)?;
                // A thaw without a freeze: the controller could not freeze, and nobody waits for it any longer.
                Ok((said.frozen.is_some() || said.thawed.is_some()).then_some(said.frozen.is_some()))
            })
            .await?;
        if heard == Some(true) {
            once(cx, "frozen", Value::Null)?;
            self.s.tell();
        }
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let said = self.s.ledger.freeze(from_journal(cx.operation_id())).map_err(StepError::failed)?;
        let why = match (&said.frozen, &said.thawed, self.backup.quiesced) {
            (Some(_), _, _) => None,
            (None, Some(_), true) => Some("the controller could not freeze the apps".to_owned()),
            (None, None, true) => Some("the controller did not freeze in time".to_owned()),
            (None, _, false) => Some("no controller takes part".to_owned()),
        };
        outcome(&Freeze { frozen: said.frozen.is_some(), why })
    }
}

/// Notes a fact once.
fn once(cx: &StepContext, name: &str, data: Value) -> Result<(), StepError> {
    if cx.operation()?.notes.iter().any(|n| n.name == name) {
        return Ok(());
    }
    cx.note(name, data)
}

/// `vzdump`: the archive itself.
pub(super) struct Dump {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub backup: Backup,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DumpPlan {
    vmid: Vmid,
    tasks_before: Vec<String>,
    archives_before: Vec<String>,
}

/// Outcome of `vzdump`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Dumped {
    volid: Volid,
    mode: Option<String>,
    /// Whether the freeze covers the snapshot.
    consistency: Consistency,
    taken_at: Timestamp,
    #[serde(default)]
    unpacked_bytes: Option<u64>,
}

impl Act for Dump {
    fn name(&self) -> &'static str {
        DUMP
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let vmid = self.vmid(cx)?;
        Intent::of(&DumpPlan {
            vmid,
            tasks_before: task::known(&self.s, vmid, TASK).await?,
            archives_before: self.listed(vmid).await?.iter().map(ToString::to_string).collect(),
        })
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let plan: DumpPlan = cx.intent()?;
        // A task found again is journaled and followed from the start of its log.
        task::of_step(&self.s, cx, (plan.vmid, TASK), &plan.tasks_before).await?;
        Ok(Probe::NotDone)
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: DumpPlan = cx.intent()?;
        let upid = match cx.act_handle::<String>()? {
            Some(text) => text.parse().map_err(|e| StepError::Unclear(format!("journaled handle: {e}")))?,
            None => self.post(cx, &plan).await?,
        };
        let mut reader = LogReader::default();
        let stalled = Duration::from_secs(u64::from(self.s.config.timeouts.archive_stalled_s));
        let growing = Growing::archive(self.backup.target.clone());
        let still = (stalled, || growing.still_since());
        let followed = task::follow(&self.s, &upid, still, |line| {
            let phase = reader.read(&line.t);
            reader.file.iter().for_each(|file| growing.named(file));
            match phase {
                Some(Phase::Snapshotted) => {
                    once(cx, "snapshotted", json!({ "line": line.t }))?;
                    self.s.tell();
                }
                Some(Phase::Archiving) => {
                    once(cx, "archiving", Value::Null)?;
                    self.s.tell();
                }
                None => {}
            }
            Ok(())
        });
        let shown = growing.shown((&self.s, cx), self.size_before()?, followed);
        let exit = task::unless_cancelled(cx, shown).await?;
        match exit {
            ExitStatus::Ok | ExitStatus::Warnings(_) => Ok(()),
            ExitStatus::Failed(_) | ExitStatus::Aborted => {
                let why = reader.error.unwrap_or_else(|| exit.to_string());
                Err(StepError::Failed(format!("Proxmox could not back guest {} up: {why}", plan.vmid)))
            }
        }
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: DumpPlan = cx.intent()?;
        let reader = self.log(cx).await?;
        let new: Vec<Volid> = self
            .listed(plan.vmid)
            .await?
            .into_iter()
            .filter(|v| !plan.archives_before.contains(&v.to_string()))
            .filter(|v| v.path().strip_prefix("backup/") == reader.file.as_deref())
            .collect();
        let [volid] = &new[..] else {
            let seen = new.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(StepError::Failed(format!(
                "the task said OK, but one new archive was expected, not [{seen}]"
            )));
        };
        let (consistency, taken_at) = self.consistency(cx, &reader)?;
        let unpacked_bytes = reader.unpacked_bytes;
        outcome(&Dumped { volid: volid.clone(), mode: reader.mode, consistency, taken_at, unpacked_bytes })
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(plan) = cx.intent_of::<DumpPlan>(DUMP)? else { return Ok(()) };
        if let Some(upid) = task::of_step(&self.s, cx, (plan.vmid, TASK), &plan.tasks_before).await? {
            // A live task cleans up lock, snapshot and partial files by itself; a dead one does not.
            let exit = task::stop(&self.s, &upid).await?;
            let file = self.read_log(&upid).await?.file;
            if exit == ExitStatus::Aborted {
                let dead = DeadDump {
                    guest: self.backup.guest,
                    vmid: plan.vmid,
                    target: &self.backup.target,
                    upid: &upid,
                };
                clear_backup(&self.s, cx, &dead).await?;
            }
            undo_archive::delete_made(&self.s, cx, file.as_deref(), &plan.archives_before).await?;
        }
        Ok(())
    }
}

impl Dump {
    fn vmid(&self, cx: &StepContext) -> Result<Vmid, StepError> {
        let vmid = Subject::Known(self.backup.guest).vmid(&self.s, cx)?;
        vmid.ok_or_else(|| StepError::Failed("there is no guest".to_owned()))
    }

    async fn listed(&self, vmid: Vmid) -> Result<Vec<Volid>, StepError> {
        let storage = self.s.node.storage(&self.backup.target);
        let listed = storage.backups(Some(vmid)).await.map_err(|e| step_error(&e))?;
        Ok(listed.into_iter().map(|c| c.volid).collect())
    }

    /// Bytes of the guest's newest archive there.
    fn size_before(&self) -> Result<Option<u64>, StepError> {
        let all = self.s.ledger.archives().map_err(StepError::failed)?;
        let of_it = all
            .iter()
            .filter(|row| row.guest == self.backup.guest && row.detail.target == self.backup.target);
        Ok(of_it.max_by_key(|row| row.taken_at).map(|row| row.detail.bytes))
    }

    async fn post(&self, cx: &StepContext, plan: &DumpPlan) -> Result<felhom_pve::Upid, StepError> {
        let approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
        tracing::info!(operation = %cx.operation_id(), reason = %approved.reason(), "vzdump");
        if !plan.archives_before.is_empty() {
            // A second archive of a guest in the same second silently replaces the first.
            let to_next = 1_000 - self.s.now().as_millisecond().rem_euclid(1_000);
            tokio::time::sleep(Duration::from_millis(u64::try_from(to_next).unwrap_or(1_000))).await;
        }
        // The ledger first: from here on an archive of this operation may exist.
        self.s.ledger.archive_is_made(&ArchiveIntent {
            operation: from_journal(cx.operation_id()),
            guest: self.backup.guest,
            vmid: plan.vmid,
            target: self.backup.target.clone(),
        })?;
        let request = VzdumpRequest {
            vmid: plan.vmid,
            storage: self.backup.target.clone(),
            mode: BackupMode::Snapshot,
            lockwait: 0,
            notes_template: None,
            protected: false,
            zstd_threads: None,
        };
        let upid = self.s.node.vzdump(&request).await.map_err(|e| step_error(&e))?;
        cx.save_handle(&upid.to_string())?;
        Ok(upid)
    }

    async fn log(&self, cx: &StepContext) -> Result<LogReader, StepError> {
        let text: String =
            cx.act_handle()?.ok_or_else(|| StepError::Unclear("the backup has no task".to_owned()))?;
        let upid = text.parse().map_err(|e| StepError::Unclear(format!("journaled handle: {e}")))?;
        self.read_log(&upid).await
    }

    async fn read_log(&self, upid: &felhom_pve::Upid) -> Result<LogReader, StepError> {
        let lines = self.s.pve.task(upid).log().await.map_err(|e| step_error(&e))?;
        let mut reader = LogReader::default();
        for line in lines {
            reader.read(&line.t);
        }
        Ok(reader)
    }

    /// Quiesced only if the apps stood still from before the snapshot until it was taken.
    fn consistency(&self, cx: &StepContext, log: &LogReader) -> Result<(Consistency, Timestamp), StepError> {
        let op = cx.operation()?;
        let noted = |name: &str| op.notes.iter().find(|n| n.name == name).map(|n| n.at);
        let snapshotted = noted("snapshotted").or_else(|| noted("archiving"));
        let said = self.s.ledger.freeze(from_journal(cx.operation_id())).map_err(StepError::failed)?;
        let taken_at = said.frozen.as_ref().map(|(_, at)| *at).or(snapshotted).unwrap_or(op.updated_at);
        let Some((frozen, at)) = said.frozen else { return Ok((Consistency::CrashConsistent, taken_at)) };
        let lease = SignedDuration::from_millis(i64::try_from(frozen.lease_ms).unwrap_or(0));
        let in_time = snapshotted.is_some_and(|s| s.duration_since(at) < lease);
        // Who thawed before the snapshot was told a lie, or gave up.
        let held = said.thawed.is_none_or(|(t, thawed)| t.held && snapshotted.is_some_and(|s| thawed >= s));
        // In the other modes `snapshotted` is said when the guest resumes, so it holds for them alike.
        let known_mode = matches!(log.mode.as_deref(), Some("snapshot" | "suspend"));
        if in_time && held && known_mode {
            return Ok((Consistency::Quiesced, taken_at));
        }
        Ok((Consistency::CrashConsistent, taken_at))
    }
}

/// `verify`: the file is there and has a plausible size; its digest and its configuration's.
pub(super) struct Verify {
    /// Services.
    pub s: Arc<Services>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checked {
    digest: Digest,
    bytes: u64,
    config_digest: Digest,
}

impl Act for Verify {
    fn name(&self) -> &'static str {
        VERIFY
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        once(cx, "verifying", Value::Null)?;
        self.s.tell();
        Ok(())
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let dumped: Dumped = cx.outcome(DUMP)?;
        let path: PathBuf = self.s.host.volume_path(&dumped.volid).await.map_err(StepError::failed)?;
        let bytes = std::fs::metadata(&path)
            .map_err(|e| StepError::Failed(format!("{}: {e}", path.display())))?
            .len();
        if bytes < 512 {
            return Err(StepError::Failed(format!("{} has {bytes} bytes: that is no archive", dumped.volid)));
        }
        let digest = archive::digest(cx, &path, bytes).await?;
        let volid = dumped.volid.clone();
        let config = self.s.node.extract_config(&volid).await.map_err(|e| step_error(&e))?;
        outcome(&Checked { digest, bytes, config_digest: Digest::of(config.as_bytes()) })
    }
}

/// `record`: notes on the archive and the row in the ledger make it ours.
pub(super) struct Record {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub backup: Backup,
}

impl Act for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn class(&self) -> StepClass {
        StepClass::Compensable
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let (dumped, checked): (Dumped, Checked) = (cx.outcome(DUMP)?, cx.outcome(VERIFY)?);
        let volid = dumped.volid.clone();
        let operation = from_journal(cx.operation_id());
        let mark = ArchiveMark { guest: self.backup.guest, operation, config: checked.config_digest.hex() };
        let update = AttributeUpdate { notes: Some(mark.to_string()), protected: None };
        let storage = self.s.node.storage(&self.backup.target);
        storage.set_attributes(&volid, &update).await.map_err(|e| step_error(&e))?;
        let attributes = storage.attributes(&volid).await.map_err(|e| step_error(&e))?;
        if attributes.notes.as_deref().and_then(read_archive_mark) != Some(mark) {
            return Err(StepError::Failed(format!("the notes of {volid} read back differently")));
        }
        Ok(self.s.ledger.record_archive(&ArchiveRow {
            volid: dumped.volid,
            guest: self.backup.guest,
            taken_at: dumped.taken_at,
            detail: ArchiveDetail {
                operation,
                target: self.backup.target.clone(),
                bytes: checked.bytes,
                unpacked_bytes: dumped.unpacked_bytes,
                digest: checked.digest,
                config_digest: checked.config_digest,
                consistency: dumped.consistency,
                proven: None,
            },
        })?)
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let (dumped, checked): (Dumped, Checked) = (cx.outcome(DUMP)?, cx.outcome(VERIFY)?);
        let freeze: Freeze = cx.outcome(FREEZE)?;
        let said = self.s.ledger.freeze(from_journal(cx.operation_id())).map_err(StepError::failed)?;
        let row = self.s.ledger.guest(self.backup.guest).map_err(StepError::failed)?;
        let expected = row.map(|row| row.detail.apps).unwrap_or_default();
        let frozen: Vec<AppName> = said.frozen.map(|(f, _)| f.apps).unwrap_or_default();
        let missing: Vec<&AppName> =
            expected.iter().filter(|app| freeze.frozen && !frozen.contains(app)).collect();
        self.s.tell();
        Ok(json!({
            "volid": dumped.volid,
            "bytes": checked.bytes,
            "digest": checked.digest,
            "mode": dumped.mode,
            "consistency": dumped.consistency,
            "taken_at": dumped.taken_at,
            "downtime_ms": said.thawed.and_then(|(t, _)| t.measured_ms()),
            "without_freeze": freeze.why,
            "missing": missing,
        }))
    }
}
