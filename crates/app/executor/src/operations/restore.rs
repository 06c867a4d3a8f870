//! `restore_archive`: an archive into a new VMID, as tenant, copy or scratch guest.
//!
//! 1. intent: a free VMID, the archive's layout, what existed before;
//! 2. row in the ledger;
//! 3. the gate with everything seen;
//! 4. POST, UPID journaled, task followed;
//! 5. configuration and mark read back.
//!
//! Undo destroys the guest that this operation made, judged by the gate again.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{Intent, Probe, StepContext, StepError};
use felhom_model::observed::Purpose;
use felhom_model::operation::Limits;
use felhom_model::{GuestUuid, Vmid, Volid};
use felhom_pve::{
    BridgeName, Error as PveError, ExitStatus, GuestConfig, NetInterface, NewVolume, PoolId, RestoreMount,
    RestoreRequest, TaskState,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::act::{Act, outcome};
use super::archive::{VERIFY, Verified, choose_vmid, seen_before_act};
use super::growth::Growing;
use super::judge::{refused, resource, verdict};
use super::{task, undo};
use crate::facts::referenced;
use crate::ledger::{GuestDetail, GuestRow, RowState};
use crate::marks::{from_journal, guest_mark, read_guest_mark};
use crate::observe::RealGuest;
use crate::services::{Services, step_error};

/// The step's name.
pub(super) const RESTORE: &str = "restore_archive";
const TASK: &str = "vzrestore";
const NOT_RESTORED: &str = "not_restored";
/// Refusals that are about the archive itself: for a restore test they are its result.
const ABOUT_THE_ARCHIVE: [&str; 4] =
    ["digest_differs", "archive_config_not_allowed", "archive_of_another_guest", "archive_not_in_ledger"];

/// What is made.
#[derive(Debug, Clone)]
pub(super) struct NewGuest {
    /// Its identity.
    pub uuid: GuestUuid,
    /// What for.
    pub purpose: Purpose,
    /// The archive.
    pub archive: Volid,
    /// Hostname; `None` is the purpose with the VMID.
    pub hostname: Option<String>,
    /// Limits; `None` takes the archive's.
    pub limits: Option<Limits>,
    /// Size of the root disk in GiB; `None` takes the archive's.
    pub disk_gib: Option<u32>,
    /// What the ledger says of it besides.
    pub detail: GuestDetail,
}

/// The step.
pub(super) struct RestoreArchive {
    /// Services.
    pub s: Arc<Services>,
    /// What is made.
    pub guest: NewGuest,
    /// A restore that fails is an outcome (of a restore test), not a failure.
    pub tolerant: bool,
}

/// What the intent keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The VMID, observed absent.
    pub vmid: Vmid,
    /// Root disk in GiB.
    pub rootfs_gib: u32,
    /// Mount points in the backup: number → (GiB, path).
    pub mounts: BTreeMap<u8, (u32, String)>,
    /// Networks in the archive besides net0: one that is not overridden would come along with its link up.
    #[serde(default)]
    pub other_nets: Vec<u8>,
    /// Volumes under this VMID that existed before.
    pub volumes_before: Vec<String>,
    /// Restore tasks of this VMID that existed before.
    pub tasks_before: Vec<String>,
    /// Why nothing can be restored at all (restore test).
    #[serde(default)]
    pub impossible: Option<String>,
}

/// Outcome of the step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Restored {
    /// Where it stands.
    pub vmid: Vmid,
    /// Its identity.
    pub guest: GuestUuid,
    /// Whether there is a guest.
    pub restored: bool,
    /// Why not.
    #[serde(default)]
    pub problem: Option<String>,
}

impl Act for RestoreArchive {
    fn name(&self) -> &'static str {
        RESTORE
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let range = match self.guest.purpose {
            Purpose::Tenant => self.s.config.vmids.tenants,
            Purpose::Copy => self.s.config.vmids.copies,
            Purpose::Scratch => self.s.config.vmids.scratch,
            Purpose::Tombstone | Purpose::Foreign => {
                return Err(StepError::Failed(
                    "nothing is restored as a tombstone or foreign guest".to_owned(),
                ));
            }
        };
        let vmid = choose_vmid(&self.s, cx, range).await?;
        let verified: Verified = cx.outcome(VERIFY)?;
        let plan = match (self.layout().await, &verified.problem) {
            (Ok(layout), None) => self.plan(vmid, layout).await?,
            (Err(StepError::Failed(why)), _) if self.tolerant => impossible(vmid, why),
            (Ok(_), Some(why)) if self.tolerant => impossible(vmid, why.clone()),
            (Err(e), _) => return Err(e),
            (Ok(_), Some(why)) => return Err(StepError::Failed(why.clone())),
        };
        Ok(Intent::of(&plan)?.owning(resource(self.guest.uuid)))
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let plan: Plan = cx.intent()?;
        if plan.impossible.is_some() {
            return Ok(Probe::Done);
        }
        if task::of_step(&self.s, cx, (plan.vmid, TASK), &plan.tasks_before).await?.is_some() {
            return Ok(Probe::NotDone);
        }
        // No task was ever forked. Whoever stands there now is not ours.
        let number = plan.vmid;
        if self.s.pve.vmid_is_free(number).await.map_err(|e| step_error(&e))? {
            return Ok(Probe::NotDone);
        }
        Err(StepError::Failed(format!("VMID {} was taken by somebody else meanwhile", plan.vmid)))
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: Plan = cx.intent()?;
        let upid = match cx.act_handle::<String>()? {
            Some(text) => text.parse().map_err(|e| StepError::Unclear(format!("journaled handle: {e}")))?,
            None => match self.post(cx, &plan).await? {
                Ok(upid) => upid,
                Err(why) => {
                    cx.note(NOT_RESTORED, Value::String(why))?;
                    return Ok(());
                }
            },
        };
        let growing = Growing::root_image(self.s.config.storages.guest.clone(), plan.vmid);
        let shown = growing.shown((&self.s, cx), self.unpacked()?, task::end_of(&self.s, &upid));
        let exit = task::unless_cancelled(cx, shown).await?;
        if exit == ExitStatus::Aborted {
            return Err(StepError::Failed(format!("the restore's worker was killed ({upid})")));
        }
        if exit.is_success() || (self.tolerant && task::tells_of_the_archive(&exit)) {
            return Ok(());
        }
        Err(StepError::Failed(format!("Proxmox could not restore {}: {exit}", self.guest.archive)))
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: Plan = cx.intent()?;
        let not = |why: String| outcome(&self.restored(plan.vmid, Some(why)));
        if let Some(why) = plan.impossible {
            return not(why);
        }
        let Some(text) = cx.act_handle::<String>()? else {
            let noted = cx.operation()?.notes.into_iter().find(|n| n.name == NOT_RESTORED);
            return not(noted.and_then(|n| n.data.as_str().map(str::to_owned)).unwrap_or_default());
        };
        let upid = text.parse().map_err(|e| StepError::Unclear(format!("journaled handle: {e}")))?;
        if let TaskState::Stopped(exit) = task::state(&self.s, &upid).await?
            && !exit.is_success()
        {
            return not(exit.to_string());
        }
        self.read_back(cx, plan.vmid).await?;
        outcome(&self.restored(plan.vmid, None))
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(plan) = cx.intent_of::<Plan>(RESTORE)? else { return Ok(()) };
        if plan.impossible.is_some() {
            return Ok(());
        }
        // A task that was forked but not journaled is found first, and ended: it cleans up by itself.
        if let Some(upid) = undo::task_of_act(&self.s, cx, (plan.vmid, TASK), &plan.tasks_before).await? {
            task::stop(&self.s, &upid).await?;
        }
        undo::destroy_made(&self.s, cx, self.guest.uuid, &plan).await
    }
}

struct Layout {
    rootfs_gib: u32,
    mounts: BTreeMap<u8, (u32, String)>,
    other_nets: Vec<u8>,
}

fn impossible(vmid: Vmid, why: String) -> Plan {
    Plan {
        vmid,
        rootfs_gib: 0,
        mounts: BTreeMap::new(),
        other_nets: Vec::new(),
        volumes_before: Vec::new(),
        tasks_before: Vec::new(),
        impossible: Some(why),
    }
}

impl RestoreArchive {
    /// Bytes that are unpacked, where the backup told them.
    fn unpacked(&self) -> Result<Option<u64>, StepError> {
        let all = self.s.ledger.archives().map_err(StepError::failed)?;
        let row = all.into_iter().find(|row| row.volid == self.guest.archive);
        Ok(row.and_then(|row| row.detail.unpacked_bytes))
    }

    fn restored(&self, vmid: Vmid, problem: Option<String>) -> Restored {
        Restored { vmid, guest: self.guest.uuid, restored: problem.is_none(), problem }
    }

    /// Root disk and backed-up mount points of the archive, in GiB, and its networks besides net0.
    async fn layout(&self) -> Result<Layout, StepError> {
        let archive = self.guest.archive.clone();
        let text = self.s.node.extract_config(&archive).await.map_err(|e| step_error(&e))?;
        let config = GuestConfig::from_text(&text).map_err(StepError::failed)?;
        let rootfs = config.rootfs().map_err(StepError::failed)?.and_then(|m| m.size_bytes());
        let gib = |bytes: Option<u64>| {
            let whole = bytes.map(|b| b.div_ceil(1 << 30)).and_then(|g| u32::try_from(g).ok());
            whole
                .filter(|g| *g > 0)
                .ok_or_else(|| StepError::Failed("a volume of the archive has no size".to_owned()))
        };
        let rootfs_gib = match self.guest.disk_gib {
            Some(wanted) => wanted,
            None => gib(rootfs)?,
        };
        let mut mounts = BTreeMap::new();
        for (n, point) in config.mounts().map_err(StepError::failed)? {
            if point.in_backup() {
                mounts.insert(n, (gib(point.mount.size_bytes())?, point.path));
            }
        }
        let nets = config.nets().map_err(StepError::failed)?;
        let other_nets = nets.into_keys().filter(|n| *n != 0).collect();
        Ok(Layout { rootfs_gib, mounts, other_nets })
    }

    async fn plan(&self, vmid: Vmid, layout: Layout) -> Result<Plan, StepError> {
        let Layout { rootfs_gib, mounts, other_nets } = layout;
        let storage = self.s.node.storage(&self.s.config.storages.guest);
        let listed = storage.volumes(Some(vmid)).await.map_err(|e| step_error(&e))?;
        Ok(Plan {
            vmid,
            rootfs_gib,
            mounts,
            other_nets,
            volumes_before: listed.iter().map(|c| c.volid.to_string()).collect(),
            tasks_before: task::known(&self.s, vmid, TASK).await?,
            impossible: None,
        })
    }

    /// The task, or why the archive itself forbids it (restore test).
    async fn post(
        &self,
        cx: &StepContext,
        plan: &Plan,
    ) -> Result<Result<felhom_pve::Upid, String>, StepError> {
        let operation = from_journal(cx.operation_id());
        self.s.ledger.record_guest(&GuestRow {
            uuid: self.guest.uuid,
            purpose: self.guest.purpose,
            vmid: plan.vmid,
            state: RowState::Making,
            made_by: operation,
            detail: self.guest.detail.clone(),
        })?;
        let verified: Verified = cx.outcome(VERIFY)?;
        let seen = seen_before_act(&self.s, &self.guest.archive, &verified, plan.vmid).await?;
        let approved = match verdict(&self.s, &cx.operation()?, Stage::BeforeAct, Some(&seen)).await? {
            Ok(approved) => approved,
            Err(reason) if self.tolerant && ABOUT_THE_ARCHIVE.contains(&reason.code) => {
                return Ok(Err(reason.to_string()));
            }
            Err(reason) => return Err(refused(&reason)),
        };
        tracing::info!(operation = %operation, reason = %approved.reason(), "restoring");
        let request = self.request(plan, operation)?;
        let upid = self.s.node.restore(&request).await.map_err(|e| step_error(&e))?;
        cx.save_handle(&upid.to_string())?;
        Ok(Ok(upid))
    }

    fn request(
        &self,
        plan: &Plan,
        operation: felhom_model::OperationId,
    ) -> Result<RestoreRequest, StepError> {
        let storage = self.s.config.storages.guest.clone();
        let volume = |gib: u32| {
            let gib =
                NonZeroU32::new(gib).ok_or_else(|| StepError::Failed("a volume of 0 GiB".to_owned()))?;
            Ok::<_, StepError>(NewVolume { storage: storage.clone(), gib })
        };
        let mut mounts = BTreeMap::new();
        for (n, (gib, path)) in &plan.mounts {
            mounts.insert(*n, RestoreMount { volume: volume(*gib)?, path: path.clone(), backup: true });
        }
        let bridge = BridgeName::new(self.s.config.bridge.clone()).map_err(StepError::failed)?;
        let mut nets = BTreeMap::from([(0, NetInterface::dhcp("eth0", bridge.clone()))]);
        if self.guest.purpose != Purpose::Tenant {
            let others =
                plan.other_nets.iter().map(|n| (*n, NetInterface::dhcp(&format!("eth{n}"), bridge.clone())));
            nets.extend(others);
            nets.values_mut().for_each(|net| net.link_down = Some(true));
        }
        let named = || format!("{}-{}", self.guest.purpose.name(), plan.vmid);
        let limits = self.guest.limits;
        Ok(RestoreRequest {
            vmid: plan.vmid,
            archive: self.guest.archive.clone(),
            pool: PoolId::new(self.s.config.pve.pool.clone()).map_err(StepError::failed)?,
            storage: storage.clone(),
            rootfs: volume(plan.rootfs_gib)?,
            mounts,
            nets,
            hostname: self.guest.hostname.clone().unwrap_or_else(named),
            description: guest_mark(self.guest.uuid, operation),
            memory_mib: limits.map(|l| l.memory_mib),
            swap_mib: limits.map(|l| l.swap_mib),
            cores: limits.map(|l| u32::from(l.cores)),
        })
    }

    /// The guest is there, unlocked, and carries our mark; its volumes go into the ledger.
    async fn read_back(&self, cx: &StepContext, vmid: Vmid) -> Result<(), StepError> {
        let guest = self.s.node.guest(vmid);
        let config = match guest.config().await {
            Ok(config) => config,
            Err(e @ (PveError::NotFound(_) | PveError::Forbidden(_))) => {
                return Err(StepError::Failed(format!("after the restore the guest is not there: {e}")));
            }
            Err(e) => return Err(step_error(&e)),
        };
        let status = guest.status().await.map_err(|e| step_error(&e))?;
        let operation = from_journal(cx.operation_id());
        if read_guest_mark(config.description()) != felhom_gate::Mark::Names(self.guest.uuid, operation) {
            return Err(StepError::Failed(format!("guest {vmid} does not carry this operation's mark")));
        }
        if self.guest.purpose != Purpose::Tenant {
            let nets = config.nets().map_err(StepError::failed)?;
            if let Some((n, _)) = nets.iter().find(|(_, net)| net.link_down != Some(true)) {
                return Err(StepError::Failed(format!(
                    "net{n} of guest {vmid} is up: it would be a live twin"
                )));
            }
        }
        let volumes = referenced(&RealGuest { vmid, status, config });
        Ok(self.s.ledger.change_guest(self.guest.uuid, |row| row.detail.volumes.clone_from(&volumes))?)
    }
}
