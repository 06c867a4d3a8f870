//! What a person sees while the demo runs: one line per event, with the time since the start.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Prints progress; to standard error if standard output is for the JSON summary.
pub(crate) struct Screen {
    started: Instant,
    quiet_stdout: bool,
    last: Mutex<String>,
}

impl Screen {
    /// A screen whose clock starts now.
    pub(crate) fn new(json: bool) -> Self {
        Self { started: Instant::now(), quiet_stdout: json, last: Mutex::new(String::new()) }
    }

    /// Start the clock again: the build is not part of the run.
    pub(crate) fn restart_clock(&mut self) {
        self.started = Instant::now();
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// A line.
    pub(crate) fn say(&self, text: &str) {
        self.print(&format!("{:6.1} s  {text}", self.seconds()));
    }

    /// A line, unless it says what the last one said.
    pub(crate) fn progress(&self, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            text.clone_into(&mut last);
            self.say(&format!("  … {text}"));
        }
    }

    /// A line without the time.
    pub(crate) fn print(&self, text: &str) {
        // A closed terminal does not change what is judged.
        let _ = if self.quiet_stdout {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
    }
}
