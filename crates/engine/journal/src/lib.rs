//! `felhom-journal`: an append-only journal of operations and the runner that carries them out.
//!
//! The crate knows no domain. An *operation* is a kind, parameters and a linear list of *steps*. Everything that happens
//! to it is an [`Event`]; its state is the fold over its events ([`Operation::apply`]), and an event that the state does
//! not allow is an error. Events are on disk (SQLite, WAL, `synchronous=FULL`) before the side effect that they announce.
//!
//! ```text
//! pending ──────────────► refused, pending_authorization, running
//! pending_authorization ► refused, expired, vetoed, waiting (grace), running
//! waiting ──────────────► refused, vetoed, pending_authorization, running
//! running ──────────────► done, rolling_back ► rolled_back
//! any of these ─────────► needs_operator ► running (retry), rolling_back (roll_back), rolled_back (accept)
//! ```
//!
//! One step goes `intent → probe → act → confirm`:
//! 1. [`Step::intent`] observes and chooses; the answer and the resources that the step will own are journaled;
//! 2. [`Step::probe`] asks the real system whether the act already happened (always, also on the first run);
//! 3. [`Step::act`] does it, journaling a *handle* (for example a task id) as soon as there is one;
//! 4. [`Step::confirm`] reads the effect back; its answer is the step's outcome, which later steps can read.
//!
//! A failure undoes backwards ([`Step::undo`]), only before a [`StepClass::PointOfNoReturn`]; after one the operation
//! ends in `needs_operator`, where [`Operation::ways_out`] says what a person can choose. After a crash [`Runner::recover`]
//! takes each unfinished operation from its journal: a step that may have acted goes on with its `probe`, never by repeating
//! blindly; before a new step [`Driver::reapprove`] is asked.
//!
//! What needs people's consent is *proposed*, *authorized*, and started when its grace period is over; until then it keeps
//! nothing from others. [`Runner::cancel`] is journaled first and heeded between steps.
//!
//! **Architecture invariant:** the runner starts an operation, and takes up one that stood, only for a value of
//! [`Driver::Approved`], which only the domain's gate can make. **Architecture invariant:** a token that an authorization
//! consumed is never consumed again, also not across a crash: it is stored in the transaction of the event.
//! **Architecture invariant:** after one failed write the journal refuses every further one ([`JournalError::Broken`]); the
//! program exits and probes again at its next start.

mod event;
mod fold;
mod journal;
mod runner;
mod sqlite;
mod state;
mod step;
mod store;
pub mod testing;

pub use event::{Event, Recorded, StepClass, StepSpec, WayOut};
pub use fold::IllegalEvent;
pub use journal::{Journal, JournalError, Notice, NoticeBody};
pub use runner::{
    BeginError, Begun, CancelError, Driver, GraceAsked, Recovered, Resolution, ResolveError, RetryPolicy,
    Runner, StartError,
};
pub use sqlite::{BALLAST, Hook, OpenError, SqliteStore};
pub use state::{Cancel, Grace, Note, Operation, State, StepState, StepView};
pub use step::{BoxFuture, Intent, Probe, Step, StepContext, StepError};
pub use store::{
    Body, Envelope, JournalStore, NewOperation, OperationId, Progress, StoreError, StoredOperation, Which,
    WriteError,
};
