//! `felhom-executor teardown`: takes away what `setup` and the executor made at the Proxmox host, as far as it holds no data.
//!
//! 1. log in as root@pam with a password, as set-up does;
//! 2. `observe`: what is there of ours, and what holds data;
//! 3. `plan`: pure. Access list, token, user, roles, empty pool, secret's file go; guests, backups, a pool with guests, roles and
//!    users that somebody else uses stay and are named, and so are guests outside the pool and operations that are not over;
//! 4. each line is carried out, unless `--dry-run`; then it is all read again: nothing that goes may be left.
//!
//! Running it twice changes nothing the second time. `setup` makes all of it again.

pub mod command;
mod observe;
mod plan;

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use felhom_journal::{Journal, Which};
use felhom_pve::{Pve, UserId};
use secrecy::SecretString;

use crate::config::Config;
use crate::setup::{Line, SetupConfig, SetupError, SetupReport, Wanted};
use plan::{Going, Step};

/// Logs in and takes it away.
///
/// # Errors
/// [`SetupError`]: an executor serves, a wrong password, another certificate than the pinned one, a refused call, or something
/// that was still there afterwards.
pub async fn run(config: &Config, password: &SecretString, dry_run: bool) -> Result<SetupReport, SetupError> {
    let host = SetupConfig::from_config(config)?;
    let state = State::open(config);
    if let (State::Held { why }, false) = (&state, dry_run) {
        return Err(SetupError::Serves { why: why.clone() });
    }
    let unfinished = state.unfinished();
    // Nobody may begin to serve until it is over; a dry run is in nobody's way.
    let _lock = (!dry_run).then_some(state);
    let root = UserId::new("root@pam").map_err(|e| SetupError::Config { key: "user", why: e.to_string() })?;
    let login = Pve::login(host.endpoint()?, &root, password).await;
    let pve = login.map_err(|e| SetupError::from_login(e, &host))?;
    let version = pve.version().await?.version;
    let wanted = Wanted::of(&host)?;
    let mut observed = observe::observe(&pve, config, &host).await?;
    observed.unfinished = unfinished;
    let planned = plan::plan(&host, &wanted, &observed);
    let lines = if dry_run {
        planned.iter().map(Going::would).collect()
    } else {
        let mut lines: Vec<Line> = Vec::new();
        for going in &planned {
            if let Some(step) = &going.step {
                take(&pve, &host, step).await?;
            }
            lines.push(going.done());
        }
        let observed = observe::observe(&pve, config, &host).await?;
        let left = plan::plan(&host, &wanted, &observed);
        let left: Vec<_> = left.iter().filter(|going| going.step.is_some()).map(|g| g.what.clone()).collect();
        if !left.is_empty() {
            return Err(SetupError::NotSo { what: format!("{} should be gone", left.join(", ")) });
        }
        lines
    };
    Ok(SetupReport { dry_run, version, lines })
}

/// The executor's own state, and its lock: one that serves would lose its token in the middle of things.
enum State {
    /// There is none.
    Absent,
    /// An executor serves, or it cannot be opened.
    Held { why: String },
    /// It is ours as long as this lives.
    Ours(Arc<Journal>),
}

impl State {
    fn open(config: &Config) -> Self {
        if !config.database().exists() {
            return Self::Absent;
        }
        match crate::wiring::ledger_and_journal(config) {
            Ok((_, journal)) => Self::Ours(journal),
            Err(why) => Self::Held { why: format!("{why:#}") },
        }
    }

    /// Operations that are not over: kind and id.
    fn unfinished(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Absent => Ok(Vec::new()),
            Self::Held { why } => Err(why.clone()),
            Self::Ours(journal) => {
                let all = journal.list(Which::Active, usize::MAX).map_err(|e| e.to_string())?;
                Ok(all.iter().map(|op| format!("{} {}", op.new.body.kind, op.id())).collect())
            }
        }
    }
}

async fn take(pve: &Pve, host: &SetupConfig, step: &Step) -> Result<(), SetupError> {
    match step {
        Step::Revoke(grant) => pve.revoke(grant).await?,
        Step::DeleteToken => pve.delete_token(&host.token).await?,
        Step::DeleteUser => pve.delete_user(&host.token.user).await?,
        Step::DeleteRole(role) => pve.delete_role(role).await?,
        Step::DeletePool => pve.delete_pool(&host.pool).await?,
        Step::RemoveSecret => match fs::remove_file(&host.token_file) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(SetupError::SecretFile { path: host.token_file.clone(), source });
            }
            _ => {}
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_serve_as_long_as_the_state_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("executor.toml");
        let text = format!(
            "state_dir = {:?}\n[pve]\nurl = \"https://127.0.0.1:8006\"\nfingerprint = \"\"\nnode = \"pve\"\n\
             token_file = \"/x\"\n[storages]\nguest = \"tank\"\nbackup = [\"local\"]\ngolden = \"local\"\n",
            dir.path().join("state")
        );
        fs::write(&file, text).unwrap();
        let config = Config::load(&file, std::iter::empty()).unwrap();
        assert!(matches!(State::open(&config), State::Absent));
        drop(crate::wiring::ledger(&config).unwrap());
        let ours = State::open(&config);
        assert_eq!(ours.unfinished(), Ok(vec![]));
        let other = State::open(&config);
        assert!(matches!(other, State::Held { .. }) && other.unfinished().is_err());
        drop(ours);
        assert!(matches!(State::open(&config), State::Ours(_)));
    }
}
