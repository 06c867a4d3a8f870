//! What customers were told, when, and whether they said that they saw it.

use felhom_journal::{JournalError, StoreError};
use felhom_model::{GuestUuid, OperationKind};
use felhom_protocol::notices::{Acknowledged, Notice};
use rusqlite::{Row, params};

use super::{Ledger, json, parsed, to_json};

/// A notice. For each operation and guest the newest one is shown; all of them stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// The guest that is told.
    pub guest: GuestUuid,
    /// What it is told.
    pub notice: Notice,
    /// When it lay in the running guest, in seconds that this box ran.
    pub told_s: Option<u64>,
    /// When its acknowledgement was read, the same.
    pub acknowledged_s: Option<u64>,
}

const COLUMNS: &str = "guest, notice, told_s, acknowledged_s";

fn row(r: &Row<'_>) -> rusqlite::Result<NoticeRow> {
    let seconds = |n: Option<i64>| n.map(|n| u64::try_from(n).unwrap_or_default());
    Ok(NoticeRow {
        guest: parsed(r, 0)?,
        notice: json(r, 1)?,
        told_s: seconds(r.get(2)?),
        acknowledged_s: seconds(r.get(3)?),
    })
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Ledger {
    /// Keeps a notice before it is carried, unless the operation was at this stage already.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_notice(&self, guest: GuestUuid, notice: &Notice) -> Result<(), JournalError> {
        self.write("keeping a notice", |tx| {
            tx.execute(
                "INSERT INTO notice (operation, guest, stage, kind, about, notice) SELECT ?1,?2,?3,?4,?5,?6
                 WHERE ?3 IS NOT (SELECT stage FROM notice WHERE operation = ?1 AND guest = ?2 ORDER BY rowid DESC LIMIT 1)",
                params![
                    notice.operation.to_string(),
                    guest.to_string(),
                    notice.stage.name(),
                    notice.kind.name(),
                    notice.about.to_string(),
                    to_json(notice)?,
                ],
            )
            .map(drop)
        })
    }

    /// The newest notice of each operation to each guest, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn newest_notices(&self) -> Result<Vec<NoticeRow>, StoreError> {
        self.read("reading notices", |tx| {
            let sql = format!(
                "SELECT {COLUMNS} FROM notice WHERE rowid IN (SELECT max(rowid) FROM notice GROUP BY operation, guest)
                 ORDER BY rowid"
            );
            tx.prepare(&sql)?.query_map([], row)?.collect()
        })
    }

    /// Notices of one kind about one guest, whoever was told.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn notices_about(&self, kind: OperationKind, about: GuestUuid) -> Result<Vec<NoticeRow>, StoreError> {
        self.read("reading notices", |tx| {
            let sql = format!("SELECT {COLUMNS} FROM notice WHERE kind = ?1 AND about = ?2 ORDER BY rowid");
            tx.prepare(&sql)?.query_map(params![kind.name(), about.to_string()], row)?.collect()
        })
    }

    /// These lie in the running guest now. The first time counts.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn notices_told(&self, guest: GuestUuid, told: &[Notice], ran_s: u64) -> Result<(), JournalError> {
        self.write("noting what was told", |tx| {
            for notice in told {
                mark(tx, "told_s = ?5", "told_s IS NULL", (guest, notice.acknowledged()), ran_s)?;
            }
            Ok(())
        })
    }

    /// The customer saw it and said so. Only what was told can be acknowledged, and once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn notice_acknowledged(
        &self,
        guest: GuestUuid,
        seen: Acknowledged,
        ran_s: u64,
    ) -> Result<(), JournalError> {
        self.write("noting an acknowledgement", |tx| {
            let open = "told_s IS NOT NULL AND acknowledged_s IS NULL";
            mark(tx, "acknowledged_s = ?5", open, (guest, seen), ran_s)
        })
    }
}

fn mark(
    tx: &rusqlite::Transaction<'_>,
    set: &str,
    only: &str,
    (guest, of): (GuestUuid, Acknowledged),
    ran_s: u64,
) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE notice SET {set} WHERE operation = ?1 AND guest = ?2 AND stage = ?3 AND notice ->> '$.at' = ?4 AND {only}"
    );
    let key = params![
        of.operation.to_string(),
        guest.to_string(),
        of.stage.name(),
        of.at.to_string(),
        number(ran_s),
    ];
    tx.execute(&sql, key).map(drop)
}
