//! `configure_guest`: limits first, then the disk, which only grows.

use std::num::NonZeroU32;
use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::operation::Configure;
use felhom_pve::{ConfigUpdate, Guest, GuestConfig, Setting};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::Act;
use super::judge::judge;
use super::power::Subject;
use super::task;
use crate::services::{Services, step_error};

const LIMITS: &str = "set_limits";

async fn guest(s: &Services, cx: &StepContext, ask: &Configure) -> Result<Guest, StepError> {
    let vmid = Subject::Known(ask.guest).vmid(s, cx)?;
    let vmid = vmid.ok_or_else(|| StepError::Failed("there is no guest".to_owned()))?;
    Ok(s.node.guest(vmid))
}

/// `set_limits`: cores, memory, swap; the old values are journaled.
pub(super) struct SetLimits {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub ask: Configure,
}

/// The values before.
#[derive(Debug, Serialize, Deserialize)]
struct Old {
    cores: Option<u32>,
    memory_mib: Option<u32>,
    swap_mib: Option<u32>,
}

impl Old {
    fn is_in(&self, config: &GuestConfig) -> bool {
        let now = (config.cores(), config.memory_mib(), config.swap_mib());
        (self.cores, self.memory_mib, self.swap_mib) == now
    }
}

impl SetLimits {
    fn as_asked(&self, config: &GuestConfig) -> bool {
        let cores = self.ask.cores.is_none_or(|n| config.cores() == Some(u32::from(n)));
        let memory = self.ask.memory_mib.is_none_or(|n| config.memory_mib() == Some(n));
        let swap = self.ask.swap_mib.is_none_or(|n| config.swap_mib() == Some(n));
        cores && memory && swap
    }
}

impl Act for SetLimits {
    fn name(&self) -> &'static str {
        LIMITS
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let config = guest(&self.s, cx, &self.ask).await?.config().await.map_err(|e| step_error(&e))?;
        Intent::of(&Old {
            cores: config.cores(),
            memory_mib: config.memory_mib(),
            swap_mib: config.swap_mib(),
        })
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let config = guest(&self.s, cx, &self.ask).await?.config().await.map_err(|e| step_error(&e))?;
        Ok(if self.as_asked(&config) { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let _approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
        let update = ConfigUpdate {
            cores: self.ask.cores.map(u32::from),
            memory_mib: self.ask.memory_mib,
            swap_mib: self.ask.swap_mib,
            ..ConfigUpdate::default()
        };
        guest(&self.s, cx, &self.ask).await?.set_config(&update).await.map_err(|e| step_error(&e))
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let config = guest(&self.s, cx, &self.ask).await?.config().await.map_err(|e| step_error(&e))?;
        if !self.as_asked(&config) {
            return Err(StepError::Failed("the limits read back differently".to_owned()));
        }
        Ok(
            json!({ "cores": config.cores(), "memory_mib": config.memory_mib(), "swap_mib": config.swap_mib() }),
        )
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(old) = cx.intent_of::<Old>(LIMITS)? else { return Ok(()) };
        // Where nothing was set nothing is put back: what may not be set may not be put back either.
        let now = guest(&self.s, cx, &self.ask).await?.config().await.map_err(|e| step_error(&e))?;
        if old.is_in(&now) {
            return Ok(());
        }
        let update = ConfigUpdate {
            cores: old.cores,
            memory_mib: old.memory_mib,
            swap_mib: old.swap_mib,
            reset: if old.cores.is_none() { vec![Setting::Cores] } else { Vec::new() },
            ..ConfigUpdate::default()
        };
        guest(&self.s, cx, &self.ask).await?.set_config(&update).await.map_err(|e| step_error(&e))
    }
}

/// `grow_disk`: the root disk to the asked size. It cannot shrink again, and loses nothing by growing.
pub(super) struct GrowDisk {
    /// Services.
    pub s: Arc<Services>,
    /// What was asked for.
    pub ask: Configure,
}

impl GrowDisk {
    /// The wanted size, if the disk is smaller than it.
    async fn missing(&self, cx: &StepContext) -> Result<Option<NonZeroU32>, StepError> {
        let Some(wanted) = self.ask.disk_gib.and_then(NonZeroU32::new) else { return Ok(None) };
        let config = guest(&self.s, cx, &self.ask).await?.config().await.map_err(|e| step_error(&e))?;
        let rootfs = config.rootfs().map_err(StepError::failed)?;
        let bytes = rootfs.and_then(|m| m.size_bytes());
        let bytes = bytes.ok_or_else(|| StepError::Failed("the root disk's size is unknown".to_owned()))?;
        Ok((bytes < u64::from(wanted.get()) << 30).then_some(wanted))
    }
}

impl Act for GrowDisk {
    fn name(&self) -> &'static str {
        "grow_disk"
    }

    fn class(&self) -> StepClass {
        StepClass::Compensable
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        Ok(if self.missing(cx).await?.is_none() { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(wanted) = self.missing(cx).await? else { return Ok(()) };
        let _approved = judge(&self.s, &cx.operation()?, Stage::BeforeAct, None).await?;
        let guest = guest(&self.s, cx, &self.ask).await?;
        let upid = guest.resize("rootfs", wanted).await.map_err(|e| step_error(&e))?;
        let exit = task::end_of(&self.s, &upid).await?;
        if exit.is_success() {
            Ok(())
        } else {
            Err(StepError::Failed(format!("the disk did not grow: {exit}")))
        }
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        match self.missing(cx).await? {
            None => Ok(json!({ "disk_gib": self.ask.disk_gib })),
            Some(_) => Err(StepError::Failed("the disk's size reads back smaller".to_owned())),
        }
    }
}
