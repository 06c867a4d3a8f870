//! Installs: programs, links, users, directories, configuration, units, in an order in which each finds what it needs.

use std::path::{Path, PathBuf};

use felhom_host::{Host, Programs, Roots};
use felhom_model::Digest;
use felhom_pve::Fingerprint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::config_file::{self, Earlier, Here};
use super::judge::{Verdict, is_somebodys, judge};
use super::parts::{BIN, CURRENT, CURRENT_TARGET, SLOT};
use super::record::Record;
use super::{InstallError, InstallOptions, Part};
use crate::setup::{Line, Outcome};

/// One installation under way.
struct Work<'a> {
    options: &'a InstallOptions,
    host: Host,
    record: Record,
    lines: Vec<Line>,
}

/// The host that this process would change.
///
/// # Errors
/// [`InstallError::NotRoot`].
pub(super) fn host(root: &Path, dry_run: bool) -> Result<Host, InstallError> {
    if root == Path::new("/") && !dry_run && !rustix::process::geteuid().is_root() {
        return Err(InstallError::NotRoot);
    }
    // Nothing is pushed into a guest here.
    Ok(Host::new(Programs::default(), "/run/felhom").with_roots(Roots::below(root)))
}

pub(super) async fn install(options: &InstallOptions) -> Result<Vec<Line>, InstallError> {
    let host = host(&options.root, options.dry_run)?;
    let record = Record::read(&host, options.part)?;
    let mut work = Work { options, host, record, lines: Vec::new() };
    let programs = work.programs()?;
    // What cannot be written is told before anything is.
    work.nobodys_user()?;
    let first = work.configuration(None)?;
    for (path, bytes) in &programs {
        work.program(path, bytes)?;
    }
    work.links(&programs)?;
    work.users_and_directories().await?;
    let configuration = if options.dry_run { first } else { work.configuration(work.user()?)? };
    for (path, text) in configuration {
        work.file(&path, text.as_deref())?;
    }
    for (name, text) in options.part.units() {
        work.file(&Path::new("/etc/systemd/system").join(name), Some(text))?;
    }
    if !options.dry_run {
        work.host.reload_units().await?;
    }
    Ok(work.lines)
}

impl Work<'_> {
    fn say(&mut self, outcome: Outcome, what: impl Into<String>, detail: impl Into<String>) {
        let outcome = match outcome {
            Outcome::Created if self.options.dry_run => Outcome::WouldCreate,
            Outcome::Changed if self.options.dry_run => Outcome::WouldChange,
            other => other,
        };
        self.lines.push(Line { outcome, what: what.into(), detail: detail.into(), command: None });
    }

    /// The programs' bytes, with the place of each.
    fn programs(&self) -> Result<Vec<(PathBuf, Vec<u8>)>, InstallError> {
        let slot =
            self.host.own_link(Path::new(CURRENT))?.map(|target| Path::new("/opt/felhom").join(target));
        let slot = slot.unwrap_or_else(|| SLOT.into());
        let mut all = Vec::new();
        for (name, needed) in self.options.part.programs() {
            let path = self.options.from.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => all.push((slot.join(name), bytes)),
                Err(source) if *needed => return Err(InstallError::Program { path, source }),
                Err(_) => {}
            }
        }
        Ok(all)
    }

    /// Other bytes are another version: a program is nobody's to edit.
    fn program(&mut self, path: &Path, bytes: &[u8]) -> Result<(), InstallError> {
        let (there, wanted) = (self.host.own_digest(path)?, Digest::of(bytes));
        let outcome = match there {
            Some(there) if there == wanted => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
            None => Outcome::Created,
        };
        if !self.options.dry_run
            && (outcome != Outcome::Unchanged || self.record.written(path) != Some(wanted))
        {
            self.host.place_own(path, bytes, 0o755)?;
            self.record.note(&self.host, self.options.part, path, wanted)?;
        }
        let detail = if outcome == Outcome::Changed {
            "another version; what runs is the old one until it is restarted"
        } else {
            ""
        };
        self.say(outcome, path.display().to_string(), detail);
        Ok(())
    }

    fn links(&mut self, programs: &[(PathBuf, Vec<u8>)]) -> Result<(), InstallError> {
        // A link to a slot stays as an update left it.
        if self.host.own_link(Path::new(CURRENT))?.is_none() {
            self.link(Path::new(CURRENT), Path::new(CURRENT_TARGET))?;
        } else {
            self.say(Outcome::Unchanged, CURRENT, "");
        }
        for (path, _) in programs {
            let name = path.file_name().unwrap_or_default();
            self.link(&Path::new(BIN).join(name), &Path::new(CURRENT).join(name))?;
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), InstallError> {
        let there = self.host.own_link(path)?;
        let outcome = match &there {
            Some(there) if there == target => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
            None => Outcome::Created,
        };
        if outcome != Outcome::Unchanged && !self.options.dry_run {
            self.host.link_own(path, target)?;
        }
        self.say(outcome, path.display().to_string(), "");
        Ok(())
    }

    /// systemd-sysusers would take a user that is there as it is, whoever it belongs to.
    fn nobodys_user(&self) -> Result<(), InstallError> {
        let user = self.options.part.user();
        let Some(ids) = self.host.user_ids(user).filter(|_| !self.record.made(user)) else { return Ok(()) };
        let shell = self.host.user_shell(user).unwrap_or_default();
        if is_somebodys(ids.uid, &shell) {
            return Err(InstallError::Somebodys { user, uid: ids.uid, shell });
        }
        Ok(())
    }

    async fn users_and_directories(&mut self) -> Result<(), InstallError> {
        let part = self.options.part;
        let users: PathBuf = format!("/etc/sysusers.d/felhom-{}.conf", part.name()).into();
        let directories: PathBuf = format!("/etc/tmpfiles.d/felhom-{}.conf", part.name()).into();
        let missing = self.host.user_ids(part.user()).is_none();
        let lacks = part.data().iter().any(|data| !self.host.has(Path::new(data.path)));
        self.file(&users, Some(part.users()))?;
        self.file(&directories, Some(part.directories()))?;
        if !self.options.dry_run {
            self.host.make_users(&users).await?;
            if missing && self.host.user_ids(part.user()).is_some() {
                self.record.note_user(&self.host, part, part.user())?;
            }
            self.host.make_directories(&directories).await?;
        }
        let outcome = |new| if new { Outcome::Created } else { Outcome::Unchanged };
        self.say(outcome(missing), format!("user {}", part.user()), "");
        for data in part.data() {
            self.say(outcome(lacks), data.path, "");
        }
        Ok(())
    }

    fn user(&self) -> Result<Option<felhom_host::UserIds>, InstallError> {
        let user = self.options.part.user();
        self.host.user_ids(user).map(Some).ok_or(InstallError::NoUser { user })
    }

    /// Configuration files; `None` for one that is there and was not asked to be another. Without ids they are to be checked
    /// only.
    fn configuration(
        &self,
        ids: Option<felhom_host::UserIds>,
    ) -> Result<Vec<(PathBuf, Option<String>)>, InstallError> {
        let choices = &self.options.choices;
        let etc = |name: &str| Path::new("/etc/felhom").join(name);
        let there = |path: &Path| self.host.has(path);
        if self.options.part == Part::Hub {
            let path = etc("hub.toml");
            let text =
                (!there(&path) || choices.address.is_some()).then(|| config_file::hub(choices.address));
            return Ok(vec![(path, text)]);
        }
        let (executor, agent) = (etc("executor.toml"), etc("agent.toml"));
        let named = [&choices.guest_storage, &choices.backup_storage, &choices.golden_storage]
            .into_iter()
            .any(Option::is_some)
            || !choices.release_keys.is_empty();
        let text = if !there(&executor) || named {
            let before = self.host.own_file(&executor)?;
            let before = before.map(|bytes| Earlier::of(&String::from_utf8_lossy(&bytes)));
            Some(config_file::executor(choices, &self.here(ids)?, &before.unwrap_or_default())?)
        } else {
            None
        };
        let agents = match choices.address {
            Some(address) => Some(config_file::agent(address)),
            None if there(&agent) => None,
            None => {
                return Err(InstallError::Needs {
                    what: "the first configuration has to name the address at which guests reach this host: --address IP"
                        .to_owned(),
                    command: "ip -brief address show vmbr0",
                });
            }
        };
        Ok(vec![(executor, text), (agent, agents)])
    }

    fn here(&self, ids: Option<felhom_host::UserIds>) -> Result<Here, InstallError> {
        let survey = self.host.survey()?;
        let der = survey.certificate.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
        Ok(Here {
            node: survey.name.unwrap_or_default(),
            fingerprint: der.map(|der| Fingerprint::of_der(&der)),
            user: ids.unwrap_or(felhom_host::UserIds { uid: 0, gid: 0 }),
        })
    }

    /// A text of ours that people may edit.
    fn file(&mut self, path: &Path, text: Option<&str>) -> Result<(), InstallError> {
        let shown = path.display().to_string();
        let Some(text) = text else {
            self.say(Outcome::Unchanged, shown, "");
            return Ok(());
        };
        let wanted = Digest::of(text.as_bytes());
        let verdict = judge(self.host.own_digest(path)?, self.record.written(path), wanted);
        let outcome = match verdict {
            Verdict::Make => Outcome::Created,
            Verdict::Replace => Outcome::Changed,
            Verdict::Leave => Outcome::Unchanged,
            Verdict::Edited => {
                self.say(Outcome::Kept, shown, "it was edited; nothing in it was changed");
                return Ok(());
            }
        };
        if !self.options.dry_run && (verdict != Verdict::Leave || self.record.written(path) != Some(wanted)) {
            self.host.place_own(path, text.as_bytes(), 0o644)?;
            self.record.note(&self.host, self.options.part, path, wanted)?;
        }
        self.say(outcome, shown, "");
        Ok(())
    }
}
