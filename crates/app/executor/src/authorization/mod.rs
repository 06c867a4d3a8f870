//! Authorizations: challenges that this box issues, and the consents that come back.

mod targets;

pub use targets::targets;

use felhom_gate::AuthorizationFacts;

use crate::facts::Asking;
use crate::observe::{ObserveError, Seen};
use crate::services::Services;

impl Services {
    /// What consents are held against.
    ///
    /// # Errors
    /// [`ObserveError`] if the ledger cannot be read.
    pub fn authorization_facts(
        &self,
        ask: &Asking<'_>,
        seen: &Seen,
    ) -> Result<AuthorizationFacts, ObserveError> {
        Ok(AuthorizationFacts {
            targets: Some(targets(ask.operation, ask.chosen, seen)),
            ..AuthorizationFacts::default()
        })
    }
}
