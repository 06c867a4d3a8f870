//! Takes away what was installed. What holds data or was edited stays and is named, with the command that would remove it.

use std::path::{Path, PathBuf};

use felhom_host::Host;

use super::apply::host;
use super::judge::is_as_written;
use super::parts::{BIN, CURRENT};
use super::record::Record;
use super::{InstallError, Part};
use crate::setup::{Line, Outcome};

/// The token's secret: `teardown` takes it away where it is made void, too.
const TOKEN: &str = "/etc/felhom/executor.token";

struct Undo {
    part: Part,
    dry_run: bool,
    host: Host,
    record: Record,
    lines: Vec<Line>,
}

pub(super) async fn uninstall(part: Part, root: PathBuf, dry_run: bool) -> Result<Vec<Line>, InstallError> {
    let host = host(&root, dry_run)?;
    let record = Record::read(&host, part)?;
    let mut undo = Undo { part, dry_run, host, record, lines: Vec::new() };
    undo.units().await?;
    undo.files()?;
    if !dry_run {
        undo.host.reload_units().await?;
    }
    undo.links()?;
    let stays = undo.data()?;
    undo.user(stays).await?;
    if !dry_run {
        if !stays && part == Part::Box {
            undo.host.remove_run_directory()?;
        }
        // Those that still hold something stay, and what they hold has been named.
        for directory in ["/opt/felhom", "/etc/felhom", "/etc/sysusers.d", "/var/lib/felhom"] {
            undo.host.remove_if_empty(Path::new(directory))?;
        }
    }
    Ok(undo.lines)
}

impl Undo {
    fn gone(&mut self, what: impl Into<String>) {
        let outcome = if self.dry_run { Outcome::WouldRemove } else { Outcome::Removed };
        self.lines.push(Line { outcome, what: what.into(), detail: String::new(), command: None });
    }

    fn kept(&mut self, what: impl Into<String>, why: impl Into<String>, command: String) {
        let detail = format!("{}; `{command}` removes it", why.into());
        self.lines.push(Line { outcome: Outcome::Kept, what: what.into(), detail, command: Some(command) });
    }

    /// The agent before the executor that it speaks to.
    async fn units(&mut self) -> Result<(), InstallError> {
        for (name, _) in self.part.units().iter().rev() {
            let there = self.host.has(&Path::new("/etc/systemd/system").join(name));
            if there && !self.dry_run {
                self.host.disable_unit(name).await?;
            }
        }
        Ok(())
    }

    fn files(&mut self) -> Result<(), InstallError> {
        let files: Vec<PathBuf> = self.record.files().cloned().collect();
        for path in files {
            let shown = path.display().to_string();
            match self.host.own_digest(&path)? {
                Some(there) if !is_as_written(there, self.record.written(&path)) => {
                    self.kept(&shown, "it was edited", format!("rm {shown}"));
                    continue;
                }
                Some(_) => self.gone(&shown),
                None => {}
            }
            if !self.dry_run {
                self.host.remove_own(&path)?;
                self.record.forget(&self.host, self.part, &path)?;
            }
        }
        if self.part == Part::Box && self.host.has(Path::new(TOKEN)) {
            let why = "the secret of the executor's token, see `felhom-executor teardown`";
            self.kept(TOKEN, why, format!("rm {TOKEN}"));
        }
        Ok(())
    }

    /// Those that lead to a program of this part; `current` when nothing is left behind it.
    fn links(&mut self) -> Result<(), InstallError> {
        for (name, _) in self.part.programs() {
            let link = Path::new(BIN).join(name);
            let ours =
                self.host.own_link(&link)?.is_some_and(|target| target == Path::new(CURRENT).join(name));
            if ours {
                self.gone(link.display().to_string());
                if !self.dry_run {
                    self.host.remove_own(&link)?;
                }
            }
        }
        let others = self.part.other().programs();
        let alone = !others.iter().any(|(name, _)| self.host.has(&Path::new(BIN).join(name)));
        if alone && self.host.own_link(Path::new(CURRENT))?.is_some() {
            self.gone(CURRENT);
            if !self.dry_run {
                self.host.remove_own(Path::new(CURRENT))?;
            }
        }
        Ok(())
    }

    /// Whether something stays.
    fn data(&mut self) -> Result<bool, InstallError> {
        let mut stays = false;
        for data in self.part.data() {
            let path = Path::new(data.path);
            if !self.host.has(path) {
                continue;
            }
            if !self.dry_run && self.host.remove_if_empty(path)? {
                self.gone(data.path);
                continue;
            }
            stays = true;
            self.kept(data.path, format!("it holds data: {}", data.what), format!("rm -r {}", data.path));
        }
        Ok(stays)
    }

    /// A user goes when nothing of its data is left: its number would be given to somebody else.
    async fn user(&mut self, stays: bool) -> Result<(), InstallError> {
        let user = self.part.user();
        if self.host.user_ids(user).is_none() {
            return Ok(());
        }
        if stays {
            let why = "its number must not be given to somebody else while its files are there";
            self.kept(format!("user {user}"), why, format!("userdel {user}"));
        } else {
            self.gone(format!("user {user}"));
            if !self.dry_run {
                self.host.remove_user(user).await?;
            }
        }
        Ok(())
    }
}
