//! `felhom audit`: an exported log against the key that this machine pinned, and against what the hub was told meanwhile.

use super::Context;
use crate::args::AuditCommand;
use crate::escape::escaped;
use crate::exit::Failure;
use crate::files;
use crate::known_boxes::KnownBoxes;
use crate::output::Output;
use crate::time::ago;
use felhom_model::GuestUuid;
use felhom_protocol::audit::AuditEnd;
use felhom_protocol::hub_api::AuditHeadView;
use felhom_signing::audit::{Chain, Entry, Head, Tip, verify};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A log that is what the pinned key of its box signed.
struct Verified {
    entries: Vec<Entry>,
    /// Number and hash of each entry, that of the empty log first.
    tips: Vec<Tip>,
    end: AuditEnd,
    pin: String,
}

#[derive(Deserialize)]
struct LastLine {
    end: AuditEnd,
}

/// Runs what needs no hub; gives back what does.
pub(crate) fn local(
    known: &KnownBoxes,
    out: Output,
    command: AuditCommand,
) -> Result<Option<AuditCommand>, Failure> {
    match command {
        AuditCommand::Verify { name, file, offline: true } => {
            let log = read(known, &name, &file)?;
            say_verified(out, &name, &log);
            out.say("hub:     not asked");
            out.result(&result(&name, &log, &Value::Null))?;
        }
        AuditCommand::Show { name, file, guest } => show(out, &read(known, &name, &file)?, guest)?,
        AuditCommand::Verify { offline: false, .. } => return Ok(Some(command)),
    }
    Ok(None)
}

/// Verifies a log, also against the hub's heads.
pub(crate) async fn run(context: &Context, command: AuditCommand) -> Result<(), Failure> {
    let AuditCommand::Verify { name, file, .. } = command else { return Ok(()) };
    let log = read(&context.known, &name, &file)?;
    let heads = context.hub.audit_heads(&name).await?;
    let (checked, problems) = compare(&log, &heads);
    let others = heads.len() - heads.iter().filter(|view| is_of(view, &log)).count();
    let hub = json!({ "heads": checked, "of_earlier_installations": others, "problems": problems });
    say_verified(context.out, &name, &log);
    if problems.is_empty() {
        context.out.say(format!("hub:     {checked} head(s) of this log that it was told, all in it"));
        return context.out.result(&result(&name, &log, &hub));
    }
    let failure = Failure::Unverified(format!("ALARM: {}", problems.join("; ")));
    Err(context.out.failed_result(result(&name, &log, &hub), failure))
}

/// Reads and verifies the file.
fn read(known: &KnownBoxes, name: &str, path: &Path) -> Result<Verified, Failure> {
    let (bytes, shown) = (files::read(path)?, path.display());
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let last = lines.pop().and_then(|line| serde_json::from_slice::<LastLine>(line).ok());
    let Some(LastLine { end }) = last else {
        return Err(Failure::Unverified(format!(
            "{shown} does not end with a signed head, so nothing of it can be verified; export it again on the box: \
             `felhom-executor audit export > audit.jsonl`"
        )));
    };
    let (told, pinned) = (end.attestation_key.fingerprint(), known.pin_of(name)?);
    let name = escaped(name);
    let Some(pin) = pinned else {
        return Err(Failure::Unverified(format!(
            "no key is pinned for {name}, so nothing says that the log is from it. Read the key on the box itself: \
             `felhom box pin {name} SHA256:…`"
        )));
    };
    if pin != told {
        return Err(Failure::Unverified(format!(
            "ALARM: the log comes with the key {told}, this machine has pinned {pin} for {name}. Either the box was installed \
             anew, or this is another box's log"
        )));
    }
    let alarm = |why: String| Failure::Unverified(format!("ALARM: {shown}: {why}"));
    let head = Head::open(end.head.clone().into(), &end.attestation_key).map_err(|e| alarm(e.to_string()))?;
    let entries = verify(&lines, &head, Chain::Whole).map_err(|e| alarm(e.to_string()))?;
    let tip = |(entry, line): (&Entry, &&[u8])| Tip { seq: entry.seq, hash: felhom_model::Digest::of(line) };
    let tips = [Tip::BEGINNING].into_iter().chain(entries.iter().zip(&lines).map(tip)).collect();
    Ok(Verified { entries, tips, end, pin })
}

impl Verified {
    fn head(&self) -> Tip {
        self.tips.last().copied().unwrap_or(Tip::BEGINNING)
    }
}

fn is_of(view: &AuditHeadView, log: &Verified) -> bool {
    view.attestation_key == log.end.attestation_key
}

/// How many heads of this log the hub has, and what of them does not fit.
fn compare(log: &Verified, heads: &[AuditHeadView]) -> (usize, Vec<String>) {
    let of_this: Vec<&AuditHeadView> = heads.iter().filter(|view| is_of(view, log)).collect();
    let mut problems = Vec::new();
    for view in &of_this {
        match Head::open(view.head.clone().into(), &log.end.attestation_key) {
            Ok(head) => problems.extend(differs(log, head.get().tip)),
            Err(e) => problems.push(format!("the hub gave a head that the box did not sign: {e}")),
        }
        problems
            .extend(view.problem.as_deref().map(|problem| format!("the hub found: {}", escaped(problem))));
    }
    problems.dedup();
    (of_this.len(), problems)
}

fn differs(log: &Verified, told: Tip) -> Option<String> {
    let last = log.head().seq;
    match log.tips.iter().find(|tip| tip.seq == told.seq) {
        Some(tip) if tip.hash == told.hash => None,
        Some(_) => {
            Some(format!("the box told the hub another entry {} than this log has: it was forked", told.seq))
        }
        None => Some(format!(
            "the box told the hub of entry {}, this log ends with entry {last}: its end was cut off, or it was exported before; \
             export it again",
            told.seq
        )),
    }
}

fn say_verified(out: Output, name: &str, log: &Verified) {
    let head = log.head();
    out.say(format!("box:     {}", escaped(name)));
    out.say(format!("entries: {}, each one named by the one after it", head.seq));
    out.say(format!("head:    entry {} {}, signed by the pinned key {}", head.seq, head.hash, log.pin));
}

fn result(name: &str, log: &Verified, hub: &Value) -> Value {
    json!({ "box": name, "entries": log.entries.len(), "head": log.head(), "key": log.pin, "hub": hub })
}

fn show(out: Output, log: &Verified, guest: Option<GuestUuid>) -> Result<(), Failure> {
    let of_guest = |entry: &&Entry| guest.is_none() || entry.guest.map(|link| link.uuid) == guest;
    let entries: Vec<&Entry> = log.entries.iter().filter(of_guest).collect();
    let now = Timestamp::now();
    let row = |entry: &&Entry| {
        vec![
            entry.seq.to_string(),
            ago(entry.at, now),
            escaped(&entry.kind),
            escaped(entry.who.as_deref().unwrap_or_default()),
            entry.operation.map(|id| id.to_string()).unwrap_or_default(),
            entry.guest.map(|link| link.uuid.to_string()).unwrap_or_default(),
            if entry.data.is_null() { String::new() } else { escaped(&entry.data.to_string()) },
        ]
    };
    let head = ["entry", "when", "what", "who", "operation", "guest", ""];
    out.table(&head, entries.iter().map(row).collect(), "nothing was written down");
    out.result(&entries)
}
