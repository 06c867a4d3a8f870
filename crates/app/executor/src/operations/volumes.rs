//! `move_volumes`: what no backup holds goes over to the other container, never copied, never destroyed.
//!
//! For each mount point that is not in the backup:
//! 1. is it there already?
//! 2. a move that runs is waited for;
//! 3. is the target unprotected (F82) and the volume really there (F84)?
//! 4. one move, a rename;
//! 5. both configurations are read.
//!
//! Proxmox renames a volume, takes it out of one configuration and writes it into the other. A move that died after the first
//! leaves a configuration that names what is not there any more: it lets go of that, once the volume was found under the other
//! number. One that is in nobody's configuration then, or because a move died after the second, is entered again by name (F83).
//!
//! Bind mounts change their place by two root acts. Undo is the same the other way. Each finished move is noted with both names.

use std::collections::BTreeMap;
use std::sync::Arc;

use felhom_host::BindMount;
use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Vmid, Volid};
use felhom_pve::{
    AttachedVolume, ConfigUpdate, GuestConfig, MountPoint, Setting, Source, VolumeKey, VolumeMove,
    volume_owner,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::missing::is_there;
use super::{power::Subject, task};
use crate::services::{Services, step_error};

const MOVE: &str = "move_volumes";
const TASK: &str = "move_volume";

/// The step.
pub(super) struct MoveVolumes {
    /// Services.
    pub s: Arc<Services>,
    /// Whose volumes.
    pub from: GuestUuid,
    /// Who gets them.
    pub to: GuestUuid,
}

/// What the intent keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    from: Vmid,
    to: Vmid,
    /// Mount points that go over, as they are before: number → `mpN`'s text.
    points: BTreeMap<u8, String>,
    /// Unused volumes that each side had before: nothing of them is ever attached.
    unused: BTreeMap<Vmid, Vec<Volid>>,
}

impl Plan {
    fn point(&self, n: u8) -> Result<MountPoint, StepError> {
        let text = self.points.get(&n).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|e: felhom_pve::InvalidProperty| StepError::Failed(e.to_string()))
    }
}

/// One direction of the way.
#[derive(Debug, Clone, Copy)]
struct Way {
    from: Vmid,
    to: Vmid,
}

impl MoveVolumes {
    async fn config(&self, vmid: Vmid) -> Result<GuestConfig, StepError> {
        self.s.node.guest(vmid).config().await.map_err(|e| step_error(&e))
    }

    fn vmid(&self, cx: &StepContext, guest: GuestUuid) -> Result<Vmid, StepError> {
        let vmid = Subject::Known(guest).vmid(&self.s, cx)?;
        vmid.ok_or_else(|| StepError::Failed("there is no guest".to_owned()))
    }

    async fn carry(&self, cx: &StepContext, plan: &Plan, way: Way) -> Result<(), StepError> {
        for n in plan.points.keys() {
            let point = plan.point(*n)?;
            match &point.mount.source {
                Source::Host(host) => self.carry_bind(&point, host, *n, way).await?,
                Source::Volume(_) => self.carry_volume(cx, (plan, *n, &point), way).await?,
            }
        }
        Ok(())
    }

    /// First taken away, then given: at no time do two guests hold one directory.
    async fn carry_bind(&self, point: &MountPoint, host: &str, n: u8, way: Way) -> Result<(), StepError> {
        let read_only = point.mount.other.iter().any(|(key, value)| key == "ro" && value == "1");
        let bind = BindMount { host: host.to_owned(), guest: point.path.clone(), read_only };
        let failed = |e: felhom_host::HostError| StepError::Failed(e.to_string());
        let taken = self.s.host.remove_bind_mount(way.from, n, host.as_ref()).await.map_err(failed)?;
        let given = self.s.host.set_bind_mount(way.to, n, &bind).await.map_err(failed)?;
        tracing::info!(host, from = %way.from, to = %way.to, ?taken, ?given, "bind mount re-pointed");
        Ok(())
    }

    async fn carry_volume(
        &self,
        cx: &StepContext,
        (plan, n, point): (&Plan, u8, &MountPoint),
        way: Way,
    ) -> Result<(), StepError> {
        let request = VolumeMove {
            key: VolumeKey::Mount(n),
            target: way.to,
            target_key: VolumeKey::Mount(n),
            digest: None,
            target_digest: None,
        };
        task::wait_for_running(&self.s, TASK, &request.task_id(way.from)).await?;
        let (from, to) = (self.config(way.from).await?, self.config(way.to).await?);
        if let Some(volid) = arrived(&to, n, way.to)? {
            if is_there(&self.s, &volid).await? {
                return Ok(());
            }
            return self.let_go((plan, n, &volid), (way.to, way.from)).await;
        }
        let standing = from.mounts().map_err(StepError::failed)?.remove(&n);
        let Some(standing) = standing.filter(|there| there.path == point.path) else {
            return self.attach_lost((plan, n, point), way).await;
        };
        if let Some(volid) = standing.mount.volume()
            && !is_there(&self.s, volid).await?
        {
            return self.let_go((plan, n, volid), (way.from, way.to)).await;
        }
        if to.protection() {
            return Err(StepError::Failed(format!(
                "guest {} is protected: a volume that is moved to it would be in nobody's configuration",
                way.to
            )));
        }
        let request = VolumeMove {
            digest: from.digest().map(str::to_owned),
            target_digest: to.digest().map(str::to_owned),
            ..request
        };
        let posted = self.s.node.guest(way.from).move_volume(&request).await;
        let upid = posted.map_err(|e| step_error(&e))?;
        cx.save_handle(&upid.to_string())?;
        let exit = task::end_of(&self.s, &upid).await?;
        let now = self.config(way.to).await?;
        if arrived(&now, n, way.to)?.is_none() {
            // The next try asks anew where the volume is.
            return Err(StepError::Transient(format!(
                "mp{n} of guest {} is not moved yet: {exit}",
                way.from
            )));
        }
        let moved = now.mounts().map_err(StepError::failed)?.remove(&n);
        cx.note(
            "volume_moved",
            json!({ "from": standing.mount.source.to_string(), "to": moved.map(|m| m.mount.source.to_string()) }),
        )
    }

    /// A volume of neither: the root act enters it as unused where its name belongs, and it is attached from there.
    async fn attach_lost(
        &self,
        (plan, n, point): (&Plan, u8, &MountPoint),
        way: Way,
    ) -> Result<(), StepError> {
        for side in [way.to, way.from] {
            let Some(volid) = self.found_at(plan, side).await? else { continue };
            tracing::warn!(%volid, guest = %side, "a volume that no configuration named is attached again");
            let mut again = point.clone();
            again.mount.source = Source::Volume(volid);
            let mount = AttachedVolume::try_from(again).map_err(StepError::failed)?;
            let update = ConfigUpdate { mounts: BTreeMap::from([(n, mount)]), ..ConfigUpdate::default() };
            self.s.node.guest(side).set_config(&update).await.map_err(|e| step_error(&e))?;
            return Err(StepError::Transient(format!("mp{n} is attached to guest {side} again")));
        }
        Err(StepError::Unclear(format!(
            "the volume of mp{n} ({}) is in neither guest's configuration and was not found under either name",
            point.mount.source
        )))
    }

    /// A volume under a guest's number that appeared since the step's intent and is in no configuration.
    async fn found_at(&self, plan: &Plan, side: Vmid) -> Result<Option<Volid>, StepError> {
        self.s.host.rescan(side).await.map_err(|e| StepError::Transient(e.to_string()))?;
        let before = plan.unused.get(&side).cloned().unwrap_or_default();
        let unused = self.config(side).await?.unused().map_err(StepError::failed)?;
        for volid in unused.into_values().filter_map(|mount| mount.volume().cloned()) {
            let new = !before.contains(&volid) && volume_owner(&volid) == Some(side);
            if new && is_there(&self.s, &volid).await? {
                return Ok(Some(volid));
            }
        }
        Ok(None)
    }

    /// A configuration names a volume that is not there. If a killed move renamed it, it is under the other number, and the
    /// configuration lets go of the old name; the next try enters the volume. Else nothing is touched: its disk may be away.
    async fn let_go(
        &self,
        (plan, n, volid): (&Plan, u8, &Volid),
        (named_by, other): (Vmid, Vmid),
    ) -> Result<(), StepError> {
        let Some(renamed) = self.found_at(plan, other).await? else {
            return Err(StepError::Failed(format!("the volume {volid} does not exist; nothing was moved")));
        };
        tracing::warn!(%volid, %renamed, "a killed move renamed a volume; it is taken up");
        let update = ConfigUpdate { reset: vec![Setting::Mount(n)], ..ConfigUpdate::default() };
        self.s.node.guest(named_by).set_config(&update).await.map_err(|e| step_error(&e))?;
        Err(StepError::Transient(format!(
            "mp{n} of guest {named_by} was renamed to {renamed} by a killed move"
        )))
    }
}

/// What the target has under this key, if it carries the target's number.
fn arrived(target: &GuestConfig, n: u8, vmid: Vmid) -> Result<Option<Volid>, StepError> {
    let points = target.mounts().map_err(StepError::failed)?;
    let volume = points.get(&n).and_then(|point| point.mount.volume().cloned());
    Ok(volume.filter(|volid| volume_owner(volid) == Some(vmid)))
}

impl Act for MoveVolumes {
    fn name(&self) -> &'static str {
        MOVE
    }

    fn class(&self) -> StepClass {
        StepClass::Undoable
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let (from, to) = (self.vmid(cx, self.from)?, self.vmid(cx, self.to)?);
        let (source, target) = (self.config(from).await?, self.config(to).await?);
        let taken = target.mounts().map_err(StepError::failed)?;
        let mut points = BTreeMap::new();
        for (n, point) in source.mounts().map_err(StepError::failed)? {
            if point.in_backup() {
                continue;
            }
            if taken.contains_key(&n) {
                return Err(StepError::Failed(format!(
                    "mp{n} of guest {to} is taken; mp{n} of {from} goes nowhere"
                )));
            }
            points.insert(n, point.to_string());
        }
        let unused = |config: &GuestConfig| {
            let all = config.unused().map_err(StepError::failed)?;
            Ok::<_, StepError>(all.into_values().filter_map(|m| m.volume().cloned()).collect::<Vec<_>>())
        };
        let unused = BTreeMap::from([(from, unused(&source)?), (to, unused(&target)?)]);
        Intent::of(&Plan { from, to, points, unused })
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let plan: Plan = cx.intent()?;
        // Every part of the act asks first itself where each volume is.
        Ok(if plan.points.is_empty() { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: Plan = cx.intent()?;
        self.carry(cx, &plan, Way { from: plan.from, to: plan.to }).await
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: Plan = cx.intent()?;
        let now = self.config(plan.to).await?.mounts().map_err(StepError::failed)?;
        let moved: BTreeMap<u8, String> = now
            .into_iter()
            .filter(|(n, _)| plan.points.contains_key(n))
            .map(|(n, point)| (n, point.mount.source.to_string()))
            .collect();
        if moved.len() != plan.points.len() {
            return Err(StepError::Failed(format!("not every volume of guest {} arrived", plan.from)));
        }
        outcome(&moved)
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(plan) = cx.intent_of::<Plan>(MOVE)? else { return Ok(()) };
        self.carry(cx, &plan, Way { from: plan.to, to: plan.from }).await
    }
}
