//! The summary: one screen for people, one object for programs.

use serde_json::{Value, json};

use super::{
    driver::Demo,
    steps::{Failure, OPERATOR, OPERATOR_PASSWORD},
    world::{BOX, GUEST},
};

/// Everything that was found, and where it ended if it did not hold.
pub(crate) fn of(demo: &Demo, failure: Option<&Failure>) -> Value {
    let facts = &demo.facts;
    json!({
        "held": failure.is_none(),
        "failed_step": failure.map(|failure| failure.step),
        "error": failure.map(|failure| format!("{:#}", failure.error)),
        "steps_s": facts.seconds,
        "took_s": demo.screen.seconds(),
        "folder": demo.world.dir,
        "hub_url": facts.hub_url,
        "box": BOX,
        "guest": facts.guest,
        "data": { "notes": facts.data.notes.len(), "files": facts.data.files.len(), "bytes": facts.data.bytes },
        "backup": facts.archive,
        "outside_gap_ms": facts.outside_gap_ms,
        "proof": facts.proof,
        "copy_vmid": facts.copy,
        "tombstone_vmid": facts.tombstone,
        "refusals": facts.refusals,
    })
}

/// For people.
pub(crate) fn page(demo: &Demo) -> String {
    let facts = &demo.facts;
    let mut lines = vec![String::new()];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:14} {value}"));
    if facts.proof.checks > 0 {
        row(
            "protected",
            format!(
                "proven restore {} took {:.1} s, {} checks; downtime of the backup {} ms",
                facts.proof.level,
                facts.proof.took_ms as f64 / 1000.0,
                facts.proof.checks,
                facts.archive.downtime_ms
            ),
        );
    }
    row("hub", format!("{}  (log in as {OPERATOR} with `{OPERATOR_PASSWORD}`)", facts.hub_url));
    if facts.guest.vmid > 0 {
        row("guest", format!("{GUEST}, VMID {}: {}", facts.guest.vmid, facts.guest.url));
        row("app", facts.guest.app_url.clone());
    }
    if facts.archive.bytes > 0 {
        row("backup", format!("{} ({} MiB)", facts.archive.volid, facts.archive.bytes >> 20));
    }
    if facts.tombstone > 0 {
        let (new, old) = (facts.copy, facts.tombstone);
        row("restored", format!("VMID {new} took over, equal to the backup; the damaged VMID {old} is kept"));
    } else if facts.copy > 0 {
        row("restored", format!("VMID {}, link down, equal to the backup", facts.copy));
    }
    if !facts.refusals.is_empty() {
        row("hostile hub", format!("{} requests refused, nothing destroyed", facts.refusals.len()));
    }
    row("took", format!("{:.1} s; everything is in {}", demo.screen.seconds(), demo.world.dir.display()));
    lines.join("\n")
}
