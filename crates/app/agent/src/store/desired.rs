//! The last good document of desired state, and what holds after all that were accepted.

use super::{Result, Store, StoreError, json, parsed, to_json};
use felhom_model::desired::DesiredState;
use felhom_model::{BoxId, Digest, Generation, GuestName};
use felhom_protocol::desired::Spec;
use rusqlite::{OptionalExtension as _, params};

/// What the box lives on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The identity under which it was received.
    pub(crate) box_id: BoxId,
    /// Generation of the last good document.
    pub(crate) generation: Generation,
    /// Digest of its bytes.
    pub(crate) digest: Digest,
    /// Its bytes, as the hub signed them.
    pub(crate) bytes: Vec<u8>,
    /// What holds: this document over all earlier ones.
    pub(crate) merged: DesiredState,
    /// Guests that the document does not name although an earlier one did; they are kept.
    pub(crate) absent: Vec<GuestName>,
}

impl Store {
    /// What is held, if any document was ever accepted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn held(&self) -> Result<Option<Held>> {
        let doing = "read the desired state";
        let sql = "SELECT box_id, generation, digest, bytes, merged, absent FROM desired";
        let row = self.with(doing, |db| {
            let read = |row: &rusqlite::Row<'_>| {
                let spec: Spec = json(row, 4)?;
                let generation: i64 = row.get(1)?;
                let (digest, bytes) = (parsed(row, 2)?, row.get(3)?);
                Ok((parsed(row, 0)?, generation, digest, bytes, spec, json(row, 5)?))
            };
            db.query_row(sql, [], read).optional()
        })?;
        let Some((box_id, generation, digest, bytes, spec, absent)) = row else { return Ok(None) };
        let merged = spec.to_model().map_err(|e| StoreError::Content { doing, why: e.to_string() })?;
        let generation = Generation(generation.unsigned_abs());
        Ok(Some(Held { box_id, generation, digest, bytes, merged, absent }))
    }

    /// Replaces what is held.
    ///
    /// # Errors
    /// [`StoreError`]; then the old one still holds.
    pub(crate) fn hold(&self, held: &Held) -> Result<()> {
        let doing = "keep the desired state";
        let merged = to_json(doing, &Spec::from(&held.merged))?;
        let absent = to_json(doing, &held.absent)?;
        let generation = i64::try_from(held.generation.0)
            .map_err(|_| StoreError::Content { doing, why: "the generation is too large".to_owned() })?;
        let (box_id, digest) = (held.box_id.to_string(), held.digest.to_string());
        self.with(doing, |db| {
            db.execute(
                "INSERT OR REPLACE INTO desired (one, box_id, generation, digest, bytes, merged, absent)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
                params![box_id, generation, digest, held.bytes, merged, absent],
            )
            .map(drop)
        })
    }

    /// Writes what holds and who is absent, if the document is still this one; else nothing. Tells whether it was.
    ///
    /// # Errors
    /// [`StoreError`]; then the old one still holds.
    pub(crate) fn forget(&self, held: &Held) -> Result<bool> {
        let doing = "forget guests of the desired state";
        let merged = to_json(doing, &Spec::from(&held.merged))?;
        let absent = to_json(doing, &held.absent)?;
        let (box_id, digest) = (held.box_id.to_string(), held.digest.to_string());
        self.with(doing, |db| {
            let sql = "UPDATE desired SET merged = ?1, absent = ?2 WHERE box_id = ?3 AND digest = ?4";
            db.execute(sql, params![merged, absent, box_id, digest]).map(|rows| rows > 0)
        })
    }
}
