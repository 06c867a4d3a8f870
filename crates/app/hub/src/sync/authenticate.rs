//! Which box makes a request: RFC 9421 signature over the exact bytes, by the device key of its enrolment.
//!
//! Order: headers → known box → signature → time. Only a request that its box really signed can say more than "refused" on
//! the box's page, apart from the fact that somebody tried.

use axum::http::{HeaderMap, request::Parts};
use felhom_model::BoxId;
use felhom_protocol::hub_sync::Turn;
use felhom_signing::http::{self, Headers, Params};
use jiff::{SignedDuration, Timestamp};

use super::Refusal;
use crate::hub::Inner;
use crate::store::boxes::{self, BoxIdentity, BoxRow};

/// A box that proved itself. Whether it is this request's turn is not judged yet.
pub(crate) struct Caller {
    /// Its name.
    pub(crate) name: String,
    /// Its identity.
    pub(crate) identity: BoxIdentity,
    /// Where the request stands among those of the box.
    pub(crate) turn: Turn,
}

/// Finds out who calls.
///
/// # Errors
/// A refusal with 401, recorded on the page of the box that was named.
pub(crate) async fn authenticate(hub: &Inner, parts: &Parts, body: &[u8]) -> Result<Caller, Refusal> {
    let headers = signature_headers(&parts.headers)?;
    let params = http::claimed(&headers.signature_input)
        .map_err(|e| Refusal::unauthorized("signature_malformed", e.to_string()))?;
    let (row, identity) = find(hub, &params.key_id).await?;
    let request = http::Request { method: parts.method.as_str(), path: parts.uri.path(), body };
    let params = match http::verify(&identity.device_key, &request, &headers) {
        Ok(params) => params,
        Err(e) => {
            let message = format!("sync of box `{}` refused: {e}", row.name);
            return Err(refuse(hub, &row.name, Refusal::unauthorized("bad_signature", message)).await);
        }
    };
    check_clock(hub, &row.name, &params).await?;
    let Some(turn) = Turn::read(&params.nonce) else {
        let message = format!("sync of box `{}` refused: its nonce is not RUN-COUNT", row.name);
        return Err(refuse(hub, &row.name, Refusal::unauthorized("signature_malformed", message)).await);
    };
    Ok(Caller { name: row.name, identity, turn })
}

fn signature_headers(headers: &HeaderMap) -> Result<Headers, Refusal> {
    let text = |name: &'static str| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned).ok_or_else(|| {
            let message = format!("the request has no readable `{name}` header");
            Refusal::unauthorized("signature_missing", message)
                .hint("boxes sign every request with the device key made at enrolment (RFC 9421)")
        })
    };
    Ok(Headers {
        content_digest: text("content-digest")?,
        signature_input: text("signature-input")?,
        signature: text("signature")?,
    })
}

async fn find(hub: &Inner, key_id: &str) -> Result<(BoxRow, BoxIdentity), Refusal> {
    let unknown = || {
        let message = format!("no box `{key_id}` is enrolled at this hub");
        Refusal::unauthorized("unknown_box", message)
            .hint("enrol the box: `felhom box add NAME` at the operator's, `felhom-agent enroll` on the box")
    };
    let id: BoxId = key_id.parse().map_err(|_| unknown())?;
    let row = hub
        .store
        .read("looking for the box", |c| Box::pin(async move { boxes::by_id(c, id).await }))
        .await?
        .ok_or_else(unknown)?;
    let identity = row.identity.ok_or_else(unknown)?;
    Ok((row, identity))
}

async fn check_clock(hub: &Inner, box_name: &str, params: &Params) -> Result<(), Refusal> {
    let now = hub.now();
    let off = Timestamp::from_second(params.created).map(|created| created.duration_since(now));
    let tolerance = SignedDuration::try_from(hub.config.clock_tolerance()).unwrap_or(SignedDuration::MAX);
    if off.as_ref().is_ok_and(|off| off.abs() <= tolerance) {
        return Ok(());
    }
    let off = off.map_or_else(|_| "unreadably far".to_owned(), |off| format!("{} s", off.as_secs()));
    let message = format!(
        "sync of box `{box_name}` refused: the request's time is {off} from the hub's clock, {} s are tolerated",
        tolerance.as_secs()
    );
    let refusal = Refusal::unauthorized("clock_off", message)
        .hint("set the box's clock (NTP); the hub's time is in this answer");
    Err(refuse(hub, box_name, refusal).await)
}

/// Records the refusal as an event of the box.
pub(super) async fn refuse(hub: &Inner, box_name: &str, refusal: Refusal) -> Refusal {
    hub.record(box_name, "sync_refused", refusal.message.clone()).await;
    refusal
}
