//! Who may speak on the socket, and what the program does when its journal cannot be written.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use felhom_model::OperationState;
use felhom_protocol::executor::{BoxIdentity, OperationRequest};
use serde_json::json;

use crate::bench::{Bench, within};

/// A user id that nobody allowed.
const NOBODY: u32 = 65_534;

/// Receipts name the box, so nobody on the socket makes this executor another box's: only root does, while it is down.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_belongs_to_one_box() {
    let mut bench = Bench::start("").await;
    let id = |n| BoxIdentity { box_id: felhom_model::BoxId::from_random([n; 16]), epoch: 1 };
    bench.client.set_box(&id(1)).await.unwrap();
    bench.client.set_box(&id(1)).await.unwrap();
    let refused = bench.client.set_box(&id(2)).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("other_box"));
    assert!(refused.to_string().contains("forget-box"), "{refused}");
    let running = bench.sim.executor(&["forget-box"]);
    assert_eq!(running.code, 1, "it runs: {}", running.stderr);
    bench.kill();
    let ended = bench.sim.executor(&["forget-box"]);
    assert_eq!((ended.code, &ended.json["forgotten"]), (0, &json!(true)), "{}", ended.stderr);
    bench.serve().await;
    bench.client.set_box(&id(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_on_the_socket() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED another_user_is_refused_on_the_socket: only root can become another user");
        return;
    }
    let bench = Bench::start("").await;
    let open = |path: &str, mode| {
        fs::set_permissions(bench.sim.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    // The file's mode alone would keep others out; here only the check of the peer does.
    for dir in ["", "run"] {
        open(dir, 0o711);
    }
    open("run/executor.sock", 0o666);
    open("executor.toml", 0o644);
    let program = bench.sim.path("client");
    fs::copy(env!("CARGO_BIN_EXE_felhom-executor"), &program).unwrap();
    open("client", 0o755);
    let ops = |uid: u32| {
        let config = bench.sim.path("executor.toml");
        let mut command = Command::new(&program);
        command.arg("--config").arg(config).args(["ops", "--json"]).current_dir("/");
        command.uid(uid).gid(uid).stdin(Stdio::null()).output().unwrap()
    };
    let own = ops(0);
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    let refused = ops(NOBODY);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{said}");
    assert!(said.contains("peer: user id 65534 may not speak here"), "{said}");
    assert!(bench.log().contains("refused on the socket"), "{}", bench.log());
}

/// A file-size limit is a full disk that needs no root: a write beyond it fails, as long as its signal is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_ends_the_program_with_75_and_loses_nothing() {
    let mut bench = Bench::start("refused_an_hour = 100000").await;
    bench.kill();
    let blocks = fs::metadata(bench.sim.path("executor/executor.db")).unwrap().len() / 1024 + 256;
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut child = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_felhom-executor"), "--config"])
        .arg(bench.sim.path("executor.toml"))
        .arg("serve")
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let up = async || bench.client.operations(None).await.is_ok();
    assert!(within(Duration::from_secs(60), up).await, "it does not serve");
    let mut acknowledged = Vec::new();
    for n in 0..2_000 {
        // A refusal is journaled with its evidence.
        let request = OperationRequest {
            request_id: format!("r-{n}"),
            kind: "destroy_guest".to_owned(),
            params: json!({ "padding": "x".repeat(1 << 10) }),
            reason: "test".to_owned(),
            asked_by: "local".to_owned(),
        };
        match bench.client.request(&request).await {
            Ok(op) => acknowledged.push(op.id),
            Err(_) => break,
        }
    }
    assert!(!acknowledged.is_empty() && acknowledged.len() < 2_000, "{}", acknowledged.len());
    let mut ended = None;
    let over = async || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    };
    if !within(Duration::from_secs(30), over).await {
        child.kill().unwrap();
        panic!("it goes on without a journal");
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.unwrap().code(), Some(75), "{said}");
    assert!(said.contains("nothing more is done, start again"), "{said}");
    bench.serve().await;
    for id in acknowledged {
        assert_eq!(bench.client.operation(id).await.unwrap().state, OperationState::Refused);
    }
}

/// Whoever speaks on the socket can ask as often as he likes, and must not fill the disk with what is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_requests_is_answered_and_not_recorded() {
    let bench = Bench::start("refused_an_hour = 5").await;
    let request = |n: usize, padding: usize| OperationRequest {
        request_id: format!("r-{n}"),
        kind: "destroy_guest".to_owned(),
        params: json!({ "padding": "x".repeat(padding) }),
        reason: "test".to_owned(),
        asked_by: "local".to_owned(),
    };
    for n in 0..5 {
        let op = bench.client.request(&request(n, 60 << 10)).await.unwrap();
        assert_eq!(op.state, OperationState::Refused);
        assert!(serde_json::to_string(&op).unwrap().len() < 12 << 10, "what it said is cut off");
    }
    let size = || fs::metadata(bench.sim.path("executor/executor.db-wal")).map_or(0, |found| found.len());
    let before = size();
    for n in 5..40 {
        let error = bench.client.request(&request(n, 10)).await.unwrap_err().to_string();
        assert!(error.contains("not recorded") && error.contains("unknown_operation"), "{error}");
    }
    assert_eq!(size(), before, "nothing was written");
    // A request that was recorded is answered as before, and what is allowed is done.
    assert_eq!(bench.client.request(&request(2, 60 << 10)).await.unwrap().state, OperationState::Refused);
    bench.tenant("family").await;
}
