//! One box: what it should be, what it is, what it does, and what proves it.

use std::collections::HashMap;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use felhom_model::GuestUuid;
use felhom_model::backup::{Consistency, Level};
use felhom_protocol::hub_api::{AddJob, BoxDetail, BoxEvent, DesiredVersion, Enrolment, JobView};
use felhom_protocol::hub_sync::Report;
use felhom_protocol::status::{Archive, Condition, Operation, Progress, Storage};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::authorizations::OfBox;
use super::guests::Guests;
use super::sections::{self, Section};
use super::session::User;
use super::{PageError, audit, html, parts};
use crate::api;
use crate::fleet::{self, Found};
use crate::hub::Hub;
use crate::receipts::Judged;
use crate::risk::Risk;
use crate::words;

/// How many operations, receipts, jobs and events are shown at once.
const SHOWN: usize = 25;

#[derive(Template)]
#[template(path = "box.html")]
struct BoxPage<'a> {
    user: Option<&'a User>,
    name: &'a str,
    sections: Vec<Section>,
}

impl BoxPage<'_> {
    fn section(&self, id: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.is(id))
    }
}

/// `GET /boxes/{name}`.
pub(crate) async fn page(
    State(hub): State<Hub>,
    user: User,
    Path(name): Path<String>,
) -> Result<Response, PageError> {
    let found = find(&hub, &name).await?;
    let sections = all_sections(&found, &user)?;
    Ok(html(StatusCode::OK, &BoxPage { user: Some(&user), name: &name, sections }))
}

/// `GET /boxes/{name}/live`.
pub(crate) async fn live(
    State(hub): State<Hub>,
    user: User,
    Path(name): Path<String>,
    Query(has): Query<HashMap<String, String>>,
) -> Result<Response, PageError> {
    let found = find(&hub, &name).await?;
    Ok(sections::changed(all_sections(&found, &user)?, &has))
}

async fn find(hub: &Hub, name: &str) -> Result<Found, PageError> {
    fleet::detail(hub, name).await?.ok_or_else(|| PageError::not_found("There is no box of this name."))
}

/// The form of a button.
#[derive(Deserialize)]
pub(crate) struct JobForm {
    csrf: String,
    kind: String,
    guest: GuestUuid,
}

/// `POST /boxes/{name}/jobs`: the buttons of a guest.
pub(crate) async fn add_job(
    State(hub): State<Hub>,
    user: User,
    headers: HeaderMap,
    Path(name): Path<String>,
    Form(form): Form<JobForm>,
) -> Result<Response, PageError> {
    user.check_form(&form.csrf, &headers)?;
    if !["backup_guest", "restore_test"].contains(&form.kind.as_str()) {
        return Err(PageError::forbidden("There is no such button."));
    }
    let wanted = AddJob { kind: form.kind, params: json!({"guest": form.guest}), ttl_s: None };
    match api::enqueue(&hub, &name, &user.name, wanted).await {
        Ok(_) => Ok(Redirect::to(&format!("/boxes/{}#jobs", super::encode_path(&name))).into_response()),
        Err(error) => Ok(error.into_response()),
    }
}

#[derive(Template)]
#[template(path = "box_head.html")]
struct Head<'a> {
    detail: &'a BoxDetail,
    risk: &'a Risk,
    report: Option<&'a Report>,
    reported: Option<Timestamp>,
    ticket_until: Option<Timestamp>,
}

#[derive(Template)]
#[template(path = "box_refused.html")]
struct Refused<'a> {
    operations: Vec<&'a Operation>,
    jobs: Vec<&'a JobView>,
}

#[derive(Template)]
#[template(path = "box_operations.html")]
struct Operations<'a> {
    operations: Vec<OperationView<'a>>,
}

struct OperationView<'a> {
    operation: &'a Operation,
    /// Not over as far as the hub knows, and not in the report, which lists all that are not over.
    lost: bool,
}

impl OperationView<'_> {
    fn is_active(&self) -> bool {
        !self.lost && !self.operation.state.is_final()
    }
}

#[derive(Template)]
#[template(path = "box_archives.html")]
struct Archives<'a> {
    archives: Vec<ArchiveView<'a>>,
}

struct ArchiveView<'a> {
    archive: &'a Archive,
    /// By a receipt that counts here, not by the box's word.
    proven: Option<Level>,
}

#[derive(Template)]
#[template(path = "box_receipts.html")]
struct Receipts<'a> {
    receipts: &'a [Judged],
}

#[derive(Template)]
#[template(path = "box_desired.html")]
struct Desired<'a> {
    desired: Option<&'a DesiredVersion>,
    text: String,
    history: &'a [DesiredVersion],
    observed_generation: u64,
}

#[derive(Template)]
#[template(path = "box_conditions.html")]
struct Conditions<'a> {
    conditions: &'a [Condition],
}

#[derive(Template)]
#[template(path = "box_storages.html")]
struct Storages<'a> {
    storages: &'a [Storage],
}

#[derive(Template)]
#[template(path = "box_jobs.html")]
struct Jobs<'a> {
    jobs: &'a [JobView],
}

#[derive(Template)]
#[template(path = "box_events.html")]
struct Events<'a> {
    events: &'a [BoxEvent],
}

#[derive(Template)]
#[template(ext = "html", source = "{% for line in lines %}<p>{{ line }}</p>{% endfor %}")]
struct Announcements {
    lines: Vec<String>,
}

fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(SHOWN)]
}

fn all_sections(found: &Found, user: &User) -> Result<Vec<Section>, askama::Error> {
    let detail = &found.detail;
    let report = detail.report.as_ref();
    let conditions = report.map(|report| report.conditions.as_slice()).unwrap_or_default();
    let storages = report.map(|report| report.storages.as_slice()).unwrap_or_default();
    let name = detail.summary.name.as_str();
    let broken = audit::Alarm::new(name, &found.audit_problems, &found.audit);
    let log = audit::Log { name, head: found.audit_head.as_ref(), unseen: found.audit_unseen };
    let asked = OfBox::new(&found.challenges, &found.waiting);
    let refused = refused(found);
    let refusals = if refused.operations.is_empty() && refused.jobs.is_empty() { "empty" } else { "alarm" };
    Ok(vec![
        Section::new("head", "", "head", &head(found))?,
        Section::new("audit-alarm", broken.title(), broken.class(), &broken)?,
        Section::new("authorizations", "Waits for people", asked.class(), &asked)?,
        Section::new("refused", "Refused by the box", refusals, &refused)?,
        Section::new("guests", "Guests", "card", &Guests::new(found, &user.csrf))?,
        Section::new("operations", "Operations", "card", &Operations { operations: views(found) })?,
        Section::new("archives", "Backups", "card", &archives(found))?,
        Section::new("receipts", "Restore tests", "card", &Receipts { receipts: first(&found.receipts) })?,
        Section::new("desired", "Desired state", "card", &desired(found))?,
        Section::new("conditions", "Conditions", "card", &Conditions { conditions })?,
        Section::new("storages", "Storages", "card", &Storages { storages })?,
        Section::new("jobs", "Jobs", "card", &Jobs { jobs: first(&detail.jobs) })?,
        Section::new("audit", "Audit log", "card", &log)?,
        Section::new("events", "Events at the hub", "card", &Events { events: first(&detail.events) })?,
        Section::new("announcements", "", "announcements", &announcements(found))?,
    ])
}

fn head(found: &Found) -> Head<'_> {
    Head {
        detail: &found.detail,
        risk: &found.risk,
        report: found.detail.report.as_ref(),
        reported: found.reported,
        ticket_until: found.ticket_until,
    }
}

fn views(found: &Found) -> Vec<OperationView<'_>> {
    let report = found.detail.report.as_ref();
    let listed = |id| report.is_some_and(|report| report.operations.iter().any(|o| o.id == id));
    let lost = |operation: &Operation| !operation.state.is_final() && !listed(operation.id);
    let shown = first(&found.operations).iter();
    shown.map(|operation| OperationView { operation, lost: lost(operation) }).collect()
}

fn refused(found: &Found) -> Refused<'_> {
    let operations: Vec<&Operation> = found
        .operations
        .iter()
        .filter(|operation| operation.state == felhom_model::OperationState::Refused)
        .take(5)
        .collect();
    let shown = |job: &&JobView| job.operation.is_some_and(|id| operations.iter().any(|o| o.id == id));
    let jobs = found.detail.jobs.iter().filter(|job| job.state == "refused" && !shown(job)).take(5).collect();
    Refused { operations, jobs }
}

fn archives(found: &Found) -> Archives<'_> {
    let archives = found.detail.report.as_ref().map(|report| report.archives.as_slice()).unwrap_or_default();
    let proven = |archive: &Archive| {
        let counting = found.receipts.iter().filter(|judged| judged.problem.is_none());
        let of_this = counting
            .filter_map(|judged| judged.receipt.as_ref())
            .filter(|receipt| receipt.archive_digest == archive.digest && receipt.guest == archive.guest);
        of_this.filter_map(|receipt| receipt.level).max()
    };
    let mut archives: Vec<ArchiveView<'_>> =
        archives.iter().map(|archive| ArchiveView { archive, proven: proven(archive) }).collect();
    archives.sort_by_key(|view| std::cmp::Reverse(view.archive.taken_at));
    archives.truncate(SHOWN);
    Archives { archives }
}

fn desired(found: &Found) -> Desired<'_> {
    let desired = found.detail.desired.as_ref();
    let text = desired.map(|version| {
        toml::to_string(&version.spec).unwrap_or_else(|e| format!("it cannot be shown as TOML: {e}"))
    });
    Desired {
        desired,
        text: text.unwrap_or_default(),
        history: first(&found.history),
        observed_generation: found.detail.summary.observed_generation.0,
    }
}

/// Read out by screen readers when it changes: the step and every quarter of its way, not every byte.
fn announcements(found: &Found) -> Announcements {
    let views = views(found);
    let running = views.iter().filter(|view| view.is_active()).map(|view| view.operation);
    let lines = running.map(|operation| {
        let step = operation.steps.iter().find(|step| step.state == "running");
        let step = step.map(|step| format!(", step {}", step.name)).unwrap_or_default();
        let quarter = operation.progress.as_ref().and_then(percent).map(|percent| percent / 25 * 25);
        let quarter = quarter.map(|percent| format!(", {percent} percent")).unwrap_or_default();
        format!("{} {}{step}{quarter}", operation.kind.replace('_', " "), operation.state.name())
    });
    Announcements { lines: lines.take(5).collect() }
}

fn percent(progress: &Progress) -> Option<u64> {
    let total = progress.total.filter(|total| *total > 0)?;
    u64::try_from(u128::from(progress.done.min(total)) * 100 / u128::from(total)).ok()
}

/// E.g. `126.0 MiB of 400.0 MiB (31 %), 12.0 MiB/s, 22 s left`, `3 of 8 files`.
fn progress_text(progress: &Progress) -> String {
    let amount = |n: u64| if progress.unit == "bytes" { words::bytes(n) } else { n.to_string() };
    let unit = if progress.unit == "bytes" { String::new() } else { format!(" {}", progress.unit) };
    let percent = percent(progress).map(|percent| format!(" ({percent} %)")).unwrap_or_default();
    let done = match progress.total {
        Some(total) => format!("{} of {}{unit}{percent}", amount(progress.done), amount(total)),
        None => format!("{}{unit}", amount(progress.done)),
    };
    let rate = progress.rate_per_s.map(|n| format!(", {}{unit}/s", amount(n))).unwrap_or_default();
    let seconds = |s: u64| jiff::SignedDuration::from_secs(s.min(1 << 40).cast_signed());
    let left = progress.left_s.map(|s| format!(", {} left", words::duration(seconds(s)))).unwrap_or_default();
    format!("{done}{rate}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_units() {
        let progress = |done, total, unit: &str| Progress {
            done,
            total,
            unit: unit.to_owned(),
            rate_per_s: None,
            left_s: None,
        };
        let running =
            Progress { rate_per_s: Some(256), left_s: Some(6), ..progress(512, Some(2048), "bytes") };
        assert_eq!(progress_text(&running), "512 B of 2.0 KiB (25 %), 256 B/s, 6 s left");
        assert_eq!(progress_text(&progress(512, Some(2048), "bytes")), "512 B of 2.0 KiB (25 %)");
        assert_eq!(progress_text(&progress(3, None, "files")), "3 files");
        assert_eq!(progress_text(&progress(9, Some(8), "steps")), "9 of 8 steps (100 %)");
        assert_eq!(percent(&progress(0, Some(0), "steps")), None);
    }
}
