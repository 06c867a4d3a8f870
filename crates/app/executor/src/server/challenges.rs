//! What waits for people: challenges, answers to them, vetoes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use felhom_model::Digest;
use felhom_protocol::executor::OperatorAnswer;
use felhom_protocol::status;
use felhom_signing::consent::Armored;

use super::answer::Failure;
use super::operations::find;
use crate::authorization::{Answer, AnswerError};
use crate::marks::from_journal;
use crate::submit::Executor;

pub(super) async fn list(
    State(executor): State<Arc<Executor>>,
) -> Result<Json<Vec<status::Challenge>>, Failure> {
    Ok(Json(executor.services.shown_challenges()?))
}

pub(super) async fn answer(
    State(executor): State<Arc<Executor>>,
    Path(digest): Path<String>,
    Json(answer): Json<OperatorAnswer>,
) -> Result<Json<status::Operation>, Failure> {
    take(executor, &digest, Answer::Operator(answer.signature)).await
}

pub(super) async fn confirm(
    State(executor): State<Arc<Executor>>,
    Path(digest): Path<String>,
    Json(signed): Json<Armored>,
) -> Result<Json<status::Operation>, Failure> {
    take(executor, &digest, Answer::Customer(signed)).await
}

/// What was accepted, by the signatures' digests.
pub(super) async fn counted(
    State(executor): State<Arc<Executor>>,
    Path(digest): Path<String>,
) -> Result<Json<Vec<Digest>>, Failure> {
    Ok(Json(executor.services.answers_that_counted(parse(&digest)?)?))
}

pub(super) async fn renew(
    State(executor): State<Arc<Executor>>,
    Path(digest): Path<String>,
) -> Result<Json<status::Challenge>, Failure> {
    let digest = parse(&digest)?;
    let services = Arc::clone(&executor.services);
    // As below: what was begun is finished.
    let renewed = tokio::spawn(async move { executor.renew(digest).await }).await;
    let new = renewed.map_err(|e| Failure::internal(&e.to_string()))??;
    let shown = services.shown_challenges()?.into_iter().find(|challenge| challenge.digest == new);
    shown.map(Json).ok_or_else(|| Failure::conflict("not_open", "the new challenge is over already"))
}

fn parse(digest: &str) -> Result<Digest, Failure> {
    digest.parse().map_err(|e: felhom_model::id::IdError| Failure::bad("malformed_digest", &e.to_string()))
}

async fn take(
    executor: Arc<Executor>,
    digest: &str,
    answer: Answer,
) -> Result<Json<status::Operation>, Failure> {
    let digest = parse(digest)?;
    // A client that goes away must not leave an accepted consent half way.
    let services = Arc::clone(&executor.services);
    let taken = tokio::spawn(async move { executor.answer(digest, answer).await }).await;
    let op = taken.map_err(|e| Failure::internal(&e.to_string()))??;
    Ok(Json(services.shown(&op)))
}

pub(super) async fn veto(
    State(executor): State<Arc<Executor>>,
    Path(id): Path<String>,
    Json(signed): Json<Armored>,
) -> Result<Json<status::Operation>, Failure> {
    let op = find(&executor, &id)?;
    let op = executor.veto(from_journal(op.id()), &signed)?;
    Ok(Json(executor.services.shown(&op)))
}

impl From<AnswerError> for Failure {
    fn from(e: AnswerError) -> Self {
        match e {
            AnswerError::Consent(e) => Self::forbidden(e.code(), &e.to_string()),
            AnswerError::NotWaiting(_) => Self::conflict("not_waiting", &e.to_string()),
            AnswerError::NotReady(_) => Self::conflict("not_ready", &e.to_string()),
            AnswerError::Later(e) => e.into(),
            AnswerError::Journal(e) => e.into(),
        }
    }
}
