//! Operations in their grace of which there is no challenge, such as a rotation of the operators' file: what the hub makes of
//! them. Pure. The box's word is looked at so that people are warned early, and handed on exactly as it came.

use felhom_model::BoxId;
use felhom_protocol::hub_api::WaitingView;
use felhom_protocol::status;
use felhom_signing::PublicKey;
use felhom_signing::consent::Waiting;
use jiff::SignedDuration;

use crate::words;

/// Such an operation, as the hub shows it.
#[derive(Debug, Clone)]
pub(crate) struct InGrace {
    /// As the API gives it.
    pub(crate) view: WaitingView,
    /// What the box signed, if it counts here.
    pub(crate) says: Option<Waiting>,
}

impl InGrace {
    /// What is left of its grace, as the box told it last.
    pub(crate) fn left(&self) -> String {
        let left = self.view.operation.grace.as_ref().map(|grace| grace.left_s);
        left.map_or_else(
            || "an unknown time".to_owned(),
            |s| words::duration(SignedDuration::from_secs(s.try_into().unwrap_or(i64::MAX))),
        )
    }

    /// The command that stops it.
    pub(crate) fn command(&self) -> String {
        format!("felhom veto {} --reason \"…\"", self.view.operation.id)
    }
}

/// What the box with this id and attestation key signed of an operation; else why nothing of it counts.
pub(crate) fn judge(operation: &status::Operation, id: BoxId, key: &PublicKey) -> Result<Waiting, String> {
    let signed = operation.grace.as_ref().and_then(|grace| grace.signed.clone());
    let signed = signed
        .ok_or("not_signed: the box did not sign what it would do; its executor is older, or not enrolled")?;
    let waiting = Waiting::open(signed.into(), key).map_err(|e| format!("bad_signature: {e}"))?.into_inner();
    if waiting.box_id != id {
        return Err(format!("other_box: another box said it, {}", waiting.box_id));
    }
    if waiting.waiting != operation.id || waiting.act.kind.name() != operation.kind {
        return Err(format!("other_operation: it is about {} {}", waiting.act.kind, waiting.waiting));
    }
    Ok(waiting)
}
