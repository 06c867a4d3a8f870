//! A part: hub, agent or executor, in a process of its own that obeys.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What takes longer hangs.
const LONGEST: Duration = Duration::from_secs(90);

/// Runs a command to its end, which has to be a good one.
pub(crate) fn run(program: PathBuf, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A point at which the executor stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) number: u32,
    pub(crate) what: String,
}

/// The process.
pub(crate) struct Part {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
    /// Points that nobody answered yet.
    pub(crate) standing: Vec<Point>,
    other: VecDeque<String>,
}

impl Part {
    /// Starts one; what it logs is appended to a file.
    pub(crate) fn start(name: &str, config: &Path, ms: i64, log: &Path) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_felhom-part"))
            .args([name, config.to_str().unwrap(), &ms.to_string()])
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let orders = child.stdin.take().unwrap();
        Self { child, orders, lines, standing: Vec::new(), other: VecDeque::new() }
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) fn order(&mut self, order: &str) -> Result<(), String> {
        self.begin(order);
        self.end(order)
    }

    /// Gives an order.
    pub(crate) fn begin(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Waits for the end of an order.
    pub(crate) fn end(&mut self, order: &str) -> Result<(), String> {
        let end = Instant::now() + LONGEST;
        loop {
            if let Some(line) = self.other.pop_front() {
                if line == "ok" {
                    return Ok(());
                }
                if let Some(why) = line.strip_prefix("error ") {
                    return Err(why.to_owned());
                }
                continue;
            }
            assert!(Instant::now() < end, "`{order}` hangs");
            self.hear(Duration::from_millis(100));
        }
    }

    /// Takes in what it says, for as long as `wait` if it says nothing.
    pub(crate) fn hear(&mut self, wait: Duration) {
        let mut wait = wait;
        loop {
            match self.lines.recv_timeout(wait) {
                Ok(line) => match point(&line) {
                    Some(point) => self.standing.push(point),
                    None => self.other.push_back(line),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            wait = Duration::ZERO;
        }
    }

    /// The first line, of a part that says one when it is ready.
    pub(crate) fn ready(&mut self) -> String {
        let end = Instant::now() + LONGEST;
        while self.other.is_empty() {
            assert!(Instant::now() < end, "it does not get ready");
            self.hear(Duration::from_millis(100));
        }
        self.other.pop_front().unwrap()
    }

    /// Answers a point. A process that dies of it says nothing any more.
    pub(crate) fn answer(&mut self, point: &Point, word: &str) {
        self.standing.retain(|other| other != point);
        self.begin(&format!("{word} {}", point.number));
        if word != "die" {
            assert_eq!(self.end(word), Ok(()), "{point:?}");
        }
    }

    /// Waits until it has died by itself.
    pub(crate) fn dies(&mut self) {
        let end = Instant::now() + LONGEST;
        while !self.is_dead() {
            assert!(Instant::now() < end, "it does not die");
            self.hear(Duration::from_millis(5));
        }
    }

    /// Whether it is dead.
    pub(crate) fn is_dead(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn point(line: &str) -> Option<Point> {
    let (number, what) = line.strip_prefix("point ")?.split_once(' ')?;
    Some(Point { number: number.parse().ok()?, what: what.to_owned() })
}
