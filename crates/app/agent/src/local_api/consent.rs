//! Challenges for a guest's customer, and the answers. The executor verifies all of them; here it is only seen to that a guest
//! learns of nothing but what names it, and sends nothing in another's name.

use super::caller::Caller;
use super::{Api, Refusal};
use crate::ask;
use axum::Json;
use axum::extract::{Path, State};
use felhom_model::{Digest, GuestUuid, OperationId};
use felhom_protocol::status;
use felhom_signing::challenge::Challenge;
use felhom_signing::consent::{Armored, Confirmation, Veto};

/// `GET /v1/challenges`: those whose signed bytes name the guest, as one that may confirm or as a target.
pub(super) async fn challenges(
    State(api): State<Api>,
    caller: Caller,
) -> Result<Json<Vec<status::Challenge>>, Refusal> {
    Ok(Json(of_guest(&api, caller.guest).await?))
}

async fn of_guest(api: &Api, guest: GuestUuid) -> Result<Vec<status::Challenge>, Refusal> {
    let mut all = ask::patient(ask::PATIENCE, || api.shared.executor.challenges()).await?;
    all.retain(|shown| Challenge::read(&shown.signed.bytes).is_ok_and(|challenge| names(&challenge, guest)));
    Ok(all)
}

fn names(challenge: &Challenge, guest: GuestUuid) -> bool {
    let confirms = challenge.requires.iter().any(|signers| signers.customers.contains(&guest));
    confirms || challenge.targets.iter().any(|target| target.uuid == Some(guest))
}

/// `POST /v1/challenges/{digest}/confirmation`.
pub(super) async fn confirm(
    State(api): State<Api>,
    caller: Caller,
    Path(digest): Path<String>,
    Json(signed): Json<Armored>,
) -> Result<Json<status::Operation>, Refusal> {
    let digest: Digest = digest.parse().map_err(|_| Refusal::not_yours())?;
    let said = serde_json::from_slice::<Confirmation>(&signed.bytes).map_err(|_| Refusal::not_yours())?;
    if said.object != caller.guest || said.challenge != digest {
        return Err(Refusal::not_yours());
    }
    if !of_guest(&api, caller.guest).await?.iter().any(|shown| shown.digest == digest) {
        return Err(Refusal::not_yours());
    }
    let operation = ask::patient(ask::PATIENCE, || api.shared.executor.confirm(digest, &signed)).await?;
    api.shared.pass.notify_one();
    Ok(Json(operation))
}

/// `POST /v1/operations/{id}/veto`.
pub(super) async fn veto(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Json(signed): Json<Armored>,
) -> Result<Json<status::Operation>, Refusal> {
    let id: OperationId = id.parse().map_err(|_| Refusal::not_yours())?;
    let said = Veto::read(&signed.bytes).map_err(|_| Refusal::not_yours())?;
    if said.object != Some(caller.guest) || said.veto != id || !concerns(&api, &caller, id).await? {
        return Err(Refusal::not_yours());
    }
    let operation = ask::patient(ask::PATIENCE, || api.shared.executor.veto(id, &signed)).await?;
    api.shared.pass.notify_one();
    Ok(Json(operation))
}

/// Whether an operation concerns the guest: it, its tombstone, a copy of it, or what a challenge to it names.
async fn concerns(api: &Api, caller: &Caller, id: OperationId) -> Result<bool, Refusal> {
    if of_guest(api, caller.guest).await?.iter().any(|shown| shown.operation == id) {
        return Ok(true);
    }
    let operation = match ask::find(&api.shared, id).await {
        Ok(operation) => operation,
        Err(ask::PassError::Executor(error)) => return Err(error.into()),
        Err(other) => return Err(Refusal::internal(other)),
    };
    let Some(about) = operation.and_then(|operation| operation.guest) else { return Ok(false) };
    let view = api.shared.view();
    let own = view.guest(about).is_some_and(|guest| {
        guest.succeeded_by == Some(caller.guest) || guest.restored_from == Some(caller.guest)
    });
    Ok(about == caller.guest || own)
}
