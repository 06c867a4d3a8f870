//! Two guests change places: each keeps its identity and gets the other's container.
//!
//! *Identity* (uuid, name, apps, token, guest key) is what customer, hub and backups know. The *container* (VMID, the
//! operation that made it, its volumes, what it was made from) is what a cutover exchanges. So a guest keeps its uuid,
//! whichever container bears it, and the tombstone is what gets another name.

use felhom_journal::JournalError;
use felhom_model::observed::Purpose;
use felhom_model::{GuestUuid, Vmid};
use rusqlite::{Transaction, params};

use super::guests::{COLUMNS, GuestRow, row};
use super::{Ledger, to_json};

/// Who stands where afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The customer's guest.
    pub tenant: GuestUuid,
    /// Where it stands afterwards.
    pub to: Vmid,
    /// The other one.
    pub other: GuestUuid,
    /// What the other one is afterwards: a tombstone, or again the copy that its container was made as.
    pub other_is: Purpose,
}

impl Ledger {
    /// Lets two guests exchange their containers, unless the tenant stands where it should already. Twice is once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written; nothing was changed then.
    pub fn change_places(&self, places: Places) -> Result<(), JournalError> {
        self.write("letting two guests change places", |tx| {
            let tenant = one(tx, places.tenant)?;
            if tenant.vmid == places.to {
                return Ok(());
            }
            let other = one(tx, places.other)?;
            let made_as = |uuid: GuestUuid| {
                tx.query_row("SELECT made_as FROM guest WHERE uuid = ?1", [uuid.to_string()], |r| {
                    r.get::<_, String>(0)
                })
            };
            let (as_tenant, as_other) = (made_as(places.tenant)?, made_as(places.other)?);
            let (mut tenant, mut other) = (tenant, other);
            exchange(&mut tenant, &mut other);
            other.purpose = places.other_is;
            other.detail.succeeded_by = (places.other_is == Purpose::Tombstone).then_some(places.tenant);
            put(tx, &tenant, &as_other)?;
            put(tx, &other, &as_tenant)
        })
    }
}

fn one(tx: &Transaction<'_>, uuid: GuestUuid) -> rusqlite::Result<GuestRow> {
    tx.query_row(&format!("SELECT {COLUMNS} FROM guest WHERE uuid = ?1"), [uuid.to_string()], row)
}

fn exchange(a: &mut GuestRow, b: &mut GuestRow) {
    use std::mem::swap;
    swap(&mut a.vmid, &mut b.vmid);
    swap(&mut a.made_by, &mut b.made_by);
    let (a, b) = (&mut a.detail, &mut b.detail);
    swap(&mut a.golden, &mut b.golden);
    swap(&mut a.archive, &mut b.archive);
    swap(&mut a.restored_from, &mut b.restored_from);
    swap(&mut a.volumes, &mut b.volumes);
    swap(&mut a.last_stopped, &mut b.last_stopped);
    swap(&mut a.bootstrapped, &mut b.bootstrapped);
    swap(&mut a.served, &mut b.served);
}

fn put(tx: &Transaction<'_>, row: &GuestRow, made_as: &str) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE guest SET purpose = ?2, vmid = ?3, made_by = ?4, made_as = ?5, detail = ?6 WHERE uuid = ?1",
        params![
            row.uuid.to_string(),
            row.purpose.name(),
            u32::from(row.vmid),
            row.made_by.to_string(),
            made_as,
            to_json(&row.detail)?
        ],
    )
    .map(drop)
}
