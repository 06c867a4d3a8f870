//! Enrolment: a one-time token turns two public keys into a box's identity.
//!
//! A repeated request with the same token and the same keys gets the same answer: the first answer may have been lost.
//! Any other second use is refused.

use std::net::IpAddr;
use std::time::Instant;

use axum::http::StatusCode;
use felhom_model::{BoxId, Digest};
use felhom_protocol::hub_sync::{EnrollAnswer, EnrollRequest};
use jiff::Timestamp;

use super::Refusal;
use crate::hub::{Hub, Inner};
use crate::store::boxes::{self, BoxIdentity};
use crate::store::{Cause, Conn, challenges, jobs, messages, tickets};
use crate::throttle::{Source, subscriber};
use crate::{intent, random};

/// What came of a token.
enum Outcome {
    Enrolled(EnrollAnswer),
    Unknown,
    Expired { box_name: String, at: Timestamp },
    Used { box_name: String, at: Timestamp },
}

/// Enrols a box.
///
/// # Errors
/// A refusal: malformed, or a token that is unknown, expired or used.
pub(crate) async fn enroll(hub: &Hub, peer: IpAddr, body: &[u8]) -> Result<EnrollAnswer, Refusal> {
    let request = parse(body)?;
    let now = hub.now();
    let new_id = random::bytes::<16>()
        .map(BoxId::from_random)
        .map_err(|e| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random", e.to_string()))?;
    let shared = hub.clone();
    let outcome = hub
        .store
        .write("enrolling a box", move |c| {
            Box::pin(async move { redeem(c, &shared, request, new_id, now).await })
        })
        .await?;
    match outcome {
        Outcome::Enrolled(answer) => {
            let message = format!("enrolled, epoch {}", answer.epoch);
            hub.record(&answer.name, "enrolled", message).await;
            Ok(answer)
        }
        Outcome::Unknown => Err(unknown(hub, peer)),
        Outcome::Expired { box_name, at } => {
            let message = format!("enrolment of box `{box_name}` refused: the ticket was good until {at:.0}");
            Err(refused(hub, &box_name, "ticket_expired", message).await)
        }
        Outcome::Used { box_name, at } => {
            let message = format!(
                "enrolment of box `{box_name}` refused: the ticket was used at {at:.0}, and is good once only"
            );
            Err(refused(hub, &box_name, "ticket_used", message).await)
        }
    }
}

fn parse(body: &[u8]) -> Result<EnrollRequest, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let problem = match serde_path_to_error::deserialize::<_, EnrollRequest>(&mut reader) {
        Ok(request) if request.hostname.len() > 253 => "`hostname` is longer than 253 bytes".to_owned(),
        Ok(request) => return Ok(request),
        Err(e) => format!("at `{}`: {}", e.path(), e.inner()),
    };
    let message = format!("the enrolment is malformed: {problem}");
    Err(Refusal::new(StatusCode::BAD_REQUEST, "malformed", message))
}

/// A right token is never held back: it cannot be guessed, and an attacker must not lock boxes out.
fn unknown(hub: &Inner, peer: IpAddr) -> Refusal {
    let source = Source::Enrolment(subscriber(peer));
    let blocked = hub.throttle.blocked(&source, Instant::now());
    hub.throttle.failed(source, Instant::now());
    let hint = "run `felhom box add NAME` for a new ticket; an older one of the same box is void then";
    match blocked {
        None => {
            let message = "enrolment refused: no box waits for this ticket".to_owned();
            Refusal::unauthorized("unknown_token", message).hint(hint)
        }
        Some(wait) => {
            let message = "too many unknown tickets from this address".to_owned();
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message);
            Refusal { retry_after: Some(wait), ..refusal.hint(hint) }
        }
    }
}

async fn refused(hub: &Inner, box_name: &str, error: &'static str, message: String) -> Refusal {
    hub.record(box_name, "enrolment_refused", message.clone()).await;
    Refusal::unauthorized(error, message)
        .hint("run `felhom box add NAME --renew` for a new ticket, and use it once")
}

async fn redeem(
    c: &mut Conn,
    hub: &Inner,
    request: EnrollRequest,
    new_id: BoxId,
    now: Timestamp,
) -> Result<Outcome, Cause> {
    let token = Digest::of(request.token.as_bytes());
    let Some(ticket) = tickets::by_token(c, token).await? else { return Ok(Outcome::Unknown) };
    let Some(row) = boxes::by_name(c, &ticket.box_name).await? else { return Ok(Outcome::Unknown) };
    let by = format!("{} {}", request.device_key, request.attestation_key);
    let box_name = row.name;
    if let Some((at, used_by)) = ticket.used {
        let same = row.identity.filter(|identity| used_by == by && identity.device_key == request.device_key);
        return Ok(match same {
            Some(identity) => Outcome::Enrolled(answer(&box_name, &identity)),
            None => Outcome::Used { box_name, at },
        });
    }
    if ticket.expires <= now {
        return Ok(Outcome::Expired { box_name, at: ticket.expires });
    }
    let identity = BoxIdentity {
        id: row.identity.map_or(new_id, |identity| identity.id),
        epoch: row.identity.map_or(0, |identity| identity.epoch) + 1,
        device_key: request.device_key,
        attestation_key: request.attestation_key,
        enrolled: now,
    };
    boxes::set_identity(c, &box_name, &request.hostname, &identity).await?;
    tickets::mark_used(c, token, &by, now).await?;
    if row.identity.is_some() {
        jobs::void_open(c, &box_name, "void: the box was enrolled anew before it ended this").await?;
        messages::void_open(c, &box_name, "void: the box was enrolled anew before it judged this").await?;
        challenges::void_open(c, &box_name).await?;
    }
    intent::sign_waiting(c, &hub.key, &box_name, identity.id).await?;
    Ok(Outcome::Enrolled(answer(&box_name, &identity)))
}

fn answer(box_name: &str, identity: &BoxIdentity) -> EnrollAnswer {
    EnrollAnswer { box_id: identity.id, name: box_name.to_owned(), epoch: identity.epoch }
}
