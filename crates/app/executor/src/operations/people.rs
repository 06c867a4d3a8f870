//! Operations about people's own things: an operation that stands is led on, a new operators' file comes into force.

use std::sync::Arc;

use felhom_gate::Stage;
use felhom_journal::{Probe, Resolution, ResolveError, State, StepClass, StepContext, StepError};
use felhom_model::operation::{Resolve, WayOut};
use felhom_protocol::executor::RotateOperatorsParams;
use felhom_signing::operators::{OperatorsFile, rotate};
use serde_json::{Value, json};

use super::act::Act;
use super::judge::judge;
use crate::driver::Accepted;
use crate::marks::to_journal;
use crate::request::Request;
use crate::services::Services;

/// `resolve`: the other operation goes on in the chosen way.
pub(super) struct ResolveStanding {
    /// Services.
    pub s: Arc<Services>,
    /// Which, and how.
    pub ask: Resolve,
}

impl Act for ResolveStanding {
    fn name(&self) -> &'static str {
        "resolve"
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn probe(&self, _: &StepContext) -> Result<Probe, StepError> {
        let standing = self.s.journal.get(to_journal(self.ask.operation))?;
        let stands = standing.is_some_and(|op| op.state == State::NeedsOperator);
        Ok(if stands { Probe::NotDone } else { Probe::Done })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let op = cx.operation()?;
        let approved = judge(&self.s, &op, Stage::BeforeAct, None).await?;
        let request = Request::of(&op).map_err(StepError::Unclear)?;
        let decision = Resolution {
            way: journal_way(self.ask.way),
            by: op.authorization.clone().unwrap_or_default(),
            reason: format!("{} by {}: {}", self.ask.way.name(), request.asked_by, request.reason),
        };
        let runner =
            self.s.runner().ok_or_else(|| StepError::Transient("the runner is not there yet".to_owned()))?;
        match runner.resolve(to_journal(self.ask.operation), decision, &Accepted::new(approved, request)) {
            Ok(_) => Ok(()),
            Err(e @ ResolveError::Busy { .. }) => Err(StepError::Transient(e.to_string())),
            Err(ResolveError::Journal(e)) => Err(e.into()),
            Err(
                e @ (ResolveError::NotStanding { .. }
                | ResolveError::NotOffered { .. }
                | ResolveError::NotForThis(_)),
            ) => Err(StepError::Failed(e.to_string())),
        }
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        let op = self.s.journal.get(to_journal(self.ask.operation))?;
        let state = op.map(|op| op.state.as_str());
        Ok(json!({ "operation": self.ask.operation, "way": self.ask.way, "state": state }))
    }
}

/// The journal's word for a way out.
#[must_use]
pub(super) fn journal_way(way: WayOut) -> felhom_journal::WayOut {
    match way {
        WayOut::Retry => felhom_journal::WayOut::Retry,
        WayOut::RollBack => felhom_journal::WayOut::RollBack,
        WayOut::Accept => felhom_journal::WayOut::Accept,
    }
}

/// `install_operators`: the next version comes into force, checked once more.
pub(super) struct InstallOperators {
    /// Services.
    pub s: Arc<Services>,
    /// The version.
    pub version: u64,
}

impl InstallOperators {
    fn in_force(&self) -> Result<Option<OperatorsFile>, StepError> {
        self.s.operators().map_err(StepError::failed)
    }
}

impl Act for InstallOperators {
    fn name(&self) -> &'static str {
        "install_operators"
    }

    fn class(&self) -> StepClass {
        StepClass::PointOfNoReturn
    }

    async fn probe(&self, _: &StepContext) -> Result<Probe, StepError> {
        let there = self.in_force()?.is_some_and(|file| file.version() >= self.version);
        Ok(if there { Probe::Done } else { Probe::NotDone })
    }

    async fn act(&self, cx: &StepContext) -> Result<(), StepError> {
        let op = cx.operation()?;
        let _approved = judge(&self.s, &op, Stage::BeforeAct, None).await?;
        let request = Request::of(&op).map_err(StepError::Unclear)?;
        let asked: RotateOperatorsParams =
            serde_json::from_value(request.params).map_err(StepError::failed)?;
        let current =
            self.in_force()?.ok_or_else(|| StepError::Failed("there is no operators' file".to_owned()))?;
        let next = rotate(&current, &asked.document, &asked.signatures).map_err(StepError::failed)?;
        Ok(self.s.ledger.set_operators(next.get().version(), &asked.document)?)
    }

    async fn confirm(&self, _: &StepContext) -> Result<Value, StepError> {
        match self.in_force()? {
            Some(file) if file.version() >= self.version => Ok(json!({ "version": file.version() })),
            Some(_) | None => Err(StepError::Failed("the new version is not in force".to_owned())),
        }
    }
}
