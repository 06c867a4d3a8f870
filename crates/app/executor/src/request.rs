//! What the journal keeps of a request, besides its kind: enough to run it, to judge it again, and to show it.

use felhom_gate::{Evidence, Reason};
use felhom_journal::Operation as Journaled;
use felhom_model::{Digest, GuestName, GuestUuid, Operation, Volid};
use felhom_protocol::executor::{RequestError, parse};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of parameters and steps that this program writes.
pub const KIND_VERSION: u32 = 1;

/// The journal's parameters of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Wire parameters as they were asked for.
    pub params: Value,
    /// Why.
    pub reason: String,
    /// Who.
    pub asked_by: String,
    /// What was decided beforehand, where the request left it open.
    #[serde(default)]
    pub chosen: Chosen,
    /// What the gate said.
    #[serde(default)]
    pub verdict: String,
    /// The gate's evidence.
    #[serde(default)]
    pub evidence: Vec<(String, String)>,
}

/// Choices that are made once and stand for the whole operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The guest that it concerns.
    #[serde(default)]
    pub guest: Option<GuestUuid>,
    /// That guest's name, or the name of the one that is made.
    #[serde(default)]
    pub name: Option<GuestName>,
    /// The identity of the guest that is made.
    #[serde(default)]
    pub new_guest: Option<GuestUuid>,
    /// The other guest of a cutover; the guest of an operation that is led on.
    #[serde(default)]
    pub other: Option<GuestUuid>,
    /// The golden archive.
    #[serde(default)]
    pub golden: Option<Digest>,
    /// The archive that is restored: a backup, or the golden archive's volume.
    #[serde(default)]
    pub archive: Option<Volid>,
}

impl Request {
    /// Keeps a verdict.
    pub fn judged(&mut self, reason: &Reason) {
        self.verdict = format!("{}: {}", reason.code, reason.text);
        self.evidence = lines(&reason.evidence);
    }

    /// Reads it back from a journaled operation.
    ///
    /// # Errors
    /// Text for people, if the journaled parameters have another shape.
    pub fn of(op: &Journaled) -> Result<Self, String> {
        serde_json::from_value(op.new.body.params.clone()).map_err(|e| format!("journaled parameters: {e}"))
    }

    /// The domain's operation.
    ///
    /// # Errors
    /// [`RequestError`] for an unknown kind or parameters that do not fit.
    pub fn operation(&self, kind: &str) -> Result<Operation, RequestError> {
        parse(kind, &self.params)
    }
}

/// Evidence as the journal keeps it.
#[must_use]
pub fn lines(evidence: &Evidence) -> Vec<(String, String)> {
    evidence.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}
