//! Authorizations: what stops for people's signatures, how they come in, and when it goes on.
//!
//! ```text
//!   gate: NeedsAuthorization ─▶ propose ─▶ challenge (box-signed) ─▶ agent ─▶ hub, controller
//!                                             │
//!   answer (operator, customer) ─▶ accept ─▶ consent kept ─▶ advance: the gate with all consents
//!                                                              ├▶ needs more: waits on
//!                                                              ├▶ Wait: authorized, grace runs; a veto ends it, made from
//!                                                              │        the challenge or from what `waiting` signs of it
//!                                                              ├▶ Allow: authorized and started
//!                                                              └▶ Refuse: target changed → new challenge; else refused
//! ```
//! For a machine without network a challenge is issued anew, to live longer (`renew`); the earlier one is void.
//! [`tend()`] expires what nobody signed, counts grace while this box runs, and starts what is due. A challenge is used once:
//! its name is consumed in the journal's transaction that authorizes the operation.
//!
//! **Architecture invariant:** wall-clock time decides nothing here.

mod accept;
mod advance;
mod clock;
mod daily;
mod issue;
mod targets;
mod tend;
mod waiting;

pub use accept::{Answer, AnswerError};
pub use clock::RunningClock;
pub use targets::{label, targets};
pub use tend::{EVERY, pass, tend};

use felhom_gate::AuthorizationFacts;
use felhom_journal::StoreError;
use felhom_model::OperationId;
use felhom_protocol::status;
use felhom_signing::Verified;
use felhom_signing::challenge::{Consent, Consenter};
use felhom_signing::consent::{Customer, Now, recheck_customer, recheck_operator};
use felhom_signing::operators::OperatorsFile;

use crate::facts::Asking;
use crate::ledger::{ConsentDocument, ConsentRow, who};
use crate::marks::to_journal;
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
        let journaled = self.journal.get(to_journal(ask.within))?;
        let grace = journaled.and_then(|op| op.grace);
        Ok(AuthorizationFacts {
            targets: Some(targets(ask.operation, ask.chosen, seen)),
            waited_s: grace.map_or(0, |grace| grace.counted),
            grace_at_least_s: grace.map_or(0, |grace| grace.seconds),
            key_uses: self.key_uses(ask.within)?,
            // A veto ends the operation in the journal, so nobody asks for it again.
            vetoed_by: None,
        })
    }

    /// Consents to the challenges of an operation, each checked again now. One that does not hold any more is left out.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn consents(&self, operation: OperationId) -> Result<Vec<Verified<Consent>>, StoreError> {
        let mut good = Vec::new();
        for row in self.ledger.consents(operation)? {
            match self.recheck(&row)? {
                Ok(consent) => good.push(consent),
                Err(why) => {
                    tracing::warn!(%operation, challenge = %row.challenge, why, "a consent holds no more")
                }
            }
        }
        Ok(good)
    }

    fn recheck(&self, row: &ConsentRow) -> Result<Result<Verified<Consent>, String>, StoreError> {
        let Some(challenge) = self.ledger.challenge(row.challenge)? else {
            return Ok(Err("its challenge is not in the ledger".to_owned()));
        };
        let bytes = &challenge.signed.bytes;
        match (&row.document, &row.by) {
            (ConsentDocument::Operator(armored), _) => {
                let Some(operators) = self.operators()? else {
                    return Ok(Err("there is no operators' file".to_owned()));
                };
                Ok(recheck_operator(bytes, armored, &operators).map_err(|e| e.to_string()))
            }
            (ConsentDocument::Customer(signed), Consenter::Customer { guest }) => {
                let key = self.ledger.guest(*guest)?.and_then(|row| row.detail.key);
                let Some(key) = key else { return Ok(Err("the guest's key is not known".to_owned())) };
                let customer = Customer { guest: *guest, key: &key };
                Ok(recheck_customer(bytes, signed, customer).map_err(|e| e.to_string()))
            }
            (ConsentDocument::Customer(_), Consenter::Operator { .. }) => {
                Ok(Err("a confirmation that an operator is said to have given".to_owned()))
            }
        }
    }

    /// Challenges that wait for people, for those who carry them.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn shown_challenges(&self) -> Result<Vec<status::Challenge>, StoreError> {
        let now = self.running.boottime_ms();
        let mut shown = Vec::new();
        for row in self.ledger.open_challenges()? {
            let age = now.saturating_sub(row.issued_boottime_ms);
            let consented = self.ledger.consents(row.operation)?;
            shown.push(status::Challenge {
                digest: row.digest,
                operation: row.operation,
                guest: row.guest,
                signed: row.signed,
                left_s: row.lifetime_ms.saturating_sub(age) / 1000,
                consented: consented.iter().map(|consent| who(&consent.by)).collect(),
            });
        }
        Ok(shown)
    }

    /// The operators' file in force.
    ///
    /// # Errors
    /// [`StoreError`] if the ledger cannot be read.
    pub fn operators(&self) -> Result<Option<OperatorsFile>, StoreError> {
        let Some(document) = self.ledger.operators()? else { return Ok(None) };
        OperatorsFile::parse(&document).map(Some).map_err(|e| StoreError {
            what: "reading the operators' file in the ledger".to_owned(),
            why: e.to_string(),
        })
    }

    /// Of each key, from all consents that one of this operation may be held against.
    fn key_uses(&self, within: OperationId) -> Result<Vec<(String, u32)>, StoreError> {
        let now_s = self.running.ran_s();
        let own = self.ledger.consents(within)?;
        let first = own.iter().map(|row| row.ran_s).min().unwrap_or(now_s);
        let rows = self.ledger.consents_since(first.saturating_sub(daily::DAY_S))?;
        Ok(daily::uses(&rows, within, now_s))
    }

    /// The box as challenges know it; nothing while it is not enrolled, or cannot say how often it was.
    #[must_use]
    pub fn consent_now(&self) -> Option<Now> {
        Some(Now {
            boottime_ms: self.running.boottime_ms(),
            boot_id: self.boot.clone(),
            box_id: self.box_id()?,
            // What cannot be read is no epoch: nobody's answer is accepted then.
            enrolment_epoch: self.ledger.epoch().ok()?,
        })
    }
}
