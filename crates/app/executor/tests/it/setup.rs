//! `felhom-executor setup` against a simulated host.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use felhom_pve::{Auth, Endpoint, Grant, Grantee, Pve};

use crate::sim::{Ended, PASSWORD, Sim, write_private};

fn outcomes(ended: &Ended) -> Vec<(String, String)> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = ended.json["setup"]["lines"].as_array().unwrap_or_else(|| panic!("{}", ended.stderr));
    lines.iter().map(|line| (text(line, "outcome"), text(line, "what"))).collect()
}

fn all_are(ended: &Ended, outcome: &str) -> bool {
    let lines = outcomes(ended);
    !lines.is_empty() && lines.iter().all(|(o, _)| o == outcome)
}

async fn root(sim: &Sim) -> Pve {
    let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
    Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap()
}

fn with_token(sim: &Sim) -> Pve {
    let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
    let secret = fs::read_to_string(sim.path("token")).unwrap().trim().to_owned();
    Pve::new(endpoint, Auth::Token { id: "felhom@pve!executor".parse().unwrap(), secret: secret.into() })
        .unwrap()
}

#[tokio::test]
async fn makes_everything_once_with_the_least_rights() {
    let sim = Sim::start();
    let before = sim.user_cfg();
    let dry = sim.setup(&["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(all_are(&dry, "would_create"));
    assert_eq!(sim.user_cfg(), before, "a dry run changes nothing");
    assert!(!sim.path("token").exists());

    let made = sim.setup(&[]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(all_are(&made, "created"), "{}", made.stderr);
    assert_eq!(fs::metadata(sim.path("token")).unwrap().permissions().mode() & 0o777, 0o600);
    let after = sim.user_cfg();
    let again = sim.setup(&[]);
    assert!(all_are(&again, "unchanged"), "{}", again.stderr);
    assert_eq!(sim.user_cfg(), after);

    let rights = with_token(&sim).own_permissions().await.unwrap();
    let at = |path: &str| rights[path].keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(at("/vms/1999"), BTreeSet::from(["VM.Backup"]));
    assert_eq!(at("/nodes/pve"), BTreeSet::from(["Sys.Audit"]));
    assert_eq!(at("/sdn/zones/localnetwork/vmbr0"), BTreeSet::from(["SDN.Use"]));
    for storage in ["/storage/tank", "/storage/local"] {
        assert_eq!(at(storage), BTreeSet::from(["Datastore.AllocateSpace"]));
    }
    let pool = "VM.Allocate VM.Audit VM.Backup VM.Config.CPU VM.Config.Disk VM.Config.Memory \
                VM.Config.Network VM.Config.Options VM.PowerMgmt VM.Snapshot";
    assert_eq!(at("/pool/felhom"), pool.split_whitespace().collect());
    assert!(rights.values().flat_map(|p| p.values()).all(|propagates| !propagates));
    assert!(!rights.contains_key("/") || rights["/"].is_empty());
}

#[tokio::test]
async fn sets_what_was_changed_and_says_what_is_too_much() {
    let sim = Sim::start();
    sim.setup(&[]);
    let root = root(&sim).await;
    root.set_role(&"FelhomStore".parse().unwrap(), &BTreeSet::from(["Datastore.Allocate".to_owned()]))
        .await
        .unwrap();
    let grant = |role: &str, path: &str, propagate| Grant {
        path: path.into(),
        role: role.parse().unwrap(),
        grantee: Grantee::Token("felhom@pve!executor".parse().unwrap()),
        propagate,
    };
    root.grant(&grant("FelhomNode", "/nodes/pve", true)).await.unwrap();
    root.grant(&grant("Administrator", "/vms", true)).await.unwrap();
    let fixed = sim.setup(&[]);
    assert_eq!(fixed.code, 0, "{}", fixed.stderr);
    let lines: Vec<_> = outcomes(&fixed).into_iter().filter(|(outcome, _)| outcome != "unchanged").collect();
    let expected = [
        ("changed", "role FelhomStore"),
        ("changed", "FelhomNode for felhom@pve!executor on /nodes/pve"),
        ("extra", "Administrator for felhom@pve!executor on /vms"),
    ];
    assert_eq!(lines, expected.map(|(o, w)| (o.to_owned(), w.to_owned())));
    assert!(fixed.stderr.contains("+Datastore.AllocateSpace -Datastore.Allocate"), "{}", fixed.stderr);
}

#[tokio::test]
async fn a_lost_secret_is_replaced_only_when_asked_for() {
    let sim = Sim::start();
    sim.setup(&[]);
    let old = with_token(&sim);
    fs::remove_file(sim.path("token")).unwrap();
    let before = sim.user_cfg();
    let lost = sim.setup(&[]);
    assert_eq!(lost.code, 6, "{}", lost.stderr);
    assert_eq!(lost.json["ok"], false);
    assert!(lost.stderr.contains("--new-token"), "{}", lost.stderr);
    assert_eq!(sim.user_cfg(), before);
    let replaced = sim.setup(&["--new-token"]);
    assert_eq!(replaced.code, 0, "{}", replaced.stderr);
    assert!(with_token(&sim).own_permissions().await.unwrap().contains_key("/pool/felhom"));
    assert!(old.version().await.is_err(), "the old secret is worth nothing");
    assert!(all_are(&sim.setup(&[]), "unchanged"));

    write_private(&sim.path("token"), "00000000-0000-0000-0000-000000000000\n");
    let useless = sim.setup(&[]);
    assert_eq!(useless.code, 6, "{}", useless.stderr);
    assert!(useless.stderr.contains("refuses the secret"), "{}", useless.stderr);
}

#[test]
fn every_failure_says_what_to_do_and_changes_nothing() {
    let sim = Sim::start();
    let before = sim.user_cfg();
    write_private(&sim.path("wrong"), "not-the-password\n");
    let wrong = sim.executor(&["setup", "--password-file", sim.path("wrong").to_str().unwrap()]);
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("refuses the password of root@pam"), "{}", wrong.stderr);

    let pinned = "AA:".repeat(31) + "AA";
    sim.configure(&sim.url, &pinned, "");
    let other = sim.setup(&[]);
    assert_eq!(other.code, 5, "{}", other.stderr);
    assert!(other.stderr.contains(&sim.fingerprint) && other.stderr.contains(&pinned), "{}", other.stderr);
    sim.configure(&sim.url, "", "");
    let unpinned = sim.setup(&[]);
    assert_eq!(unpinned.code, 5, "{}", unpinned.stderr);
    assert!(
        unpinned.stderr.contains(&format!("fingerprint = \"{}\"", sim.fingerprint)),
        "{}",
        unpinned.stderr
    );

    sim.configure("https://127.0.0.1:1", &sim.fingerprint, "");
    let nobody = sim.setup(&[]);
    assert_eq!(nobody.code, 4, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{}", nobody.stderr);

    sim.configure(&sim.url, &sim.fingerprint, "bridge = \"a bridge\"\n");
    assert_eq!(sim.setup(&[]).code, 2);
    sim.configure(&sim.url, &sim.fingerprint, "");
    let none = sim.executor(&["setup"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
    assert!(none.stderr.contains("--password-file"), "{}", none.stderr);
    assert_eq!(sim.user_cfg(), before);
}

#[test]
fn a_storage_that_is_not_there_is_named_with_those_that_are() {
    let sim = Sim::start();
    let before = sim.user_cfg();
    let config = fs::read_to_string(sim.path("executor.toml")).unwrap();
    fs::write(sim.path("executor.toml"), config.replace("guest = \"tank\"", "guest = \"tonk\"")).unwrap();
    let missing = sim.setup(&[]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    assert!(missing.stderr.contains("no storage `tonk`"), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("local, tank") || missing.stderr.contains("tank, local"),
        "{}",
        missing.stderr
    );
    assert_eq!(sim.user_cfg(), before);
}
