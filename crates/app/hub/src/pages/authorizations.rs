//! Authorizations: what waits for people's signatures, over all boxes; what was authorized and can still be vetoed; and what
//! no box signed.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use felhom_protocol::hub_api::{AnswerView, ChallengeState};

use super::sections::{self, Section};
use super::session::User;
use super::{PageError, html, parts};
use crate::challenges::Found;
use crate::hub::{Hub, Inner};
use crate::store::{challenges, waiting};
use crate::waiting::InGrace;

#[derive(Template)]
#[template(path = "authorizations.html")]
struct Page<'a> {
    user: Option<&'a User>,
    list: Section,
}

#[derive(Template)]
#[template(path = "authorizations_list.html")]
struct List<'a> {
    forged: Vec<&'a Found>,
    pending: Vec<&'a Found>,
    in_grace: Vec<&'a Found>,
    waiting: &'a [InGrace],
}

/// `GET /authorizations`.
pub(crate) async fn page(State(hub): State<Hub>, user: User) -> Result<Response, PageError> {
    let list = section(&hub).await?;
    Ok(html(StatusCode::OK, &Page { user: Some(&user), list }))
}

/// `GET /authorizations/live`.
pub(crate) async fn live(
    State(hub): State<Hub>,
    _: User,
    Query(has): Query<HashMap<String, String>>,
) -> Result<Response, PageError> {
    Ok(sections::changed(vec![section(&hub).await?], &has))
}

async fn section(hub: &Inner) -> Result<Section, PageError> {
    let now = hub.now();
    let (all, waiting) = hub
        .store
        .read("reading challenges", |c| {
            Box::pin(async move { Ok((challenges::all(c, None, now).await?, waiting::all(c, None).await?)) })
        })
        .await?;
    Ok(Section::new("authorizations", "All authorizations", "plain", &List::of(&all, &waiting))?)
}

impl<'a> List<'a> {
    fn of(all: &'a [Found], waiting: &'a [InGrace]) -> Self {
        let those = |which: fn(&Found) -> bool| all.iter().filter(|found| which(found)).collect();
        Self {
            forged: those(is_forged),
            pending: those(Found::is_pending),
            in_grace: those(Found::is_in_grace),
            waiting,
        }
    }
}

fn is_forged(found: &Found) -> bool {
    found.view.state == ChallengeState::BadSignature
}

/// The line on a box's page: how many wait, and whether one is forged.
#[derive(Template)]
#[template(path = "box_authorizations.html")]
pub(super) struct OfBox<'a> {
    pub(super) forged: usize,
    pub(super) pending: Vec<&'a Found>,
    pub(super) in_grace: Vec<&'a Found>,
    pub(super) waiting: &'a [InGrace],
}

impl<'a> OfBox<'a> {
    pub(super) fn new(all: &'a [Found], waiting: &'a [InGrace]) -> Self {
        let List { forged, pending, in_grace, waiting } = List::of(all, waiting);
        Self { forged: forged.len(), pending, in_grace, waiting }
    }

    /// The class of its section.
    pub(super) fn class(&self) -> &'static str {
        match (self.forged, self.pending.len() + self.in_grace.len() + self.waiting.len()) {
            (0, 0) => "empty",
            (0, _) => "alarm",
            (_, _) => "alarm forged",
        }
    }
}

/// What the box said of an answer.
fn outcome(answer: &AnswerView) -> parts::Pill {
    parts::answer(answer.accepted)
}
