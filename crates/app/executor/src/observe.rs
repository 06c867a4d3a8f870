//! Observation: Proxmox as it is now, joined with ledger and journal. Never cached for a decision. Who only plans and
//! reports gets a [`Glance`], which asks for what the lists do not show only now and then.
//!
//! 1. what Proxmox would hide from this token, for nothing is concluded from what is not shown;
//! 2. guests that the token sees, each with its configuration;
//! 3. rows of the ledger joined by VMID, provenance from row *and* mark;
//! 4. archives of the ledger that are listed on their storage;
//! 5. storages of the configuration.

use std::collections::BTreeMap;

use felhom_gate::Mark;
use felhom_journal::{Operation as Journaled, State, StoreError};
use felhom_model::backup::Archive;
use felhom_model::observed::{
    ActiveOperation, Observed, ObservedGuest, ObservedStorage, Power, Provenance, Purpose,
};
use felhom_model::operation::Limits;
use felhom_model::{GuestName, OperationKind, Vmid, Volid};
use felhom_pve::{Error as PveError, GuestConfig, GuestStatus, RunState};

use crate::golden_record::imported;
use crate::ledger::{ArchiveRow, GuestRow, RowState};
use crate::marks::{from_journal, read_guest_mark};
use crate::recent::recent_guests;
use crate::request::Request;
use crate::rights::{Blind, Hidden, Rights};
use crate::services::Services;

/// Why nothing could be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Proxmox did not answer, or refused.
    #[error("observing the host: {0}")]
    Pve(#[from] PveError),
    /// Proxmox refused, or would hide something, for want of a privilege; the text names it and who grants it.
    #[error("observing the host: {0}")]
    Rights(String),
    /// The ledger could not be read.
    #[error("observing the ledger: {0}")]
    Store(#[from] StoreError),
    /// The journal could not be read.
    #[error("observing the journal: {0}")]
    Journal(#[from] felhom_journal::JournalError),
}

impl ObserveError {
    /// The same, with what is missing and who grants it where Proxmox refused for want of a privilege.
    #[must_use]
    pub fn explained(self, rights: &Rights) -> Self {
        match self {
            Self::Pve(error) => match rights.explain(&error.to_string()) {
                Some(sentence) => Self::Rights(format!("{error}; {sentence}")),
                None => Self::Pve(error),
            },
            Self::Rights(_) | Self::Store(_) | Self::Journal(_) => self,
        }
    }
}

/// A guest as Proxmox shows it.
#[derive(Debug, Clone)]
pub struct RealGuest {
    /// Its VMID.
    pub vmid: Vmid,
    /// State now.
    pub status: GuestStatus,
    /// Configuration in effect.
    pub config: GuestConfig,
}

/// Everything at once, with the pieces that the wire shows and the gate does not need.
#[derive(Debug)]
pub struct Seen {
    /// For planner and gate.
    pub observed: Observed,
    /// Guests by VMID as Proxmox shows them.
    pub real: BTreeMap<Vmid, RealGuest>,
    /// Rows of guests that should be there.
    pub rows: Vec<GuestRow>,
    /// All rows of archives, with whether the file is there.
    pub archives: Vec<(ArchiveRow, bool)>,
    /// Operations that are not over.
    pub active: Vec<Journaled>,
    /// What Proxmox hid from this token.
    pub blind: Vec<Blind>,
}

impl Seen {
    /// Objects if an operation of this kind would conclude something from what was hidden.
    ///
    /// # Errors
    /// [`ObserveError::Rights`].
    pub fn enough_for(&self, kind: OperationKind, rights: &Rights) -> Result<(), ObserveError> {
        self.shows(rights, |hidden| !hidden.matters_to(kind))
    }

    /// Objects if anything of the observation itself was hidden.
    ///
    /// # Errors
    /// [`ObserveError::Rights`].
    fn complete(&self, rights: &Rights) -> Result<(), ObserveError> {
        self.shows(rights, |hidden| *hidden == Hidden::HostSettings)
    }

    fn shows(&self, rights: &Rights, may_lack: impl Fn(&Hidden) -> bool) -> Result<(), ObserveError> {
        match self.blind.iter().find(|blind| !may_lack(&blind.hidden)) {
            None => Ok(()),
            Some(blind) => Err(ObserveError::Rights(rights.refusal(blind))),
        }
    }
}

/// Observes.
///
/// # Errors
/// [`ObserveError`]; nothing of it may be used then.
pub async fn observe(s: &Services) -> Result<Seen, ObserveError> {
    observe_all(s).await.map_err(|error| error.explained(&s.rights))
}

async fn observe_all(s: &Services) -> Result<Seen, ObserveError> {
    let blind = s.rights.blind(&s.pve.own_permissions().await?);
    joined(s, blind, real_guests(s).await?).await
}

/// What suffices to plan and to report; a type of its own, for nothing may be decided by it.
#[derive(Debug)]
pub struct Glance {
    /// What is shown; what the lists do not tell is a little older.
    pub seen: Seen,
    /// Addresses of guests of ours that run.
    pub addresses: BTreeMap<Vmid, Vec<String>>,
}

/// Observes for planning and reports.
///
/// # Errors
/// [`ObserveError`], also if anything of the observation itself was hidden; nothing of it may be used then.
pub async fn glance(s: &Services) -> Result<Glance, ObserveError> {
    glance_all(s).await.map_err(|error| error.explained(&s.rights))
}

async fn glance_all(s: &Services) -> Result<Glance, ObserveError> {
    let blind = s.rights.blind(&s.pve.own_permissions().await?);
    let (real, addresses) = recent_guests(s).await?;
    let seen = joined(s, blind, real).await?;
    seen.complete(&s.rights)?;
    Ok(Glance { seen, addresses })
}

async fn joined(
    s: &Services,
    blind: Vec<Blind>,
    real: BTreeMap<Vmid, RealGuest>,
) -> Result<Seen, ObserveError> {
    let all_rows = s.ledger.guests()?;
    let used_names = used_names(&all_rows);
    let rows: Vec<GuestRow> = all_rows.into_iter().filter(|row| is_there(row.state)).collect();
    let archives = archives(s, &blind).await?;
    let storages = storages(s).await?;
    let active = s.journal.active_operations();
    let observed = Observed {
        guests: join(&rows, &real),
        archives: archives.iter().filter(|(_, there)| *there).map(|(row, _)| archive(row)).collect(),
        storages,
        golden: imported(&s.config).into_iter().map(|i| i.golden).collect(),
        active: active.iter().filter(|op| holds(op)).filter_map(active_operation).collect(),
        used_names,
    };
    Ok(Seen { observed, real, rows, archives, active, blind })
}

/// The guests that the token sees. One that goes away between two calls is left out.
async fn real_guests(s: &Services) -> Result<BTreeMap<Vmid, RealGuest>, ObserveError> {
    let mut found = BTreeMap::new();
    for status in s.node.guests().await? {
        let Some(vmid) = status.vmid() else { continue };
        if let Some(guest) = configured(s, status, vmid).await? {
            found.insert(vmid, guest);
        }
    }
    Ok(found)
}

/// A guest that was listed so, with its configuration; `None` if it went away.
///
/// # Errors
/// [`ObserveError`] if Proxmox does not answer.
pub async fn configured(
    s: &Services,
    status: GuestStatus,
    vmid: Vmid,
) -> Result<Option<RealGuest>, ObserveError> {
    match s.node.guest(vmid).config().await {
        Ok(config) => Ok(Some(RealGuest { vmid, status, config })),
        Err(PveError::NotFound(_) | PveError::Forbidden(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn is_there(state: RowState) -> bool {
    match state {
        RowState::Making | RowState::Present => true,
        RowState::Gone | RowState::Undone => false,
    }
}

/// Names of tenants, also of gone ones; a tenant that was taken back before it existed does not count.
fn used_names(rows: &[GuestRow]) -> Vec<GuestName> {
    let used = rows.iter().filter(|row| row.state != RowState::Undone);
    used.filter_map(|row| row.detail.name.clone()).collect()
}

fn join(rows: &[GuestRow], real: &BTreeMap<Vmid, RealGuest>) -> Vec<ObservedGuest> {
    let mut guests: Vec<ObservedGuest> = rows.iter().map(|row| known(row, real.get(&row.vmid))).collect();
    for guest in real.values() {
        if !rows.iter().any(|row| row.vmid == guest.vmid) {
            guests.push(foreign(guest));
        }
    }
    guests.sort_by_key(|guest| guest.vmid);
    guests
}

fn known(row: &GuestRow, real: Option<&RealGuest>) -> ObservedGuest {
    let provenance = match real.map(|r| read_guest_mark(r.config.description())) {
        Some(Mark::Names(guest, operation)) if guest == row.uuid && operation == row.made_by => {
            Provenance::Proven
        }
        Some(Mark::Names(..) | Mark::None | Mark::Unreadable) | None => Provenance::RowOnly,
    };
    let mut guest = ObservedGuest {
        uuid: Some(row.uuid),
        vmid: row.vmid,
        name: row.detail.name.clone(),
        purpose: row.purpose,
        provenance,
        power: Power::Missing,
        lock: None,
        protection: false,
        limits: Limits { cores: 0, memory_mib: 0, swap_mib: 0 },
        disk_gib: None,
        apps: row.detail.apps.clone(),
        made_by: Some(row.made_by),
        restored_from: row.detail.restored_from,
        succeeded_by: row.detail.succeeded_by,
    };
    if let Some(real) = real {
        as_it_is(&mut guest, real);
    }
    guest
}

fn foreign(real: &RealGuest) -> ObservedGuest {
    let provenance = match read_guest_mark(real.config.description()) {
        Mark::None => Provenance::None,
        Mark::Names(..) | Mark::Unreadable => Provenance::MarkOnly,
    };
    let mut guest = ObservedGuest {
        uuid: None,
        vmid: real.vmid,
        name: real.config.hostname().and_then(|h| h.parse().ok()),
        purpose: Purpose::Foreign,
        provenance,
        power: Power::Missing,
        lock: None,
        protection: false,
        limits: Limits { cores: 0, memory_mib: 0, swap_mib: 0 },
        disk_gib: None,
        apps: Vec::new(),
        made_by: None,
        restored_from: None,
        succeeded_by: None,
    };
    as_it_is(&mut guest, real);
    guest
}

fn as_it_is(guest: &mut ObservedGuest, real: &RealGuest) {
    guest.power = match real.status.state() {
        RunState::Running => Power::Running,
        RunState::Stopped => Power::Stopped,
        // Rare and short; what is unknown is never taken for stopped.
        RunState::Unknown => Power::Unknown,
    };
    let config = &real.config;
    guest.lock = config.lock().map(str::to_owned);
    guest.protection = config.protection();
    guest.limits = Limits {
        cores: config.cores().and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        memory_mib: config.memory_mib().unwrap_or(0),
        swap_mib: config.swap_mib().unwrap_or(0),
    };
    let bytes = config.rootfs().ok().flatten().and_then(|rootfs| rootfs.size_bytes());
    guest.disk_gib = bytes.and_then(|b| u32::try_from(b.div_ceil(1 << 30)).ok());
}

/// Nothing is asked of a storage that is hidden: what depends on it is refused by that.
async fn archives(s: &Services, blind: &[Blind]) -> Result<Vec<(ArchiveRow, bool)>, ObserveError> {
    let rows = s.ledger.archives()?;
    let mut there: Vec<Volid> = Vec::new();
    for target in &s.config.storages.backup {
        let hidden = Hidden::Storage(target.clone());
        if blind.iter().any(|blind| blind.hidden == hidden)
            || !rows.iter().any(|row| row.detail.target == *target)
        {
            continue;
        }
        let listed = s.node.storage(target).backups(None).await?;
        there.extend(listed.into_iter().map(|c| c.volid));
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let present = there.contains(&row.volid);
            (row, present)
        })
        .collect())
}

fn archive(row: &ArchiveRow) -> Archive {
    let d = &row.detail;
    Archive {
        volid: row.volid.clone(),
        guest: row.guest,
        operation: d.operation,
        target: d.target.clone(),
        taken_at: row.taken_at,
        bytes: d.bytes,
        digest: d.digest,
        consistency: d.consistency,
        proven: d.proven,
    }
}

async fn storages(s: &Services) -> Result<Vec<ObservedStorage>, ObserveError> {
    let wanted = s.config.all_storages();
    let listed = s.node.storages().await?;
    let seen = |id: &felhom_model::StorageId| {
        let status = listed.iter().find(|status| status.storage == id.as_str());
        ObservedStorage {
            id: id.clone(),
            active: status.is_some_and(|st| st.active && st.enabled),
            free: status.map_or(0, |st| st.avail),
            total: status.map_or(0, |st| st.total),
            is_target: s.config.storages.backup.contains(id),
        }
    };
    Ok(wanted.iter().map(seen).collect())
}

/// What waits for people holds nothing from others.
fn holds(op: &Journaled) -> bool {
    match op.state {
        State::Running | State::RollingBack | State::NeedsOperator => true,
        State::Pending
        | State::PendingAuthorization
        | State::Waiting
        | State::Refused
        | State::Expired
        | State::Vetoed
        | State::Done
        | State::RolledBack => false,
    }
}

fn active_operation(op: &Journaled) -> Option<ActiveOperation> {
    let kind: OperationKind = op.new.body.kind.parse().ok()?;
    let chosen = Request::of(op).map(|r| r.chosen).unwrap_or_default();
    let making = kind == OperationKind::ProvisionGuest;
    Some(ActiveOperation {
        id: from_journal(op.id()),
        kind,
        guest: if making { chosen.new_guest } else { chosen.guest },
        name: if making { chosen.name } else { None },
    })
}
