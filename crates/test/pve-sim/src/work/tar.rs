//! The archiver as a process of its own (`pve-sim tar`), as Proxmox VE calls `tar`: a worker that is asked to stop ends it, a
//! worker that is killed leaves it running (F77, F91).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::{self, ArchiveError, Compression, Tree, WriteRequest};
use crate::clock;
use crate::error::ApiError;
use crate::task::process;
use crate::task::worker::Worker;
use crate::volume::limit::Limited;
use crate::volume::owners::Ownership;
use crate::work::compress::{Compressor, Sink};

/// What the archiver is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Write an archive.
    Create {
        /// File to write; it is replaced.
        out: PathBuf,
        /// How many bytes fit there, if that is limited.
        room: Option<u64>,
        /// Text of `etc/vzdump/pct.conf`.
        config: String,
        /// `etc/vzdump/pct.fw`; empty if the guest has no firewall file.
        firewall: Vec<u8>,
        /// Mount path and directory of everything that is backed up.
        trees: Vec<(String, PathBuf)>,
        /// Mount paths of what is not.
        not_backed_up: Vec<String>,
        /// Patterns to leave out.
        exclude_path: Vec<String>,
        /// Whether the standard ones are left out too.
        stdexcludes: bool,
        /// What compresses it.
        compressor: Compressor,
        /// KiB a second at most; 0 is no limit.
        bwlimit: u64,
        /// How the directories keep the owners of their files.
        ownership: Ownership,
    },
    /// Unpack an archive.
    Extract {
        /// The file.
        archive: PathBuf,
        /// Mount path and existing directory.
        trees: Vec<(String, PathBuf)>,
        /// Directories on limited file systems: name and bytes left.
        below: Vec<(PathBuf, String, u64)>,
        /// Size of each of these volumes in bytes, if it has one.
        sizes: Vec<Option<u64>>,
        /// Bytes of the archive a second.
        rate: Option<u64>,
        /// How the directories keep the owners of their files.
        ownership: Ownership,
        /// The command as Proxmox VE names it.
        command: String,
    },
}

impl Order {
    /// What Proxmox VE says when it is interrupted.
    fn interrupted(&self) -> String {
        match self {
            Self::Create { .. } => "'tar' failed: interrupted by signal".to_owned(),
            Self::Extract { command, .. } => format!("'{command}' failed: received interrupt"),
        }
    }
}

/// What it did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Bytes of the tar stream.
    pub(crate) bytes: u64,
    /// In tar's words.
    pub(crate) warnings: Vec<String>,
    /// Whether it could not do everything (tar's exit code 2).
    pub(crate) failed: bool,
    /// Whether it got to the end of the archive.
    pub(crate) complete: bool,
    /// What the pipeline that writes an archive printed when it failed, and its exit code.
    #[serde(default)]
    pub(crate) pipeline: Option<(Vec<String>, i32)>,
}

/// The `tar` subcommand: order on standard input, result on standard output.
///
/// # Errors
/// What went wrong, for standard error.
pub(crate) fn run() -> Result<(), String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|e| e.to_string())?;
    let order: Order = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let done = perform(order)?;
    // Nobody may be there any more to hear it.
    let _ = serde_json::to_writer(io::stdout(), &done);
    Ok(())
}

fn perform(order: Order) -> Result<Done, String> {
    let of = |all: Vec<(String, PathBuf)>| -> Vec<Tree> {
        all.into_iter().map(|(mount, path)| Tree { mount, path }).collect()
    };
    match order {
        Order::Extract { archive, trees, below, sizes, rate, ownership, .. } => {
            extract(&archive, &of(trees), archive::Limits { sizes, rate, below, ownership })
        }
        Order::Create {
            out,
            room,
            config,
            firewall,
            trees,
            not_backed_up,
            exclude_path,
            stdexcludes,
            compressor,
            bwlimit,
            ownership,
        } => {
            let trees = of(trees);
            let request = WriteRequest {
                config: &config,
                firewall: Some(&firewall),
                trees: &trees,
                not_backed_up: &not_backed_up,
                exclude_path: &exclude_path,
                stdexcludes,
                time: i64::try_from(clock::machine()).unwrap_or_default(),
                compression: Compression::None,
                ownership,
            };
            Ok(create(&request, &out, (compressor, bwlimit, room)))
        }
    }
}

/// The pipeline `tar | cstream | compressor > out`. Its failure is an answer, too.
fn create(
    request: &WriteRequest<'_>,
    out: &Path,
    (compressor, bwlimit, room): (Compressor, u64, Option<u64>),
) -> Done {
    let mut written = 0;
    let result = File::create(out).map_err(|e| e.to_string()).and_then(|file| {
        let mut sink =
            Sink::new(compressor, bwlimit, Box::new(Limited::new(file, room))).map_err(|e| e.to_string())?;
        let done =
            archive::write(request, &mut sink, &mut |bytes| written = bytes).map_err(|e| e.to_string())?;
        // A pipeline into a file: nobody waits for the disk (unrecorded: PVE/VZDump/LXC.pm of pve-container).
        sink.finish().map_err(|e| e.to_string())?;
        Ok(done)
    });
    match result {
        Ok(done) => {
            Done { bytes: done.tar_bytes, warnings: done.warnings, complete: true, ..Done::default() }
        }
        Err(text) => {
            let full = "No space left on device";
            let failed = if text.contains(full) || text.contains("no storage space") {
                compressor.words(full, written)
            } else {
                (vec![format!("tar: {text}"), "tar: Error is not recoverable: exiting now".into()], 2)
            };
            Done { bytes: written, pipeline: Some(failed), ..Done::default() }
        }
    }
}

/// Goes on over what does not fit, up to where the archive breaks off (rec 719, 730).
fn extract(archive: &Path, trees: &[Tree], limits: archive::Limits) -> Result<Done, String> {
    let outcome = archive::unpack_as_tar(archive, trees, &limits, &mut |_| ()).map_err(|e| e.to_string())?;
    let failed = outcome.broken.is_some() || !outcome.complaints.is_empty();
    let complete = outcome.broken.is_none();
    let mut warnings = outcome.complaints;
    warnings.extend(outcome.broken.iter().flat_map(|e| broken(archive, e)));
    Ok(Done { bytes: outcome.done.tar_bytes, warnings, failed, complete, pipeline: None })
}

fn broken(archive: &Path, error: &ArchiveError) -> Vec<String> {
    let tar = |text: &str| format!("tar: {text}");
    match error {
        ArchiveError::Damaged { .. } => {
            let mut lines = stdin_error(archive).into_iter().collect::<Vec<_>>();
            lines.extend(["Unexpected EOF in archive"; 2].map(tar));
            lines.push(tar("Error is not recoverable: exiting now"));
            lines
        }
        other => vec![tar(&other.to_string()), tar("Exiting with failure status due to previous errors")],
    }
}

/// What zstd says of an archive that breaks off.
pub(crate) fn stdin_error(archive: &Path) -> Option<String> {
    let zstd = archive.extension().is_some_and(|e| e == "zst");
    zstd.then(|| "/*stdin*\\ : Read error (39) : premature end ".to_owned())
}

/// Runs the archiver and waits for it, ending it if the task is asked to stop.
///
/// # Errors
/// What it wrote on standard error, or `received interrupt` (rec2 1126).
pub(crate) fn call(worker: &Worker, order: &Order) -> Result<Done, ApiError> {
    let mut command = Command::new(process::SELF);
    if let Order::Extract { trees, .. } = order
        && let Some((_, root)) = trees.first()
    {
        // `tar … -C /var/lib/lxc/ID/rootfs` (2/52): whoever looks for what a dead worker left finds it there.
        command.current_dir(root);
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.arg0("pve-sim").arg("tar").spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&serde_json::to_vec(order).map_err(io::Error::other)?)?;
    }
    // From here on it does its work, whatever becomes of the worker.
    let stopped = || ApiError::die(format!("command {}", order.interrupted()));
    let place = if matches!(order, Order::Create { .. }) { "archive" } else { "tar" };
    if let Err(error) =
        worker.phase(place).and_then(|()| if worker.stopping() { Err(stopped()) } else { Ok(()) })
    {
        end(&mut child);
        return Err(error);
    }
    let (output, errors) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let text = loop {
        match output.recv_timeout(Duration::from_millis(20)) {
            Ok(text) => break text,
            Err(mpsc::RecvTimeoutError::Disconnected) => break String::new(),
            Err(mpsc::RecvTimeoutError::Timeout) if worker.stopping() => {
                end(&mut child);
                return Err(stopped());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    };
    let status = child.wait()?;
    if status.success() {
        return serde_json::from_str(&text)
            .map_err(|e| ApiError::die(format!("command 'tar' answered nonsense: {e}")));
    }
    let reason = errors.recv().unwrap_or_default();
    Err(ApiError::die(format!("command 'tar' failed: {} ({status})", reason.trim())))
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Everything a pipe brings until its end.
fn listen(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_string(&mut text);
        }
        let _ = sender.send(text);
    });
    receiver
}

/// `4659200 (4.5MiB, 290MiB/s)`, as tar's `--totals` prints it.
pub(crate) fn totals(bytes: u64, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = (bytes as f64 / seconds.max(0.001)) as u64;
    format!("{bytes} ({}, {}/s)", human(bytes), human(rate))
}

/// `4.5MiB`, as tar prints sizes: rounded up.
pub(crate) fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss)]
    let mut value = bytes as f64;
    let mut unit = "";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit.is_empty() {
        format!("{bytes}B")
    } else if (value * 10.0).ceil() < 100.0 {
        format!("{:.1}{unit}", (value * 10.0).ceil() / 10.0)
    } else {
        format!("{:.0}{unit}", value.ceil())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rec 113, 273; 2/218: sizes are rounded up.
    #[test]
    fn totals_look_like_tars() {
        assert_eq!(totals(4_659_200, 4_659_200.0 / 205_520_896.0), "4659200 (4.5MiB, 196MiB/s)");
        assert_eq!(totals(104_632_320, 104_632_320.0 / 8_192_000.0), "104632320 (100MiB, 7.9MiB/s)");
        assert_eq!(human(512), "512B");
    }
}
