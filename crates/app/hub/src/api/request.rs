//! What all calls share: who asks, bodies that are read with the field's name in the error, errors as JSON.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request};
use axum::http::{StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use felhom_model::{Digest, OperationId};
use felhom_protocol::ErrorBody;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::hub::{Hub, Inner};
use crate::random::NoRandom;
use crate::store::{StoreError, operators};
use crate::throttle::{Source, subscriber};

/// Why a call gets no answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with its stable word and what to tell people.
    pub(crate) fn new(status: StatusCode, error: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody { error: error.to_owned(), message: message.into(), hint: None };
        Self { status, body, retry_after: None }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.body.hint = Some(hint.to_owned());
        self
    }

    /// 404 of a box.
    pub(crate) fn no_box(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_box", format!("there is no box `{name}` at this hub"))
            .hint("`felhom box list` shows all boxes, `felhom box add NAME` makes one")
    }

    /// 404 of a path.
    pub(crate) fn no_such_path() -> Self {
        let message = "the API has no such path; CLI and hub may be of versions that do not fit together";
        Self::new(StatusCode::NOT_FOUND, "no_such_path", message)
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database", "the hub's database failed; see the hub's log")
    }
}

impl From<NoRandom> for ApiError {
    fn from(error: NoRandom) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random", error.to_string())
    }
}

/// The operator who calls, shown by a bearer token.
pub(crate) struct Operator(pub(crate) String);

impl FromRequestParts<Hub> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            let message = "the request has no `Authorization: Bearer TOKEN` header";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_token", message)
                .hint("`felhom-hub operator add NAME --token-file FILE` makes a token at the hub"));
        };
        let digest = Digest::of(token.trim().as_bytes());
        let found = hub
            .store
            .read("looking for an operator", |c| {
                Box::pin(async move { operators::by_token(c, digest).await })
            })
            .await?;
        match found {
            Some(operator) => Ok(Self(operator.name)),
            None => {
                let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
                Err(unknown_token(hub, peer))
            }
        }
    }
}

/// A right token is never held back: it cannot be guessed, and an attacker must not lock operators out.
fn unknown_token(hub: &Inner, peer: Option<IpAddr>) -> ApiError {
    let source = peer.map(|address| Source::Api(subscriber(address)));
    let blocked = source.as_ref().and_then(|source| hub.throttle.blocked(source, Instant::now()));
    if let Some(source) = source {
        hub.throttle.failed(source, Instant::now());
    }
    if let Some(wait) = blocked {
        let message = "too many unknown tokens from this address";
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message);
        return ApiError { retry_after: Some(wait), ..error };
    }
    ApiError::new(StatusCode::UNAUTHORIZED, "unknown_token", "no operator has this API token")
        .hint("`felhom-hub operator add NAME --token-file FILE` makes a new one at the hub; the old one is void then")
}

/// What a path speaks of, by the names of its parts. What is wrong with one is told in the API's own form.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Hub> for At<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, ApiError> {
        let path = Path::from_request_parts(parts, hub).await;
        let Path(place) = path.map_err(|e| ApiError::new(e.status(), "bad_request", e.body_text()))?;
        Ok(Self(place))
    }
}

/// A box.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfBox {
    /// The box's name at this hub.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = "kovacs")]
    pub(crate) name: String,
}

/// An operation of a box.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfOperation {
    /// The box's name at this hub.
    #[param(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = "kovacs")]
    pub(crate) name: String,
    /// The operation.
    pub(crate) id: OperationId,
}

/// A challenge.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OfChallenge {
    /// SHA-256 of the challenge's bytes.
    pub(crate) digest: Digest,
}

/// A JSON body. What is wrong with it is told with the path of the field.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Hub> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, hub)
            .await
            .map_err(|e| ApiError::new(e.status(), "body_not_read", e.body_text()))?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut reader).map(Self).map_err(|e| {
            let path = e.path().to_string();
            let place = if path == "." { String::new() } else { format!("`{path}`: ") };
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", format!("{place}{}", e.inner()))
        })
    }
}
