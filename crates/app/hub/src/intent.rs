//! Desired state at the hub: sets a generation, chains and signs its document.
//!
//! Steps of [`set`]: compare with the generation that the author had in mind, take the next number (above what the box
//! holds, too: a database that was restored must not reuse numbers), chain to the document before, sign, keep.

use felhom_model::{BoxId, Digest, Generation};
use felhom_protocol::desired::{Document, SCHEMA, Spec};
use felhom_protocol::hub_api::{DesiredVersion, SetDesired};
use felhom_signing::{Context, Key, Signed};
use jiff::Timestamp;

use crate::store::desired::{self, Version};
use crate::store::{Cause, Conn, boxes, sightings};

/// Largest generation that is taken from a box's word; beyond it the word is nonsense.
pub(crate) const MAX_GENERATION: u64 = 1 << 53;

/// What came of setting.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is set.
    Set(Box<DesiredVersion>),
    /// Somebody else was faster.
    Conflict {
        /// What is the newest.
        newest: Generation,
    },
    /// There is no box of this name.
    NoBox,
}

/// Sets the next generation of a box's desired state.
///
/// # Errors
/// The database's.
pub(crate) async fn set(
    c: &mut Conn,
    key: &Key,
    box_name: &str,
    (author, now): (&str, Timestamp),
    wanted: SetDesired,
) -> Result<Outcome, Cause> {
    let Some(row) = boxes::by_name(c, box_name).await? else { return Ok(Outcome::NoBox) };
    let newest = desired::newest(c, box_name).await?;
    let newest_generation = newest.as_ref().map(|version| version.view.generation).unwrap_or_default();
    if wanted.if_generation.is_some_and(|expected| expected != newest_generation) {
        return Ok(Outcome::Conflict { newest: newest_generation });
    }
    let ahead = sightings::get(c, box_name)
        .await?
        .filter(|seen| seen.generation > newest_generation && seen.generation.0 < MAX_GENERATION);
    let prev_hash = match &ahead {
        Some(seen) => seen.document_digest,
        None => newest.as_ref().and_then(|version| version.view.document_digest),
    };
    let generation = ahead.as_ref().map_or(newest_generation, |seen| seen.generation).next();
    let signed = match &row.identity {
        Some(identity) => Some(sign(key, identity.id, generation, prev_hash, &wanted.spec)?),
        None => None,
    };
    let view = DesiredVersion {
        generation,
        document_digest: signed.as_ref().map(|signed| Digest::of(&signed.bytes)),
        author: author.to_owned(),
        time: now,
        message: wanted.message,
        spec: wanted.spec,
    };
    let prev_hash = ahead.and(prev_hash);
    let version = Version { view, prev_hash, signed };
    desired::add(c, box_name, &version).await?;
    Ok(Outcome::Set(Box::new(version.view)))
}

/// Signs what was set before the box enrolled, in order, so that the chain has no gap.
///
/// # Errors
/// The database's.
pub(crate) async fn sign_waiting(c: &mut Conn, key: &Key, box_name: &str, id: BoxId) -> Result<(), Cause> {
    let mut before: Option<Digest> = None;
    for version in desired::unsigned(c, box_name).await? {
        let generation = version.view.generation;
        let signed = sign(key, id, generation, version.prev_hash.or(before), &version.view.spec)?;
        before = Some(Digest::of(&signed.bytes));
        desired::set_signed(c, box_name, generation, &signed).await?;
    }
    Ok(())
}

fn sign(
    key: &Key,
    box_id: BoxId,
    generation: Generation,
    prev_hash: Option<Digest>,
    spec: &Spec,
) -> Result<Signed, Cause> {
    let document = Document { schema: SCHEMA.to_owned(), box_id, generation, prev_hash, spec: spec.clone() };
    let bytes = serde_json::to_vec(&document)
        .map_err(|e| Cause::Corrupt { what: "a desired state", why: e.to_string() })?;
    Ok(Signed::new(key, Context::DesiredState, bytes))
}
