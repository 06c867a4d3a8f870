//! The fleet: all boxes, those at the highest risk first.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use felhom_protocol::hub_api::{BoxSummary, Enrolment};

use super::sections::{self, Section};
use super::session::User;
use super::{PageError, html, parts};
use crate::facts::Severity;
use crate::fleet;
use crate::hub::{Hub, Inner};

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage<'a> {
    user: Option<&'a User>,
    fleet: Section,
}

#[derive(Template)]
#[template(path = "fleet_table.html")]
struct FleetTable {
    boxes: Vec<BoxSummary>,
    summary: String,
}

/// `GET /`.
pub(crate) async fn page(State(hub): State<Hub>, user: User) -> Result<Response, PageError> {
    let fleet = section(&hub).await?;
    Ok(html(StatusCode::OK, &FleetPage { user: Some(&user), fleet }))
}

/// `GET /live`.
pub(crate) async fn live(
    State(hub): State<Hub>,
    _: User,
    Query(has): Query<HashMap<String, String>>,
) -> Result<Response, PageError> {
    Ok(sections::changed(vec![section(&hub).await?], &has))
}

async fn section(hub: &Inner) -> Result<Section, PageError> {
    let boxes = fleet::all(hub).await?;
    let summary = in_words(&boxes);
    Ok(Section::new("fleet", "All boxes by risk", "plain", &FleetTable { boxes, summary })?)
}

fn in_words(boxes: &[BoxSummary]) -> String {
    let count = |severity: Severity| boxes.iter().filter(|b| b.risk == severity.name()).count();
    let parts = [
        (count(Severity::Danger), "in danger"),
        (count(Severity::Attention), "to look at"),
        (count(Severity::Waiting), "waiting"),
        (count(Severity::Ok), "fine"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let boxes = if boxes.len() == 1 { "1 box".to_owned() } else { format!("{} boxes", boxes.len()) };
    format!("{boxes}: {}", parts.join(", "))
}
