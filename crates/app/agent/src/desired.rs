//! Whether a document of desired state is accepted. Pure: what is held + what came → what is held then, or why not.
//!
//! Signature of the pinned hub → schema and box → generation and hash chain → content → merged over what holds.

use crate::identity::Enrolment;
use crate::store::Held;
use felhom_model::{Digest, Generation};
use felhom_planner::schedule;
use felhom_protocol::SignedBytes;
use felhom_protocol::desired::{Document, SCHEMA};
use felhom_signing::{Context, Signed};

/// Why a document was not accepted. What was held still holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// Not from the pinned hub.
    #[error("the document is not signed by the pinned hub")]
    Signature,
    /// Not a document of this version.
    #[error("the document cannot be read: {0}")]
    Malformed(String),
    /// For another box.
    #[error("the document is for another box ({0})")]
    OtherBox(String),
    /// Older than what is held.
    #[error(
        "the hub offers generation {offered}, the box holds {held}; a generation never goes down. \
         If the hub was restored from a backup, save the desired state there until it is above {held}"
    )]
    Lower {
        /// Held.
        held: Generation,
        /// Offered.
        offered: Generation,
    },
    /// Another document of the same generation, or one that does not follow.
    #[error(
        "generation {generation} of the hub does not belong to the history that the box holds ({why}): \
         somebody wrote that history anew"
    )]
    Forked {
        /// The generation at which it shows.
        generation: Generation,
        /// What does not fit.
        why: &'static str,
    },
    /// What it says cannot be.
    #[error("generation {generation} is not usable: {why}")]
    Unusable {
        /// Its generation.
        generation: Generation,
        /// What is wrong.
        why: String,
    },
}

impl Rejected {
    /// One CamelCase word for the condition.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Signature => "NotSigned",
            Self::Malformed(_) => "Malformed",
            Self::OtherBox(_) => "OtherBox",
            Self::Lower { .. } => "LowerGeneration",
            Self::Forked { .. } => "HistoryForked",
            Self::Unusable { .. } => "NotUsable",
        }
    }
}

/// What holds after this document came; `None` if it is the one that is held.
///
/// # Errors
/// [`Rejected`].
pub(crate) fn accept(
    held: Option<&Held>,
    came: SignedBytes,
    enrolment: &Enrolment,
) -> Result<Option<Held>, Rejected> {
    let verified = Signed::from(came).verify(&enrolment.hub_key, Context::DesiredState);
    let bytes = verified.map_err(|_| Rejected::Signature)?.into_inner();
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|e| Rejected::Malformed(e.to_string()))?;
    if document.schema != SCHEMA {
        return Err(Rejected::Malformed(format!("schema `{}` instead of `{SCHEMA}`", document.schema)));
    }
    if document.box_id != enrolment.box_id {
        return Err(Rejected::OtherBox(document.box_id.to_string()));
    }
    let digest = Digest::of(&bytes);
    // After a re-enrolment under another identity a new history begins; what was wanted still holds.
    let chain = held.filter(|held| held.box_id == enrolment.box_id);
    if let Some(chain) = chain
        && same_or_fork(chain, &document, digest)?
    {
        return Ok(None);
    }
    merged(held, document, digest, bytes).map(Some)
}

/// Whether it is the same document; an error if it does not follow.
fn same_or_fork(chain: &Held, document: &Document, digest: Digest) -> Result<bool, Rejected> {
    let generation = document.generation;
    if generation < chain.generation {
        return Err(Rejected::Lower { held: chain.generation, offered: generation });
    }
    if generation == chain.generation {
        let fork = Rejected::Forked { generation, why: "same number, other content" };
        return if digest == chain.digest { Ok(true) } else { Err(fork) };
    }
    if generation == chain.generation.next() && document.prev_hash != Some(chain.digest) {
        return Err(Rejected::Forked { generation, why: "it does not name the one before it" });
    }
    Ok(false)
}

fn merged(held: Option<&Held>, document: Document, digest: Digest, bytes: Vec<u8>) -> Result<Held, Rejected> {
    let generation = document.generation;
    let unusable = |why: String| Rejected::Unusable { generation, why };
    let next = document.spec.to_model().map_err(|e| unusable(e.to_string()))?;
    for guest in &next.guests {
        let backup = guest.backup.as_ref().map(|policy| &policy.schedule);
        let test = guest.restore_test.as_ref().map(|policy| &policy.schedule);
        for schedule in backup.into_iter().chain(test) {
            schedule::check(schedule).map_err(|e| unusable(format!("guest `{}`: {e}", guest.name)))?;
        }
    }
    let nothing = felhom_model::desired::DesiredState::default();
    let previous = held.map_or(&nothing, |held| &held.merged);
    let absent = felhom_planner::absent(previous, &next);
    let merged = felhom_planner::merge(previous, &next);
    Ok(Held { box_id: document.box_id, generation, digest, bytes, merged, absent })
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
