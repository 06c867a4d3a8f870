//! The journal's runner in our domain: steps by kind, and the gate as the only maker of an approval.

use std::sync::Arc;

use felhom_gate::{Approved, Stage};
use felhom_journal::{Body, BoxFuture, Driver, Operation as Journaled, Step, StepError, WayOut};
use felhom_model::{GuestUuid, Operation, OperationKind};
use serde_json::Value;

use crate::marks::to_journal;
use crate::operations::{advice, domain, judge, steps};
use crate::request::{KIND_VERSION, Request};
use crate::services::Services;

/// An operation that the gate allowed, with what the journal keeps of the request.
#[derive(Debug)]
pub struct Accepted {
    approved: Approved<Operation>,
    request: Request,
}

impl Accepted {
    /// Joins the gate's approval with the request that it was given for.
    #[must_use]
    pub fn new(approved: Approved<Operation>, mut request: Request) -> Self {
        request.judged(approved.reason());
        Self { approved, request }
    }
}

/// Steps and gate for the runner.
#[derive(Debug)]
pub struct ExecutorDriver {
    /// Services.
    pub services: Arc<Services>,
}

impl ExecutorDriver {
    /// What the journal keeps of an operation.
    #[must_use]
    pub fn body_of(&self, operation: &Operation, request: &Request) -> Body {
        Body {
            kind: operation.kind().name().to_owned(),
            kind_version: KIND_VERSION,
            params: serde_json::to_value(request).unwrap_or(Value::Null),
            claims: claims(operation, request),
        }
    }
}

impl Driver for ExecutorDriver {
    type Approved = Accepted;

    fn body(&self, accepted: &Accepted) -> Body {
        self.body_of(accepted.approved.get(), &accepted.request)
    }

    fn approves(&self, accepted: &Accepted, op: &Journaled) -> bool {
        domain(op).is_ok_and(|(operation, chosen)| {
            operation == *accepted.approved.get() && chosen == accepted.request.chosen
        })
    }

    fn approves_way_out(&self, accepted: &Accepted, op: &Journaled, way: WayOut) -> bool {
        match accepted.approved.get() {
            Operation::ResolveOperation(ask) => {
                to_journal(ask.operation) == op.id() && ask.way.name() == way.as_str()
            }
            _ => false,
        }
    }

    fn steps(&self, op: &Journaled) -> Result<Vec<Box<dyn Step>>, String> {
        if op.new.body.kind_version != KIND_VERSION {
            return Err(format!(
                "`{}` version {} was begun by another version of the executor; this one knows version {KIND_VERSION}",
                op.new.body.kind, op.new.body.kind_version
            ));
        }
        let request = Request::of(op)?;
        let operation = request.operation(&op.new.body.kind).map_err(|e| e.to_string())?;
        steps(&self.services, &operation, &request.chosen)
    }

    fn reapprove<'a>(
        &'a self,
        op: &'a Journaled,
        before: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Accepted, StepError>> {
        Box::pin(async move {
            let request = Request::of(op).map_err(StepError::Unclear)?;
            // Acts that unpack or destroy ask once more themselves, with everything seen (`Stage::BeforeAct`).
            let stage = if before.is_some() { Stage::Begin } else { Stage::Resume };
            let approved = judge(&self.services, op, stage, None).await?;
            Ok(Accepted::new(approved, request))
        })
    }

    fn advice(&self, op: &Journaled) -> Option<String> {
        Some(advice(op, &self.services.config.storages))
    }
}

/// What an operation excludes others from while it is active.
fn claims(operation: &Operation, request: &Request) -> Vec<String> {
    let guest = |uuid: GuestUuid| format!("guest:{uuid}");
    let mut claims: Vec<String> = request.chosen.new_guest.map(guest).into_iter().collect();
    // The operation that is led on holds its guest itself.
    let other = request.chosen.other.filter(|_| operation.kind() != OperationKind::ResolveOperation);
    claims.extend(other.map(guest));
    match operation.kind() {
        OperationKind::ProvisionGuest => {
            claims.extend(request.chosen.name.as_ref().map(|name| format!("name:{name}")));
        }
        // It reads an archive, not the guest.
        OperationKind::RestoreTest => claims.push("scratch".to_owned()),
        OperationKind::RestoreGuest => {
            claims.extend(operation.guest().map(|uuid| format!("copy-of:{uuid}")));
        }
        // vzdump is serialised per node anyway; nothing is frozen while it waits.
        OperationKind::BackupGuest => {
            claims.push("slot:backup".to_owned());
            claims.extend(operation.guest().map(guest));
        }
        _ => claims.extend(operation.guest().map(guest)),
    }
    claims
}
