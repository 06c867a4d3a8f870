//! `felhom-executor doctor` against a simulated host: what it finds, and that its repairs repair.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use felhom_pve::{Endpoint, Grant, Grantee, Pve};

use crate::sim::{Ended, PASSWORD, Sim};

/// A host with the ranges of ids, and a clock that is kept right.
fn host() -> Sim {
    let sim = Sim::start();
    sim.configure(&sim.url, &sim.fingerprint, CLOCK);
    for name in ["subuid", "subgid"] {
        fs::write(sim.path(&format!("pve/etc/{name}")), "root:100000:65536\n").unwrap();
    }
    sim
}

const CLOCK: &str = "reserve_bytes = 0\ntimedatectl = [\"/bin/sh\", \"-c\", \"echo yes\"]\n";

/// Id, subject and repair of what was found, but for what is this machine's own: kernel, zone, full disks.
fn found(ended: &Ended) -> Vec<(String, String, String)> {
    let findings = ended.json["findings"].as_array().unwrap_or_else(|| panic!("{}", ended.stderr));
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap().to_owned();
    let all = findings.iter().map(|f| (text(f, "id"), text(f, "subject"), text(f, "repair")));
    all.filter(|(id, ..)| !["kernel.", "time_zone.", "space."].iter().any(|own| id.starts_with(own)))
        .collect()
}

fn ids(ended: &Ended) -> Vec<String> {
    found(ended).into_iter().map(|(id, ..)| id).collect()
}

/// Runs a repair as root on the host would, with the host's files.
fn repair(sim: &Sim, command: &str) {
    let command = command.replace("/etc/vzdump.conf", sim.path("pve/etc/vzdump.conf").to_str().unwrap());
    let done = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
    assert!(done.status.success(), "{command}: {done:?}");
}

#[test]
fn a_host_that_was_set_up_is_as_it_should_be() {
    let sim = host();
    let before = sim.executor(&["doctor"]);
    assert_eq!(ids(&before), ["token.no_secret"], "{}", before.stderr);
    assert_eq!((before.code, &before.json["ok"]), (1, &false.into()));
    assert_eq!(sim.setup(&[]).code, 0);
    let fine = sim.executor(&["doctor"]);
    assert_eq!(found(&fine), [], "{}", fine.stderr);
    let password = sim.path("password");
    let fine = sim.executor(&["doctor", "--password-file", password.to_str().unwrap()]);
    assert_eq!(found(&fine), [], "{}", fine.stderr);
}

#[test]
fn a_wrong_password_is_told_and_no_host_is_called_fine() {
    let sim = host();
    sim.setup(&[]);
    let file = sim.path("wrong");
    crate::sim::write_private(&file, "not this one\n");
    let ended = sim.executor(&["doctor", "--password-file", file.to_str().unwrap()]);
    assert_eq!((ended.code, &ended.json["ok"]), (2, &false.into()), "{}", ended.stderr);
    assert!(ended.stderr.contains("refuses the password of root@pam"), "{}", ended.stderr);
}

#[tokio::test]
async fn too_little_and_too_much_is_found_with_and_without_the_password() {
    let sim = host();
    sim.setup(&[]);
    let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
    let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap();
    let more = BTreeSet::from(["Sys.Modify".to_owned()]);
    root.set_role(&"FelhomNode".parse().unwrap(), &more).await.unwrap();
    for grantee in
        [Grantee::User("felhom@pve".parse().unwrap()), Grantee::Token("felhom@pve!executor".parse().unwrap())]
    {
        let role = "PVEAuditor".parse().unwrap();
        root.grant(&Grant { path: "/access".into(), role, grantee, propagate: false }).await.unwrap();
    }
    let ended = sim.executor(&["doctor"]);
    let found_here = found(&ended);
    for (id, path, repair) in [
        ("rights.missing", "/nodes/pve", "felhom-executor setup"),
        ("rights.too_many", "/nodes/pve", "pveum acl list"),
        ("rights.too_many", "/access", "pveum acl list"),
    ] {
        let there = found_here.iter().any(|(i, s, r)| i == id && s == path && r == repair);
        assert!(there, "{id} on {path}: {}", ended.stderr);
    }
    // Without Sys.Audit the node's clock is not shown either.
    assert!(found_here.iter().any(|(id, ..)| id == "not_checked"), "{}", ended.stderr);

    sim.setup(&[]);
    let password = sim.path("password");
    let exact = sim.executor(&["doctor", "--password-file", password.to_str().unwrap()]);
    let extra: Vec<_> = found(&exact).into_iter().filter(|(id, ..)| id == "setup.extra").collect();
    let command = "pveum acl delete /access --users 'felhom@pve' --roles PVEAuditor";
    assert!(extra.iter().any(|(_, _, repair)| repair == command), "{}", exact.stderr);
    assert_eq!(extra.len(), 2, "{}", exact.stderr);
    assert_eq!(ids(&sim.executor(&["doctor"])), ["rights.too_many"], "set-up names what it did not make");
}

#[test]
fn settings_and_storages_are_found_and_their_repairs_repair() {
    let sim = host();
    sim.setup(&[]);
    fs::write(sim.path("pve/etc/vzdump.conf"), "exclude-path: /root/*\nscript: /root/h.sh\nmode: stop\n")
        .unwrap();
    let ended = sim.executor(&["doctor"]);
    assert_eq!(ids(&ended), ["vzdump.exclude_path", "vzdump.script"], "{}", ended.stderr);
    for (_, _, command) in found(&ended) {
        repair(&sim, &command);
    }
    assert_eq!(found(&sim.executor(&["doctor"])), []);

    let file = sim.path("pve/etc/pve/storage.cfg");
    let whole = fs::read_to_string(&file).unwrap();
    let text = whole.replacen("prune-backups keep-all=1", "prune-backups keep-last=2", 1);
    assert_ne!(text, whole, "{whole}");
    fs::write(&file, text).unwrap();
    let ended = sim.executor(&["doctor"]);
    let [(id, subject, command)] = &found(&ended)[..] else { panic!("{}", ended.stderr) };
    assert_eq!((id.as_str(), subject.as_str()), ("storage.prune", "storage local"));
    assert_eq!(command, "pvesm set local --prune-backups keep-all=1");
    fs::write(&file, whole).unwrap();
}

#[test]
fn another_certificate_a_lost_secret_and_a_dead_server_are_told_apart() {
    let mut sim = host();
    sim.setup(&[]);
    let pinned = "AA:".repeat(31) + "AA";
    sim.configure(&sim.url, &pinned, CLOCK);
    let ended = sim.executor(&["doctor"]);
    let [(id, _, command)] = &found(&ended)[..] else { panic!("{}", ended.stderr) };
    assert_eq!(id, "tls.renewed");
    repair(&sim, command);
    assert_eq!(found(&sim.executor(&["doctor"])), [], "the repair pins the new one");

    let own = sim.path("pve/etc/pve/local/pveproxy-ssl.pem");
    let pem = fs::read(&own).unwrap();
    fs::write(&own, "").unwrap();
    sim.configure(&sim.url, &pinned, CLOCK);
    assert_eq!(ids(&sim.executor(&["doctor"])), ["tls.other_certificate"]);
    fs::write(&own, pem).unwrap();

    sim.configure(&sim.url, &sim.fingerprint, CLOCK);
    crate::sim::write_private(&sim.path("token"), "00000000-0000-0000-0000-000000000000\n");
    let ended = sim.executor(&["doctor"]);
    assert_eq!(ids(&ended), ["token.refused"], "{}", ended.stderr);
    sim.gone();
    let ended = sim.executor(&["doctor"]);
    assert_eq!((ids(&ended), ended.code), (vec!["server.away".to_owned()], 1), "{}", ended.stderr);
    fs::write(sim.path("executor.toml"), "[pve]\n").unwrap();
    assert_eq!(sim.executor(&["doctor"]).code, 2);
}
