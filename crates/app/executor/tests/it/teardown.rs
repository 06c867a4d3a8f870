//! `felhom-executor teardown` against a simulated host: what set-up made is gone, what holds data is not.

use std::fs;

use felhom_pve::{Endpoint, Grant, Grantee, Pve};
use serde_json::Value;

use crate::sim::{Ended, PASSWORD, Sim};

fn teardown(sim: &Sim, more: &[&str]) -> Ended {
    let password = sim.path("password");
    let mut arguments = vec!["teardown", "--password-file", password.to_str().unwrap()];
    arguments.extend(more);
    sim.executor(&arguments)
}

fn outcomes(ended: &Ended) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = ended.json["teardown"]["lines"].as_array().unwrap_or_else(|| panic!("{}", ended.stderr));
    lines.iter().map(|line| (text(line, "outcome"), text(line, "what"))).collect()
}

/// Lines of the host's file, in an order of their own.
fn records(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_host_is_as_it_was_before_set_up_and_set_up_makes_it_again() {
    let sim = Sim::start();
    let before = sim.user_cfg();
    assert_eq!(sim.setup(&[]).code, 0);
    let there = sim.user_cfg();
    let dry = teardown(&sim, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(outcomes(&dry).iter().all(|(outcome, _)| outcome == "would_remove"), "{}", dry.stderr);
    assert_eq!(sim.user_cfg(), there, "a dry run changes nothing");

    let done = teardown(&sim, &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    // On each of six places an entry for user and one for token; then token, user, five roles, pool, secret.
    assert_eq!(outcomes(&done).len(), 12 + 1 + 1 + 5 + 1 + 1, "{}", done.stderr);
    assert!(outcomes(&done).iter().all(|(outcome, _)| outcome == "removed"), "{}", done.stderr);
    assert_eq!(records(&sim.user_cfg()), records(&before));
    assert!(!sim.path("token").exists());
    let again = teardown(&sim, &[]);
    assert_eq!((again.code, outcomes(&again).len()), (0, 0), "{}", again.stderr);

    assert_eq!(sim.setup(&[]).code, 0);
    assert_eq!(records(&sim.user_cfg()).len(), records(&there).len());
}

#[tokio::test]
async fn guests_backups_and_what_others_use_stay() {
    let sim = Sim::start();
    sim.setup(&[]);
    let endpoint = Endpoint::new(&sim.url, sim.fingerprint.parse().unwrap()).unwrap();
    let root = Pve::login(endpoint, &"root@pam".parse().unwrap(), &PASSWORD.into()).await.unwrap();
    root.create_user(&"ada@pve".parse().unwrap(), "a person").await.unwrap();
    let theirs = Grant {
        path: "/vms".into(),
        role: "FelhomArchive".parse().unwrap(),
        grantee: Grantee::User("ada@pve".parse().unwrap()),
        propagate: false,
    };
    root.grant(&theirs).await.unwrap();
    root.create_token(&"felhom@pve!monitoring".parse().unwrap(), "not ours").await.unwrap();
    let dump = sim.path("pve/var/lib/vz/dump");
    fs::create_dir_all(&dump).unwrap();
    let archive = dump.join("vzdump-lxc-2000-2026_01_01-00_00_00.tar.zst");
    fs::write(&archive, "data").unwrap();
    let file = sim.path("pve/etc/pve/user.cfg");
    let config = fs::read_to_string(&file).unwrap();
    let with_member = config.replace("Guests managed by Felhom:::", "Guests managed by Felhom::local:");
    assert_ne!(config, with_member, "{config}");
    fs::write(&file, with_member).unwrap();

    let done = teardown(&sim, &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let kept: Vec<_> =
        outcomes(&done).into_iter().filter(|(o, _)| o == "kept").map(|(_, what)| what).collect();
    let expected = ["user felhom@pve", "role FelhomArchive", "pool felhom", "backups on storage local"];
    assert_eq!(kept, expected, "{}", done.stderr);
    assert!(archive.exists());
    let left = sim.user_cfg();
    let ours: Vec<_> = left.lines().filter(|l| l.contains("felhom@pve") && l.starts_with("acl:")).collect();
    assert_eq!(ours, [""; 0], "nothing is granted any more");
    assert!(left.contains("felhom@pve!monitoring"), "{left}");
    let again = teardown(&sim, &[]);
    assert!(outcomes(&again).iter().all(|(outcome, _)| outcome == "kept"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_under_an_executor_that_serves() {
    let bench = crate::bench::Bench::start("").await;
    let before = bench.sim.user_cfg();
    let refused = teardown(&bench.sim, &[]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(refused.stderr.contains("systemctl stop felhom-agent felhom-executor"), "{}", refused.stderr);
    assert_eq!(bench.sim.user_cfg(), before);
    assert_eq!(teardown(&bench.sim, &["--dry-run"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_outside_the_pool_and_an_operation_that_is_not_over_are_named() {
    let mut bench = crate::bench::Bench::start("").await;
    let guest = bench.tenant("kovacs").await;
    bench.kill();
    bench.serve_crashing(1, "before").await;
    let op = bench
        .ask("b", "backup_guest", serde_json::json!({ "guest": guest, "target": "local", "quiesced": false }))
        .await;
    assert!(bench.died(op.id).await);
    let file = bench.sim.path("pve/etc/pve/user.cfg");
    let whole = fs::read_to_string(&file).unwrap();
    let out = whole.replace("Guests managed by Felhom:2000:", "Guests managed by Felhom::");
    assert_ne!(out, whole, "{whole}");
    fs::write(&file, out).unwrap();

    for more in [&["--dry-run"][..], &[]] {
        let done = teardown(&bench.sim, more);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let detail = |what: &str| -> String {
            let lines = done.json["teardown"]["lines"].as_array().unwrap();
            let line = lines.iter().find(|line| line["what"] == what && line["outcome"] == "kept");
            line.unwrap_or_else(|| panic!("{what}: {}", done.stderr))["detail"].as_str().unwrap().to_owned()
        };
        assert!(detail("guests outside the pool").starts_with("lxc/2000 kovacs"), "{}", done.stderr);
        let unfinished = detail("operations that are not over");
        assert!(unfinished.starts_with(&format!("backup_guest {}", op.id)), "{unfinished}");
    }
}
