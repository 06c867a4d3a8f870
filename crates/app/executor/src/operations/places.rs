//! `change_places`: the customer's guest goes over to the other container, with its MAC address, host name and mark.
//!
//! 1. ledger, in one transaction;
//! 2. the new container gets interfaces, host name and mark of the old one;
//! 3. the old one gets the other mark.
//!
//! Each can be read back, so a crash in between goes on where it was. Undo is the same the other way.

use std::collections::BTreeMap;
use std::sync::Arc;

use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, Vmid};
use felhom_pve::{GuestConfig, NetInterface};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, outcome};
use super::picture::{Picture, apply, links};
use super::power::START;
use crate::audit::{Kind, Record};
use crate::ledger::{GuestRow, Places};
use crate::marks::{from_journal, guest_mark};
use crate::services::{Services, step_error};

/// The step's name.
pub(super) const PLACES: &str = "change_places";

/// The step.
pub(super) struct ChangePlaces {
    /// Services.
    pub s: Arc<Services>,
    /// The customer's guest.
    pub tenant: GuestUuid,
    /// The copy, or the tombstone that comes back.
    pub other: GuestUuid,
}

/// What the intent keeps of one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Side {
    /// Where it is.
    pub vmid: Vmid,
    before: Picture,
    after: Picture,
}

/// What the intent keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The container that the customer's guest leaves.
    pub old: Side,
    /// The one that it goes over to.
    pub new: Side,
    other_was_copy: bool,
}

impl ChangePlaces {
    fn row(&self, uuid: GuestUuid) -> Result<GuestRow, StepError> {
        let row = self.s.ledger.guest(uuid).map_err(StepError::failed)?;
        row.ok_or_else(|| StepError::Failed(format!("guest {uuid} is not in the ledger")))
    }

    async fn config(&self, vmid: Vmid) -> Result<GuestConfig, StepError> {
        self.s.node.guest(vmid).config().await.map_err(|e| step_error(&e))
    }

    /// Written down before and after, whichever way it goes.
    fn record(&self, cx: &StepContext, kind: Kind, to: Vmid) -> Result<(), StepError> {
        let data = json!({ "guest": self.tenant, "other": self.other, "to": to });
        Ok(self.s.audit(&Record::new(kind, data).of(from_journal(cx.operation_id()), Some(self.tenant)))?)
    }

    async fn change(&self, plan: &Plan) -> Result<(), StepError> {
        self.s.ledger.change_places(Places {
            tenant: self.tenant,
            to: plan.new.vmid,
            other: self.other,
            other_is: Purpose::Tombstone,
        })?;
        apply(&self.s, plan.new.vmid, &plan.new.after).await?;
        apply(&self.s, plan.old.vmid, &plan.old.after).await
    }
}

impl Act for ChangePlaces {
    fn name(&self) -> &'static str {
        PLACES
    }

    fn class(&self) -> StepClass {
        StepClass::Undoable
    }

    async fn intent(&self, _: &StepContext) -> Result<Intent, StepError> {
        let (tenant, other) = (self.row(self.tenant)?, self.row(self.other)?);
        let (old, new) = (self.config(tenant.vmid).await?, self.config(other.vmid).await?);
        let new_after = Picture {
            description: Some(guest_mark(self.tenant, other.made_by)),
            hostname: old.hostname().map(str::to_owned),
            nets: taken_over(&old, &new)?,
            ..Picture::default()
        };
        let old_after =
            Picture { description: Some(guest_mark(self.other, tenant.made_by)), ..Picture::default() };
        Intent::of(&Plan {
            old: Side { vmid: tenant.vmid, before: old_after.like(&old), after: old_after },
            new: Side { vmid: other.vmid, before: new_after.like(&new), after: new_after },
            other_was_copy: other.purpose == Purpose::Copy,
        })
    }

    async fn probe(&self, _: &StepContext) -> Result<Probe, StepError> {
        // Every part of the act asks first itself.
        Ok(Probe::NotDone)
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: Plan = cx.intent()?;
        self.record(cx, Kind::ChangingPlaces, plan.new.vmid)?;
        self.change(&plan).await?;
        self.record(cx, Kind::ChangedPlaces, plan.new.vmid)
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: Plan = cx.intent()?;
        for side in [&plan.new, &plan.old] {
            if !side.after.is_in(&self.config(side.vmid).await?)? {
                return Err(StepError::Failed(format!("guest {} reads back differently", side.vmid)));
            }
        }
        outcome(&plan)
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(plan) = cx.intent_of::<Plan>(PLACES)? else { return Ok(()) };
        self.record(cx, Kind::ChangingPlaces, plan.old.vmid)?;
        // One that was started may hold what exists nowhere else: it stays as a tombstone, which is never just discarded.
        let started = cx.intent_of::<Value>(START)?.is_some();
        let other_is = if plan.other_was_copy && !started { Purpose::Copy } else { Purpose::Tombstone };
        self.s.ledger.change_places(Places {
            tenant: self.tenant,
            to: plan.old.vmid,
            other: self.other,
            other_is,
        })?;
        apply(&self.s, plan.old.vmid, &plan.old.before).await?;
        apply(&self.s, plan.new.vmid, &plan.new.before).await?;
        self.record(cx, Kind::ChangedPlaces, plan.old.vmid)
    }
}

/// The old container's interfaces with their links up. One that only the new container has keeps its link down.
fn taken_over(old: &GuestConfig, new: &GuestConfig) -> Result<BTreeMap<u8, String>, StepError> {
    let mut nets = links(new, true)?;
    for (n, net) in old.nets().map_err(StepError::failed)? {
        let up = NetInterface { link_down: None, ..net };
        nets.insert(n, up.to_string());
    }
    Ok(nets)
}
