//! Following a task.

use std::time::Duration;

use felhom_pve::{Error, ExitStatus, Polling, TaskEvent, TaskState, Upid};

use crate::scripted::{Reply, Request, Server, data, error};

const UPID: &str = "UPID:pve:000001EC:00077C46:6B0422A5:vzdump:101:ctl@pve!full:";
const RUNNING: &str = r#"{"status":"running","user":"ctl@pve"}"#;

fn upid() -> Upid {
    UPID.parse().unwrap()
}

fn fast() -> Polling {
    Polling { first: Duration::from_millis(1), longest: Duration::from_millis(5), ..Polling::default() }
}

fn stopped(exit: &str) -> Reply {
    data(&format!(r#"{{"status":"stopped","exitstatus":"{exit}"}}"#))
}

/// A log of `total` lines, cut as the query asks.
fn log(request: &Request, total: u64) -> Reply {
    let number = |key: &str| {
        let (_, rest) = request.target.split_once(&format!("{key}=")).unwrap();
        rest.split('&').next().unwrap().parse::<u64>().unwrap()
    };
    let (start, limit) = (number("start"), number("limit"));
    let lines: Vec<_> = (start..total.min(start + limit))
        .map(|n| format!(r#"{{"n":{},"t":"line {}"}}"#, n + 1, n + 1))
        .collect();
    data(&format!("[{}]", lines.join(",")))
}

#[tokio::test]
async fn lines_come_while_it_runs_and_all_of_them_before_the_end() {
    // Status polls: 1-3 running, one lost answer, then stopped; the log has 2 lines first and 1203 at the end.
    let polls = std::sync::atomic::AtomicU64::new(0);
    let server = Server::start(move |_, request| {
        use std::sync::atomic::Ordering::SeqCst;
        if request.target.contains("/log?") {
            let seen = polls.load(SeqCst);
            return match seen {
                1 => data(r#"[{"n":1,"t":"no content"}]"#),
                2..=4 => log(request, 2),
                _ => log(request, 1203),
            };
        }
        match polls.fetch_add(1, SeqCst) {
            0..=2 => data(RUNNING),
            3 => error("596 Connection timed out", ""),
            _ => stopped("OK"),
        }
    });
    let mut follower = server.client().task(&upid()).follow(fast(), 0);
    let mut lines = Vec::new();
    let exit = loop {
        match follower.next().await.unwrap() {
            TaskEvent::Lines(new) => lines.extend(new),
            TaskEvent::Stopped(exit) => break exit,
        }
    };
    assert_eq!(exit, ExitStatus::Ok);
    let numbers: Vec<_> = lines.iter().map(|line| line.n).collect();
    assert_eq!(numbers, (1..=1203).collect::<Vec<_>>());
    assert_eq!((lines[0].t.as_str(), follower.offset()), ("line 1", 1203));
    let path = "/api2/json/nodes/pve/tasks/UPID%3Apve%3A000001EC%3A00077C46%3A6B0422A5%3Avzdump%3A101%3Actl%40pve%21full%3A";
    assert!(server.requests().iter().all(|r| r.target.starts_with(path)));
}

#[tokio::test]
async fn following_goes_on_where_it_was() {
    let server = Server::start(
        |_, request| if request.target.contains("/log") { log(request, 5) } else { stopped("OK") },
    );
    let task = server.client().task(&upid());
    let mut follower = task.follow(fast(), 3);
    let TaskEvent::Lines(lines) = follower.next().await.unwrap() else { panic!("no lines") };
    assert_eq!(lines.iter().map(|l| l.n).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(follower.next().await.unwrap(), TaskEvent::Stopped(ExitStatus::Ok));
    assert_eq!(task.log().await.unwrap().len(), 5);
}

#[tokio::test]
async fn every_ending_is_told_apart() {
    for (exit, expected) in [
        ("WARNINGS: 2", ExitStatus::Warnings(2)),
        ("unexpected status", ExitStatus::Aborted),
        ("job errors", ExitStatus::Failed("job errors".into())),
    ] {
        let server = Server::start(move |n, _| if n == 0 { data(RUNNING) } else { stopped(exit) });
        assert_eq!(server.client().task(&upid()).wait(fast()).await.unwrap(), expected);
    }
    let killed = Server::start(|_, _| data(r#"{"status":"stopped"}"#));
    let state = killed.client().task(&upid()).state().await.unwrap();
    assert_eq!(state, TaskState::Stopped(ExitStatus::Aborted));
}

#[tokio::test]
async fn waiting_ends_at_the_deadline_and_at_lasting_errors() {
    let server = Server::start(|_, _| data(RUNNING));
    let deadline = Polling { deadline: Some(Duration::from_millis(30)), ..fast() };
    let late = server.client().task(&upid()).wait(deadline).await.unwrap_err();
    assert!(matches!(late, Error::StillRunning { .. }), "{late}");
    let gone = Server::start(|_, _| error("596 Connection timed out", ""));
    let few = Polling { tolerated: 3, ..fast() };
    let lost = gone.client().task(&upid()).wait(few).await.unwrap_err();
    assert!(matches!(lost, Error::Overloaded(_)), "{lost}");
    assert_eq!(gone.requests().len(), 4);
    let body =
        r#"{"errors":{"upid":"no such task"},"data":null,"message":"Parameter verification failed.\n"}"#;
    let unknown = Server::start(move |_, _| error("400 Parameter verification failed.", body));
    let error = unknown.client().task(&upid()).wait(fast()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(unknown.requests().len(), 1);
}
