//! What the enforcing program observed itself, as far as the rows read it.

mod kinds;
mod limits;

pub use kinds::{
    AppFacts, BackupFacts, Concerning, CutoverFacts, DestroyFacts, DiskFacts, KeyFacts, LeftoverFacts, Part,
    ProvisionFacts, PruneFacts, ReclaimFacts, ReleaseFacts, ResolveFacts, RestoreFacts, RotationFacts,
    TargetKind, Unmarked, VmidFact,
};
pub use limits::{BoxLimits, VmidRange, VmidRanges};

use felhom_model::OperationId;
use felhom_model::observed::Observed;
use felhom_signing::challenge::Target;
use jiff::Timestamp;

/// Everything that a verdict may depend on.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Read from the real system just now, joined with the ledger.
    pub observed: Observed,
    /// From the box's own configuration; the hub can only make some of them stricter.
    pub limits: BoxLimits,
    /// The box's clock.
    pub now: Timestamp,
    /// The operation that is judged, or on whose behalf a step is judged.
    pub within: OperationId,
    /// First judgement, or the one right before the act.
    pub stage: Stage,
    /// What only this kind of operation needs to know.
    pub concerning: Concerning,
    /// What consents are held against.
    pub authorization: AuthorizationFacts,
}

/// What consents are held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizationFacts {
    /// What the operation concerns, as observed now; a consent to anything else does not count.
    pub targets: Option<Vec<Target>>,
    /// Seconds of its grace that have passed while this box ran.
    pub waited_s: u64,
    /// Seconds of grace that were asked for from outside; they only lengthen the box's own.
    pub grace_at_least_s: u64,
    /// Key fingerprint → other operations that it consented to within the day, of this box's running time, before it consented to
    /// this one; before now, where it has not.
    pub key_uses: Vec<(String, u32)>,
    /// Who vetoed it, of those who may: its customer, or for new operators any key of the version in force.
    pub vetoed_by: Option<String>,
}

/// When the gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the operation is journaled as running: what costs time may be unknown.
    Begin,
    /// Between two steps of its own, after a restart: as [`Stage::Begin`], but its own steps may have changed its targets.
    Resume,
    /// Immediately before an act that cannot be taken back (the restore's POST, a destroy): nothing may be unknown.
    BeforeAct,
}

/// A fact that costs time to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<T> {
    /// Not observed so far; good enough at [`Stage::Begin`] only.
    NotYet,
    /// Observed now.
    Is(T),
}
