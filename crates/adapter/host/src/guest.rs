//! Root acts on guests: run a program inside, write a file inside, ask where a volume lies.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use felhom_model::{Vmid, Volid};

use crate::act::{Hook, RootAct};
use crate::error::HostError;
use crate::leftovers::Roots;
use crate::run::{Output, Run};

/// pct's and pvesm's own exit code when they fail themselves.
const OWN_FAILURE: i32 = 255;
pub(crate) const SHORT: Duration = Duration::from_secs(60);

/// The host's programs, each as the beginning of an argument vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `pct`, e.g. `["/usr/sbin/pct"]`.
    pub pct: Vec<String>,
    /// `pvesm`, e.g. `["/usr/sbin/pvesm"]`.
    pub pvesm: Vec<String>,
    /// `pveum`, e.g. `["/usr/sbin/pveum"]`.
    pub pveum: Vec<String>,
    /// `lxc-unfreeze`, e.g. `["/usr/bin/lxc-unfreeze"]`.
    pub lxc_unfreeze: Vec<String>,
    /// `umount`, e.g. `["/usr/bin/umount"]`.
    pub umount: Vec<String>,
    /// `timedatectl`, e.g. `["/usr/bin/timedatectl"]`.
    pub timedatectl: Vec<String>,
    /// `systemd-sysusers`, e.g. `["/usr/bin/systemd-sysusers"]`.
    pub sysusers: Vec<String>,
    /// `systemd-tmpfiles`, e.g. `["/usr/bin/systemd-tmpfiles"]`.
    pub tmpfiles: Vec<String>,
    /// `systemctl`, e.g. `["/usr/bin/systemctl"]`.
    pub systemctl: Vec<String>,
    /// `userdel`, e.g. `["/usr/sbin/userdel"]`.
    pub userdel: Vec<String>,
}

impl Default for Programs {
    fn default() -> Self {
        let program = |path: &str| vec![path.to_owned()];
        Self {
            pct: program("/usr/sbin/pct"),
            pvesm: program("/usr/sbin/pvesm"),
            pveum: program("/usr/sbin/pveum"),
            lxc_unfreeze: program("/usr/bin/lxc-unfreeze"),
            umount: program("/usr/bin/umount"),
            timedatectl: program("/usr/bin/timedatectl"),
            sysusers: program("/usr/bin/systemd-sysusers"),
            tmpfiles: program("/usr/bin/systemd-tmpfiles"),
            systemctl: program("/usr/bin/systemctl"),
            userdel: program("/usr/sbin/userdel"),
        }
    }
}

/// A program to run inside a guest.
#[derive(Clone)]
pub struct GuestCommand {
    argv: Vec<String>,
    stdin: Vec<u8>,
    limit: usize,
    timeout: Duration,
}

impl GuestCommand {
    /// `program` is an absolute path inside the guest; arguments are passed as they are and must hold no secrets.
    #[must_use]
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(program: &str, arguments: I) -> Self {
        let mut argv = vec![program.to_owned()];
        argv.extend(arguments.into_iter().map(Into::into));
        Self { argv, stdin: Vec::new(), limit: 1 << 20, timeout: SHORT }
    }

    /// Bytes for its standard input; the way for secrets.
    #[must_use]
    pub fn with_stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// The most bytes of standard output, and of standard error; 1 MiB if not set.
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// How long it may take; 60 s if not set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// A file to write inside a guest, owned by the guest's root.
#[derive(Clone)]
pub struct FilePush {
    /// Absolute path inside the guest; its directory exists.
    pub path: String,
    /// The content; may be secret.
    pub content: Vec<u8>,
    /// Permissions, e.g. `0o600`.
    pub mode: u32,
}

/// The host with its programs.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) programs: Programs,
    pub(crate) roots: Roots,
    private_dir: PathBuf,
    hook: Option<Arc<dyn Hook>>,
}

impl Host {
    /// `private_dir` is a directory that only root can enter, for the files on their way into a guest; best in memory
    /// (`/run/felhom`). It must exist.
    #[must_use]
    pub fn new(programs: Programs, private_dir: impl Into<PathBuf>) -> Self {
        let given = private_dir.into();
        // Programs run in `/`.
        let private_dir = std::path::absolute(&given).unwrap_or(given);
        Self { programs, roots: Roots::default(), private_dir, hook: None }
    }

    /// The same with its things elsewhere.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { roots, ..self }
    }

    /// The same with a hook that sees its acts.
    #[must_use]
    pub fn with_hook(self, hook: Arc<dyn Hook>) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// Does an act under the eyes of the hook.
    pub(crate) async fn seen<T>(
        &self,
        act: RootAct,
        target: &str,
        work: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let Some(hook) = self.hook.as_ref().filter(|_| act.changes()) else { return work.await };
        let instead = |source| HostError::File { act, doing: "begin with", path: target.into(), source };
        hook.before_act(act, target).map_err(instead)?;
        let result = work.await;
        hook.after_act(act, target);
        result
    }

    /// Runs a program inside a running guest as the guest's root. Its exit code is in the [`Output`], whatever it is;
    /// only if the guest does not run or has no such program, the act itself failed.
    ///
    /// # Errors
    /// [`HostError`]: not started, timed out, too much output, `pct` itself failed.
    pub async fn exec(&self, vmid: Vmid, command: &GuestCommand) -> Result<Output, HostError> {
        let act = RootAct::GuestExec;
        let target = format!("guest {vmid}");
        let program = command.argv.first().map(String::as_str).unwrap_or_default();
        guest_path(act, &target, program)?;
        let mut argv = self.programs.pct.clone();
        argv.extend(["exec".to_owned(), vmid.to_string(), "--".to_owned()]);
        argv.extend(command.argv.iter().cloned());
        let (limit, timeout) = (command.limit, command.timeout);
        let run = Run { act, target: target.clone(), argv, stdin: &command.stdin, limit, timeout };
        let output = self.seen(act, &target, run.output()).await?;
        if output.code == Some(OWN_FAILURE) {
            return Err(failed(act, target, &output));
        }
        Ok(output)
    }

    /// Writes a file inside a guest. The bytes go by a private file of the host, which is gone afterwards.
    ///
    /// # Errors
    /// [`HostError`]: the private file could not be written, `pct push` failed or took too long.
    pub async fn push(&self, vmid: Vmid, push: &FilePush) -> Result<(), HostError> {
        let act = RootAct::GuestPush;
        let target = format!("{} in guest {vmid}", push.path);
        guest_path(act, &target, &push.path)?;
        let file = self.private_file(&push.content)?;
        let mut argv = self.programs.pct.clone();
        argv.extend(["push".to_owned(), vmid.to_string(), text(act, file.path())?, push.path.clone()]);
        argv.extend(["--perms".to_owned(), format!("{:04o}", push.mode & 0o7777)]);
        argv.extend(["--user", "0", "--group", "0"].map(str::to_owned));
        self.run_own(act, target, argv).await.map(drop)
    }

    /// Where a volume or archive lies on the host.
    ///
    /// # Errors
    /// [`HostError`]: `pvesm` failed (unknown storage, not mounted) or gave no absolute path.
    pub async fn volume_path(&self, volid: &Volid) -> Result<PathBuf, HostError> {
        let act = RootAct::VolumePath;
        let mut argv = self.programs.pvesm.clone();
        argv.extend(["path".to_owned(), volid.to_string()]);
        let output = self.run_own(act, volid.to_string(), argv).await?;
        let line = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        if line.starts_with('/') && !line.contains('\n') {
            return Ok(PathBuf::from(line));
        }
        let reason = format!("it answered {line:?}, which is no absolute path");
        Err(HostError::Refused { act, target: volid.to_string(), reason })
    }

    pub(crate) async fn run_own(
        &self,
        act: RootAct,
        target: String,
        argv: Vec<String>,
    ) -> Result<Output, HostError> {
        self.run_own_for(act, target, argv, SHORT).await
    }

    pub(crate) async fn run_own_for(
        &self,
        act: RootAct,
        target: String,
        argv: Vec<String>,
        timeout: Duration,
    ) -> Result<Output, HostError> {
        let run = Run { act, target: target.clone(), argv, stdin: &[], limit: 64 << 10, timeout };
        let output = self.seen(act, &target, run.output()).await?;
        if output.success() { Ok(output) } else { Err(failed(act, target, &output)) }
    }

    fn private_file(&self, content: &[u8]) -> Result<tempfile::NamedTempFile, HostError> {
        let problem = |source| HostError::File {
            act: RootAct::GuestPush,
            doing: "write a private file in",
            path: self.private_dir.clone(),
            source,
        };
        // tempfile makes it with 0600 and removes it when dropped.
        let mut file =
            tempfile::Builder::new().prefix("push-").tempfile_in(&self.private_dir).map_err(problem)?;
        file.write_all(content).and_then(|()| file.flush()).map_err(problem)?;
        Ok(file)
    }
}

fn failed(act: RootAct, target: String, output: &Output) -> HostError {
    let status =
        output.code.map_or_else(|| "killed by a signal".to_owned(), |code| format!("exit code {code}"));
    HostError::Failed { act, target, status, stderr: output.stderr_tail() }
}

fn text(act: RootAct, path: &Path) -> Result<String, HostError> {
    path.to_str().map(str::to_owned).ok_or_else(|| HostError::Refused {
        act,
        target: path.display().to_string(),
        reason: "the path is no UTF-8".to_owned(),
    })
}

pub(crate) fn guest_path(act: RootAct, target: &str, path: &str) -> Result<(), HostError> {
    let fine = path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..");
    if fine {
        return Ok(());
    }
    let reason = format!("{path:?} is no absolute path without `..`");
    Err(HostError::Refused { act, target: target.to_owned(), reason })
}
