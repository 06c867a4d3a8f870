//! Opening an archive for reading: the compression by its name, decompression in a thread of its own.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{ArchiveError, lzo};

/// Bytes that are handed from the decompressing thread at once.
const CHUNK: usize = 1 << 20;

/// The tar stream of an archive; counts what was read and remembers whether its end was seen.
pub(super) struct Input {
    reader: Box<dyn Read>,
    /// Bytes read so far.
    pub(super) position: u64,
    /// A read found no more bytes.
    pub(super) ended: bool,
}

impl Input {
    /// Opens `archive`. `threaded` decompresses ahead; without it, nothing is read beyond what is asked for.
    pub(super) fn open(archive: &Path, threaded: bool) -> Result<Self, ArchiveError> {
        Self::open_slowly(archive, threaded, None)
    }

    /// As [`Input::open`], reading the file at so many bytes a second.
    pub(super) fn open_slowly(
        archive: &Path,
        threaded: bool,
        rate: Option<u64>,
    ) -> Result<Self, ArchiveError> {
        let file = File::open(archive).map_err(ArchiveError::io("open archive", archive))?;
        let name = archive.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let slow = |file| Slow { file, rate, since: Instant::now(), count: 0 };
        let reader: Box<dyn Read> = if name.ends_with(".tar") {
            Box::new(BufReader::with_capacity(CHUNK, slow(file)))
        } else if name.ends_with(".tar.zst") {
            let decoder =
                zstd::Decoder::new(slow(file)).map_err(ArchiveError::io("start zstd for", archive))?;
            if threaded { Box::new(Ahead::new(decoder)) } else { Box::new(decoder) }
        } else if name.ends_with(".tar.gz") {
            Box::new(Stock::start("gzip", file).map_err(ArchiveError::io("start gzip for", archive))?)
        } else if name.ends_with(".tar.lzo") {
            let compressed = lzo::is_compressed(&mut BufReader::new(&file)).unwrap_or(false);
            (&file).rewind().map_err(ArchiveError::io("read", archive))?;
            if compressed {
                Box::new(Stock::start("lzop", file).map_err(ArchiveError::io("start lzop for", archive))?)
            } else {
                let reader = lzo::Reader::new(BufReader::with_capacity(CHUNK, slow(file)));
                Box::new(reader.map_err(ArchiveError::io("read lzop header of", archive))?)
            }
        } else {
            return Err(ArchiveError::UnknownFormat(archive.to_path_buf()));
        };
        Ok(Self { reader, position: 0, ended: false })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// A file that is read at so many bytes a second, as `cstream -t` does it.
struct Slow {
    file: File,
    rate: Option<u64>,
    since: Instant,
    count: u64,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else { return self.file.read(buffer) };
        let part = usize::try_from(rate / 50).unwrap_or(usize::MAX).max(512).min(buffer.len());
        let count = self.file.read(&mut buffer[..part])?;
        self.count += count as u64;
        let due = Duration::from_micros(self.count.saturating_mul(1_000_000) / rate);
        while self.since.elapsed() < due {
            thread::park_timeout(due.saturating_sub(self.since.elapsed()));
        }
        Ok(count)
    }
}

/// A stock tool that decompresses; its failure is an error at the end.
struct Stock {
    child: Child,
    output: ChildStdout,
}

impl Stock {
    fn start(program: &str, file: File) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("-dc")
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        Ok(Self { child, output })
    }
}

impl Read for Stock {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads from another thread. An empty chunk is the end.
struct Ahead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    offset: usize,
    ended: bool,
}

impl Ahead {
    fn new(mut source: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = sync_channel(4);
        thread::spawn(move || feed(&mut source, &sender));
        Self { chunks, current: Vec::new(), offset: 0, ended: false }
    }
}

/// Runs until the end, an error, or nobody listens any more.
fn feed(source: &mut dyn Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let result = source.take(CHUNK as u64).read_to_end(&mut chunk);
        let last = chunk.is_empty() || result.is_err();
        if !chunk.is_empty() && sender.send(Ok(chunk)).is_err() {
            return;
        }
        if last {
            drop(sender.send(result.map(|_| Vec::new())));
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.offset == self.current.len() && !self.ended {
            let next = self.chunks.recv().map_err(|_| io::Error::other("decompression stopped"))?;
            self.current = next?;
            self.offset = 0;
            self.ended = self.current.is_empty();
        }
        let count = buffer.len().min(self.current.len() - self.offset);
        buffer[..count].copy_from_slice(&self.current[self.offset..self.offset + count]);
        self.offset += count;
        Ok(count)
    }
}
