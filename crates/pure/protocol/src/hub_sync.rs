//! Agent → hub. Every request is signed with the device key (RFC 9421), every answer carries the hub's signature over its
//! body in the header [`ANSWER_SIGNATURE`] (context `SyncAnswer`), refusals too.
//!
//! | call | body → answer |
//! |---|---|
//! | `POST /api/v1/enroll` | [`EnrollRequest`] → [`EnrollAnswer`] (not device-signed: the token authenticates) |
//! | `POST /api/v1/sync` | [`SyncRequest`] → [`SyncAnswer`]; errors are [`SyncRefusal`] |

use std::fmt;

use crate::SignedBytes;
use crate::receipt::SignedReceipt;
use crate::status;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use felhom_model::{BoxId, Digest, Generation, JobId, MessageId, OperationId};
use felhom_signing::PublicKey;
use felhom_signing::consent::Armored;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Header of the hub's signature over the answer's body, base64.
pub const ANSWER_SIGNATURE: &str = "felhom-answer-signature";

/// What the operator hands to the box: everything that the box needs to find and pin the hub, and the one-time token.
///
/// As text: `felhom1.` and unpadded URL-safe base64 of this as JSON. It is a secret until it was used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// E.g. `https://hub.example:7443`.
    pub hub_url: String,
    /// SHA-256 of the hub's TLS certificate (DER).
    pub hub_fingerprint: Digest,
    /// The hub's signing key.
    pub hub_key: PublicKey,
    /// 128 random bits, hexadecimal; single use.
    pub token: String,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket(hub {}, token hidden)", self.hub_url)
    }
}

/// Why a text is no enrolment ticket. Never repeats the text: it may hold the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no enrolment ticket: {0}. Copy the whole line that `felhom box add` printed, it begins with `felhom1.`"
)]
pub struct TicketError(&'static str);

impl Ticket {
    /// The text form.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("felhom1.{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn decode(text: &str) -> Result<Self, TicketError> {
        let body =
            text.trim().strip_prefix("felhom1.").ok_or(TicketError("it does not begin with `felhom1.`"))?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| TicketError("it was cut or altered"))?;
        serde_json::from_slice(&json).map_err(|_| TicketError("it was cut or altered"))
    }
}

/// A box registers itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The ticket's token.
    pub token: String,
    /// Signs the box's requests from now on.
    pub device_key: PublicKey,
    /// The executor's key; signs receipts and challenges.
    pub attestation_key: PublicKey,
    /// The host's name, for people.
    pub hostname: String,
    /// The agent's version.
    pub version: String,
}

/// The box is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollAnswer {
    /// Its identity.
    pub box_id: BoxId,
    /// Its name at the hub.
    pub name: String,
    /// Raised by each re-enrolment.
    pub epoch: u64,
}

/// Where a request stands among those of its box, as its nonce says: `RUN-COUNT`.
///
/// The hub takes each request once, and none behind a later one: a request that a slow network delivers late says how the box
/// was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// One run of the agent: at most 64 digits, letters or hyphens that no other run has.
    pub run: String,
    /// Rises with each request of the run.
    pub count: u64,
}

impl Turn {
    /// Reads it from a nonce.
    pub fn read(nonce: &str) -> Option<Self> {
        let (run, count) = nonce.rsplit_once('-')?;
        let of_run = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let good = (1..=64).contains(&run.len()) && run.chars().all(of_run);
        let count = if count.starts_with('+') { None } else { count.parse().ok() };
        Some(Self { run: good.then(|| run.to_owned())?, count: count? })
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.count)
    }
}

/// A sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The request's [`Turn`]. Repeated in the signed answer, so that an old answer cannot be played again.
    pub nonce: String,
    /// Generation that the box holds.
    pub generation: Generation,
    /// Digest of that document's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_digest: Option<Digest>,
    /// The report; absent if it equals the last acknowledged one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// How long the hub may hold the answer back if there is nothing new, seconds (long poll).
    #[serde(default)]
    pub wait_s: u32,
}

/// Answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncAnswer {
    /// The request's.
    pub nonce: String,
    /// The hub's clock.
    pub time: Timestamp,
    /// Newest generation.
    pub generation: Generation,
    /// The signed document, if the box does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<SignedBytes>,
    /// Jobs that are not over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    /// What people want to say to the box and the box has not judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// When to come again, seconds.
    pub next_sync_s: u32,
}

/// A refusal, signed as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRefusal {
    /// What and why.
    #[serde(flatten)]
    pub error: crate::ErrorBody,
    /// The hub's clock, so that a box with a wrong one learns its offset.
    pub time: Timestamp,
}

/// Something to do once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The same id is the same job.
    pub id: JobId,
    /// An operation's name; another one is refused by name.
    pub kind: String,
    /// By kind. `guest` may be a guest's name or its uuid.
    #[serde(default)]
    pub params: serde_json::Value,
    /// Not begun after this.
    pub deadline: Timestamp,
    /// Who wrote it at the hub.
    pub author: String,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobReport {
    /// Which.
    pub id: JobId,
    /// `accepted`, `pending_authorization`, `waiting`, `running`, `done`, `failed`, `refused`, `vetoed` or `expired`.
    pub state: String,
    /// In words, with the reason.
    pub message: String,
    /// The executor's operation, if it came to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

impl JobReport {
    /// Whether nothing follows.
    pub fn is_final(&self) -> bool {
        FINAL_JOB_STATES.contains(&self.state.as_str())
    }
}

/// States of a job after which nothing follows.
pub const FINAL_JOB_STATES: [&str; 5] = ["done", "failed", "refused", "vetoed", "expired"];

/// What a person says to a box, carried by the hub. It is sent with each answer until the box reported what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same id is the same message.
    pub id: MessageId,
    /// What.
    #[serde(flatten)]
    pub said: Said,
}

/// What is said. Neither hub nor agent can make one that counts: the executor checks the signatures itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    /// An operator's answer to a challenge.
    Answer {
        /// The challenge.
        challenge: Digest,
        /// Armored SSHSIG over its bytes.
        signature: String,
    },
    /// A veto against an operation that waits.
    Veto {
        /// The operation.
        operation: OperationId,
        /// The document with its signature.
        signed: Armored,
    },
    /// A new challenge for the same operation is asked for, one that lives long enough to be carried to a machine without
    /// network.
    Renew {
        /// The challenge that is open now.
        challenge: Digest,
    },
    /// A word of a newer hub.
    #[serde(other)]
    Unknown,
}

/// What came of a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Outcome {
    /// Which.
    pub id: MessageId,
    /// Whether it counts.
    pub accepted: bool,
    /// The executor's word for why not, e.g. `bad_signature`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// The new challenge, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Digest>,
}

/// What a box tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// The agent's version.
    pub agent_version: String,
    /// The executor's version, if it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_version: Option<String>,
    /// The generation that the conditions speak of.
    pub observed_generation: Generation,
    /// Conditions.
    pub conditions: Vec<status::Condition>,
    /// Guests.
    pub guests: Vec<status::Guest>,
    /// Operations: all active ones, and the newest 200.
    pub operations: Vec<status::Operation>,
    /// Archives of the ledger.
    pub archives: Vec<status::Archive>,
    /// Storages.
    pub storages: Vec<status::Storage>,
    /// Receipts, newest first, at most 50.
    pub receipts: Vec<SignedReceipt>,
    /// Jobs that the hub does not know to be over.
    pub jobs: Vec<JobReport>,
    /// Where the box's audit log ends, signed by its attestation key ([`Head`](felhom_signing::audit::Head)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<SignedBytes>,
    /// Challenges that wait for people.
    #[serde(default)]
    pub challenges: Vec<status::Challenge>,
    /// What came of messages, until the hub knows.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// What a person calls a guest of this report: its name, or whose copy it is, or its VMID.
    pub fn name_of(&self, guest: &status::Guest) -> String {
        if let Some(name) = &guest.name {
            return name.to_string();
        }
        let from = self.guests.iter().find(|other| other.uuid.is_some() && other.uuid == guest.restored_from);
        match from.and_then(|original| original.name.as_ref()) {
            Some(name) => format!("{} of {name}", guest.purpose),
            None => format!("VMID {}", guest.vmid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_survives_its_text_and_nothing_else_is_one() {
        for (run, count) in [("a", 0), ("n-1-x", u64::MAX)] {
            let turn = Turn { run: run.to_owned(), count };
            assert_eq!(Turn::read(&turn.to_string()), Some(turn));
        }
        let long = format!("{}-1", "a".repeat(65));
        for text in [
            "",
            "-",
            "a",
            "a-",
            "-1",
            "a-x",
            "a-+1",
            "a--1x",
            "a b-1",
            "ä-1",
            "a-18446744073709551616",
            &long,
        ] {
            assert_eq!(Turn::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_ticket_survives_its_text_and_hides_its_token() {
        let key = felhom_signing::Key::from_seed(&[9; 32]).public();
        let ticket = Ticket {
            hub_url: "https://127.0.0.1:7443".into(),
            hub_fingerprint: Digest::of(b"cert"),
            hub_key: key,
            token: "00ff".into(),
        };
        assert_eq!(Ticket::decode(&format!(" {}\n", ticket.encode())), Ok(ticket.clone()));
        assert!(!format!("{ticket:?}").contains("00ff"));
        let cut = &ticket.encode()[..40];
        assert!(Ticket::decode(cut).unwrap_err().to_string().contains("cut"));
        assert!(Ticket::decode("hello").unwrap_err().to_string().contains("felhom1."));
    }

    #[test]
    fn a_message_of_a_newer_hub_is_read_as_unknown_and_older_answers_have_none() {
        let id = MessageId::from_parts(1, 1);
        let read = |json: serde_json::Value| serde_json::from_value::<Message>(json).unwrap();
        let (challenge, signature) = (Digest::of(b"c"), "armored".to_owned());
        let answer = Message { id, said: Said::Answer { challenge, signature } };
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!((&json["kind"], &json["signature"]), (&"answer".into(), &"armored".into()));
        assert_eq!(read(json), answer);
        let newer = read(serde_json::json!({ "id": id, "kind": "wave", "to": "everybody", "more": [1] }));
        assert_eq!(newer, Message { id, said: Said::Unknown });
        let old: SyncAnswer = serde_json::from_value(serde_json::json!({
            "nonce": "n", "time": "2026-01-01T00:00:00Z", "generation": 0, "next_sync_s": 60, "from_later": true,
        }))
        .unwrap();
        assert_eq!((old.messages, old.jobs), (vec![], vec![]));
    }

    #[test]
    fn a_copy_is_called_by_its_original() {
        let guest = |name: Option<&str>, vmid: u32, purpose: &str, from: Option<u8>| {
            let uuid = |n: u8| felhom_model::GuestUuid::from_random([n; 16]);
            let from = from.map(uuid);
            let json = serde_json::json!({
                "uuid": uuid(if vmid == 2000 { 1 } else { 2 }), "vmid": vmid, "name": name, "purpose": purpose,
                "provenance": "proven", "power": "running", "cores": 1, "memory_mib": 64, "swap_mib": 0,
                "restored_from": from,
            });
            serde_json::from_value::<status::Guest>(json).unwrap()
        };
        let guests = vec![
            guest(Some("family"), 2000, "tenant", None),
            guest(None, 2800, "copy", Some(1)),
            guest(None, 2801, "copy", Some(9)),
        ];
        let report: Report = serde_json::from_value(serde_json::json!({
            "agent_version": "1", "observed_generation": 1, "conditions": [], "guests": guests, "operations": [],
            "archives": [], "storages": [], "receipts": [], "jobs": [],
        }))
        .unwrap();
        let names: Vec<String> = report.guests.iter().map(|guest| report.name_of(guest)).collect();
        assert_eq!(names, ["family", "copy of family", "VMID 2801"]);
    }
}
