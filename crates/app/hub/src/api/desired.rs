//! Desired state: show, set, history, preview of the plan.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_protocol::ErrorBody;
use felhom_protocol::desired::Spec;
use felhom_protocol::hub_api::{DesiredVersion, PlanPreview, SetDesired};

use super::document::{BadBody, BadPath, NoBox, NotObeyable, Refusals};
use super::request::{ApiError, At, Input, OfBox, Operator};
use crate::hub::{Hub, Inner};
use crate::store::{boxes, desired, reports};
use crate::{intent, plan};

type Answer<T> = Result<Json<T>, ApiError>;

/// Shows the newest desired state of a box.
#[utoipa::path(
    get,
    path = "/boxes/{name}/desired",
    operation_id = "show_desired",
    tag = "desired state",
    params(OfBox),
    responses(
        (status = 200, body = DesiredVersion, description = "The newest generation."),
        BadPath,
        (status = 404, body = ErrorBody, description = "`no_such_box`; `no_desired_state`: none was set."),
        Refusals,
    )
)]
pub(crate) async fn show(
    State(hub): State<Hub>,
    operator: Operator,
    At(OfBox { name }): At<OfBox>,
) -> Answer<DesiredVersion> {
    let Json(all) = history(State(hub), operator, At(OfBox { name: name.clone() })).await?;
    all.into_iter().next().map(Json).ok_or_else(|| {
        let message = format!("no desired state was set for box `{name}`");
        ApiError::new(StatusCode::NOT_FOUND, "no_desired_state", message)
            .hint("`felhom desired set BOX FILE` sets it")
    })
}

/// Lists all generations of desired state, newest first.
#[utoipa::path(
    get,
    path = "/boxes/{name}/desired/history",
    operation_id = "list_desired",
    tag = "desired state",
    params(OfBox),
    responses(
        (status = 200, body = Vec<DesiredVersion>, description = "All generations."),
        BadPath,
        NoBox,
        Refusals,
    )
)]
pub(crate) async fn history(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
) -> Answer<Vec<DesiredVersion>> {
    let box_name = name.clone();
    let versions = hub
        .store
        .read("reading desired states", |c| {
            Box::pin(async move {
                Ok(match boxes::by_name(c, &box_name).await? {
                    Some(_) => Some(desired::history(c, &box_name).await?),
                    None => None,
                })
            })
        })
        .await?
        .ok_or_else(|| ApiError::no_box(&name))?;
    Ok(Json(versions.into_iter().map(|version| version.view).collect()))
}

/// Sets desired state as the next generation, which the box fetches with its next sync.
#[utoipa::path(
    put,
    path = "/boxes/{name}/desired",
    operation_id = "set_desired",
    tag = "desired state",
    params(OfBox),
    request_body = SetDesired,
    responses(
        (status = 200, body = DesiredVersion, description = "The new generation."),
        BadBody,
        NoBox,
        (status = 409, body = ErrorBody, description = "`generation_conflict`: `if_generation` is not the newest. Nothing was changed."),
        NotObeyable,
        Refusals,
    )
)]
pub(crate) async fn set(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfBox { name }): At<OfBox>,
    Input(wanted): Input<SetDesired>,
) -> Answer<DesiredVersion> {
    plan::check(&wanted.spec).map_err(invalid)?;
    let (shared, box_name, now) = (hub.clone(), name.clone(), hub.now());
    let outcome = hub
        .store
        .write("setting desired state", move |c| {
            Box::pin(async move { intent::set(c, &shared.key, &box_name, (&author, now), wanted).await })
        })
        .await?;
    match outcome {
        intent::Outcome::Set(version) => {
            hub.waiters.tell(&name);
            Ok(Json(*version))
        }
        intent::Outcome::NoBox => Err(ApiError::no_box(&name)),
        intent::Outcome::Conflict { newest } => {
            let message = format!("box `{name}` is at generation {newest} by now; nothing was changed");
            Err(ApiError::new(StatusCode::CONFLICT, "generation_conflict", message)
                .hint("look at the newest with `felhom desired show BOX`, carry your change over, set again"))
        }
    }
}

/// Shows what a desired state would lead to, by the last report; nothing is set.
#[utoipa::path(
    post,
    path = "/boxes/{name}/plan",
    operation_id = "preview_plan",
    tag = "desired state",
    params(OfBox),
    request_body = Spec,
    responses(
        (status = 200, body = PlanPreview, description = "The preview."),
        BadBody,
        NoBox,
        NotObeyable,
        Refusals,
    )
)]
pub(crate) async fn plan(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
    Input(spec): Input<Spec>,
) -> Answer<PlanPreview> {
    Ok(Json(preview(&hub, &name, &spec).await?))
}

async fn preview(hub: &Inner, name: &str, spec: &Spec) -> Result<PlanPreview, ApiError> {
    let box_name = name.to_owned();
    let (row, mut history, report) = hub
        .store
        .read("reading what a plan rests on", |c| {
            Box::pin(async move {
                let row = boxes::by_name(c, &box_name).await?;
                let history = desired::history(c, &box_name).await?;
                Ok((row, history, reports::get(c, &box_name).await?))
            })
        })
        .await?;
    if row.is_none() {
        return Err(ApiError::no_box(name));
    }
    history.reverse();
    let before: Vec<Spec> = history.into_iter().map(|version| version.view.spec).collect();
    plan::preview(spec, &before, report.as_ref(), hub.now()).map_err(invalid)
}

fn invalid(why: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_desired_state", why)
        .hint("nothing was changed; correct the file and set it again")
}
