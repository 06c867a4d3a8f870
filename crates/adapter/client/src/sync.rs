//! The hub as a box sees it: enrolment and signed sync, `felhom_protocol::hub_sync`.

use crate::error::{Error, ErrorKind};
use crate::transport::{Answer, Transport, parse, refusal_body};
use felhom_model::{BoxId, Digest};
use felhom_protocol::hub_sync::{
    ANSWER_SIGNATURE, EnrollAnswer, EnrollRequest, SyncAnswer, SyncRefusal, SyncRequest, Ticket,
};
use felhom_signing::{Context, Key, PublicKey, http};
use jiff::Timestamp;
use reqwest::Method;
use std::time::Duration;

const SYNC_PATH: &str = "/api/v1/sync";

/// Registers a box with a ticket.
///
/// # Errors
/// [`Error`]: an unknown, used or expired ticket is `Refused`; another certificate or key than the ticket's is told apart.
pub async fn enroll(ticket: &Ticket, request: &EnrollRequest) -> Result<EnrollAnswer, Error> {
    let transport = Transport::pinned(&ticket.hub_url, ticket.hub_fingerprint)?;
    let answer = transport.request(Method::POST, "/api/v1/enroll").json(request).send_any().await?;
    let (call, bytes) = verified(answer, &ticket.hub_key).await?;
    parse(&call, &bytes)
}

/// A box's client.
#[derive(Debug)]
pub struct SyncClient {
    transport: Transport,
    hub_key: PublicKey,
    box_id: BoxId,
}

impl SyncClient {
    /// Speaks with the pinned hub as this box.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(url: &str, fingerprint: Digest, hub_key: PublicKey, box_id: BoxId) -> Result<Self, Error> {
        Ok(Self { transport: Transport::pinned(url, fingerprint)?, hub_key, box_id })
    }

    /// One sync at the time `now`, signed with the device key. The request's nonce must be new each time.
    ///
    /// # Errors
    /// [`Error`]; an answer that the hub's key did not sign, or that belongs to another request, is `Forged`.
    pub async fn sync(&self, key: &Key, request: &SyncRequest, now: Timestamp) -> Result<SyncAnswer, Error> {
        let body = serde_json::to_vec(request)
            .map_err(|e| Error { call: "sync".to_owned(), kind: ErrorKind::Local(e.to_string()) })?;
        let params = http::Params {
            created: now.as_second(),
            nonce: request.nonce.clone(),
            key_id: self.box_id.to_string(),
        };
        let headers =
            http::sign(key, &http::Request { method: "POST", path: SYNC_PATH, body: &body }, &params);
        let answer = self
            .transport
            .request(Method::POST, SYNC_PATH)
            .wait(Duration::from_secs(request.wait_s.into()))
            .header("content-digest", &headers.content_digest)
            .header("signature-input", &headers.signature_input)
            .header("signature", &headers.signature)
            .bytes(body)
            .send_any()
            .await?;
        let (call, bytes) = verified(answer, &self.hub_key).await?;
        let answer: SyncAnswer = parse(&call, &bytes)?;
        if answer.nonce != request.nonce {
            let why = "it answers another request".to_owned();
            return Err(Error { call, kind: ErrorKind::Forged(why) });
        }
        Ok(answer)
    }
}

/// The body of an answer that the hub signed; a signed refusal is `Refused`.
async fn verified(answer: Answer, hub_key: &PublicKey) -> Result<(String, Vec<u8>), Error> {
    let status = answer.response.status();
    let header = answer.response.headers().get(ANSWER_SIGNATURE).and_then(|value| value.to_str().ok());
    let signature = match header.map(str::parse) {
        Some(Ok(signature)) => signature,
        Some(Err(_)) => return Err(answer.error(ErrorKind::Forged("its signature is malformed".to_owned()))),
        None => return Err(answer.error(ErrorKind::Forged(format!("it is not signed (HTTP {status})")))),
    };
    let call = answer.call.clone();
    let bytes = answer.bytes().await?;
    hub_key
        .verify(Context::SyncAnswer, &bytes, &signature)
        .map_err(|e| Error { call: call.clone(), kind: ErrorKind::Forged(e.to_string()) })?;
    if status.is_success() {
        return Ok((call, bytes));
    }
    let (body, time) = match serde_json::from_slice::<SyncRefusal>(&bytes) {
        Ok(refusal) => (refusal.error, Some(refusal.time)),
        Err(_) => (refusal_body(&bytes), None),
    };
    Err(Error { call, kind: ErrorKind::Refused { status: status.as_u16(), body: body.into(), time } })
}
