//! Start, stop and reboot of a guest.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::{GuestUuid, Vmid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::judge::judge;
use super::restore::{RESTORE, Restored};
use super::running::{runs, start_again};
use super::task;
use crate::services::{Services, step_error};

/// Name of the start step.
pub(super) const START: &str = "start";

/// Which guest a step works on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    /// One that the ledger has.
    Known(GuestUuid),
    /// The one that this operation restored.
    Restored,
}

impl Subject {
    /// Where it stands; `None` if this operation restored none (restore test).
    ///
    /// # Errors
    /// [`StepError::Failed`] if the ledger does not have it.
    pub(super) fn vmid(self, s: &Services, cx: &StepContext) -> Result<Option<Vmid>, StepError> {
        match self {
            Self::Restored => {
                let restored: Restored = cx.outcome(RESTORE)?;
                Ok(restored.restored.then_some(restored.vmid))
            }
            Self::Known(uuid) => {
                let row = s.ledger.guest(uuid).map_err(StepError::failed)?;
                row.map(|row| Some(row.vmid))
                    .ok_or_else(|| StepError::Failed(format!("guest {uuid} is not in the ledger")))
            }
        }
    }
}

/// What power steps do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// Start it.
    Start,
    /// Shut it down, and stop it if it does not within its time.
    Stop,
    /// Shut it down and start it.
    Reboot,
}

/// The step.
pub(super) struct PowerStep {
    /// Services.
    pub s: Arc<Services>,
    /// Which guest.
    pub subject: Subject,
    /// What.
    pub power: Power,
    /// A start that fails is an outcome (of a restore test), not a failure.
    pub tolerant: bool,
    /// Its name in the journal, where one operation has two of a kind.
    pub named: Option<&'static str>,
    /// What the gate is asked as: after steps of its own that change its targets, an operation resumes.
    pub stage: Stage,
}

#[derive(Serialize, Deserialize)]
struct Plan {
    vmid: Option<Vmid>,
    running_before: bool,
    tasks_before: Vec<String>,
}

/// Outcome of a power step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Powered {
    /// Whether it runs now.
    pub running: bool,
    /// Why the wanted state was not reached (restore test).
    #[serde(default)]
    pub problem: Option<String>,
    /// The process that saw it so, in which boot.
    #[serde(default)]
    pub seen_by: String,
}

/// This process, in this boot of the host: another one may have slept through a power cut.
pub(super) fn seen_by(s: &Services) -> String {
    format!("{} {}", s.boot, std::process::id())
}

impl Power {
    fn task(self) -> &'static str {
        match self {
            Self::Start => "vzstart",
            Self::Stop => "vzshutdown",
            Self::Reboot => "vzreboot",
        }
    }
}

impl PowerStep {
    async fn post(&self, cx: &StepContext, vmid: Vmid) -> Result<felhom_pve::Upid, StepError> {
        // The gate looks again: a backup may hold the guest by now.
        if matches!(self.subject, Subject::Known(_)) {
            let _approved = judge(&self.s, &cx.operation()?, self.stage, None).await?;
        }
        let guest = self.s.node.guest(vmid);
        let timeout = self.s.config.timeouts.shutdown_s;
        let posted = match self.power {
            Power::Start => guest.start().await,
            Power::Stop => guest.shutdown(timeout, true).await,
            Power::Reboot => guest.reboot(timeout).await,
        };
        let upid = posted.map_err(|e| step_error(&e))?;
        cx.save_handle(&upid.to_string())?;
        Ok(upid)
    }
}

impl Act for PowerStep {
    fn name(&self) -> &'static str {
        self.named.unwrap_or(match self.power {
            Power::Start => START,
            Power::Stop => "stop",
            Power::Reboot => "reboot",
        })
    }

    fn class(&self) -> StepClass {
        StepClass::Compensable
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let Some(vmid) = self.subject.vmid(&self.s, cx)? else {
            return Intent::of(&Plan { vmid: None, running_before: false, tasks_before: Vec::new() });
        };
        let running_before = runs(&self.s, vmid).await?;
        let tasks_before = task::known(&self.s, vmid, self.power.task()).await?;
        Intent::of(&Plan { vmid: Some(vmid), running_before, tasks_before })
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let plan: Plan = cx.intent()?;
        let Some(vmid) = plan.vmid else { return Ok(Probe::Done) };
        let known = task::of_step(&self.s, cx, (vmid, self.power.task()), &plan.tasks_before).await?;
        if known.is_some() {
            return Ok(Probe::NotDone);
        }
        let running = runs(&self.s, vmid).await?;
        Ok(match self.power {
            Power::Start if running => Probe::Done,
            Power::Stop if !running => Probe::Done,
            Power::Start | Power::Stop | Power::Reboot => Probe::NotDone,
        })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: Plan = cx.intent()?;
        let Some(vmid) = plan.vmid else { return Ok(()) };
        let upid = match cx.act_handle::<String>()? {
            Some(text) => text.parse().map_err(|e| StepError::Unclear(format!("journaled handle: {e}")))?,
            None => self.post(cx, vmid).await?,
        };
        let exit = task::end_of(&self.s, &upid).await?;
        if exit.is_success() {
            return Ok(());
        }
        if self.tolerant && task::tells_of_the_archive(&exit) {
            return cx.note("not_started", Value::String(exit.to_string()));
        }
        // Somebody else may have done it meanwhile: what counts is how it is.
        let wanted = self.power != Power::Stop;
        if runs(&self.s, vmid).await? == wanted && self.power != Power::Reboot {
            return Ok(());
        }
        Err(StepError::Failed(format!("Proxmox could not {} guest {vmid}: {exit}", self.name())))
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: Plan = cx.intent()?;
        let Some(vmid) = plan.vmid else {
            return outcome(&Powered {
                running: false,
                problem: Some("there is no guest".to_owned()),
                seen_by: seen_by(&self.s),
            });
        };
        let running = runs(&self.s, vmid).await?;
        let wanted = self.power != Power::Stop;
        if running != wanted && !self.tolerant {
            let is = if running { "running" } else { "stopped" };
            return Err(StepError::Failed(format!("guest {vmid} is {is} after {}", self.name())));
        }
        if self.power == Power::Stop
            && let Subject::Known(uuid) = self.subject
        {
            let now = self.s.now();
            self.s.ledger.change_guest(uuid, |row| row.detail.last_stopped = Some(now))?;
        }
        let noted = cx.operation()?.notes.into_iter().rev().find(|n| n.name == "not_started");
        let problem = noted.and_then(|n| n.data.as_str().map(str::to_owned)).filter(|_| !running);
        outcome(&Powered { running, problem, seen_by: seen_by(&self.s) })
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        // What a restored guest does is ended by its destruction; what stood before is put back as it was.
        let Subject::Known(_) = self.subject else { return Ok(()) };
        let Some(Plan { vmid: Some(vmid), running_before, .. }) = cx.intent_of(self.name())? else {
            return Ok(());
        };
        if runs(&self.s, vmid).await? == running_before {
            return Ok(());
        }
        if running_before {
            // One that does not start any more is no reason to stand: how it is, everybody sees.
            if let Err(why) = start_again(&self.s, cx, vmid).await? {
                tracing::warn!(operation = %cx.operation_id(), %vmid, why, "it is not put back");
            }
            return Ok(());
        }
        let posted = self.s.node.guest(vmid).shutdown(self.s.config.timeouts.shutdown_s, true).await;
        let exit = task::end_of(&self.s, &posted.map_err(|e| step_error(&e))?).await?;
        tracing::info!(operation = %cx.operation_id(), %vmid, %exit, outcome = %json!(running_before), "put back");
        Ok(())
    }
}
