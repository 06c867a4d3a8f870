//! Error answers: a stable word, what was tried and why it failed, and what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use felhom_journal::{JournalError, StoreError};
use felhom_protocol::ErrorBody;

use crate::observe::ObserveError;
use crate::submit::SubmitError;

/// An error answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: ErrorBody,
}

impl Failure {
    fn new(status: StatusCode, error: &str, message: &str, hint: Option<&str>) -> Self {
        let body =
            ErrorBody { error: error.to_owned(), message: message.to_owned(), hint: hint.map(str::to_owned) };
        Self { status, body }
    }

    pub(super) fn forbidden(error: &str, message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, error, message, None)
    }

    pub(super) fn not_found(error: &str, message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, message, None)
    }

    pub(super) fn bad(error: &str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message, None)
    }

    pub(super) fn conflict(error: &str, message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, error, message, None)
    }

    pub(super) fn conflict_with_hint(error: &str, message: &str, hint: &str) -> Self {
        Self::new(StatusCode::CONFLICT, error, message, Some(hint))
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message, None)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<JournalError> for Failure {
    fn from(e: JournalError) -> Self {
        match e {
            JournalError::Unknown(_) => Self::not_found("unknown_operation", &e.to_string()),
            JournalError::Store(_)
            | JournalError::Broken(_)
            | JournalError::Illegal(_)
            | JournalError::AlreadyConsumed { .. }
            | JournalError::Busy { .. } => Self::internal(&e.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::internal(&e.to_string())
    }
}

impl From<ObserveError> for Failure {
    fn from(e: ObserveError) -> Self {
        let (error, hint) = match e {
            ObserveError::Rights(_) => ("missing_privilege", "as root: `felhom-executor setup`"),
            ObserveError::Pve(_) | ObserveError::Store(_) | ObserveError::Journal(_) => (
                "pve_unreachable",
                "is Proxmox running, and are url, fingerprint and token in the configuration right?",
            ),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, &e.to_string(), Some(hint))
    }
}

impl From<SubmitError> for Failure {
    fn from(e: SubmitError) -> Self {
        match e {
            SubmitError::Malformed(why) => Self::bad("malformed_request", &why),
            SubmitError::Observe(e) => e.into(),
            SubmitError::Busy(why) => {
                Self::new(StatusCode::CONFLICT, "busy", &why, Some("ask again with the same request id"))
            }
            SubmitError::Flood(why) => {
                let hint =
                    "ask for less that is refused; the next hour of the box's running time counts anew";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_refused", &why, Some(hint))
            }
            SubmitError::Journal(e) => e.into(),
            SubmitError::Store(e) => e.into(),
            SubmitError::Random(e) => Self::internal(&e.to_string()),
        }
    }
}
