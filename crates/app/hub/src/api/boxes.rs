//! Box records: make, list, show, take a ticket back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use felhom_model::{Digest, GuestName};
use felhom_protocol::ErrorBody;
use felhom_protocol::hub_api::{AddBox, AddedBox, BoxDetail, BoxSummary};
use felhom_protocol::hub_sync::Ticket;
use jiff::{SignedDuration, Timestamp};

use super::document::{BadBody, BadPath, NoBox, NoRandomness, Refusals};
use super::request::{ApiError, At, Input, OfBox, Operator};
use crate::hub::Hub;
use crate::store::{Cause, Conn, boxes, tickets};
use crate::{fleet, random};

/// How long a ticket is good if nothing was said.
const DEFAULT_TTL_S: u64 = 15 * 60;
/// How long it may be good: a box that is shipped.
const MAX_TTL_S: u64 = 72 * 3600;

type Answer<T> = Result<Json<T>, ApiError>;

/// Why a ticket is not made.
enum NotAdded {
    Waiting { until: Timestamp },
    Enrolled,
}

/// Makes a box record and its enrolment ticket.
///
/// With `renew` also for a box that has either. The ticket is shown this once.
#[utoipa::path(
    post,
    path = "/boxes",
    operation_id = "add_box",
    tag = "boxes",
    request_body = AddBox,
    responses(
        (status = 201, body = AddedBox, description = "Made."),
        BadBody,
        (status = 409, body = ErrorBody, description = "`box_waits`: it has an unused ticket; `box_enrolled`. Both are overcome by `renew`."),
        NoRandomness,
        Refusals,
    )
)]
pub(crate) async fn add(
    State(hub): State<Hub>,
    Operator(author): Operator,
    Input(wanted): Input<AddBox>,
) -> Result<(StatusCode, Json<AddedBox>), ApiError> {
    let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message);
    // A box's name follows the same rule as a guest's.
    let name = wanted
        .name
        .parse::<GuestName>()
        .map_err(|e| bad(format!("`{}` is not a box name: {}", e.text, e.why)))?
        .to_string();
    let ttl = wanted.ttl_s.unwrap_or(DEFAULT_TTL_S);
    if !(1..=MAX_TTL_S).contains(&ttl) {
        return Err(bad(format!("`ttl_s` = {ttl} is outside 1 to {MAX_TTL_S} seconds (72 h)")));
    }
    let token = random::hex::<16>()?;
    let now = hub.now();
    let expires = now + SignedDuration::from_secs(ttl.cast_signed());
    let (digest, box_name, renew) = (Digest::of(token.as_bytes()), name.clone(), wanted.renew);
    let refused = hub
        .store
        .write("adding a box", move |c| {
            Box::pin(async move { make(c, &box_name, digest, (now, expires), renew).await })
        })
        .await?;
    if let Some(why) = refused {
        return Err(not_added(&name, &why));
    }
    hub.record(&name, "ticket_made", format!("operator {author} made an enrolment ticket")).await;
    let ticket = Ticket {
        hub_url: hub.public_url.clone(),
        hub_fingerprint: hub.fingerprint,
        hub_key: hub.key.public(),
        token,
    };
    Ok((StatusCode::CREATED, Json(AddedBox { name, ticket: ticket.encode(), expires })))
}

async fn make(
    c: &mut Conn,
    name: &str,
    token: Digest,
    (now, expires): (Timestamp, Timestamp),
    renew: bool,
) -> Result<Option<NotAdded>, Cause> {
    if !boxes::add(c, name, now).await? && !renew {
        let enrolled = boxes::by_name(c, name).await?.is_some_and(|row| row.identity.is_some());
        if enrolled {
            return Ok(Some(NotAdded::Enrolled));
        }
        let good = tickets::newest(c, name).await?.filter(|t| t.used.is_none() && t.expires > now);
        if let Some(ticket) = good {
            return Ok(Some(NotAdded::Waiting { until: ticket.expires }));
        }
    }
    tickets::take_back(c, name).await?;
    tickets::add(c, token, name, now, expires).await?;
    Ok(None)
}

fn not_added(name: &str, why: &NotAdded) -> ApiError {
    match why {
        NotAdded::Waiting { until } => {
            let message = format!("box `{name}` has an unused ticket that is good until {until:.0}");
            ApiError::new(StatusCode::CONFLICT, "box_waits", message)
                .hint("use that ticket; or `felhom box add NAME --renew` for a new one, which voids it")
        }
        NotAdded::Enrolled => {
            let message = format!("box `{name}` is enrolled");
            ApiError::new(StatusCode::CONFLICT, "box_enrolled", message).hint(
                "choose another name; or `felhom box add NAME --renew` for a ticket to enrol this box anew",
            )
        }
    }
}

/// Lists all boxes, those at the highest risk first.
#[utoipa::path(
    get,
    path = "/boxes",
    operation_id = "list_boxes",
    tag = "boxes",
    responses(
        (status = 200, body = Vec<BoxSummary>, description = "The fleet."),
        Refusals,
    )
)]
pub(crate) async fn list(State(hub): State<Hub>, _: Operator) -> Answer<Vec<BoxSummary>> {
    Ok(Json(fleet::all(&hub).await?))
}

/// Shows a box with all that the hub knows of it.
#[utoipa::path(
    get,
    path = "/boxes/{name}",
    operation_id = "show_box",
    tag = "boxes",
    params(OfBox),
    responses(
        (status = 200, body = BoxDetail, description = "The box."),
        BadPath,
        NoBox,
        Refusals,
    )
)]
pub(crate) async fn show(
    State(hub): State<Hub>,
    _: Operator,
    At(OfBox { name }): At<OfBox>,
) -> Answer<BoxDetail> {
    let found = fleet::detail(&hub, &name).await?.ok_or_else(|| ApiError::no_box(&name))?;
    Ok(Json(found.detail))
}

/// Takes an unused enrolment ticket back.
#[utoipa::path(
    delete,
    path = "/boxes/{name}/enrolment",
    operation_id = "take_back_ticket",
    tag = "boxes",
    params(OfBox),
    responses(
        (status = 204, description = "The ticket is void."),
        BadPath,
        (status = 404, body = ErrorBody, description = "`no_such_box`; `no_ticket`: there is none, or it was used."),
        Refusals,
    )
)]
pub(crate) async fn take_back_ticket(
    State(hub): State<Hub>,
    Operator(author): Operator,
    At(OfBox { name }): At<OfBox>,
) -> Result<StatusCode, ApiError> {
    let box_name = name.clone();
    let count = hub
        .store
        .write("taking a ticket back", move |c| {
            Box::pin(async move {
                Ok(match boxes::by_name(c, &box_name).await? {
                    Some(_) => Some(tickets::take_back(c, &box_name).await?),
                    None => None,
                })
            })
        })
        .await?;
    match count {
        None => Err(ApiError::no_box(&name)),
        Some(0) => {
            let message = format!("box `{name}` has no unused ticket");
            Err(ApiError::new(StatusCode::NOT_FOUND, "no_ticket", message))
        }
        Some(_) => {
            let message = format!("operator {author} took the enrolment ticket back");
            hub.record(&name, "ticket_taken_back", message).await;
            Ok(StatusCode::NO_CONTENT)
        }
    }
}
