//! The reversibility gate: operation + facts → [`Verdict`], and the only place where an [`Approved`] is made.
//!
//! ```text
//!   Operation ──┐
//!   Facts ──────┼─▶ decide ─▶ Allow(Approved<Operation>) ─▶ journal and runner accept nothing else
//!   Consents ───┘          ├▶ NeedsAuthorization(Requirement, Evidence)
//!                          └▶ Refuse(Reason)                 a value with evidence, never a bare `false`
//! ```
//! Pure: no I/O, no clock, no randomness. It judges by *provenance and by what bears data*, never by who asks; the facts
//! are what the enforcing program has just observed itself. The steps of every row: what it needs is there → it is ours →
//! what would be lost → the box's own limits.
//!
//! The gate is asked twice: when an operation begins ([`Stage::Begin`]), and with fresh facts immediately before each
//! act that cannot be taken back, also after a resume ([`Stage::BeforeAct`]). A fact that may still be unknown at the
//! beginning ([`Seen::NotYet`]) must be known and equal by then.
//!
//! **Architecture invariant:** the gate depends on `model` and a time type only. No row reads a tag, a name (except to
//! keep names unique) or desired state; there is no `_` arm over operations; what has no row is refused.

mod approved;
pub mod archive_config;
mod facts;
mod rows;
mod undo;
mod undo_archive;
mod verdict;

pub use approved::Approved;
pub use facts::{
    BackupFacts, BoxLimits, Concerning, DestroyFacts, Facts, ProvisionFacts, RestoreFacts, Seen, Stage,
    TargetKind, VmidFact, VmidRange, VmidRanges,
};
pub use undo::{Mark, UndoFacts, UndoGuest, decide_undo};
pub use undo_archive::{ArchiveIntent, ArchiveNotes, UndoArchive, UndoArchiveFacts, decide_undo_archive};
pub use verdict::{Evidence, Reason, Requirement, Verdict};

use felhom_model::Operation;
use felhom_model::operation::UnknownOperation;

/// A verified consent of operators or of the customer.
///
/// There is none yet: the type has no value, so no row can be passed by consent until authorizations exist.
#[derive(Debug)]
pub enum Consent {}

/// Judges `operation` by `facts`; the only maker of an [`Approved<Operation>`].
///
/// Deterministic: the same arguments give the same verdict. Default deny: a fact that a row needs and does not get is a
/// refusal that names the fact.
pub fn decide(operation: &Operation, facts: &Facts, consents: &[Consent]) -> Verdict<Operation> {
    if let Some(consent) = consents.first() {
        match *consent {}
    }
    match rows::judge(operation, facts) {
        Ok(rows::Passed::Allow(reason)) => Verdict::Allow(Approved::mint(operation.clone(), reason)),
        Ok(rows::Passed::Needs(requirement, evidence)) => Verdict::NeedsAuthorization(requirement, evidence),
        Err(reason) => Verdict::Refuse(reason),
    }
}

/// The refusal of a name that is no operation (a job of the hub can carry any text).
pub fn refuse_unknown(name: &UnknownOperation) -> Reason {
    Reason::new(
        "unknown_operation",
        "there is no operation of this name; what the gate has no row for is refused",
        Evidence::new().with("operation", &name.0),
    )
}
