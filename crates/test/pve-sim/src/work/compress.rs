//! What stands between `tar` and the archive file: a bandwidth limit (`cstream`), a compressor, and their words on a full disk.

use std::io::{self, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::archive::{lzo, zstd_encoder};

/// A compressor as vzdump chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Compressor {
    /// `.tar`.
    #[default]
    None,
    /// `.tar.zst`.
    Zstd {
        /// Threads.
        threads: u64,
    },
    /// `.tar.gz`.
    Gzip,
    /// `.tar.gz` by pigz; where this machine has none, by gzip, which writes the same format.
    Pigz {
        /// Threads.
        threads: u64,
    },
    /// `.tar.lzo`.
    Lzop,
}

impl Compressor {
    /// `compress` with the options `zstd` and `pigz`, whose 0 and 1 stand for half of the cores.
    pub(crate) fn choose(compress: &str, zstd: i64, pigz: i64) -> Self {
        let half = || std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2)) as u64;
        match compress {
            "1" | "lzo" => Self::Lzop,
            "gzip" if pigz == 1 => Self::Pigz { threads: half() },
            "gzip" if pigz > 1 => Self::Pigz { threads: pigz.unsigned_abs() },
            "gzip" => Self::Gzip,
            "zstd" if zstd == 0 => Self::Zstd { threads: half() },
            "zstd" => Self::Zstd { threads: zstd.max(1).unsigned_abs() },
            _ => Self::None,
        }
    }

    /// `.tar` and what follows it.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::None => ".tar",
            Self::Zstd { .. } => ".tar.zst",
            Self::Gzip | Self::Pigz { .. } => ".tar.gz",
            Self::Lzop => ".tar.lzo",
        }
    }

    /// The extension while it is being written: the last part becomes `.dat` (rec 467; 2/872 without compression).
    pub(crate) fn unfinished(self) -> &'static str {
        if self == Self::None { ".dat" } else { ".tar.dat" }
    }

    /// Program and arguments.
    pub(crate) fn command(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Zstd { threads } => vec!["zstd".into(), format!("--threads={threads}")],
            Self::Gzip => vec!["gzip".into(), "--rsyncable".into()],
            Self::Pigz { threads } => {
                vec!["pigz".into(), "-p".into(), threads.to_string(), "--rsyncable".into()]
            }
            Self::Lzop => vec!["lzop".into()],
        }
    }

    /// What the pipeline prints when its file cannot be written, and its exit code (2/867, 872).
    pub(crate) fn words(self, reason: &str, written: u64) -> (Vec<String>, i32) {
        match self {
            Self::None => (
                vec![
                    format!("Total bytes written: {written} ({}, ?/s)", super::tar::human(written)),
                    format!("tar: -: Cannot write: {reason}"),
                    "tar: Error is not recoverable: exiting now".into(),
                ],
                2,
            ),
            Self::Zstd { .. } => {
                (vec![format!("zstd: error 70 : Write error : cannot write block : {reason} ")], 70)
            }
            // Unrecorded: gzip.c, pigz.c, lzop.c, each in its own words.
            Self::Gzip => (vec![format!("gzip: stdout: {reason}")], 1),
            Self::Pigz { .. } => (vec![format!("pigz: abort: write error on <stdout> ({reason})")], 28),
            Self::Lzop => (vec![format!("lzop: {reason}: <stdout>")], 1),
        }
    }
}

/// Where a tar stream goes.
pub(crate) struct Sink {
    stage: Stage,
    limit: Option<Limit>,
}

enum Stage {
    Plain(BufWriter<Box<dyn Write + Send>>),
    Zstd(Box<zstd::Encoder<'static, Box<dyn Write + Send>>>),
    Lzo(lzo::Writer<BufWriter<Box<dyn Write + Send>>>),
    Stock(Stock),
}

struct Limit {
    bytes_per_second: u64,
    started: Instant,
    written: u64,
}

struct Stock {
    child: Child,
    input: Option<ChildStdin>,
    copier: JoinHandle<io::Result<()>>,
}

impl Sink {
    /// `kilobytes` a second at most; 0 is no limit.
    ///
    /// # Errors
    /// If the compressor cannot be started.
    pub(crate) fn new(by: Compressor, kilobytes: u64, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let buffered = |out| BufWriter::with_capacity(1 << 20, out);
        let stage = match by {
            Compressor::None => Stage::Plain(buffered(out)),
            Compressor::Zstd { threads } => {
                let threads = u32::try_from(threads).unwrap_or(1);
                Stage::Zstd(Box::new(zstd_encoder(out, threads)?))
            }
            Compressor::Lzop => Stage::Lzo(lzo::Writer::new(buffered(out))?),
            Compressor::Gzip | Compressor::Pigz { .. } => Stage::Stock(Stock::start(&by.command(), out)?),
        };
        let limit = (kilobytes > 0).then(|| Limit {
            bytes_per_second: kilobytes * 1024,
            started: Instant::now(),
            written: 0,
        });
        Ok(Self { stage, limit })
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As the output's; or the compressor failed.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.stage {
            Stage::Plain(mut out) => out.flush(),
            Stage::Zstd(encoder) => encoder.finish()?.flush(),
            Stage::Lzo(writer) => writer.finish()?.flush(),
            Stage::Stock(stock) => stock.finish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.stage {
            Stage::Plain(out) => out.write(bytes),
            Stage::Zstd(encoder) => encoder.write(bytes),
            Stage::Lzo(writer) => writer.write(bytes),
            Stage::Stock(stock) => stock.write(bytes),
        }?;
        if let Some(limit) = &mut self.limit {
            limit.written += count as u64;
            let due = Duration::from_millis(limit.written * 1000 / limit.bytes_per_second);
            crate::state::lock::pause(due.saturating_sub(limit.started.elapsed()));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stock {
    fn start(command: &[String], mut out: Box<dyn Write + Send>) -> io::Result<Self> {
        let spawn = |program: &str, arguments: &[String]| {
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        };
        let mut child = match spawn(&command[0], &command[1..]) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && command[0] == "pigz" => {
                spawn("gzip", &["--rsyncable".to_owned()])?
            }
            other => other?,
        };
        let input = child.stdin.take();
        let mut output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let copier = std::thread::spawn(move || copy(&mut output, &mut out));
        Ok(Self { child, input, copier })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match input.write(bytes) {
            // It ended because its output could not be written.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe && self.copier.is_finished() => {
                self.input = None;
                Err(io::ErrorKind::StorageFull.into())
            }
            other => other,
        }
    }

    fn finish(mut self) -> io::Result<()> {
        drop(self.input.take());
        let copied = self.copier.join().map_err(|_| io::Error::other("copying failed"))?;
        let status = self.child.wait()?;
        copied?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("compressor: {status}"))) }
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(from, to)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_compressor() {
        assert_eq!(Compressor::choose("0", 1, 0), Compressor::None);
        assert_eq!(Compressor::choose("zstd", 2, 0), Compressor::Zstd { threads: 2 });
        assert_eq!(Compressor::choose("gzip", 1, 0).command().join(" "), "gzip --rsyncable");
        assert_eq!(Compressor::choose("gzip", 1, 3).command().join(" "), "pigz -p 3 --rsyncable");
        assert_eq!(Compressor::choose("1", 1, 0).extension(), ".tar.lzo");
        assert_eq!((Compressor::None.unfinished(), Compressor::Gzip.unfinished()), (".dat", ".tar.dat"));
    }

    #[test]
    fn a_limit_holds_the_stream_back() {
        let started = Instant::now();
        let mut sink = Sink::new(Compressor::None, 1000, Box::new(io::sink())).unwrap();
        sink.write_all(&vec![0; 200 << 10]).unwrap();
        sink.finish().unwrap();
        assert!(started.elapsed() >= Duration::from_millis(150));
    }
}
