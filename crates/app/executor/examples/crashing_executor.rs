//! The executor of the tests of crashes. Every mutating call to Proxmox, every root act that changes something and every commit
//! of the database is a point; each writes its name into the file `CRASH_POINTS`, one a line, as it is reached.
//!
//! `CRASH_AT=KIND:N:FAULT`: at the N-th point of this kind something goes wrong.
//!
//! | `KIND` | points |
//! |---|---|
//! | `call` | calls to Proxmox |
//! | `act` | root acts |
//! | `commit` | commits |
//! | `any` | all of them |
//!
//! | `FAULT` | what happens |
//! |---|---|
//! | `before` | it aborts before the call is sent, the act done, the transaction committed |
//! | `after` | it aborts after that, and nobody has heard of it |
//! | `enospc`, `eio` | the commit fails, as on a full or a broken disk |
//! | `refused` | the call or act is answered with an error and nothing was done |
//! | `lost` | the call was carried out, and its answer is lost |
//!
//! With `CRASH_FROM=asked` points count from the first operation that is recorded, else from the start. Those that do not count are
//! written with `early` in front; the one at which it went wrong is written once more, with `hit` in front.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use felhom_executor::config::Config;
use felhom_executor::serve::serve;
use felhom_executor::wiring::Hooks;
use felhom_host::RootAct;
use felhom_pve::{Answer, Call, Refusal};
use rusqlite::ffi;

/// What the journal calls the first commit of an operation.
const ASKED: &str = "recording a new operation";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Before,
    After,
    Failing(std::ffi::c_int),
    Refused,
    Lost,
}

#[derive(Debug)]
struct Points {
    kind: String,
    at: u32,
    fault: Fault,
    counts: AtomicBool,
    reached: AtomicU32,
    log: Option<Mutex<File>>,
}

impl Points {
    fn from_environment() -> anyhow::Result<Self> {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        let plan = var("CRASH_AT");
        let mut parts = plan.split(':');
        let mut part = |default: &'static str| parts.next().filter(|p| !p.is_empty()).unwrap_or(default);
        let (kind, at, fault) = (part("any").to_owned(), part("0").parse()?, part("before"));
        let fault = match fault {
            "before" => Fault::Before,
            "after" => Fault::After,
            "enospc" => Fault::Failing(ffi::SQLITE_FULL),
            "eio" => Fault::Failing(ffi::SQLITE_IOERR),
            "refused" => Fault::Refused,
            "lost" => Fault::Lost,
            other => anyhow::bail!("CRASH_AT: there is no fault `{other}`"),
        };
        let file = var("CRASH_POINTS");
        let open = |path: &str| OpenOptions::new().create(true).append(true).open(path);
        let log = (!file.is_empty()).then(|| open(&file)).transpose()?.map(Mutex::new);
        let counts = AtomicBool::new(var("CRASH_FROM") != "asked");
        Ok(Self { kind, at, fault, counts, reached: AtomicU32::new(0), log })
    }

    /// A point is reached; what goes wrong there, if so.
    fn reach(&self, kind: &str, name: &str) -> Option<Fault> {
        let counts = self.counts.load(Ordering::SeqCst);
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let early = if counts { "" } else { "early " };
            writeln!(log, "{early}{kind} {name}").expect("the list of points can be written");
        }
        if !counts {
            return None;
        }
        let counted = self.kind == "any" || self.kind == kind;
        let hit = counted && self.reached.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        if let Some(log) = self.log.as_ref().filter(|_| hit) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(log, "hit {kind} {name}").expect("the list of points can be written");
        }
        hit.then_some(self.fault)
    }

    /// Whether the point is refused.
    fn before(&self, kind: &str, name: &str) -> bool {
        match self.reach(kind, name) {
            Some(Fault::Before) => std::process::abort(),
            Some(Fault::Refused) => true,
            Some(Fault::After | Fault::Failing(_) | Fault::Lost) | None => false,
        }
    }

    /// Whether what came of the point is lost.
    fn after(&self, kind: &str) -> bool {
        let counted = self.kind == "any" || self.kind == kind;
        let there = counted && self.reached.load(Ordering::SeqCst) == self.at && self.at > 0;
        if there && self.fault == Fault::After {
            std::process::abort();
        }
        there && self.fault == Fault::Lost
    }
}

impl felhom_pve::Hook for Points {
    fn before_mutation(&self, call: &Call) -> Result<(), felhom_pve::Error> {
        let refused = self.before("call", &format!("{} {}", call.method, call.path));
        if !refused {
            return Ok(());
        }
        let message = "got timeout".to_owned();
        let answer = Answer {
            status: 500,
            reason: message.clone(),
            message,
            errors: std::collections::BTreeMap::new(),
        };
        Err(felhom_pve::Error::Refused(Box::new(Refusal { call: call.clone(), answer })))
    }

    fn after_mutation(&self, call: &Call) -> Result<(), felhom_pve::Error> {
        let lost = self.after("call");
        let reason = "connection reset".to_owned();
        let error = || felhom_pve::Error::NoAnswer { call: Box::new(call.clone()), reason };
        if lost { Err(error()) } else { Ok(()) }
    }
}

impl felhom_host::Hook for Points {
    fn before_act(&self, act: RootAct, target: &str) -> std::io::Result<()> {
        let refused = self.before("act", &format!("{act}: {target}"));
        if refused { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn after_act(&self, _: RootAct, _: &str) {
        self.after("act");
    }
}

impl felhom_journal::Hook for Points {
    fn before_commit(&self, what: &str) -> rusqlite::Result<()> {
        if what == ASKED {
            self.counts.store(true, Ordering::SeqCst);
        }
        match self.reach("commit", what) {
            Some(Fault::Before) => std::process::abort(),
            Some(Fault::Failing(code)) => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
            Some(Fault::After | Fault::Refused | Fault::Lost) | None => Ok(()),
        }
    }

    fn after_commit(&self, _: &str) {
        self.after("commit");
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config: PathBuf = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    let config = Config::load(&config, std::iter::empty())?;
    let points = Arc::new(Points::from_environment()?);
    let hooks = Hooks {
        pve: Some(points.clone()),
        host: Some(points.clone()),
        database: Some(points),
        ..Hooks::default()
    };
    Ok(serve(config, hooks).await)
}
