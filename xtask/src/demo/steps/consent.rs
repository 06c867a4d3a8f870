//! Step 8: what destroys or replaces waits for people. With the operator's signature a second guest is retired, after its own
//! page said so, and, once its last state is proven, reclaimed; the copy of step 6 takes the damaged guest's place when the
//! customer confirms it on the guest's page. At the end the box's log of all that is verified.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{customer::Page, data, guest};
use crate::{
    demo::{
        call, disk,
        driver::{Demo, Look, text, tolerant},
        judge,
        world::{BOX, GUEST, SECOND},
    },
    run,
};

/// How long the box may take for one operation.
const LONG: Duration = Duration::from_secs(90);
/// How long a word may take from one end to the other.
const SHORT: Duration = Duration::from_secs(30);

/// A challenge that the operator's machine verified.
struct Asked {
    digest: String,
    operation: String,
    document: Value,
}

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let (vmid, url) = second_guest(demo)?;
    retired(demo, vmid, &url)?;
    not_enough(demo, vmid)?;
    demo.facts.second_archive = proven(demo)?;
    reclaimed(demo, vmid)?;
    cut_over(demo)?;
    audited(demo)
}

/// The operator's private key.
pub(super) fn key(demo: &Demo) -> PathBuf {
    demo.world.path("operator/ada_ed25519")
}

/// Its VMID and the address of its own page.
fn second_guest(demo: &Demo) -> Result<(u32, String)> {
    let file = demo.world.write("operator/both.toml", &guest::desired(&[GUEST, SECOND]))?;
    call::json(&mut demo.felhom(&["desired", "set", BOX, text(&file), "--message", "a second guest"]))?;
    let found = demo.wait("the second guest and its app", LONG, || {
        tolerant(demo.shown(), |shown| {
            let guest = judge::named(&shown, SECOND).filter(judge::serves).unwrap_or_default();
            let vmid = guest["vmid"].as_u64().and_then(|vmid| u32::try_from(vmid).ok());
            let url = guest["heartbeat"]["url"].as_str().map(str::to_owned);
            Ok(Look::of(vmid.zip(url), "not yet"))
        })
    })?;
    demo.screen.say(&format!("  a second guest, {SECOND}, is VMID {}", found.0));
    Ok(found)
}

/// Ask for it as a job; the box asks back. The challenge is the box's own, by the key that is pinned.
fn ask(demo: &Demo, kind: &str, params: &[&str]) -> Result<Asked> {
    let mut args = vec!["job", "run", BOX, kind];
    args.extend(params.iter().flat_map(|param| ["--param", *param]));
    let job = call::json(&mut demo.felhom(&args))?;
    let state = judge::text(&job["job"], "state");
    ensure!(state == "pending_authorization", "`{kind}` is {state} and does not wait for anybody");
    let operation = judge::text(&job["job"], "operation").to_owned();
    demo.wait("the challenge", SHORT, || {
        tolerant(call::json(&mut demo.felhom(&["challenges", "list"])), |all| {
            let all = all.as_array().cloned().unwrap_or_default();
            let of_this = |c: &&Value| c["challenge"]["operation"]["id"] == operation.as_str();
            let open = all.iter().find(|c| of_this(c) && judge::text(c, "state") == "open");
            let found = open.map(|c| Asked {
                digest: judge::text(c, "digest").to_owned(),
                operation: operation.clone(),
                document: c["challenge"].clone(),
            });
            Ok(Look::of(found, "the hub does not have it yet"))
        })
    })
}

/// Sign it, and hear what the box says of the signature.
fn approve(demo: &Demo, asked: &Asked) -> Result<()> {
    let key = key(demo);
    let sign = ["approve", &asked.digest, "--sign-with", text(&key), "--yes-i-read"];
    call::json(&mut demo.felhom(&sign))?;
    demo.wait("the box's word on the signature", SHORT, || {
        tolerant(call::json(&mut demo.felhom(&["challenges", "show", &asked.digest])), |shown| {
            let answer = &shown["answers"][0];
            ensure!(answer["accepted"] != false, "the box refused it: {}", judge::text(answer, "why"));
            Ok(Look::of(answer["accepted"].as_bool().map(drop), "not judged yet"))
        })
    })
}

fn ended(demo: &Demo, id: &str) -> Result<()> {
    demo.wait("the end of what was authorized", LONG, || {
        tolerant(demo.operations(), |operations| {
            let operation = judge::by_id(&operations, id).context("the journal does not have it")?;
            let found = match judge::text(operation, "state") {
                "pending_authorization" => None,
                _ => judge::done(operation)?.then_some(()),
            };
            Ok(Look::of(found, judge::progress(operation)))
        })
    })
}

fn retired(demo: &Demo, vmid: u32, url: &str) -> Result<()> {
    let asked = ask(demo, "retire_guest", &[&format!("guest={SECOND}")])?;
    ensure!(!tombstone(demo, vmid)?, "it was retired before anybody signed");
    let page = demo.wait("the notice on the guest's own page", SHORT, || {
        tolerant(Page::of(url), |page| {
            let shows = page.offers("/seen", &asked.operation) && page.offers("/veto", &asked.operation);
            Ok(Look::of(shows.then_some(page), "the page does not show it yet"))
        })
    })?;
    let said = page.send("/seen", &asked.operation, None)?;
    ensure!(said == "seen", "the page says `{said}` to a notice that was seen");
    approve(demo, &asked)?;
    ended(demo, &asked.operation)?;
    ensure!(
        tombstone(demo, vmid)?,
        "guest {vmid} is no tombstone: it should be protected, without a link, off"
    );
    demo.screen.say(&format!(
        "  {SECOND} said on its own page that it would be retired, with a way to say no; with one"
    ));
    demo.screen.say("  operator's signature it was: stopped, protected, link down");
    Ok(())
}

/// Protected, without a link, not started with the host; all of it still there.
fn tombstone(demo: &Demo, vmid: u32) -> Result<bool> {
    let guests = disk::guests(&demo.world)?;
    let config = guests.get(&vmid).with_context(|| format!("the host has no guest {vmid}"))?;
    ensure!(disk::rootfs(&demo.world, vmid).is_dir(), "the root volume of guest {vmid} is gone");
    Ok(config.get("protection") == Some("1") && config.get("onboot") != Some("1") && config.link_is_down())
}

/// Nothing proves its last state: two operators and the customer are asked for. One signature counts and does not suffice; a
/// veto ends it.
fn not_enough(demo: &Demo, vmid: u32) -> Result<()> {
    let asked = ask(demo, "reclaim_guest", &[&format!("guest={SECOND}")])?;
    let needs = &asked.document["requires"];
    let customers = needs[0]["customers"].as_array().map_or(0, Vec::len);
    ensure!(
        needs.as_array().is_some_and(|sets| sets.len() == 1) && needs[0]["operators"] == 2 && customers == 1,
        "without a proven backup two operators and the customer have to sign, not {needs}"
    );
    approve(demo, &asked)?;
    let operations = demo.operations()?;
    let state = judge::by_id(&operations, &asked.operation).map_or("-", |op| judge::text(op, "state"));
    ensure!(state == "pending_authorization", "one signature sufficed: reclaim_guest is {state}");
    let (key, why) = (key(demo), "its last state is not proven");
    let veto = ["veto", &asked.operation, "--reason", why, "--sign-with", text(&key), "--yes-i-read"];
    call::json(&mut demo.felhom(&veto))?;
    let jobs = demo.wait("the job to be vetoed", SHORT, || {
        tolerant(call::json(&mut demo.felhom(&["job", "list", BOX])), |jobs| {
            let all = jobs.as_array().cloned().unwrap_or_default();
            let job = all.into_iter().find(|job| job["operation"] == asked.operation.as_str());
            let job = job.filter(|job| judge::text(job, "state") == "vetoed");
            Ok(Look::of(job, "the hub does not know yet"))
        })
    })?;
    ensure!(judge::text(&jobs, "message").contains(why), "the veto's reason is not told: {jobs}");
    ensure!(tombstone(demo, vmid)?, "a vetoed reclaim did something");
    demo.screen.say(
        "  reclaiming it unproven needs 2 operators and the customer: one signature did nothing; vetoed",
    );
    Ok(())
}

/// Its last state is backed up and proven; the archive's name.
fn proven(demo: &Demo) -> Result<String> {
    let backup = call::json(&mut demo.felhom(&["backup", "run", BOX, SECOND]))?;
    let id = judge::text(&backup["operation"], "id").to_owned();
    let volid = backup["operation"]["result"]["volid"].as_str().context("no volid")?.to_owned();
    let test = ["restore-test", "run", BOX, SECOND, "--archive", &volid, "--level", "L3"];
    call::json(&mut demo.felhom(&test))?;
    let level = demo.wait("the proof to be reported", SHORT, || {
        tolerant(call::json(&mut demo.felhom(&["backup", "list", BOX])), |archives| {
            let all = archives.as_array().cloned().unwrap_or_default();
            let archive = all.iter().find(|archive| archive["operation"] == id.as_str());
            let level = archive.and_then(|archive| archive["proven_level"].as_str().map(str::to_owned));
            Ok(Look::of(level, "not yet"))
        })
    })?;
    demo.screen.say(&format!("  the tombstone's last state is backed up and proven to {level}"));
    Ok(volid)
}

/// Now one operator suffices; after its grace it is gone, and its backup is not.
fn reclaimed(demo: &Demo, vmid: u32) -> Result<()> {
    let asked = ask(demo, "reclaim_guest", &[&format!("guest={SECOND}")])?;
    let needs = &asked.document["requires"][0];
    ensure!(needs["operators"] == 1, "with a proven backup one operator has to sign, not {needs}");
    let grace = asked.document["operation"]["grace_s"].as_u64().unwrap_or(0);
    ensure!(grace > 0, "there is no grace between the signature and the act");
    approve(demo, &asked)?;
    ensure!(disk::guests(&demo.world)?.contains_key(&vmid), "it was destroyed without a grace");
    ended(demo, &asked.operation)?;
    ensure!(!disk::guests(&demo.world)?.contains_key(&vmid), "guest {vmid} is still configured");
    ensure!(!disk::rootfs(&demo.world, vmid).exists(), "the root volume of guest {vmid} is still there");
    let archive = disk::archive(&demo.world, &demo.facts.second_archive)?;
    ensure!(archive.is_file(), "its backup is gone too");
    demo.screen
        .say(&format!("  {SECOND} was reclaimed with one signature, {grace} s after it; its backup stays"));
    Ok(())
}

/// What users and other programs know a guest by.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    hostname: Option<String>,
    mac: Option<String>,
    token: Vec<u8>,
}

impl Identity {
    fn of(demo: &Demo, vmid: u32) -> Result<Self> {
        let guests = disk::guests(&demo.world)?;
        let config = guests.get(&vmid).with_context(|| format!("the host has no guest {vmid}"))?;
        let net = config.get("net0").unwrap_or_default().split(',');
        let mac = net.filter_map(|part| part.strip_prefix("hwaddr=")).next().map(str::to_owned);
        let out = demo.pct(&["exec", &vmid.to_string(), "--", "/bin/cat", "/run/felhom/token"]).output()?;
        ensure!(out.status.success(), "guest {vmid} has no token: {}", String::from_utf8_lossy(&out.stderr));
        Ok(Self { hostname: config.get("hostname").map(str::to_owned), mac, token: out.stdout })
    }
}

/// The customer reads on the guest's page what would happen, types the guest's name, and so signs with the guest's key. A
/// wrong name signs nothing.
fn confirm(demo: &Demo, asked: &Asked) -> Result<()> {
    let url = &demo.facts.guest.url;
    let page = demo.wait("the question on the guest's own page", SHORT, || {
        tolerant(Page::of(url), |page| {
            let asks = page.offers("/confirm", &asked.digest);
            Ok(Look::of(asks.then_some(page), "the page does not ask yet"))
        })
    })?;
    let said = page.send("/confirm", &asked.digest, Some("another"))?;
    ensure!(said != "confirmed", "a wrong name confirmed it");
    let said = page.send("/confirm", &asked.digest, Some(GUEST))?;
    ensure!(said == "confirmed", "the page says `{said}` to the guest's name");
    Ok(())
}

/// The log that the box keeps of all this: each entry hangs on the one before it, the box signed the end, and the hub was told
/// the same. One changed byte is found.
fn audited(demo: &Demo) -> Result<()> {
    let exported = call::end_of(&mut demo.executor(&["audit", "export"]))?;
    ensure!(exported.code == Some(0), "the audit log was not exported: {}", exported.errors);
    let file = demo.world.write("operator/audit.jsonl", &exported.output)?;
    let log = ["audit", "verify", BOX, "--file", text(&file)];
    let verified = call::json(&mut demo.felhom(&log))?;
    let shown = call::json(&mut demo.felhom(&["audit", "show", BOX, "--file", text(&file)]))?;
    let entries = shown.as_array().or(shown["entries"].as_array()).map_or(0, Vec::len);
    for kind in ["authorized", "vetoed", "destroying", "destroyed", "changed_places"] {
        ensure!(exported.output.contains(kind), "the audit log does not say `{kind}`");
    }
    let changed = exported.output.replacen("reclaim_guest", "retire_guest0", 1);
    ensure!(changed != exported.output, "the audit log does not name the reclaim");
    let file = demo.world.write("operator/changed.jsonl", &changed)?;
    let refused = call::end_of(&mut demo.felhom(&["audit", "verify", BOX, "--file", text(&file)]))?;
    ensure!(refused.code != Some(0), "an audit log with a changed entry was called verified");
    ensure!(entries > 0 && verified["hub"]["problems"].as_array().is_some_and(Vec::is_empty), "{verified}");
    demo.screen.say(&format!(
        "  the box's audit log has {entries} entries: verified with the pinned key and the hub's heads; a changed copy is refused"
    ));
    Ok(())
}

/// The copy takes the damaged guest's place, under the same name, address and token; the damaged one is kept.
fn cut_over(demo: &mut Demo) -> Result<()> {
    let (old, new) = (demo.facts.guest.vmid, demo.facts.copy);
    let before = Identity::of(demo, old)?;
    let name = format!("={GUEST}");
    let asked = ask(demo, "cutover_guest", &[&format!("guest{name}"), &format!("copy{name}")])?;
    confirm(demo, &asked)?;
    ended(demo, &asked.operation)?;
    ensure!(tombstone(demo, old)?, "the damaged guest is no tombstone");
    let guest = demo.wait("the copy to serve in the guest's place", LONG, || {
        tolerant(demo.shown(), |shown| {
            let found = judge::tenant(&shown)?.filter(|guest| guest.vmid == new);
            Ok(Look::of(found, judge::tenant_state(&shown)))
        })
    })?;
    let after = Identity::of(demo, new)?;
    ensure!(after == before, "it is not known by the same: {after:?} instead of {before:?}");
    let app = data::address_of(&guest.app_url)?;
    demo.wait("the app's answer from the copy", SHORT, || {
        tolerant(data::read(app), |held| {
            let saved = (demo.facts.data.notes.clone(), demo.facts.data.files.clone());
            if held != saved {
                bail!("the app does not hold what the backup saved");
            }
            Ok(Look::Found(()))
        })
    })?;
    demo.screen.say(&format!(
        "  VMID {new} took over from {old}, confirmed by the customer on its page: same name, MAC and token, the saved data; {old} is kept"
    ));
    demo.facts.tombstone = old;
    demo.facts.guest = guest;
    demo.facts.app = Some(app);
    Ok(())
}

/// The operator's key and file, made on the operator's machine; the box takes the file from local media, before it begins.
pub(super) fn operators(demo: &Demo) -> Result<()> {
    let key = key(demo);
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f"]).arg(&key);
    let made = call::end_of(&mut keygen)?;
    ensure!(made.code == Some(0), "`{}`: {}", run::describe(&keygen), made.errors);
    let (public, file) = (key.with_extension("pub"), demo.world.path("operator/operators.json"));
    let init = ["operators", "init", "--name", super::OPERATOR, "--key", text(&public), "-o", text(&file)];
    call::json(&mut demo.felhom(&init))?;
    let installed = call::json(&mut demo.executor(&["operators", "install", text(&file), "--json"]))?;
    ensure!(installed["version"] == 1, "the box has another operators' file: {installed}");
    demo.screen
        .say("  operators' file version 1, one key of ssh-keygen, installed on the box from local media");
    Ok(())
}
