//! `felhom box`.

use super::Context;
use crate::args::BoxCommand;
use crate::exit::Failure;
use crate::known_boxes::{KnownBoxes, Pinned};
use crate::output::Output;
use crate::time::{ago, ago_or, bytes};
use felhom_protocol::hub_api::{AddBox, BoxDetail, BoxSummary, Enrolment, Liveness};
use felhom_protocol::hub_sync::Report;
use serde_json::json;

pub(crate) async fn run(context: &Context, command: BoxCommand) -> Result<(), Failure> {
    match command {
        BoxCommand::Add { name, ttl_minutes, renew } => {
            add(context, &AddBox { name, ttl_s: Some(ttl_minutes * 60), renew }).await
        }
        BoxCommand::List => list(context).await,
        BoxCommand::Show { name } => show(context, &name).await,
        BoxCommand::Pin { .. } | BoxCommand::Unpin { .. } | BoxCommand::Pins => {
            local(&context.known, context.out, command).map(drop)
        }
    }
}

/// Runs a command that asks nobody; gives back one that needs the hub.
pub(crate) fn local(
    known: &KnownBoxes,
    out: Output,
    command: BoxCommand,
) -> Result<Option<BoxCommand>, Failure> {
    match command {
        BoxCommand::Pin { name, fingerprint, replace } => {
            pin(known, out, (&name, &fingerprint), replace.as_deref())?;
        }
        BoxCommand::Unpin { name, fingerprint } => {
            known.unpin(&name, &fingerprint)?;
            out.say(format!("{name}: not pinned any more"));
            out.result(&json!({ "box": name, "result": "unpinned", "fingerprint": fingerprint }))?;
        }
        BoxCommand::Pins => {
            let pins = known.pins()?;
            let row = |(name, pin): &(String, String)| vec![name.clone(), pin.clone()];
            let empty = "No pins yet. Read a box's key on the box: felhom box pin NAME SHA256:…";
            out.table(&["box", "key"], pins.iter().map(row).collect(), empty);
            let entry = |(name, pin): &(String, String)| json!({ "box": name, "fingerprint": pin });
            out.result(&pins.iter().map(entry).collect::<Vec<_>>())?;
        }
        BoxCommand::Add { .. } | BoxCommand::List | BoxCommand::Show { .. } => return Ok(Some(command)),
    }
    Ok(None)
}

async fn add(context: &Context, request: &AddBox) -> Result<(), Failure> {
    let added = context.hub.add_box(request).await?;
    let out = context.out;
    out.say(format!("Box {} was added. Its ticket is good once, until {}.", added.name, added.expires));
    out.say("On the box, as the agent's user, run this and paste the ticket:\n\n  felhom-agent enroll -\n");
    if !out.json {
        out.say(format!("{}\n", added.ticket));
    }
    out.say(format!("It prints the box's key; then, here: felhom box pin {} SHA256:…", added.name));
    out.result(&added)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let boxes = context.hub.boxes().await?;
    let pins = context.known.pins()?;
    let pinned = |b: &BoxSummary| pins.iter().any(|(name, _)| *name == b.name);
    let row = |b: &BoxSummary| {
        vec![
            b.name.clone(),
            b.risk.clone(),
            liveness(b),
            format!("{}/{}", b.observed_generation, b.generation),
            b.guests.to_string(),
            ago_or(b.last_backup, context.now, "never"),
            ago_or(b.last_proven, context.now, "never"),
            if pinned(b) { "pinned" } else { "not pinned" }.to_owned(),
            b.reasons.first().cloned().unwrap_or_default(),
        ]
    };
    let head = ["box", "risk", "seen", "generation", "guests", "backup", "proven", "key", "why"];
    context.out.table(&head, boxes.iter().map(row).collect(), "No boxes yet. Add one: felhom box add NAME");
    context.out.result(&boxes)
}

fn liveness(b: &BoxSummary) -> String {
    let word = match (b.enrolment, b.liveness) {
        (Enrolment::Waiting, _) => "waits for enrolment",
        (Enrolment::Expired, _) => "ticket expired",
        (Enrolment::Enrolled, Liveness::Never) => "never seen",
        (Enrolment::Enrolled, Liveness::Alive) => "alive",
        (Enrolment::Enrolled, Liveness::Late) => "late",
        (Enrolment::Enrolled, Liveness::Silent) => "silent",
    };
    word.to_owned()
}

async fn show(context: &Context, name: &str) -> Result<(), Failure> {
    let detail = context.hub.show_box(name).await?;
    let pin = context.known.pin_of(name)?;
    let told = detail.attestation_fingerprint.clone();
    let pin_state = match (&pin, &told) {
        (Some(pin), Some(told)) if pin == told => "pinned",
        (Some(_), Some(_)) => "other_than_pinned",
        (None, Some(_)) => "not_pinned",
        (_, None) => "none",
    };
    print(context, &detail, pin_state);
    let result = json!({ "box": detail, "pin": { "state": pin_state, "pinned": pin } });
    if pin_state == "other_than_pinned" {
        let failure = Failure::Unverified(format!(
            "the hub tells the key {} for {name}, this machine has pinned {}: do not trust what the hub shows of this box",
            told.unwrap_or_default(),
            pin.unwrap_or_default()
        ));
        return Err(context.out.failed_result(result, failure));
    }
    context.out.result(&result)
}

fn print(context: &Context, detail: &BoxDetail, pin_state: &str) {
    let (out, summary) = (context.out, &detail.summary);
    out.say(format!("{}  {}  {}", summary.name, summary.risk, liveness(summary)));
    for reason in &summary.reasons {
        out.say(format!("  ! {reason}"));
    }
    out.say(format!("last seen:   {}", ago_or(summary.last_seen, context.now, "never")));
    out.say(format!("generation:  {} set, {} observed", summary.generation, summary.observed_generation));
    let key = detail.attestation_fingerprint.as_deref().unwrap_or("none yet");
    out.say(format!("key:         {key} ({})", pin_state.replace('_', " ")));
    if let Some(report) = &detail.report {
        report_tables(context, report);
    }
    for event in detail.events.iter().take(10) {
        out.say(format!("event: {} {}: {}", ago(event.time, context.now), event.kind, event.message));
    }
}

fn report_tables(context: &Context, report: &Report) {
    let out = context.out;
    out.say("\nGuests");
    let rows = report.guests.iter().map(|guest| {
        vec![
            report.name_of(guest),
            guest.vmid.to_string(),
            guest.purpose.clone(),
            guest.power.clone(),
            guest.heartbeat.as_ref().and_then(|h| h.url.clone()).unwrap_or_default(),
            guest.uuid.map_or_else(String::new, |uuid| uuid.to_string()),
        ]
    });
    out.table(&["name", "vmid", "purpose", "power", "url", "uuid"], rows.collect(), "  none");
    out.say("\nStorages");
    let rows = report.storages.iter().map(|s| {
        let state = if s.active { "active" } else { "INACTIVE" };
        let target = if s.is_target { "target" } else { "" };
        vec![s.id.to_string(), state.to_owned(), bytes(s.free), bytes(s.total), target.to_owned()]
    });
    out.table(&["storage", "state", "free", "size", ""], rows.collect(), "  none");
    out.say("\nConditions");
    let rows = report.conditions.iter().map(|c| {
        let status = format!("{:?}", c.status).to_lowercase();
        vec![c.kind.clone(), status, c.reason.clone(), ago(c.since, context.now), c.message.clone()]
    });
    out.table(&["condition", "status", "reason", "since", "message"], rows.collect(), "  none");
}

fn pin(
    known: &KnownBoxes,
    out: Output,
    (name, fingerprint): (&str, &str),
    replace: Option<&str>,
) -> Result<(), Failure> {
    let done = known.pin(name, fingerprint, replace)?;
    let (word, old) = match &done {
        Pinned::New => ("pinned", None),
        Pinned::Unchanged => ("unchanged", None),
        Pinned::Replaced(old) => ("replaced", Some(old)),
    };
    out.say(format!("{name}: {word} {fingerprint}"));
    out.result(&json!({ "box": name, "result": word, "fingerprint": fingerprint, "replaced": old }))
}
