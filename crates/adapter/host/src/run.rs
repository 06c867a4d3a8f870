//! Runs a program: argument vector, bytes in, bounded bytes out, bounded time, empty environment.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::act::RootAct;
use crate::error::HostError;

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The last 400 characters of standard error, for messages.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let text = text.trim();
        let skip = text.chars().count().saturating_sub(400);
        text.chars().skip(skip).collect()
    }
}

/// What to run and its bounds.
pub(crate) struct Run<'a> {
    pub(crate) act: RootAct,
    /// For messages: the guest or volume.
    pub(crate) target: String,
    pub(crate) argv: Vec<String>,
    pub(crate) stdin: &'a [u8],
    /// Bytes of standard output and of standard error, each.
    pub(crate) limit: usize,
    pub(crate) timeout: Duration,
}

enum Ended {
    Done(ExitStatus, Vec<u8>, Vec<u8>),
    TooMuch,
}

impl Run<'_> {
    pub(crate) async fn output(self) -> Result<Output, HostError> {
        let mut child = self.spawn()?;
        let ended = tokio::time::timeout(self.timeout, self.attend(&mut child)).await;
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(source)) => {
                end(&mut child).await;
                return Err(HostError::Start { act: self.act, program: self.argv.join(" "), source });
            }
            Err(_) => {
                end(&mut child).await;
                let seconds = self.timeout.as_secs();
                return Err(HostError::TimedOut { act: self.act, target: self.target, seconds });
            }
        };
        match ended {
            Ended::Done(status, stdout, stderr) => Ok(Output { code: status.code(), stdout, stderr }),
            Ended::TooMuch => {
                end(&mut child).await;
                Err(HostError::TooMuchOutput { act: self.act, target: self.target, limit: self.limit })
            }
        }
    }

    fn spawn(&self) -> Result<Child, HostError> {
        let refused = |reason| HostError::Refused { act: self.act, target: self.target.clone(), reason };
        let (program, arguments) =
            self.argv.split_first().ok_or_else(|| refused("no program is configured".to_owned()))?;
        if !program.starts_with('/') {
            return Err(refused(format!("the configured program `{program}` is no absolute path")));
        }
        tracing::debug!(act = %self.act, target = %self.target, "root act");
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| HostError::Start { act: self.act, program: program.clone(), source })
    }

    async fn attend(&self, child: &mut Child) -> std::io::Result<Ended> {
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(pipe) = stdin.as_mut() {
                // A program that does not read its input to the end is no failure of ours.
                let _ = pipe.write_all(self.stdin).await;
            }
            drop(stdin);
            Ok(())
        };
        let (out, err, ()) =
            tokio::try_join!(read_bounded(stdout, self.limit), read_bounded(stderr, self.limit), feed)?;
        let (Some(out), Some(err)) = (out, err) else { return Ok(Ended::TooMuch) };
        Ok(Ended::Done(child.wait().await?, out, err))
    }
}

/// Reads to the end; `None` as soon as there is more than the limit.
async fn read_bounded(
    pipe: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok(Some(bytes)) };
    pipe.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// Kills the program with all that it started in its group.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}
