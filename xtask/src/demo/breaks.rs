//! `--break NAME`: ways to meddle with the demo from outside, as root on the host, a bad disk or a liar could. No program
//! has a switch for any of it. Each says at which step it begins, at which it has to be noticed, and by which words.

mod app;
mod archive;
mod destroyed;
mod receipt;
mod twin;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, bail};

use super::{driver::Demo, steps::Failure};
use crate::run;

/// A way to meddle.
pub(crate) struct Break {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it does, for people.
    pub(crate) about: &'static str,
    /// The step before which it begins.
    pub(crate) begins: u8,
    /// The step that has to notice.
    pub(crate) step: u8,
    /// What the failure has to say: that it was noticed for the right reason.
    pub(crate) words: &'static str,
    /// Begin.
    pub(crate) begin: fn(&Demo) -> Result<Meddling>,
}

impl std::fmt::Debug for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Break {
    /// Whether the demo ended at the right step for the right reason.
    pub(crate) fn is_noticed_by(&self, failure: &Failure) -> bool {
        failure.step == self.step && format!("{:#}", failure.error).contains(self.words)
    }
}

/// All ways.
pub(crate) const BREAKS: [Break; 6] = [
    Break {
        name: "resumed-app",
        about: "the app is resumed while it should stand still",
        begins: 4,
        step: 4,
        words: "the freeze did not hold",
        begin: app::resume_when_paused,
    },
    Break {
        name: "flipped-data",
        about: "a byte of the app's data changes between freeze and archive",
        begins: 4,
        step: 5,
        words: "L4 ",
        begin: archive::flip_in_snapshot,
    },
    Break {
        name: "flipped-archive",
        about: "a byte of the finished archive file changes",
        begins: 4,
        step: 5,
        words: "L1 ",
        begin: archive::flip_when_done,
    },
    Break {
        name: "altered-receipt",
        about: "the hub alters a receipt that the box signed",
        begins: 5,
        step: 5,
        words: "receipt does not verify",
        begin: receipt::alter_at_hub,
    },
    // Before the backup: a restore test begins by itself as soon as there is one, and its copy then listens already.
    Break {
        name: "twin-answers",
        about: "the live guest's app answers in place of the restored copy's",
        begins: 4,
        step: 5,
        words: "L3 ",
        begin: twin::answer_for_copies,
    },
    Break {
        name: "guest-destroyed",
        about: "root destroys the guest behind our back",
        begins: 7,
        step: 7,
        words: "is missing",
        begin: destroyed::destroy_as_root,
    },
];

/// The way of this name.
pub(crate) fn find(name: &str) -> Result<&'static Break> {
    static_breaks().iter().find(|broken| broken.name == name).map_or_else(
        || {
            let known: Vec<_> = BREAKS.iter().map(|broken| broken.name).collect();
            bail!("there are: {}", known.join(", "))
        },
        Ok,
    )
}

fn static_breaks() -> &'static [Break] {
    const ALL: &[Break] = &BREAKS;
    ALL
}

/// Meddling that goes on beside the steps; ends when it is dropped.
pub(crate) struct Meddling {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meddling {
    /// It is over already.
    fn over() -> Self {
        Self { end: Arc::default(), thread: None }
    }

    /// Do it again and again, until it says that it is done or the demo ends.
    fn repeat(every: Duration, mut work: impl FnMut() -> bool + Send + 'static) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) && !work() {
                run::pause(every);
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Meddling {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its outcome is judged by what the demo notices.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_is_noticed_at_its_step_and_for_its_reason_only() {
        let broken = find("flipped-archive").unwrap();
        let failure = |step, why: &'static str| Failure { step, title: "t", error: anyhow::anyhow!(why) };
        assert!(broken.is_noticed_by(&failure(5, "the restore test failed: L1 archive digest: x")));
        assert!(!broken.is_noticed_by(&failure(4, "the restore test failed: L1 archive digest: x")));
        assert!(!broken.is_noticed_by(&failure(5, "time ran out")));
        assert!(find("nothing").is_err());
    }

    #[test]
    fn meddling_ends_with_its_guard() {
        let meddling = Meddling::repeat(Duration::from_millis(1), || false);
        drop(meddling);
        drop(Meddling::repeat(Duration::from_millis(1), || true));
        drop(Meddling::over());
    }
}
