//! Takes away what was installed. What holds data or was edited stays and is named, with the command that would remove it; and
//! while the token is there, what `teardown` needs to take it away.

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
const CONFIG: &str = "/etc/felhom/executor.toml";
const EXECUTOR: &str = "felhom-executor";
/// What makes the token void.
const TEARDOWN: &str = "felhom-executor teardown";

struct Undo {
    part: Part,
    dry_run: bool,
    host: Host,
    record: Record,
    /// Whether anything was installed.
    installed: bool,
    /// Where a token's secret still is.
    token: Option<PathBuf>,
    lines: Vec<Line>,
}

pub(super) async fn uninstall(part: Part, root: PathBuf, dry_run: bool) -> Result<Vec<Line>, InstallError> {
    let host = host(&root, dry_run)?;
    let record = Record::read(&host, part)?;
    let installed = !record.is_empty();
    let token = (part == Part::Box).then(|| token(&host)).transpose()?.flatten();
    let mut undo = Undo { part, dry_run, host, record, installed, token, lines: Vec::new() };
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

/// The file with the token's secret, if it is there: the token may be valid.
fn token(host: &Host) -> Result<Option<PathBuf>, InstallError> {
    let text = host.own_file(Path::new(CONFIG))?.unwrap_or_default();
    let table: toml::Table = String::from_utf8_lossy(&text).parse().unwrap_or_default();
    let configured = table.get("pve").and_then(|pve| pve.get("token_file")?.as_str());
    let mut places = configured.into_iter().chain([TOKEN]).map(PathBuf::from);
    Ok(places.find(|path| host.has(path)))
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

    fn left(&mut self, what: impl Into<String>, why: impl Into<String>, command: Option<&str>) {
        let command = command.map(str::to_owned);
        self.lines.push(Line { outcome: Outcome::Kept, what: what.into(), detail: why.into(), command });
    }

    /// Without them the token could not be made void any more.
    fn is_for_teardown(&self, path: &Path) -> bool {
        let own = path == Path::new(CONFIG) || path.file_name().is_some_and(|name| name == EXECUTOR);
        self.token.is_some() && own
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
                Some(_) if self.is_for_teardown(&path) => {
                    self.left(&shown, "`felhom-executor teardown` needs it", Some(TEARDOWN));
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
        if let Some(token) = &self.token {
            let (what, why) = (token.display().to_string(), "the executor's token may be valid");
            self.kept(what, why, TEARDOWN.to_owned());
        }
        Ok(())
    }

    /// Those that lead to a program of this part; `current` when nothing is left behind it.
    fn links(&mut self) -> Result<(), InstallError> {
        for (name, _) in self.part.programs() {
            let link = Path::new(BIN).join(name);
            let ours =
                self.host.own_link(&link)?.is_some_and(|target| target == Path::new(CURRENT).join(name));
            if ours && !self.is_for_teardown(&link) {
                self.gone(link.display().to_string());
                if !self.dry_run {
                    self.host.remove_own(&link)?;
                }
            }
        }
        let others = self.part.other().programs();
        let alone = !others.iter().any(|(name, _)| self.host.has(&Path::new(BIN).join(name)));
        if alone && self.token.is_none() && self.host.own_link(Path::new(CURRENT))?.is_some() {
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
        let there = self.host.user_ids(user).is_some();
        if !self.record.made(user) {
            if there && self.installed {
                self.left(format!("user {user}"), "install did not make it", None);
            }
            return Ok(());
        }
        if there && stays {
            let data = self.part.data().iter().map(|data| data.path);
            let data: Vec<_> = data.filter(|path| self.host.has(Path::new(path))).collect();
            let why = "its number must not be given to somebody else while its files are there";
            self.kept(format!("user {user}"), why, format!("rm -r {} && userdel {user}", data.join(" ")));
            return Ok(());
        }
        if there {
            self.gone(format!("user {user}"));
        }
        if self.dry_run {
            return Ok(());
        }
        if there {
            self.host.remove_user(user).await?;
        }
        self.record.forget_user(&self.host, self.part, user)
    }
}
