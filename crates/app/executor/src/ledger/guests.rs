//! Rows of guests.

use felhom_journal::{JournalError, StoreError};
use felhom_model::observed::Purpose;
use felhom_model::{AppName, Digest, GuestName, GuestUuid, OperationId, Vmid, Volid};
use felhom_signing::PublicKey;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{Ledger, broken, json, parsed, to_json};

/// Whether the real guest should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Its operation is making it, or was when it died.
    Making,
    /// Made.
    Present,
    /// Destroyed by the operation that it was made for; the row stays.
    Gone,
    /// Taken back by the operation that was making it: as if it had never been.
    Undone,
}

impl RowState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Present => "present",
            Self::Gone => "gone",
            Self::Undone => "undone",
        }
    }
}

/// A guest in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestRow {
    /// Identity.
    pub uuid: GuestUuid,
    /// What it is; copy and scratch are given at creation only.
    pub purpose: Purpose,
    /// Where it stands.
    pub vmid: Vmid,
    /// Whether it should be there.
    pub state: RowState,
    /// The operation that made it.
    pub made_by: OperationId,
    /// All else.
    pub detail: GuestDetail,
}

/// One run of a guest, from its start to its end; a new one has an empty `/run` and needs the token again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRun {
    /// The host's boot.
    pub boot: String,
    /// The process id of its init at the host.
    pub pid: u64,
    /// What it was told: local API and box.
    pub local_api: String,
}

/// What is not queried.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestDetail {
    /// A tenant's name; copies and scratch guests have none.
    pub name: Option<GuestName>,
    /// Apps that it was told to run.
    #[serde(default)]
    pub apps: Vec<AppName>,
    /// The golden archive that it was made from.
    #[serde(default)]
    pub golden: Option<Digest>,
    /// The backup that it was restored from.
    #[serde(default)]
    pub archive: Option<Volid>,
    /// The guest that this backup is of.
    #[serde(default)]
    pub restored_from: Option<GuestUuid>,
    /// For a tombstone: the guest that took over from it.
    #[serde(default)]
    pub succeeded_by: Option<GuestUuid>,
    /// Volumes that its operation made.
    #[serde(default)]
    pub volumes: Vec<Volid>,
    /// The guest's public key, read by the executor at bootstrap.
    #[serde(default)]
    pub key: Option<PublicKey>,
    /// The token that the guest shows to the local API. Secret.
    #[serde(default)]
    pub token: Option<String>,
    /// The nonce of the last bootstrap.
    #[serde(default)]
    pub boot_nonce: Option<String>,
    /// The run of the guest that was bootstrapped last.
    #[serde(default)]
    pub bootstrapped: Option<GuestRun>,
    /// The nonce that the last verified heartbeat signed.
    #[serde(default)]
    pub heartbeat_nonce: Option<String>,
    /// When we last stopped it.
    #[serde(default)]
    pub last_stopped: Option<Timestamp>,
    /// A copy's link was up or it had a token: it may hold what exists nowhere else.
    #[serde(default)]
    pub served: bool,
}

impl std::fmt::Debug for GuestDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestDetail")
            .field("name", &self.name)
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

impl GuestDetail {
    /// Nothing known.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            name: None,
            apps: Vec::new(),
            golden: None,
            archive: None,
            restored_from: None,
            succeeded_by: None,
            volumes: Vec::new(),
            key: None,
            token: None,
            boot_nonce: None,
            bootstrapped: None,
            heartbeat_nonce: None,
            last_stopped: None,
            served: false,
        }
    }

    /// SHA-256 of the token, for the agent.
    #[must_use]
    pub fn token_digest(&self) -> Option<Digest> {
        self.token.as_ref().map(|t| Digest::of(t.as_bytes()))
    }
}

pub(super) const COLUMNS: &str = "uuid, purpose, vmid, state, made_by, detail";

pub(super) fn row(r: &Row<'_>) -> rusqlite::Result<GuestRow> {
    let purpose = match r.get::<_, String>(1)?.as_str() {
        "tenant" => Purpose::Tenant,
        "copy" => Purpose::Copy,
        "scratch" => Purpose::Scratch,
        "tombstone" => Purpose::Tombstone,
        other => return Err(broken(1, &format!("purpose {other}"))),
    };
    let state = match r.get::<_, String>(3)?.as_str() {
        "making" => RowState::Making,
        "present" => RowState::Present,
        "gone" => RowState::Gone,
        "undone" => RowState::Undone,
        other => return Err(broken(3, &format!("state {other}"))),
    };
    let vmid = Vmid::try_from(r.get::<_, u32>(2)?).map_err(|e| broken(2, &e))?;
    Ok(GuestRow { uuid: parsed(r, 0)?, purpose, vmid, state, made_by: parsed(r, 4)?, detail: json(r, 5)? })
}

impl Ledger {
    /// All guests that were ever made, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn guests(&self) -> Result<Vec<GuestRow>, StoreError> {
        self.read("reading guests", |tx| {
            let mut statement = tx.prepare(&format!("SELECT {COLUMNS} FROM guest ORDER BY made_by"))?;
            statement.query_map([], row)?.collect()
        })
    }

    /// One guest.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn guest(&self, uuid: GuestUuid) -> Result<Option<GuestRow>, StoreError> {
        self.read("reading a guest", |tx| {
            tx.query_row(&format!("SELECT {COLUMNS} FROM guest WHERE uuid = ?1"), [uuid.to_string()], row)
                .optional()
        })
    }

    /// Records a guest before it is made. Recording the same again is no error and changes nothing.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_guest(&self, guest: &GuestRow) -> Result<(), JournalError> {
        self.write("recording a guest", |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO guest (uuid, purpose, vmid, state, made_by, made_as, detail)
                 VALUES (?1,?2,?3,?4,?5,?2,?6)",
                params![
                    guest.uuid.to_string(),
                    guest.purpose.name(),
                    u32::from(guest.vmid),
                    guest.state.as_str(),
                    guest.made_by.to_string(),
                    to_json(&guest.detail)?,
                ],
            )
            .map(drop)
        })
    }

    /// Changes what is known of a guest; identity and maker stay, and nothing becomes a copy or scratch guest. A guest without
    /// a row is left alone.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn change_guest(&self, uuid: GuestUuid, change: impl Fn(&mut GuestRow)) -> Result<(), JournalError> {
        self.write("changing a guest", |tx| {
            let sql = format!("SELECT {COLUMNS} FROM guest WHERE uuid = ?1");
            let Some(mut guest) = tx.query_row(&sql, [uuid.to_string()], row).optional()? else {
                return Ok(());
            };
            change(&mut guest);
            tx.execute(
                "UPDATE guest SET vmid = ?2, state = ?3, detail = ?4, purpose = ?5 WHERE uuid = ?1",
                params![
                    uuid.to_string(),
                    u32::from(guest.vmid),
                    guest.state.as_str(),
                    to_json(&guest.detail)?,
                    guest.purpose.name(),
                ],
            )
            .map(drop)
        })
    }
}
