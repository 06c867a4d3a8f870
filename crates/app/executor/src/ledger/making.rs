//! Archives that are about to be made: the row comes before the POST, the file's name only after it.

use felhom_gate::ArchiveIntent;
use felhom_journal::{JournalError, StoreError};
use felhom_model::{OperationId, Vmid, Volid};
use rusqlite::{OptionalExtension as _, params};

use super::{Ledger, broken, parsed};

impl Ledger {
    /// Notes that an operation is about to make an archive. Twice is once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written; nothing may be made then.
    pub fn archive_is_made(&self, row: &ArchiveIntent) -> Result<(), JournalError> {
        self.write("noting an archive before it is made", |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO archive_making (operation, guest, vmid, target, state)
                 VALUES (?1,?2,?3,?4,'making')",
                params![
                    row.operation.to_string(),
                    row.guest.to_string(),
                    u32::from(row.vmid),
                    row.target.to_string()
                ],
            )
            .map(drop)
        })
    }

    /// What was noted before an operation made its archive; nothing if it never came so far, or was taken back.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn archive_intent(&self, operation: OperationId) -> Result<Option<ArchiveIntent>, StoreError> {
        self.read("reading what archive was to be made", |tx| {
            tx.query_row(
                "SELECT operation, guest, vmid, target FROM archive_making
                 WHERE operation = ?1 AND state <> 'undone'",
                [operation.to_string()],
                |r| {
                    Ok(ArchiveIntent {
                        operation: parsed(r, 0)?,
                        guest: parsed(r, 1)?,
                        vmid: Vmid::try_from(r.get::<_, u32>(2)?).map_err(|e| broken(2, &e))?,
                        target: parsed(r, 3)?,
                    })
                },
            )
            .optional()
        })
    }

    /// A backup was removed, for retention no longer kept it. Twice is once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn archive_removed(&self, volid: &Volid) -> Result<(), JournalError> {
        let row = self.archives()?.into_iter().find(|row| row.volid == *volid);
        let Some(row) = row else { return Ok(()) };
        self.write("noting that a backup was removed", |tx| {
            tx.execute("DELETE FROM archive WHERE volid = ?1", [volid.to_string()])?;
            let sql = "UPDATE archive_making SET state = 'pruned' WHERE operation = ?1";
            tx.execute(sql, [row.detail.operation.to_string()]).map(drop)
        })
    }

    /// The archive of an operation is gone again, with its row if it had one already. Twice is once.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be written.
    pub fn archive_undone(&self, operation: OperationId) -> Result<(), JournalError> {
        let made: Vec<String> = self
            .archives()?
            .into_iter()
            .filter(|row| row.detail.operation == operation)
            .map(|row| row.volid.to_string())
            .collect();
        self.write("noting that an archive is gone again", |tx| {
            for volid in &made {
                tx.execute("DELETE FROM archive WHERE volid = ?1", [volid])?;
            }
            let sql = "UPDATE archive_making SET state = 'undone' WHERE operation = ?1";
            tx.execute(sql, [operation.to_string()]).map(drop)
        })
    }
}
