//! What should be done: pure decisions from desired and observed state. No clock, no randomness, no I/O.
//!
//! ```text
//!   document n-1 ─┐
//!   document n ───┴─▶ merge ─▶ DesiredState ─┐
//!                              Observed ─────┼─▶ reconcile ─▶ Plan { operations, conditions }
//!                              Damping ──────┤
//!                              now, zone ────┴─▶ schedule  ─▶ due backups, due restore tests
//! ```
//! A plan is a wish: the executor observes again and its gate decides.
//!
//! **Architecture invariant:** nothing here plans a destructive operation, and absence means nothing: neither an absent
//! guest nor an absent field leads to any operation. A guest that was never made is forgotten once it is absent.

pub mod damping;
mod merge;
mod reconcile;
pub mod schedule;

pub use damping::{Damping, Past};
pub use merge::{absent, forget, merge, never_made};
pub use reconcile::{Condition, Plan, PlannedOperation, Status, reconcile};
