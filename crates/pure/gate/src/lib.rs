//! The reversibility gate: operation + facts → [`Verdict`], and the only place where an [`Approved`] is made.
//!
//! ```text
//!   Operation ──┐
//!   Facts ──────┼─▶ decide ─▶ Allow(Approved<Operation>) ─▶ journal and runner accept nothing else
//!   Consents ───┘          ├▶ NeedsAuthorization(Requirement, Evidence)
//!                          ├▶ Wait { left_s, reason }        signed, in its grace
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
//! A consent counts for the one operation that its challenge was issued for, while what it concerns is as it was then, and
//! it never lowers what a row asks for: rows do not see consents, [`consent`] weighs them afterwards.
//!
//! **Architecture invariant:** the gate depends on `model`, `signing` and a time type only. No row reads a tag, a name (except to
//! keep names unique) or desired state; there is no `_` arm over operations; what has no row is refused.

mod approved;
pub mod archive_config;
mod consent;
mod facts;
mod rows;
mod undo;
mod undo_archive;
mod verdict;

pub use approved::Approved;
pub use facts::{
    AppFacts, AuthorizationFacts, BackupFacts, BoxLimits, Concerning, CutoverFacts, DestroyFacts, DiskFacts,
    Facts, KeyFacts, LeftoverFacts, Part, ProvisionFacts, PruneFacts, ReclaimFacts, ReleaseFacts,
    ResolveFacts, RestoreFacts, RotationFacts, Seen, Stage, TargetKind, Unmarked, VmidFact, VmidRange,
    VmidRanges,
};
pub use undo::{Mark, UndoFacts, UndoGuest, decide_undo};
pub use undo_archive::{ArchiveIntent, ArchiveNotes, UndoArchive, UndoArchiveFacts, decide_undo_archive};
pub use verdict::{Evidence, Reason, Requirement, Verdict};

use felhom_model::Operation;
use felhom_model::operation::UnknownOperation;
use felhom_signing::Verified;
use felhom_signing::challenge::Consent;

/// Judges `operation` by `facts`; the only maker of an [`Approved<Operation>`].
///
/// Deterministic: the same arguments give the same verdict. Default deny: a fact that a row needs and does not get is a
/// refusal that names the fact.
///
/// A consent counts only with its signature: it comes out of the signing crate as `Verified`, and nobody else makes one.
/// ```
/// use felhom_gate::{Facts, Verdict, decide};
/// use felhom_model::Operation;
/// use felhom_signing::{Verified, challenge::Consent};
/// fn judge(operation: &Operation, facts: &Facts, consent: Verified<Consent>) -> Verdict<Operation> {
///     decide(operation, facts, &[consent])
/// }
/// ```
/// The same with a bare one, or with one that was called verified by hand or read from somewhere, does not compile:
/// ```compile_fail,E0308
/// use felhom_gate::{Facts, Verdict, decide};
/// use felhom_model::Operation;
/// use felhom_signing::{Verified, challenge::Consent};
/// fn judge(operation: &Operation, facts: &Facts, consent: Consent) -> Verdict<Operation> {
///     decide(operation, facts, &[consent])
/// }
/// ```
/// ```compile_fail,E0423
/// use felhom_signing::{Verified, challenge::Consent};
/// fn by_hand(consent: Consent) -> Verified<Consent> {
///     Verified(consent)
/// }
/// ```
/// ```compile_fail,E0277
/// fn needs_from<T: From<felhom_signing::challenge::Consent>>() {}
/// needs_from::<felhom_signing::Verified<felhom_signing::challenge::Consent>>();
/// ```
/// ```compile_fail,E0277
/// fn needs_default<T: Default>() {}
/// needs_default::<felhom_signing::Verified<Vec<u8>>>();
/// ```
pub fn decide(operation: &Operation, facts: &Facts, consents: &[Verified<Consent>]) -> Verdict<Operation> {
    match rows::judge(operation, facts) {
        Ok(rows::Passed::Allow(reason)) => Verdict::Allow(Approved::mint(operation.clone(), reason)),
        Ok(rows::Passed::Needs(requirement, evidence)) => {
            consent::weigh(operation, (requirement, evidence), facts, consents)
        }
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
