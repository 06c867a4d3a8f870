//! The operator's JSON API of the hub, used by the CLI; the same facts as the pages.
//!
//! Bearer token of an operator in `Authorization`. Errors are [`ErrorBody`](crate::ErrorBody).
//!
//! | call | body → answer |
//! |---|---|
//! | `POST /api/v1/boxes` | [`AddBox`] → [`AddedBox`] |
//! | `GET /api/v1/boxes` | → array of [`BoxSummary`], by risk |
//! | `GET /api/v1/boxes/{name}` | → [`BoxDetail`] |
//! | `DELETE /api/v1/boxes/{name}/enrolment` | → 204; takes back an unused ticket |
//! | `GET /api/v1/boxes/{name}/desired` | → [`DesiredVersion`]; 404 if none was set |
//! | `PUT /api/v1/boxes/{name}/desired` | [`SetDesired`] → [`DesiredVersion`] |
//! | `GET /api/v1/boxes/{name}/desired/history` | → array of [`DesiredVersion`], newest first |
//! | `POST /api/v1/boxes/{name}/plan` | [`Spec`] → [`PlanPreview`] |
//! | `POST /api/v1/boxes/{name}/jobs` | [`AddJob`] → [`JobView`] |
//! | `GET /api/v1/boxes/{name}/jobs` | → array of [`JobView`], newest first |
//! | `GET /api/v1/boxes/{name}/operations` | → array of [`status::Operation`](crate::status::Operation), newest first |
//! | `GET /api/v1/boxes/{name}/audit-heads` | → array of [`AuditHeadView`], the last one told first, at most 1000 |
//! | `GET /api/v1/challenges` | → array of [`ChallengeView`], open ones first, then newest first |
//! | `GET /api/v1/waiting` | → array of [`WaitingView`], newest first: in their grace, without a challenge |
//! | `GET /api/v1/challenges/{digest}` | → [`ChallengeView`] |
//! | `POST /api/v1/challenges/{digest}/answers` | [`AddAnswer`] → [`ChallengeView`]; the box judges the answer, not the hub |
//! | `POST /api/v1/challenges/{digest}/renewals` | → [`ChallengeView`]; the box is asked for a longer-lived one |
//! | `POST /api/v1/boxes/{name}/operations/{id}/vetoes` | [`AddVeto`] → array of [`AnswerView`] |
//! | `GET /api/v1/boxes/{name}/operations/{id}/vetoes` | → array of [`AnswerView`], oldest first |
//! | `GET /api/v1/openapi.json` | → this API as an OpenAPI 3.1 document; needs no token |

use crate::SignedBytes;
use crate::desired::Spec;
use crate::hub_sync::Report;
use felhom_model::{BoxId, Digest, Generation, JobId, OperationId};
use felhom_signing::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Make a box record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddBox {
    /// A DNS label.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples("kovacs"))
    )]
    pub name: String,
    /// How long the ticket is good, seconds; absent: 15 minutes; at most 72 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 259_200))]
    pub ttl_s: Option<u64>,
    /// Also for a box that waits with an unused ticket, which is void then, or that is enrolled: to enrol it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew: bool,
}

/// A box record with its ticket, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddedBox {
    /// Its name.
    pub name: String,
    /// Text of the [`Ticket`](crate::hub_sync::Ticket).
    pub ticket: String,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// Where a box said that its audit log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditHeadView {
    /// Its last entry.
    pub seq: u64,
    /// That entry's hash.
    pub hash: Digest,
    /// The key that signed it; another one is another log, of the box before it was installed anew.
    pub attestation_key: PublicKey,
    /// When the hub was told last.
    pub received: Timestamp,
    /// Why this is an alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Entries between it and the end that was told before it. The hub was told no end of them, so it cannot say that this one
    /// follows on that: the box's export shows it.
    #[serde(default)]
    pub unseen: u64,
    /// The signed [`Head`](felhom_signing::audit::Head).
    pub head: SignedBytes,
}

/// Where an enrolment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Enrolment {
    Waiting,
    Expired,
    Enrolled,
}

/// Whether a box speaks, as the hub computes it from its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Liveness {
    Never,
    Alive,
    Late,
    Silent,
}

/// A box in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BoxSummary {
    /// Name.
    pub name: String,
    /// Identity, once enrolled.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub box_id: Option<BoxId>,
    /// Enrolment.
    pub enrolment: Enrolment,
    /// Liveness.
    pub liveness: Liveness,
    /// Last sync.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_seen: Option<Timestamp>,
    /// One word: `ok`, `waiting`, `attention`, `danger`.
    pub risk: String,
    /// Why, in words; the worst first.
    pub reasons: Vec<String>,
    /// Generation set at the hub.
    pub generation: Generation,
    /// Generation that the box has acted on.
    pub observed_generation: Generation,
    /// Guests that run.
    pub guests: u32,
    /// Newest backup over its guests, the oldest of these.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_backup: Option<Timestamp>,
    /// Newest proven backup over its guests, the oldest of these.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_proven: Option<Timestamp>,
}

/// A box in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BoxDetail {
    /// As in the fleet.
    #[serde(flatten)]
    pub summary: BoxSummary,
    /// As it told at enrolment.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub hostname: Option<String>,
    /// The executor's key as the box told it; the operator's machine pins its own.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub attestation_key: Option<PublicKey>,
    /// `SHA256:…` of that key.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub attestation_fingerprint: Option<String>,
    /// Newest desired state.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub desired: Option<DesiredVersion>,
    /// Last report.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub report: Option<Report>,
    /// Jobs, newest first.
    pub jobs: Vec<JobView>,
    /// Refused enrolments, syncs and the like, newest first.
    pub events: Vec<BoxEvent>,
}

/// Something that happened at the hub with this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BoxEvent {
    /// When.
    pub time: Timestamp,
    /// E.g. `sync_refused`.
    pub kind: String,
    /// In words.
    pub message: String,
}

/// Set desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetDesired {
    /// The whole of it.
    pub spec: Spec,
    /// Refused unless this is the newest generation; absent: unchecked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_generation: Option<Generation>,
    /// Why, for the history.
    #[serde(default)]
    pub message: String,
}

/// A generation of desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DesiredVersion {
    /// Number.
    pub generation: Generation,
    /// Digest of the signed document; `None` while the box is not enrolled.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub document_digest: Option<Digest>,
    /// Who.
    pub author: String,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub message: String,
    /// What.
    pub spec: Spec,
}

/// What a spec would lead to, by the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanPreview {
    /// Operations that would be asked for, in order.
    pub operations: Vec<PlannedOperation>,
    /// What would not happen, and why: authorizations needed, names used before, and so on.
    pub notes: Vec<String>,
    /// Age of the report that it rests on; `None`: the box has not reported.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub based_on: Option<Timestamp>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedOperation {
    /// Kind's name.
    pub kind: String,
    /// On what.
    pub guest: String,
    /// Why.
    pub reason: String,
}

/// Ask for a job. Any kind is taken: the box decides, and its refusal is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddJob {
    /// An operation's name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64, examples("backup_guest")))]
    pub kind: String,
    /// By kind; `guest` may be a name or a uuid.
    #[serde(default)]
    pub params: serde_json::Value,
    /// Good for, seconds; absent: an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_592_000))]
    pub ttl_s: Option<u64>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// Identity.
    pub id: JobId,
    /// Kind's name as asked for.
    pub kind: String,
    /// Parameters.
    pub params: serde_json::Value,
    /// Who.
    pub author: String,
    /// When.
    pub created: Timestamp,
    /// Until when it may begin.
    pub deadline: Timestamp,
    /// `queued`, then the box's word: `accepted`, `pending_authorization`, `waiting`, `running`, `done`, `failed`, `refused`,
    /// `vetoed`, `expired`.
    pub state: String,
    /// In words.
    pub message: String,
    /// The executor's operation.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub operation: Option<OperationId>,
}

/// A challenge of a box, as the hub stores it. Nothing in it but [`signed`](Self::signed) is the box's word, and that only
/// once its signature was checked with a key that the reader pinned itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChallengeView {
    /// SHA-256 of the bytes; its name.
    pub digest: Digest,
    /// The box that sent it.
    pub box_id: BoxId,
    /// As the hub calls it.
    pub box_name: String,
    /// The [`Challenge`](felhom_signing::challenge::Challenge)'s bytes with the box's signature.
    pub signed: SignedBytes,
    /// The box's key as it told the hub; counts only if it is the pinned one.
    pub attestation_key: PublicKey,
    /// Where it stands.
    pub state: ChallengeState,
    /// Answers that came in, oldest first.
    pub answers: Vec<AnswerView>,
    /// The operation that waits, by the hub's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// Who has consented, by the hub's word.
    #[serde(default)]
    pub consented: Vec<String>,
    /// Why the hub does not count it, e.g. that the box's signature does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Requests for a longer-lived one, oldest first.
    #[serde(default)]
    pub renewals: Vec<RenewalView>,
}

/// Where a challenge stands, as the hub knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChallengeState {
    /// Waits for signatures.
    Open,
    /// Answers are on their way; the box has not judged all of them.
    Answered,
    /// The box has all that it asked for.
    Accepted,
    /// Too late.
    Expired,
    /// The box has forgotten it: it was restarted, enrolled anew, or the operation ended otherwise.
    Void,
    /// The key that the box told the hub did not sign it.
    BadSignature,
    /// A word of a newer hub.
    #[serde(other)]
    Unknown,
}

/// An answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerView {
    /// Who sent it to the hub; who *signed* it is for the box to say.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The box's word; absent: it has not judged it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An operation in its grace of which the hub has no challenge, such as a rotation of the operators' file. What counts is what
/// the box signed in [`grace`](crate::status::Operation::grace), once that was checked with a key that the reader pinned itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitingView {
    /// The box that sent it.
    pub box_id: BoxId,
    /// As the hub calls it.
    pub box_name: String,
    /// The box's key as it told the hub; counts only if it is the pinned one.
    pub attestation_key: PublicKey,
    /// The operation as the box told it last.
    pub operation: crate::status::Operation,
    /// When that was, by the hub's clock.
    pub told: Timestamp,
    /// Vetoes that the hub carried, oldest first.
    pub vetoes: Vec<AnswerView>,
    /// Why the hub does not count what the box signed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A request for a challenge that lives longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewalView {
    /// Who asked, when, and the box's word.
    #[serde(flatten)]
    pub asked: AnswerView,
    /// The new challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Digest>,
}

/// A veto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddVeto {
    /// The document with its signature, namespace `felhom-op-v1`.
    pub signed: felhom_signing::consent::Armored,
}

/// An operator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddAnswer {
    /// Armored SSHSIG over the challenge's bytes, namespace `felhom-op-v1`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 16_384))]
    pub signature: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_only_a_newer_hub_knows_is_no_error() {
        let read = |word: &str| serde_json::from_value::<ChallengeState>(word.into()).unwrap();
        assert_eq!(read("accepted"), ChallengeState::Accepted);
        assert_eq!(read("half_accepted"), ChallengeState::Unknown);
    }
}
