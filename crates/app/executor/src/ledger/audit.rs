//! The audit log's table: append-only, each entry hashed into the next one.

use felhom_journal::{JournalError, StoreError};
use felhom_model::observed::Purpose;
use felhom_model::{Digest, GuestUuid};
use felhom_signing::audit::{AUDIT_VERSION, Entry, GuestLink, GuestTip, Head, Tip};
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Ledger, parsed};
use crate::audit::Record;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS audit (
  seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, guest TEXT, guest_seq INTEGER, entry BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS audit_guest ON audit(guest, guest_seq) WHERE guest IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS audit_is_appended BEFORE INSERT ON audit
  WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_append_only_u BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_append_only_d BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";

/// More are not read at once.
const PAGE: usize = 200;

/// A part of the log, with the head of the same moment.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRead {
    /// Number and bytes, in order.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Where the log ends.
    pub head: Head,
    /// Whether more follow.
    pub more: bool,
}

impl Ledger {
    /// Appends an entry, and keeps the watermark.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn audit(&self, at: Timestamp, record: &Record) -> Result<(), JournalError> {
        let guest = record.guest.map(|guest| self.reader_of(guest)).transpose()?.flatten();
        self.write("writing the audit log", |tx| append(tx, at, record, guest))?;
        self.keep_watermark();
        Ok(())
    }

    /// Whose log an entry about this guest belongs to: its own, or that of the customer's guest that it was restored from, or
    /// that took over from it. Nobody's, if this box never made it.
    fn reader_of(&self, guest: GuestUuid) -> Result<Option<GuestUuid>, StoreError> {
        let Some(row) = self.guest(guest)? else { return Ok(None) };
        let other = match row.purpose {
            Purpose::Tombstone => row.detail.succeeded_by,
            Purpose::Copy | Purpose::Scratch => row.detail.restored_from,
            Purpose::Tenant | Purpose::Foreign => None,
        };
        Ok(Some(other.unwrap_or(guest)))
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn audit_tip(&self) -> Result<Tip, StoreError> {
        self.read("reading the audit log's end", tip)
    }

    /// The hash of one entry.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn audit_hash(&self, seq: u64) -> Result<Option<Digest>, StoreError> {
        self.read("reading the audit log", |tx| {
            tx.query_row("SELECT hash FROM audit WHERE seq = ?1", [number(seq)], |r| parsed(r, 0)).optional()
        })
    }

    /// Entries behind number `after`; with a guest, only that guest's own ones.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn audit_after(&self, after: u64, guest: Option<GuestUuid>) -> Result<AuditRead, StoreError> {
        self.read("reading the audit log", |tx| {
            let sql = "SELECT seq, entry FROM audit WHERE seq > ?1 AND (?2 IS NULL OR guest = ?2)
                       ORDER BY seq LIMIT ?3";
            let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
            let of = guest.map(|guest| guest.to_string());
            let read = |r: &Row<'_>| Ok((r.get::<_, i64>(0)?.unsigned_abs(), r.get(1)?));
            let mut entries: Vec<(u64, Vec<u8>)> = tx
                .prepare(sql)?
                .query_map(params![number(after), of, limit], read)?
                .collect::<rusqlite::Result<_>>()?;
            let more = entries.len() > PAGE;
            entries.truncate(PAGE);
            let own = |uuid| Ok::<_, rusqlite::Error>(GuestTip { uuid, tip: guest_tip(tx, uuid)? });
            let head = Head { v: AUDIT_VERSION, tip: tip(tx)?, guest: guest.map(own).transpose()? };
            Ok(AuditRead { entries, head, more })
        })
    }
}

fn append(
    tx: &Transaction<'_>,
    at: Timestamp,
    record: &Record,
    guest: Option<GuestUuid>,
) -> rusqlite::Result<()> {
    let before = tip(tx)?;
    let link = match guest {
        Some(uuid) => {
            let own = guest_tip(tx, uuid)?;
            Some(GuestLink { uuid, seq: own.seq + 1, prev: own.hash })
        }
        None => None,
    };
    let entry = Entry {
        v: AUDIT_VERSION,
        seq: before.seq + 1,
        at,
        prev: before.hash,
        guest: link,
        kind: record.kind.name().to_owned(),
        operation: record.operation,
        who: record.who.clone(),
        data: record.data.clone(),
    };
    let bytes = entry.bytes().map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    tx.execute(
        "INSERT INTO audit (seq, hash, guest, guest_seq, entry) VALUES (?1,?2,?3,?4,?5)",
        params![
            number(entry.seq),
            Digest::of(&bytes).to_string(),
            link.map(|link| link.uuid.to_string()),
            link.map(|link| number(link.seq)),
            bytes,
        ],
    )
    .map(drop)
}

fn tip(tx: &Transaction<'_>) -> rusqlite::Result<Tip> {
    let sql = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    Ok(tx.query_row(sql, [], read_tip).optional()?.unwrap_or(Tip::BEGINNING))
}

fn guest_tip(tx: &Transaction<'_>, guest: GuestUuid) -> rusqlite::Result<Tip> {
    let sql = "SELECT guest_seq, hash FROM audit WHERE guest = ?1 ORDER BY guest_seq DESC LIMIT 1";
    Ok(tx.query_row(sql, [guest.to_string()], read_tip).optional()?.unwrap_or(Tip::BEGINNING))
}

fn read_tip(r: &Row<'_>) -> rusqlite::Result<Tip> {
    Ok(Tip { seq: r.get::<_, i64>(0)?.unsigned_abs(), hash: parsed(r, 1)? })
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
