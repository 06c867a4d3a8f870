//! Challenges: what people are asked to sign, their answers, vetoes, and wishes for a longer-lived one. The hub judges none of
//! them; it only bounds how much it keeps.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_model::{Digest, MessageId, OperationId};
use felhom_protocol::ErrorBody;
use felhom_protocol::hub_api::{AddAnswer, AddVeto, AnswerView, ChallengeView, WaitingView};
use felhom_protocol::hub_sync::{Message, Said};
use felhom_signing::consent::Armored;

use super::document::{BadBody, BadPath, ChallengeOver, NoChallenge, NoRandomness, Refusals};
use super::request::{ApiError, At, Input, OfChallenge, OfOperation, Operator};
use crate::challenges::Found;
use crate::hub::{Hub, Inner};
use crate::store::messages::{self, Kept};
use crate::store::{Cause, Conn, boxes, challenges, reports, waiting as in_grace};

/// Answers to one challenge, and vetoes against one operation, that are kept.
const MOST: usize = 32;
/// Largest of them, bytes.
const LARGEST: usize = 16 << 10;

type Answer<T> = Result<Json<T>, ApiError>;

/// Why a message is not kept.
enum NotKept {
    Unknown,
    Over(&'static str),
    TooMany,
}

impl NotKept {
    fn error(&self, what: &str) -> ApiError {
        match self {
            Self::Unknown => ApiError::new(
                StatusCode::NOT_FOUND,
                "no_such_challenge",
                format!("there is no {what} at this hub"),
            )
            .hint("`felhom challenges list` shows all"),
            Self::Over(why) => {
                ApiError::new(StatusCode::CONFLICT, "challenge_over", format!("the {what} {why}"))
            }
            Self::TooMany => {
                let message = format!("the {what} has {MOST} answers already; no more are kept");
                ApiError::new(StatusCode::CONFLICT, "too_many_answers", message)
            }
        }
    }
}

/// Lists the challenges of all boxes, open ones first, then newest first.
#[utoipa::path(
    get,
    path = "/challenges",
    operation_id = "list_challenges",
    tag = "challenges",
    responses(
        (status = 200, body = Vec<ChallengeView>, description = "All challenges."),
        Refusals,
    )
)]
pub(crate) async fn list(State(hub): State<Hub>, _: Operator) -> Answer<Vec<ChallengeView>> {
    let now = hub.now();
    let found = hub
        .store
        .read("reading challenges", |c| Box::pin(async move { challenges::all(c, None, now).await }))
        .await?;
    Ok(Json(found.into_iter().map(|found| found.view).collect()))
}

/// Lists operations of all boxes that are in their grace and have no challenge, newest first.
///
/// Nobody signs for them any more, as for a rotation of the operators' file; until the grace is over each can be vetoed.
#[utoipa::path(
    get,
    path = "/waiting",
    operation_id = "list_waiting",
    tag = "challenges",
    responses(
        (status = 200, body = Vec<WaitingView>, description = "Operations in their grace."),
        Refusals,
    )
)]
pub(crate) async fn waiting(State(hub): State<Hub>, _: Operator) -> Answer<Vec<WaitingView>> {
    let found = hub
        .store
        .read("reading operations in their grace", |c| Box::pin(async move { in_grace::all(c, None).await }))
        .await?;
    Ok(Json(found.into_iter().map(|found| found.view).collect()))
}

/// Shows a challenge.
#[utoipa::path(
    get,
    path = "/challenges/{digest}",
    operation_id = "show_challenge",
    tag = "challenges",
    params(OfChallenge),
    responses(
        (status = 200, body = ChallengeView, description = "The challenge."),
        BadPath,
        NoChallenge,
        Refusals,
    )
)]
pub(crate) async fn show(
    State(hub): State<Hub>,
    _: Operator,
    At(OfChallenge { digest: challenge }): At<OfChallenge>,
) -> Answer<ChallengeView> {
    find(&hub, challenge).await.map(Json)
}

async fn find(hub: &Inner, digest: Digest) -> Result<ChallengeView, ApiError> {
    let now = hub.now();
    let found = hub
        .store
        .read("reading a challenge", |c| Box::pin(async move { challenges::by_digest(c, digest, now).await }))
        .await?;
    found.map(|found| found.view).ok_or_else(|| NotKept::Unknown.error(&format!("challenge {digest}")))
}

/// Carries an operator's signature to the box that issued the challenge.
///
/// The box judges it, not the hub. The same answer again is the same answer.
#[utoipa::path(
    post,
    path = "/challenges/{digest}/answers",
    operation_id = "answer_challenge",
    tag = "challenges",
    params(OfChallenge),
    request_body = AddAnswer,
    responses(
        (status = 200, body = ChallengeView, description = "The challenge with this answer."),
        BadBody,
        NoChallenge,
        ChallengeOver,
        NoRandomness,
        Refusals,
    )
)]
pub(crate) async fn answer(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfChallenge { digest: challenge }): At<OfChallenge>,
    Input(answer): Input<AddAnswer>,
) -> Answer<ChallengeView> {
    bounded(answer.signature.len())?;
    say(&hub, author, challenge, Said::Answer { challenge, signature: answer.signature }).await
}

/// Asks the box for a challenge that lives longer, e.g. to be signed on a machine without network.
#[utoipa::path(
    post,
    path = "/challenges/{digest}/renewals",
    operation_id = "renew_challenge",
    tag = "challenges",
    params(OfChallenge),
    responses(
        (status = 200, body = ChallengeView, description = "The challenge with this request."),
        BadPath,
        NoChallenge,
        ChallengeOver,
        NoRandomness,
        Refusals,
    )
)]
pub(crate) async fn renew(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfChallenge { digest: challenge }): At<OfChallenge>,
) -> Answer<ChallengeView> {
    say(&hub, author, challenge, Said::Renew { challenge }).await
}

fn bounded(bytes: usize) -> Result<(), ApiError> {
    if (1..=LARGEST).contains(&bytes) {
        return Ok(());
    }
    let message = format!("it has {bytes} bytes; 1 to {LARGEST} are taken");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message))
}

fn message_id(hub: &Inner) -> Result<MessageId, ApiError> {
    let ulid = hub.new_ulid(hub.now())?;
    Ok(MessageId::from_parts(ulid.timestamp_ms(), ulid.random()))
}

/// Keeps what is said of a challenge and wakes its box.
async fn say(hub: &Inner, author: String, digest: Digest, said: Said) -> Answer<ChallengeView> {
    let (now, message) = (hub.now(), Message { id: message_id(hub)?, said });
    let kept = hub
        .store
        .write("keeping an answer", move |c| {
            Box::pin(async move {
                let Some(found) = challenges::by_digest(c, digest, now).await? else {
                    return Ok(Err(NotKept::Unknown));
                };
                if let Some(problem) = may_be_answered(&found) {
                    return Ok(Err(NotKept::Over(problem)));
                }
                let name = found.view.box_name;
                let before = messages::all_about(c, &name, &digest.to_string()).await?;
                keep(c, &name, &before, &message, (&author, now)).await.map(|kept| kept.map(|()| name))
            })
        })
        .await?;
    let name = kept.map_err(|why| why.error(&format!("challenge {digest}")))?;
    hub.waiters.tell(&name);
    find(hub, digest).await.map(Json)
}

/// Why nobody should answer it.
fn may_be_answered(found: &Found) -> Option<&'static str> {
    use felhom_protocol::hub_api::ChallengeState as S;
    match found.view.state {
        S::Open | S::Answered => None,
        S::Accepted => Some("has all the signatures that it needs"),
        S::Expired => Some("has expired"),
        S::Void => Some("is void: the box does not wait for it any more"),
        S::BadSignature | S::Unknown => Some("is not signed by the box's key; nobody should sign it"),
    }
}

/// Keeps a message, unless the same one waits for the box's word or was accepted.
async fn keep(
    c: &mut Conn,
    name: &str,
    before: &[Kept],
    message: &Message,
    by: (&str, jiff::Timestamp),
) -> Result<Result<(), NotKept>, Cause> {
    let same = |kept: &&Kept| kept.said == message.said && kept.view.asked.accepted != Some(false);
    if before.iter().any(|kept| same(&kept)) {
        return Ok(Ok(()));
    }
    if before.len() >= MOST {
        return Ok(Err(NotKept::TooMany));
    }
    messages::add(c, name, message, by).await?;
    Ok(Ok(()))
}

/// Carries a veto to the box whose operation waits. The box judges it, not the hub.
#[utoipa::path(
    post,
    path = "/boxes/{name}/operations/{id}/vetoes",
    operation_id = "add_veto",
    tag = "jobs and operations",
    params(OfOperation),
    request_body = AddVeto,
    responses(
        (status = 200, body = Vec<AnswerView>, description = "All vetoes against this operation, oldest first."),
        BadBody,
        (status = 404, body = ErrorBody, description = "`no_such_challenge`: the box or its operation is not known."),
        (status = 409, body = ErrorBody, description = "`too_many_answers`."),
        NoRandomness,
        Refusals,
    )
)]
pub(crate) async fn add_veto(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfOperation { name, id: operation }): At<OfOperation>,
    Input(AddVeto { signed }): Input<AddVeto>,
) -> Answer<Vec<AnswerView>> {
    let Armored { bytes, signature } = &signed;
    bounded(bytes.len().max(1) + signature.len())?;
    let (now, id) = (hub.now(), message_id(&hub)?);
    let message = Message { id, said: Said::Veto { operation, signed } };
    let box_name = name.clone();
    let kept = hub
        .store
        .write("keeping a veto", move |c| {
            Box::pin(async move {
                let known = boxes::by_name(c, &box_name).await?.is_some()
                    && reports::operations(c, &box_name).await?.iter().any(|o| o.id == operation);
                if !known {
                    return Ok(Err(NotKept::Unknown));
                }
                let before = messages::all_about(c, &box_name, &operation.to_string()).await?;
                keep(c, &box_name, &before, &message, (&author, now)).await
            })
        })
        .await?;
    kept.map_err(|why| why.error(&format!("operation {operation} of box {name}")))?;
    hub.waiters.tell(&name);
    vetoes_of(&hub, name, operation).await
}

/// Lists the vetoes against an operation, oldest first; none for one that is not known.
#[utoipa::path(
    get,
    path = "/boxes/{name}/operations/{id}/vetoes",
    operation_id = "list_vetoes",
    tag = "jobs and operations",
    params(OfOperation),
    responses(
        (status = 200, body = Vec<AnswerView>, description = "Vetoes that the hub carried."),
        BadPath,
        Refusals,
    )
)]
pub(crate) async fn vetoes(
    State(hub): State<Hub>,
    _: Operator,
    At(OfOperation { name, id: operation }): At<OfOperation>,
) -> Answer<Vec<AnswerView>> {
    vetoes_of(&hub, name, operation).await
}

async fn vetoes_of(hub: &Inner, name: String, operation: OperationId) -> Answer<Vec<AnswerView>> {
    let about = operation.to_string();
    let kept = hub
        .store
        .read("reading vetoes", |c| Box::pin(async move { messages::all_about(c, &name, &about).await }))
        .await?;
    Ok(Json(kept.into_iter().map(|kept| kept.view.asked).collect()))
}
