//! Rows of archives, freezes and receipts.

use felhom_journal::{JournalError, StoreError};
use felhom_model::backup::{Consistency, Level};
use felhom_model::{Digest, GuestUuid, OperationId, StorageId, Volid};
use felhom_protocol::local_api::{Frozen, Thawed};
use felhom_protocol::receipt::SignedReceipt;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{Ledger, json, parsed, to_json};

/// An archive in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchiveRow {
    /// Where it is.
    pub volid: Volid,
    /// Whose it is.
    pub guest: GuestUuid,
    /// When its data was frozen.
    pub taken_at: Timestamp,
    /// All else.
    pub detail: ArchiveDetail,
}

/// What is not queried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveDetail {
    /// The operation that made it.
    pub operation: OperationId,
    /// The target's storage.
    pub target: StorageId,
    /// Size in bytes.
    pub bytes: u64,
    /// What was archived, in bytes of the tar stream, where the task's log told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_bytes: Option<u64>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// SHA-256 of the guest configuration inside it.
    pub config_digest: Digest,
    /// How consistent.
    pub consistency: Consistency,
    /// Highest level that a signed receipt proves, with its date.
    #[serde(default)]
    pub proven: Option<(Level, Timestamp)>,
}

/// What a controller said of a backup.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FreezeRow {
    /// The apps stand still; with the time of receipt.
    #[serde(default)]
    pub frozen: Option<(Frozen, Timestamp)>,
    /// They run again; with the time of receipt.
    #[serde(default)]
    pub thawed: Option<(Thawed, Timestamp)>,
}

/// A signed result of a restore test.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptRow {
    /// The restore test.
    pub operation: OperationId,
    /// Whose backup.
    pub guest: GuestUuid,
    /// The archive.
    pub volid: Volid,
    /// Document and signature.
    pub signed: SignedReceipt,
}

fn archive(r: &Row<'_>) -> rusqlite::Result<ArchiveRow> {
    Ok(ArchiveRow {
        volid: parsed(r, 0)?,
        guest: parsed(r, 1)?,
        taken_at: parsed(r, 2)?,
        detail: json(r, 3)?,
    })
}

fn receipt(r: &Row<'_>) -> rusqlite::Result<ReceiptRow> {
    Ok(ReceiptRow {
        operation: parsed(r, 0)?,
        guest: parsed(r, 1)?,
        volid: parsed(r, 2)?,
        signed: json(r, 3)?,
    })
}

impl Ledger {
    /// All archives, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn archives(&self) -> Result<Vec<ArchiveRow>, StoreError> {
        self.read("reading archives", |tx| {
            let mut statement =
                tx.prepare("SELECT volid, guest, taken_at, detail FROM archive ORDER BY taken_at, volid")?;
            statement.query_map([], archive)?.collect()
        })
    }

    /// Records an archive, or replaces what is known of it; it is not merely being made any more.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_archive(&self, row: &ArchiveRow) -> Result<(), JournalError> {
        self.write("recording an archive", |tx| {
            tx.execute(
                "INSERT INTO archive (volid, guest, taken_at, detail) VALUES (?1,?2,?3,?4)
                 ON CONFLICT (volid) DO UPDATE SET guest = ?2, taken_at = ?3, detail = ?4",
                params![
                    row.volid.to_string(),
                    row.guest.to_string(),
                    row.taken_at.to_string(),
                    to_json(&row.detail)?
                ],
            )?;
            tx.execute(
                "UPDATE archive_making SET state = 'recorded' WHERE operation = ?1 AND state = 'making'",
                [row.detail.operation.to_string()],
            )
            .map(drop)
        })
    }

    /// What a controller said of a backup; empty if nothing.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn freeze(&self, operation: OperationId) -> Result<FreezeRow, StoreError> {
        self.read("reading a freeze", |tx| {
            let found = tx
                .query_row("SELECT detail FROM freeze WHERE operation = ?1", [operation.to_string()], |r| {
                    json(r, 0)
                })
                .optional()?;
            Ok(found.unwrap_or_default())
        })
    }

    /// Keeps what a controller said of a backup. The first word of each kind stands.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_freeze(&self, operation: OperationId, said: FreezeRow) -> Result<(), JournalError> {
        self.write("keeping a freeze", |tx| {
            let known: Option<FreezeRow> = tx
                .query_row("SELECT detail FROM freeze WHERE operation = ?1", [operation.to_string()], |r| {
                    json(r, 0)
                })
                .optional()?;
            let known = known.unwrap_or_default();
            let row = FreezeRow {
                frozen: known.frozen.or_else(|| said.frozen.clone()),
                thawed: known.thawed.or_else(|| said.thawed.clone()),
            };
            tx.execute(
                "INSERT INTO freeze (operation, detail) VALUES (?1, ?2)
                 ON CONFLICT (operation) DO UPDATE SET detail = ?2",
                params![operation.to_string(), to_json(&row)?],
            )
            .map(drop)
        })
    }

    /// The freeze of this operation's archive turned out not to have held: from now on it counts as crash consistent.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn not_quiesced(&self, operation: OperationId) -> Result<(), JournalError> {
        let rows = self.archives()?;
        for mut row in rows.into_iter().filter(|row| row.detail.operation == operation) {
            row.detail.consistency = Consistency::CrashConsistent;
            self.record_archive(&row)?;
        }
        Ok(())
    }

    /// All receipts, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn receipts(&self) -> Result<Vec<ReceiptRow>, StoreError> {
        self.read("reading receipts", |tx| {
            let mut statement =
                tx.prepare("SELECT operation, guest, volid, detail FROM receipt ORDER BY operation DESC")?;
            statement.query_map([], receipt)?.collect()
        })
    }

    /// Keeps a receipt and notes at its archive what it proves: a passed one never lowers the level, a failed one sets it.
    /// Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn record_receipt(
        &self,
        row: &ReceiptRow,
        passed: bool,
        level: Option<(Level, Timestamp)>,
    ) -> Result<(), JournalError> {
        self.write("keeping a receipt", |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO receipt (operation, guest, volid, detail) VALUES (?1,?2,?3,?4)",
                params![
                    row.operation.to_string(),
                    row.guest.to_string(),
                    row.volid.to_string(),
                    to_json(&row.signed)?
                ],
            )?;
            let volid = row.volid.to_string();
            let sql = "SELECT volid, guest, taken_at, detail FROM archive WHERE volid = ?1";
            let Some(mut found) = tx.query_row(sql, [&volid], archive).optional()? else { return Ok(()) };
            let higher =
                found.detail.proven.is_some_and(|(known, _)| level.is_none_or(|(new, _)| known > new));
            if !(passed && higher) {
                found.detail.proven = level;
                tx.execute(
                    "UPDATE archive SET detail = ?2 WHERE volid = ?1",
                    params![volid, to_json(&found.detail)?],
                )?;
            }
            Ok(())
        })
    }
}
