//! What the programs' JSON has to say for a step to have held. Pure functions: JSON in, a fact or an error in words out.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::world::{APP, GUEST};

/// A text of an object, or `-`.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn required<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no `{key}` in {value}"))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The newest operation of this kind that is not in `before`.
pub(crate) fn newest<'a>(operations: &'a Value, kind: &str, before: &[String]) -> Option<&'a Value> {
    let new = |op: &&Value| text(op, "kind") == kind && !before.iter().any(|id| id == text(op, "id"));
    items(operations).iter().filter(new).max_by_key(|op| text(op, "id"))
}

/// The operation with this id.
pub(crate) fn by_id<'a>(operations: &'a Value, id: &str) -> Option<&'a Value> {
    items(operations).iter().find(|op| text(op, "id") == id)
}

/// The guest with this name.
pub(crate) fn named(shown: &Value, name: &str) -> Option<Value> {
    items(&shown["box"]["report"]["guests"]).iter().find(|guest| text(guest, "name") == name).cloned()
}

/// Whether a guest runs and its app does.
pub(crate) fn serves(guest: &Value) -> bool {
    let app = items(&guest["heartbeat"]["apps"]).iter().find(|app| text(app, "app") == APP);
    text(guest, "power") == "running" && app.is_some_and(|app| text(app, "state") == "running")
}

/// Ids of all operations.
pub(crate) fn ids(operations: &Value) -> Vec<String> {
    items(operations).iter().map(|op| text(op, "id").to_owned()).collect()
}

/// Whether an operation is done; an error if it ended otherwise or needs a person.
pub(crate) fn done(operation: &Value) -> Result<bool> {
    match text(operation, "state") {
        "done" => Ok(true),
        "pending" | "running" | "waiting" => Ok(false),
        state => {
            let failed = |step: &&Value| text(step, "state") == "failed";
            let step = items(&operation["steps"]).iter().find(failed);
            let step = step.map_or_else(String::new, |step| {
                format!(", step {}: {}", text(step, "name"), text(step, "outcome"))
            });
            let why = operation["reason"].as_str().unwrap_or_else(|| text(operation, "verdict"));
            bail!("{} is {state}: {why}{step}", text(operation, "kind"))
        }
    }
}

/// How long an operation took, by its own times.
pub(crate) fn took_ms(operation: &Value) -> Result<u64> {
    let at = |key: &str| -> Result<i64> {
        let text = required(operation, key)?;
        let time: jiff::Timestamp = text.parse().with_context(|| format!("`{text}` is no time"))?;
        Ok(time.as_millisecond())
    };
    Ok(u64::try_from(at("ended")? - at("created")?)?)
}

/// An operation's running step with its progress, for people.
pub(crate) fn progress(operation: &Value) -> String {
    let steps = items(&operation["steps"]);
    let over = steps.iter().filter(|step| text(step, "state") == "done").count();
    let running = steps.iter().find(|step| matches!(text(step, "state"), "running" | "undoing"));
    let step = running.map_or_else(
        || text(operation, "state").to_owned(),
        |step| format!("{} ({}/{})", text(step, "name"), over + 1, steps.len()),
    );
    let amount = &operation["progress"];
    let amount = match (amount["done"].as_u64(), amount["total"].as_u64()) {
        (Some(done), Some(total)) if total > 0 => format!(" {} %", done * 100 / total),
        _ => String::new(),
    };
    format!("{}: {step}{amount}", text(operation, "kind"))
}

/// The box as the hub shows it is enrolled, alive, and its key is the pinned one.
pub(crate) fn enrolled(shown: &Value) -> Result<bool> {
    let pin = text(&shown["pin"], "state");
    ensure!(pin != "other_than_pinned", "the hub tells another key than the pinned one");
    let the_box = &shown["box"];
    Ok(text(the_box, "enrolment") == "enrolled" && text(the_box, "liveness") == "alive" && pin == "pinned")
}

/// A guest of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Guest {
    /// Its uuid in the ledger.
    pub(crate) uuid: String,
    /// Its VMID.
    pub(crate) vmid: u32,
    /// URL of its own page.
    pub(crate) url: String,
    /// URL of the app.
    pub(crate) app_url: String,
}

/// The tenant with our name, once its provenance is proven, it runs, and its app does.
pub(crate) fn tenant(shown: &Value) -> Result<Option<Guest>> {
    let guests = items(&shown["box"]["report"]["guests"]);
    let tenants: Vec<_> = guests.iter().filter(|guest| text(guest, "purpose") == "tenant").collect();
    ensure!(tenants.len() <= 1, "{} tenants where one was asked for", tenants.len());
    let Some(guest) = tenants.first() else { return Ok(None) };
    ensure!(text(guest, "name") == GUEST, "the tenant is called `{}`, not `{GUEST}`", text(guest, "name"));
    let heartbeat = &guest["heartbeat"];
    let app = items(&heartbeat["apps"]).iter().find(|app| text(app, "app") == APP);
    if let Some(app) = app.filter(|app| text(app, "state") == "failed") {
        bail!("app `{APP}` failed: {}", text(app, "message"));
    }
    let ready = text(guest, "provenance") == "proven" && text(guest, "power") == "running";
    let urls = app
        .filter(|app| ready && text(app, "state") == "running")
        .and_then(|app| Some((heartbeat["url"].as_str()?, app["url"].as_str()?)));
    let Some((url, app_url)) = urls else { return Ok(None) };
    Ok(Some(Guest {
        uuid: required(guest, "uuid")?.to_owned(),
        vmid: vmid(guest)?,
        url: url.to_owned(),
        app_url: app_url.to_owned(),
    }))
}

/// The guest with this VMID is reported as one that runs.
pub(crate) fn standing(shown: &Value, vmid: u32) -> Result<()> {
    let guests = items(&shown["box"]["report"]["guests"]);
    let guest = guests.iter().find(|guest| guest["vmid"].as_u64() == Some(u64::from(vmid)));
    let power = guest.map_or("missing", |guest| text(guest, "power"));
    ensure!(power == "running", "guest {vmid} is {power}, says the box");
    Ok(())
}

/// What a guest of a report shows while it is not ready, for people.
pub(crate) fn tenant_state(shown: &Value) -> String {
    let guests = items(&shown["box"]["report"]["guests"]);
    let Some(guest) = guests.iter().find(|guest| text(guest, "purpose") == "tenant") else {
        return "no tenant yet".to_owned();
    };
    let app = &guest["heartbeat"]["apps"][0];
    format!(
        "guest {} {}, app {} {}",
        text(guest, "power"),
        text(guest, "provenance"),
        text(app, "state"),
        app["message"].as_str().unwrap_or_default()
    )
}

fn vmid(guest: &Value) -> Result<u32> {
    let number = guest["vmid"].as_u64().and_then(|number| u32::try_from(number).ok());
    number.with_context(|| format!("no VMID in {guest}"))
}

/// Guests of a purpose, by VMID.
pub(crate) fn vmids(shown: &Value, purpose: &str) -> Vec<u32> {
    let guests = items(&shown["box"]["report"]["guests"]);
    guests
        .iter()
        .filter(|guest| text(guest, "purpose") == purpose)
        .filter_map(|guest| vmid(guest).ok())
        .collect()
}

/// An archive that the programs report as good.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Archive {
    /// `STORE:backup/NAME`.
    pub(crate) volid: String,
    /// SHA-256 as recorded.
    pub(crate) digest: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// First pause to last resume.
    pub(crate) downtime_ms: u64,
}

/// The archive that an operation made, with the apps frozen and the downtime known.
pub(crate) fn archive_of(archives: &Value, operation: &str) -> Result<Option<Archive>> {
    let Some(archive) = items(archives).iter().find(|archive| text(archive, "operation") == operation) else {
        return Ok(None);
    };
    let consistency = text(archive, "consistency");
    ensure!(consistency == "quiesced", "the archive is {consistency}, not quiesced: the freeze did not hold");
    ensure!(archive["present"].as_bool() != Some(false), "the archive is not there any more");
    let Some(downtime_ms) = archive["downtime_ms"].as_u64() else { return Ok(None) };
    Ok(Some(Archive {
        volid: required(archive, "volid")?.to_owned(),
        digest: bare_digest(required(archive, "digest")?).to_owned(),
        bytes: archive["bytes"].as_u64().context("no size")?,
        downtime_ms,
    }))
}

/// A digest without the name of its algorithm.
pub(crate) fn bare_digest(digest: &str) -> &str {
    digest.rsplit(':').next().unwrap_or(digest)
}

/// What a proven restore says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Proof {
    /// The restore test.
    pub(crate) operation: String,
    /// The level reached.
    pub(crate) level: String,
    /// How long it took.
    pub(crate) took_ms: u64,
    /// How many checks passed.
    pub(crate) checks: usize,
    /// The digest that the archive had to have.
    pub(crate) archive_digest: String,
}

/// The receipt of an archive's restore test: verified by the pinned key, passed, L4, about this archive.
pub(crate) fn proof(listed: &Value, archive: &Archive, guest: &str) -> Result<Option<Proof>> {
    let about = |judged: &&Value| text(&judged["receipt"], "archive") == archive.volid;
    let Some(judged) = items(&listed["receipts"]).iter().find(about) else { return Ok(None) };
    let receipt = &judged["receipt"];
    ensure!(
        text(judged, "signature") == "verified",
        "the receipt's signature is {}: {}",
        text(judged, "signature"),
        text(judged, "problem")
    );
    let checks = items(&receipt["checks"]);
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check["passed"].as_bool() != Some(true))
        .map(|check| format!("{} {}: {}", text(check, "level"), text(check, "name"), text(check, "detail")))
        .collect();
    ensure!(
        text(receipt, "verdict") == "passed" && failed.is_empty(),
        "the restore test {}: {}",
        text(receipt, "verdict"),
        failed.join("; ")
    );
    ensure!(
        text(receipt, "level") == "L4",
        "the restore was proven to {}, not to L4",
        text(receipt, "level")
    );
    ensure!(text(receipt, "guest") == guest, "the receipt is about guest {}", text(receipt, "guest"));
    let digest = bare_digest(text(receipt, "archive_digest"));
    ensure!(digest == archive.digest, "the receipt is about other bytes: {digest}");
    Ok(Some(Proof {
        operation: text(receipt, "operation").to_owned(),
        level: text(receipt, "level").to_owned(),
        took_ms: receipt["took_ms"].as_u64().unwrap_or_default(),
        checks: checks.len(),
        archive_digest: digest.to_owned(),
    }))
}

/// A refusal as `felhom job run` and `felhom ops list` show it: refused, by its reason, with this evidence.
pub(crate) fn refusal(operation: &Value, kind: &str, words: &[&str]) -> Result<String> {
    ensure!(text(operation, "kind") == kind, "no operation `{kind}` is shown");
    ensure!(text(operation, "state") == "refused", "`{kind}` is {}, not refused", text(operation, "state"));
    let evidence: Vec<_> = items(&operation["evidence"])
        .iter()
        .map(|item| format!("{}: {}", text(item, "key"), text(item, "value")))
        .collect();
    let said = format!("{} [{}]", text(operation, "verdict"), evidence.join(", "));
    for word in words {
        ensure!(said.contains(word), "the refusal of `{kind}` does not name `{word}`: {said}");
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(guest: &Value) -> Value {
        json!({ "box": { "enrolment": "enrolled", "liveness": "alive", "report": { "guests": [guest] } },
                "pin": { "state": "pinned" } })
    }

    fn guest() -> Value {
        json!({ "uuid": "u", "vmid": 2000, "name": GUEST, "purpose": "tenant", "provenance": "proven",
                "power": "running", "heartbeat": { "url": "http://h", "apps": [
                    { "app": APP, "state": "running", "url": "http://a" }] } })
    }

    #[test]
    fn a_tenant_counts_when_all_of_it_is_there() {
        let found = tenant(&shown(&guest())).unwrap().unwrap();
        assert_eq!((found.uuid.as_str(), found.vmid, found.app_url.as_str()), ("u", 2000, "http://a"));
        for (pointer, value) in [
            ("/provenance", "row_only"),
            ("/power", "stopped"),
            ("/heartbeat/apps/0/state", "starting"),
            ("/purpose", "foreign"),
        ] {
            let mut other = guest();
            *other.pointer_mut(pointer).unwrap() = json!(value);
            assert_eq!(tenant(&shown(&other)).unwrap(), None, "{pointer}");
        }
        let mut failed = guest();
        failed["heartbeat"]["apps"][0]["state"] = json!("failed");
        assert!(tenant(&shown(&failed)).is_err());
    }

    #[test]
    fn a_guest_that_vanished_is_missing() {
        assert!(standing(&shown(&guest()), 2000).is_ok());
        assert!(standing(&shown(&guest()), 2001).unwrap_err().to_string().contains("is missing"));
        let mut gone = guest();
        gone["power"] = json!("missing");
        assert!(standing(&shown(&gone), 2000).unwrap_err().to_string().contains("is missing"));
    }

    #[test]
    fn another_key_than_the_pinned_one_is_an_error_at_once() {
        assert!(enrolled(&shown(&guest())).unwrap());
        let mut silent = shown(&guest());
        silent["box"]["liveness"] = json!("silent");
        assert!(!enrolled(&silent).unwrap());
        silent["pin"]["state"] = json!("other_than_pinned");
        assert!(enrolled(&silent).is_err());
    }

    #[test]
    fn an_operation_is_done_or_on_its_way_or_an_error_with_its_step() {
        let op = |state| {
            json!({ "id": "1", "kind": "backup_guest", "state": state, "reason": "why", "steps": [
            { "name": "vzdump", "state": "failed", "outcome": "no space" }] })
        };
        assert!(done(&op("done")).unwrap());
        assert!(!done(&op("running")).unwrap());
        let times = json!({ "created": "2026-11-24T20:00:00.5Z", "ended": "2026-11-24T20:00:02Z" });
        assert_eq!(took_ms(&times).unwrap(), 1500);
        for bad in ["refused", "rolled_back", "needs_operator", "rolling_back", "pending_authorization"] {
            let error = done(&op(bad)).unwrap_err().to_string();
            assert!(error.contains("why") && error.contains("no space"), "{error}");
        }
        let both = json!([op("done"), { "id": "2", "kind": "backup_guest", "state": "running" }]);
        assert_eq!(text(newest(&both, "backup_guest", &[]).unwrap(), "id"), "2");
        assert!(newest(&both, "backup_guest", &ids(&both)).is_none());
    }

    #[test]
    fn an_archive_without_a_held_freeze_is_an_error() {
        let mut archives = json!([{ "operation": "1", "volid": "b:backup/x", "digest": "sha256:aa", "bytes": 5,
                                    "consistency": "quiesced", "downtime_ms": 7 }]);
        let good = archive_of(&archives, "1").unwrap().unwrap();
        assert_eq!((good.digest.as_str(), good.downtime_ms), ("aa", 7));
        assert_eq!(archive_of(&archives, "2").unwrap(), None);
        archives[0]["consistency"] = json!("crash_consistent");
        assert!(archive_of(&archives, "1").is_err());
    }

    #[test]
    fn a_proof_is_verified_passed_complete_and_about_these_bytes() {
        let archive = Archive { volid: "v".into(), digest: "aa".into(), ..Archive::default() };
        let list = json!({ "receipts": [{ "signature": "verified", "receipt": { "archive": "v", "guest": "u",
            "archive_digest": "aa", "verdict": "passed", "level": "L4", "took_ms": 9, "operation": "o",
            "checks": [{ "level": "L1", "name": "digest", "passed": true, "detail": "" }] } }] });
        assert_eq!(proof(&list, &archive, "u").unwrap().unwrap().took_ms, 9);
        assert!(proof(&list, &archive, "other").is_err());
        for (pointer, value, word) in [
            ("/signature", json!("bad"), "signature"),
            ("/receipt/verdict", json!("failed"), "failed"),
            ("/receipt/level", json!("L3"), "L3"),
            ("/receipt/archive_digest", json!("bb"), "other bytes"),
            ("/receipt/checks/0/passed", json!(false), "L1 digest"),
        ] {
            let mut other = list.clone();
            *other["receipts"][0].pointer_mut(pointer).unwrap() = value;
            let error = proof(&other, &archive, "u").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(proof(&json!({ "receipts": [] }), &archive, "u").unwrap(), None);
    }

    #[test]
    fn a_refusal_names_its_evidence() {
        let op = json!({ "kind": "reclaim_guest", "state": "refused", "verdict": "not a tombstone",
                         "evidence": [{ "key": "vmid", "value": "2000" }] });
        assert!(refusal(&op, "reclaim_guest", &["tombstone", "2000"]).is_ok());
        assert!(refusal(&op, "reclaim_guest", &["uuid"]).is_err());
        assert!(refusal(&op, "destroy_guest", &[]).is_err());
        let mut done = op.clone();
        done["state"] = json!("done");
        assert!(refusal(&done, "reclaim_guest", &[]).is_err());
    }
}
