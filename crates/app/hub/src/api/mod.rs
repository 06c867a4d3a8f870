//! The operators' JSON API, as `felhom_protocol::hub_api` documents it.

mod audit;
mod boxes;
mod challenges;
mod desired;
mod jobs;
mod request;

use axum::Router;
use axum::routing::{delete, get, post};

pub(crate) use self::jobs::enqueue;
use self::request::ApiError;
use crate::hub::Hub;

/// The routes. A wrong path or method is an error in the API's own form.
pub(crate) fn router() -> Router<Hub> {
    Router::new()
        .route("/boxes", post(boxes::add).get(boxes::list))
        .route("/boxes/{name}", get(boxes::show))
        .route("/boxes/{name}/enrolment", delete(boxes::take_back_ticket))
        .route("/boxes/{name}/desired", get(desired::show).put(desired::set))
        .route("/boxes/{name}/desired/history", get(desired::history))
        .route("/boxes/{name}/plan", post(desired::plan))
        .route("/boxes/{name}/jobs", post(jobs::add).get(jobs::list))
        .route("/boxes/{name}/operations", get(jobs::operations))
        .route("/boxes/{name}/audit-heads", get(audit::heads))
        .route("/boxes/{name}/operations/{id}/vetoes", post(challenges::add_veto).get(challenges::vetoes))
        .route("/challenges", get(challenges::list))
        .route("/challenges/{digest}", get(challenges::show))
        .route("/challenges/{digest}/answers", post(challenges::answer))
        .route("/challenges/{digest}/renewals", post(challenges::renew))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(async || ApiError::no_such_path())
}
