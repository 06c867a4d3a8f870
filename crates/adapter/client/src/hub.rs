//! The hub as an operator sees it: `felhom_protocol::hub_api`.

use crate::error::Error;
use crate::transport::{Call, Transport, segment};
use felhom_model::{Digest, OperationId};
use felhom_protocol::desired::Spec;
use felhom_protocol::hub_api::{
    AddAnswer, AddBox, AddJob, AddVeto, AddedBox, AnswerView, AuditHeadView, BoxDetail, BoxSummary,
    ChallengeView, DesiredVersion, JobView, PlanPreview, SetDesired, WaitingView,
};
use felhom_protocol::status;
use reqwest::Method;

/// The operator's client.
#[derive(Clone)]
pub struct HubClient {
    transport: Transport,
    token: String,
}

impl std::fmt::Debug for HubClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HubClient({:?}, token hidden)", self.transport)
    }
}

impl HubClient {
    /// Speaks with the hub at `url`, whose certificate has this SHA-256, as the operator who holds `token`.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(url: &str, fingerprint: Digest, token: String) -> Result<Self, Error> {
        Ok(Self { transport: Transport::pinned(url, fingerprint)?, token })
    }

    fn call(&self, method: Method, path: &str) -> Call {
        self.transport.request(method, path).bearer(&self.token)
    }

    fn of_box(name: &str, rest: &str) -> String {
        format!("/api/v1/boxes/{}{rest}", segment(name))
    }

    fn of_challenge(digest: Digest, rest: &str) -> String {
        format!("/api/v1/challenges/{}{rest}", segment(&digest.to_string()))
    }

    /// Makes a box record and its ticket.
    ///
    /// # Errors
    /// [`Error`], as all calls here.
    pub async fn add_box(&self, request: &AddBox) -> Result<AddedBox, Error> {
        self.call(Method::POST, "/api/v1/boxes").json(request).send().await?.json().await
    }

    /// The fleet, by risk.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn boxes(&self) -> Result<Vec<BoxSummary>, Error> {
        self.call(Method::GET, "/api/v1/boxes").send().await?.json().await
    }

    /// One box.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn show_box(&self, name: &str) -> Result<BoxDetail, Error> {
        self.call(Method::GET, &Self::of_box(name, "")).send().await?.json().await
    }

    /// Newest desired state.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn desired(&self, name: &str) -> Result<DesiredVersion, Error> {
        self.call(Method::GET, &Self::of_box(name, "/desired")).send().await?.json().await
    }

    /// Sets desired state.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_desired(&self, name: &str, request: &SetDesired) -> Result<DesiredVersion, Error> {
        self.call(Method::PUT, &Self::of_box(name, "/desired")).json(request).send().await?.json().await
    }

    /// All generations, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn desired_history(&self, name: &str) -> Result<Vec<DesiredVersion>, Error> {
        self.call(Method::GET, &Self::of_box(name, "/desired/history")).send().await?.json().await
    }

    /// What a spec would lead to.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plan(&self, name: &str, spec: &Spec) -> Result<PlanPreview, Error> {
        self.call(Method::POST, &Self::of_box(name, "/plan")).json(spec).send().await?.json().await
    }

    /// Asks for a job.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_job(&self, name: &str, request: &AddJob) -> Result<JobView, Error> {
        self.call(Method::POST, &Self::of_box(name, "/jobs")).json(request).send().await?.json().await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn jobs(&self, name: &str) -> Result<Vec<JobView>, Error> {
        self.call(Method::GET, &Self::of_box(name, "/jobs")).send().await?.json().await
    }

    /// Where a box said that its audit log ends, the last word first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn audit_heads(&self, name: &str) -> Result<Vec<AuditHeadView>, Error> {
        self.call(Method::GET, &Self::of_box(name, "/audit-heads")).send().await?.json().await
    }

    /// Operations, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn operations(&self, name: &str) -> Result<Vec<status::Operation>, Error> {
        self.call(Method::GET, &Self::of_box(name, "/operations")).send().await?.json().await
    }

    /// Challenges, open ones first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn challenges(&self) -> Result<Vec<ChallengeView>, Error> {
        self.call(Method::GET, "/api/v1/challenges").send().await?.json().await
    }

    /// Operations in their grace that have no challenge, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn waiting(&self) -> Result<Vec<WaitingView>, Error> {
        self.call(Method::GET, "/api/v1/waiting").send().await?.json().await
    }

    /// One challenge.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn challenge(&self, digest: Digest) -> Result<ChallengeView, Error> {
        self.call(Method::GET, &Self::of_challenge(digest, "")).send().await?.json().await
    }

    /// Hands in a signature over a challenge's bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn answer_challenge(&self, digest: Digest, answer: &AddAnswer) -> Result<ChallengeView, Error> {
        let path = Self::of_challenge(digest, "/answers");
        self.call(Method::POST, &path).json(answer).send().await?.json().await
    }

    /// Asks the box for a challenge that lives longer in place of this one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn renew_challenge(&self, digest: Digest) -> Result<ChallengeView, Error> {
        let path = Self::of_challenge(digest, "/renewals");
        self.call(Method::POST, &path).send().await?.json().await
    }

    /// Hands in a veto; all vetoes against that operation, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_veto(
        &self,
        name: &str,
        operation: OperationId,
        veto: &AddVeto,
    ) -> Result<Vec<AnswerView>, Error> {
        let path = Self::of_box(name, &format!("/operations/{operation}/vetoes"));
        self.call(Method::POST, &path).json(veto).send().await?.json().await
    }

    /// Vetoes against an operation, oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn vetoes(&self, name: &str, operation: OperationId) -> Result<Vec<AnswerView>, Error> {
        let path = Self::of_box(name, &format!("/operations/{operation}/vetoes"));
        self.call(Method::GET, &path).send().await?.json().await
    }
}
