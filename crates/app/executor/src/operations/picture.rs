//! Steps that change some of a guest's configuration and can put it back: a *picture* of those parts before and after.
//!
//! 1. intent: where the guest stands, the parts as they are, the parts as they shall be;
//! 2. probe: do they look so already?
//! 3. act: one PUT; 4. confirm: read back; 5. undo: one PUT with the parts as they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use felhom_journal::{Intent, Probe, StepClass, StepContext, StepError};
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, Vmid};
use felhom_pve::{ConfigUpdate, GuestConfig, NetInterface};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::act::{Act, outcome};
use super::power::Subject;
use crate::services::{Services, step_error};

/// Parts of a configuration; what is absent is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Picture {
    #[serde(default)]
    pub onboot: Option<bool>,
    #[serde(default)]
    pub protection: Option<bool>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    #[serde(default)]
    pub hostname: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub nets: BTreeMap<u8, String>,
}

impl Picture {
    /// The same parts, as they are in `config`.
    pub(super) fn like(&self, config: &GuestConfig) -> Self {
        let tags = || config.tags().into_iter().map(str::to_owned).collect();
        let net = |n: &u8| config.get(&format!("net{n}")).map(|text| (*n, text.to_owned()));
        Self {
            onboot: self.onboot.map(|_| config.onboot()),
            protection: self.protection.map(|_| config.protection()),
            tags: self.tags.as_ref().map(|_| tags()),
            hostname: self.hostname.as_ref().and_then(|_| config.hostname().map(str::to_owned)),
            description: self.description.as_ref().map(|_| config.description().trim_end().to_owned()),
            nets: self.nets.keys().filter_map(net).collect(),
        }
    }

    pub(super) fn is_in(&self, config: &GuestConfig) -> Result<bool, StepError> {
        let now = self.like(config);
        // Proxmox writes an interface in its own order, and fills in what is absent.
        let mut nets_equal = self.nets.len() == now.nets.len();
        for (n, text) in &self.nets {
            let Some(there) = now.nets.get(n) else { return Ok(false) };
            nets_equal &= same_net(&net(text)?, &net(there)?);
        }
        Ok(nets_equal
            && Self { nets: BTreeMap::new(), ..now } == Self { nets: BTreeMap::new(), ..self.clone() })
    }

    fn update(&self) -> Result<ConfigUpdate, StepError> {
        let mut nets = BTreeMap::new();
        for (n, text) in &self.nets {
            nets.insert(*n, net(text)?);
        }
        Ok(ConfigUpdate {
            onboot: self.onboot,
            protection: self.protection,
            tags: self.tags.clone(),
            hostname: self.hostname.clone(),
            description: self.description.clone(),
            nets,
            ..ConfigUpdate::default()
        })
    }
}

fn net(text: &str) -> Result<NetInterface, StepError> {
    text.parse().map_err(|e: felhom_pve::InvalidProperty| StepError::Failed(e.to_string()))
}

fn same_net(wanted: &NetInterface, there: &NetInterface) -> bool {
    let down = |net: &NetInterface| net.link_down == Some(true);
    let same_address = wanted.hwaddr.is_none() || wanted.hwaddr == there.hwaddr;
    down(wanted) == down(there)
        && same_address
        && (&wanted.name, &wanted.bridge, &wanted.ip, &wanted.gw, wanted.tag)
            == (&there.name, &there.bridge, &there.ip, &there.gw, there.tag)
}

/// The interfaces of a guest with their links down or up, by number.
///
/// # Errors
/// [`StepError::Failed`] if Proxmox shows one that cannot be read.
pub(super) fn links(config: &GuestConfig, down: bool) -> Result<BTreeMap<u8, String>, StepError> {
    let nets = config.nets().map_err(StepError::failed)?;
    Ok(nets.into_iter().map(|(n, net)| (n, net.with_link_down(down).to_string())).collect())
}

/// Makes a guest look so, unless it does already.
///
/// # Errors
/// [`StepError`] if Proxmox does not answer or refuses.
pub(super) async fn apply(s: &Services, vmid: Vmid, picture: &Picture) -> Result<(), StepError> {
    let guest = s.node.guest(vmid);
    if picture.is_in(&guest.config().await.map_err(|e| step_error(&e))?)? {
        return Ok(());
    }
    guest.set_config(&picture.update()?).await.map_err(|e| step_error(&e))
}

/// How a guest shall look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It does not start with the host and reaches nobody.
    Closed,
    /// Proxmox lets its volumes and itself be changed: a move to a protected guest loses the volume (F82).
    Unprotected,
    /// It starts with the host.
    InService,
    /// A tombstone: protected, and marked for people.
    Entombed,
}

/// The step.
pub(super) struct Reconfigure {
    /// Services.
    pub s: Arc<Services>,
    /// Its name.
    pub name: &'static str,
    /// Whose configuration.
    pub guest: GuestUuid,
    /// How it shall look.
    pub look: Look,
}

/// What the intent keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Plan {
    vmid: Vmid,
    purpose: String,
    before: Picture,
    after: Picture,
}

impl Look {
    fn picture(self, config: &GuestConfig) -> Result<Picture, StepError> {
        let tags = |word: &str| Some(vec!["felhom".to_owned(), word.to_owned()]);
        Ok(match self {
            Self::Closed => Picture { onboot: Some(false), nets: links(config, true)?, ..Picture::default() },
            Self::Unprotected => Picture { protection: Some(false), ..Picture::default() },
            Self::InService => Picture { onboot: Some(true), tags: tags("tenant"), ..Picture::default() },
            Self::Entombed => {
                Picture { protection: Some(true), tags: tags("tombstone"), ..Picture::default() }
            }
        })
    }
}

impl Reconfigure {
    async fn config(&self, vmid: Vmid) -> Result<GuestConfig, StepError> {
        self.s.node.guest(vmid).config().await.map_err(|e| step_error(&e))
    }

    /// The ledger says what a guest is, before its configuration shows it to people.
    fn becomes(&self, purpose: Purpose) -> Result<(), StepError> {
        match self.look {
            Look::Entombed => Ok(self.s.ledger.change_guest(self.guest, |row| row.purpose = purpose)?),
            Look::Closed | Look::Unprotected | Look::InService => Ok(()),
        }
    }
}

impl Act for Reconfigure {
    fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> StepClass {
        StepClass::Undoable
    }

    async fn intent(&self, cx: &StepContext) -> Result<Intent, StepError> {
        let vmid = Subject::Known(self.guest).vmid(&self.s, cx)?;
        let vmid = vmid.ok_or_else(|| StepError::Failed("there is no guest".to_owned()))?;
        let row = self.s.ledger.guest(self.guest).map_err(StepError::failed)?;
        let purpose = row.map_or(Purpose::Foreign, |row| row.purpose).name().to_owned();
        let config = self.config(vmid).await?;
        let after = self.look.picture(&config)?;
        Intent::of(&Plan { vmid, purpose, before: after.like(&config), after })
    }

    async fn probe(&self, cx: &StepContext) -> Result<Probe, StepError> {
        let plan: Plan = cx.intent()?;
        let looks_so = plan.after.is_in(&self.config(plan.vmid).await?)?;
        Ok(if looks_so && self.look != Look::Entombed { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let plan: Plan = cx.intent()?;
        self.becomes(Purpose::Tombstone)?;
        apply(&self.s, plan.vmid, &plan.after).await
    }

    async fn confirm(&self, cx: &StepContext) -> Result<Value, StepError> {
        let plan: Plan = cx.intent()?;
        if !plan.after.is_in(&self.config(plan.vmid).await?)? {
            return Err(StepError::Failed(format!("guest {} reads back differently", plan.vmid)));
        }
        outcome(&plan)
    }

    async fn undo(&self, cx: &StepContext) -> Result<(), StepError> {
        let Some(plan) = cx.intent_of::<Plan>(self.name)? else { return Ok(()) };
        if plan.purpose == Purpose::Tenant.name() {
            self.becomes(Purpose::Tenant)?;
        }
        apply(&self.s, plan.vmid, &plan.before).await
    }
}
