//! A challenge on this side: verified with the key that this machine pinned, and written out from the signed bytes alone.
//!
//! What the hub or a file says beside the bytes is only used to find the pin; where it lies, the signature does not fit.

use crate::escape::escaped;
use crate::exit::Failure;
use crate::known_boxes::KnownBoxes;
use crate::time::{ago, bytes};
use felhom_model::Digest;
use felhom_protocol::SignedBytes;
use felhom_protocol::hub_api::ChallengeView;
use felhom_signing::PublicKey;
use felhom_signing::challenge::{Challenge, Copy, Signers, Target};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The schema of [`Carried`].
const SCHEMA: &str = "felhom.challenge/v1";

/// A challenge in a file, on its way to a machine without network and back with signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Carried {
    schema: String,
    /// As the hub calls the box; the pin's name.
    pub(crate) box_name: String,
    signed: SignedBytes,
    attestation_key: PublicKey,
    /// Armored signatures that were added.
    #[serde(default)]
    pub(crate) signatures: Vec<String>,
}

impl From<ChallengeView> for Carried {
    fn from(view: ChallengeView) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            box_name: view.box_name,
            signed: view.signed,
            attestation_key: view.attestation_key,
            signatures: vec![],
        }
    }
}

/// A challenge that the pinned key of its box signed.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    /// The pin's name.
    pub(crate) box_name: String,
    /// The pinned key.
    pub(crate) pin: String,
    /// What is to be signed.
    pub(crate) bytes: Vec<u8>,
    /// What they say.
    pub(crate) challenge: Challenge,
}

impl Carried {
    /// Reads the file's text.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Failed(format!("this is no exported challenge: {why}"));
        let carried: Self = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
        if carried.schema != SCHEMA {
            return Err(wrong(format!("its schema is not {SCHEMA}")));
        }
        Ok(carried)
    }

    /// Verifies it with the pin of its box.
    pub(crate) fn check(&self, known: &KnownBoxes) -> Result<Checked, Failure> {
        let name = escaped(&self.box_name);
        let pin = known.pinned(&self.box_name, &self.attestation_key, "the challenge")?;
        let opened = Challenge::open(self.signed.clone().into(), &self.attestation_key);
        let challenge = opened.map_err(|e| {
            Failure::Unverified(format!("ALARM: the pinned key of {name} did not sign this challenge: {e}"))
        })?;
        let (bytes, box_name) = (self.signed.bytes.clone(), self.box_name.clone());
        Ok(Checked { box_name, pin, bytes, challenge: challenge.into_inner() })
    }
}

impl Checked {
    /// SHA-256 of the bytes.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Names that have to be typed before anything is signed, each once; where nothing has a name, the operation's.
    pub(crate) fn labels(&self) -> Vec<String> {
        let mut labels = Vec::new();
        for target in &self.challenge.targets {
            let label = escaped(target.label.trim());
            if !label.is_empty() && !labels.contains(&label) {
                labels.push(label);
            }
        }
        if labels.is_empty() {
            labels.push(self.challenge.operation.kind.name().to_owned());
        }
        labels
    }

    /// Everything that a person should know before signing, line by line.
    pub(crate) fn lines(&self, now: Timestamp) -> Vec<String> {
        let challenge = &self.challenge;
        let asked = &challenge.operation;
        let mut lines = vec![
            format!("operation:    {}  {}", asked.kind, asked.id),
            format!(
                "box:          {} ({}), verified by its pinned key {}",
                escaped(&self.box_name),
                challenge.box_id,
                self.pin
            ),
            format!("asked for by: {}: {}", escaped(&asked.asked_by), escaped(&asked.reason)),
            format!("parameters:   {}", escaped(&asked.params.to_string())),
            format!(
                "issued:       {}, by the box's clock {}",
                ago(challenge.issued_at, now),
                challenge.issued_at
            ),
            format!(
                "good until:   {} ({}); void when the box restarts",
                challenge.expires_at,
                ago(challenge.expires_at, now)
            ),
            format!("grace:        {} between the signatures and the first act", grace(asked.grace_s)),
            format!("operators:    version {} of the operators' file", challenge.operators_version),
            String::new(),
            "On what".to_owned(),
        ];
        challenge.targets.iter().for_each(|target| target_lines(target, &mut lines));
        if challenge.targets.is_empty() {
            lines.push("  nothing that bears data".to_owned());
        }
        lines.extend([String::new(), "What would be lost".to_owned()]);
        lines.extend(or_nothing(challenge.evidence.would_be_lost.iter().map(|line| escaped(line))));
        lines.extend([String::new(), "Backups that stay".to_owned()]);
        lines.extend(or_nothing(challenge.evidence.copies.iter().map(|copy| copy_line(copy, now))));
        let proven = challenge.evidence.last_proven_restore;
        let proven = proven.map_or_else(|| "NEVER".to_owned(), |at| format!("{} ({at})", ago(at, now)));
        lines.push(format!("  last proven restore: {proven}"));
        lines.extend([String::new(), "What the box's gate saw".to_owned()]);
        let fact = |(key, value): &(String, String)| format!("{}: {}", escaped(key), escaped(value));
        lines.extend(or_nothing(challenge.evidence.facts.iter().map(fact)));
        lines.extend([String::new(), "Who must sign (any one line suffices)".to_owned()]);
        lines.extend(challenge.requires.iter().map(|signers| format!("  {}", signers_text(signers))));
        lines.extend([String::new(), format!("challenge:    {}", self.digest())]);
        lines
    }
}

fn or_nothing(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.map(|line| format!("  {line}")).collect();
    if lines.is_empty() {
        lines.push("  nothing".to_owned());
    }
    lines
}

fn target_lines(target: &Target, lines: &mut Vec<String>) {
    lines.push(format!("  {}  {} at stake", escaped(&target.label), bytes(target.bytes)));
    if let Some(uuid) = target.uuid {
        let vmid = target.vmid.map_or_else(String::new, |vmid| format!(", VMID {vmid}"));
        lines.push(format!("    guest {uuid}{vmid}"));
    }
    if let Some(disk) = &target.durable_id {
        lines.push(format!("    disk {}", escaped(disk)));
    }
    lines.extend(target.volids.iter().map(|volid| format!("    {}", escaped(volid.as_str()))));
}

fn copy_line(copy: &Copy, now: Timestamp) -> String {
    let proven = if copy.proven { "proven to restore" } else { "NOT proven" };
    format!("{}  {}, {}, {proven}", escaped(copy.volid.as_str()), ago(copy.taken_at, now), bytes(copy.bytes))
}

fn signers_text(signers: &Signers) -> String {
    let operators = match signers.operators {
        0 => None,
        1 => Some("1 operator".to_owned()),
        n => Some(format!("{n} different operators")),
    };
    let customers = signers.customers.iter().map(|guest| format!("the customer of {guest}"));
    operators.into_iter().chain(customers).collect::<Vec<_>>().join(" and ")
}

fn grace(seconds: u64) -> String {
    match seconds {
        0 => "none".to_owned(),
        s if s % 86_400 == 0 => format!("{} day(s) of the running box", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h of the running box", s / 3_600),
        s => format!("{s} s of the running box"),
    }
}
