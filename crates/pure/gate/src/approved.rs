//! The proof that the gate allowed something.

use crate::verdict::Reason;

/// `T` was judged and allowed, with the reason. Only this crate can make one; the runner accepts nothing else.
///
/// It is neither `Clone` nor serialisable: an approval cannot be stored and used again later, with other facts.
///
/// ```compile_fail,E0451
/// use felhom_gate::{Approved, Evidence, Reason};
/// let forged = Approved { what: 1, reason: Reason::new("forged", "by hand", Evidence::new()) };
/// ```
/// ```compile_fail,E0624
/// use felhom_gate::{Approved, Evidence, Reason};
/// let forged = Approved::mint(1, Reason::new("forged", "by hand", Evidence::new()));
/// ```
/// ```compile_fail,E0277
/// fn needs_clone<T: Clone>() {}
/// needs_clone::<felhom_gate::Approved<u8>>();
/// ```
#[derive(Debug)]
#[must_use = "an approval that nobody uses means that a step was left out"]
pub struct Approved<T> {
    what: T,
    reason: Reason,
}

impl<T> Approved<T> {
    pub(crate) fn mint(what: T, reason: Reason) -> Self {
        Self { what, reason }
    }

    /// What was allowed.
    pub fn get(&self) -> &T {
        &self.what
    }

    /// Why it was allowed, with the evidence.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What was allowed and why; the approval itself is used up.
    pub fn into_parts(self) -> (T, Reason) {
        (self.what, self.reason)
    }
}
