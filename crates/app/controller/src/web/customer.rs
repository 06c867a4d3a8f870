//! `GET /confirm` and the forms on it: confirm, veto, seen. On the LAN only; elsewhere they say so and do nothing.

use super::{
    Web,
    confirm_page::{self, Input},
    forms::{NotTaken, on_the_lan},
    text::Language,
};
use crate::{
    customer::{CustomerError, Vetoed},
    identity,
};
use axum::{
    Form,
    extract::{ConnectInfo, Query, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use felhom_model::{Digest, OperationId};
use felhom_protocol::notices::{Acknowledged, NoticeStage};
use jiff::Timestamp;
use serde::Deserialize;
use std::{collections::HashMap, net::SocketAddr};

/// Who asked, as far as it can be told.
pub(super) type Peer = ConnectInfo<SocketAddr>;

/// The page.
pub(super) async fn show(
    Shared(web): Shared<Web>,
    ConnectInfo(peer): Peer,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let language = language(&query, &headers);
    if on_the_lan(&headers, peer, web.address).is_err() {
        return page(&web, language, StatusCode::FORBIDDEN, None, "not-lan").await;
    }
    let asked = web.customer.asked().await;
    let said = query.get("said").map(String::as_str).unwrap_or_default();
    page(&web, language, StatusCode::OK, Some(asked), said).await
}

type Asked = Result<(felhom_model::GuestUuid, Vec<crate::customer::asked::Shown>), CustomerError>;

async fn page(
    web: &Web,
    language: Language,
    status: StatusCode,
    asked: Option<Asked>,
    said: &str,
) -> Response {
    let name = identity::kept(&web.paths).ok().flatten().map(|guest| guest.name.to_string());
    let input = Input {
        name: name.unwrap_or_else(|| "Felhom".to_owned()),
        asked,
        notices: web.customer.unseen_or_open(),
        token: web.forms.token().to_owned(),
        said: said.to_owned(),
        now: Timestamp::now(),
    };
    match confirm_page::render(input, language) {
        Ok(html) => (status, super::headers(), Html(html)).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

pub(super) fn language(query: &HashMap<String, String>, headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Language::choose(query.get("lang").map(String::as_str), accepted)
}

/// What the forms send.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    token: String,
    #[serde(default)]
    lang: String,
    #[serde(default)]
    challenge: Option<Digest>,
    #[serde(default)]
    typed: String,
    #[serde(default)]
    operation: Option<OperationId>,
    #[serde(default)]
    stage: Option<NoticeStage>,
    #[serde(default)]
    at: Option<Timestamp>,
}

fn taken(web: &Web, peer: SocketAddr, headers: &HeaderMap, sent: &Sent) -> Result<(), NotTaken> {
    on_the_lan(headers, peer, web.address)?;
    web.forms.check(headers, &sent.token)
}

async fn not_taken(web: &Web, headers: &HeaderMap, why: NotTaken) -> Response {
    let said = match why {
        NotTaken::NotLan => "not-lan",
        NotTaken::NotOurs => "not-ours",
    };
    page(web, language(&HashMap::new(), headers), StatusCode::FORBIDDEN, None, said).await
}

/// Back to the page, which says what became of it; to load it again sends nothing again.
fn back(sent: &Sent, said: &str) -> Response {
    let language = Language::choose(Some(&sent.lang), None);
    Redirect::to(&format!("/confirm?said={said}&lang={}", language.tag())).into_response()
}

fn word(error: &CustomerError) -> &'static str {
    tracing::warn!("the customer's answer was not given: {error}");
    error.word()
}

/// `POST /confirm`.
pub(super) async fn confirm(
    Shared(web): Shared<Web>,
    ConnectInfo(peer): Peer,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    if let Err(why) = taken(&web, peer, &headers, &sent) {
        return not_taken(&web, &headers, why).await;
    }
    let Some(digest) = sent.challenge else { return back(&sent, "gone") };
    match web.customer.confirm(digest, &sent.typed).await {
        Ok(()) => back(&sent, "confirmed"),
        Err(e) => back(&sent, word(&e)),
    }
}

/// `POST /veto`.
pub(super) async fn veto(
    Shared(web): Shared<Web>,
    ConnectInfo(peer): Peer,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    if let Err(why) = taken(&web, peer, &headers, &sent) {
        return not_taken(&web, &headers, why).await;
    }
    let Some(operation) = sent.operation else { return back(&sent, "gone") };
    match web.customer.veto(operation).await {
        Ok(Vetoed::Now) => back(&sent, "vetoed"),
        Ok(Vetoed::Kept) => back(&sent, "veto-kept"),
        Err(e) => back(&sent, word(&e)),
    }
}

/// `POST /seen`.
pub(super) async fn seen(
    Shared(web): Shared<Web>,
    ConnectInfo(peer): Peer,
    headers: HeaderMap,
    Form(sent): Form<Sent>,
) -> Response {
    if let Err(why) = taken(&web, peer, &headers, &sent) {
        return not_taken(&web, &headers, why).await;
    }
    let (Some(operation), Some(stage), Some(at)) = (sent.operation, sent.stage, sent.at) else {
        return back(&sent, "gone");
    };
    match web.customer.acknowledge(Acknowledged { operation, stage, at }) {
        Ok(()) => back(&sent, "seen"),
        Err(e) => back(&sent, word(&e)),
    }
}
