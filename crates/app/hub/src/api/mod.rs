//! The operators' JSON API, as `felhom_protocol::hub_api` documents it.
//!
//! A route is declared once, at its handler, with all that it can answer; the router and the OpenAPI document are made from
//! that.

mod audit;
mod boxes;
mod challenges;
mod desired;
mod document;
mod jobs;
mod request;
#[cfg(test)]
mod tests;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::document::document;
pub(crate) use self::jobs::enqueue;
use self::request::ApiError;
use crate::hub::Hub;

/// Where the API is.
pub(crate) const BASE: &str = "/api/v1";

/// The routes. A wrong path or method is an error in the API's own form.
pub(crate) fn router() -> Router<Hub> {
    Router::from(declared())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(async || ApiError::no_such_path())
}

/// **Architecture invariant:** no route is added but by `routes!`, which takes what `utoipa::path` says of a handler.
fn declared() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(boxes::add, boxes::list))
        .routes(routes!(boxes::show))
        .routes(routes!(boxes::take_back_ticket))
        .routes(routes!(desired::show, desired::set))
        .routes(routes!(desired::history))
        .routes(routes!(desired::plan))
        .routes(routes!(jobs::add, jobs::list))
        .routes(routes!(jobs::operations))
        .routes(routes!(audit::heads))
        .routes(routes!(challenges::add_veto, challenges::vetoes))
        .routes(routes!(challenges::list))
        .routes(routes!(challenges::waiting))
        .routes(routes!(challenges::show))
        .routes(routes!(challenges::answer))
        .routes(routes!(challenges::renew))
        .routes(routes!(document::serve))
}
