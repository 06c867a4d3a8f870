//! Stage files: what was done at the node by hand, what is out of scope and why. One file a step, `RECORDING/STEP.toml`.

use std::{collections::BTreeMap, collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Lines that are not replayed, with the reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutEntry {
    lines: String,
    reason: String,
    /// Sent nevertheless, for what it does.
    #[serde(default)]
    send: bool,
}

/// Something done at the node before a line is replayed (or after it).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Do {
    /// The line.
    pub(crate) at: usize,
    /// After the line instead of before it.
    #[serde(default)]
    pub(crate) after: bool,
    /// A bash script; see `shell.rs` for what it has at hand.
    pub(crate) command: Option<String>,
    /// Add this fault rule.
    pub(crate) fault: Option<Fault>,
    /// Take the fault rules at this place away again.
    pub(crate) unfault: Option<String>,
    /// SIGKILL for the worker of the task that this line started.
    pub(crate) kill_task: Option<usize>,
    /// Wait until the held task that this line started is at this phase of its log: the text appears in it.
    pub(crate) log_of: Option<usize>,
    /// The text for `log_of`.
    pub(crate) log_has: Option<String>,
    /// Wait for the end of the task that this line started.
    pub(crate) wait_task: Option<usize>,
    /// Wait until no task of the node runs.
    #[serde(default)]
    pub(crate) wait_all: bool,
    /// A call that the recording does not show, and the end of its task.
    pub(crate) call: Option<Call>,
    /// One round of pvestatd.
    #[serde(default)]
    pub(crate) round: bool,
    /// Wait for the next full second.
    #[serde(default)]
    pub(crate) next_second: bool,
    /// End the simulator (`term` or `kill`) and start it again on its state.
    pub(crate) restart: Option<String>,
    /// Why, for the reader.
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the stage file")]
    pub(crate) reason: String,
}

/// A call that was not recorded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// `felhom@pve!executor`; root's ticket if there is none.
    pub(crate) token: Option<String>,
    /// POST, PUT or DELETE.
    pub(crate) method: String,
    /// Below `/api2/json`.
    pub(crate) path: String,
    /// The form.
    #[serde(default)]
    pub(crate) form: String,
}

/// A rule of `control/faults.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// `TYPE.PHASE`.
    pub(crate) at: String,
    /// The task's id (a VMID as recorded).
    pub(crate) id: Option<String>,
    /// Of a call's rule.
    pub(crate) method: Option<String>,
    /// Of a call's rule.
    pub(crate) path: Option<String>,
    /// `hold`, `kill`, `delay_ms=N`, `fail=TEXT`, or another of the simulator's acts.
    #[serde(rename = "do")]
    pub(crate) act: String,
}

/// Where a task is held and until which line has been answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// The line that starts the task.
    pub(crate) task: usize,
    /// Phase (`archive`), or `none` for a task that is not held although the recording shows it running; with `until` it is not
    /// waited for, either, before the lines up to that one.
    pub(crate) at: String,
    /// It goes on after this line; default: the last line that shows it running.
    pub(crate) until: Option<usize>,
    /// The UPID's id, if it is not the recorded task's.
    pub(crate) id: Option<String>,
    /// Let it go on although later lines do not wait for its end (it is waited for only where its end is recorded).
    #[serde(default)]
    pub(crate) free: bool,
}

/// A shell line that is run, on the simulator's files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunEntry {
    lines: String,
    command: Option<String>,
    #[serde(default = "yes")]
    compare: bool,
}

fn yes() -> bool {
    true
}

/// How a shell line is run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Instead of the recorded words.
    pub(crate) command: Option<String>,
    /// Whether what it prints has to be what was recorded; a line that is not compared counts as out of scope.
    pub(crate) compare: bool,
}

/// Credentials that the recording blanked although they were not the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Credentials {
    /// A ticket whose signature is wrong.
    ForgedTicket,
    /// A CSRF token that is not the ticket's.
    BadCsrf,
    /// A token with another secret.
    WrongSecret,
    /// A token with the secret that it had before the last one.
    OldSecret,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendEntry {
    lines: String,
    credentials: Credentials,
}

/// Fields that differ for a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LooseEntry {
    lines: String,
    fields: Vec<String>,
    #[expect(dead_code, reason = "for the reader of the stage file")]
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StageFile {
    out: Vec<OutEntry>,
    #[serde(rename = "do")]
    acts: Vec<Do>,
    hold: Vec<Hold>,
    run: Vec<RunEntry>,
    send: Vec<SendEntry>,
    loose: Vec<LooseEntry>,
}

/// All stage files of one recording.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// Out of scope: line → reason.
    pub(crate) out: BTreeMap<usize, String>,
    /// Out of scope, but sent for what they do.
    pub(crate) sent: BTreeSet<usize>,
    /// In order.
    pub(crate) acts: Vec<Do>,
    /// By the line that starts the task.
    pub(crate) holds: BTreeMap<usize, Hold>,
    /// Shell lines that are run.
    pub(crate) runs: BTreeMap<usize, Run>,
    /// Lines with wrong credentials.
    pub(crate) credentials: BTreeMap<usize, Credentials>,
    /// Lines with fields that are compared by type only.
    pub(crate) loose: BTreeMap<usize, Vec<String>>,
}

/// Reads every stage file in a folder (all but `node.toml`).
///
/// # Errors
/// A file cannot be read or understood.
pub(crate) fn load(folder: &Path) -> Result<Stage> {
    let mut stage = Stage::default();
    let mut names: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml") && !path.ends_with("node.toml"))
        .collect();
    names.sort();
    for path in names {
        let text = fs::read_to_string(&path)?;
        let file: StageFile = toml::from_str(&text).with_context(|| path.display().to_string())?;
        stage.add(file).with_context(|| path.display().to_string())?;
    }
    Ok(stage)
}

impl Stage {
    fn add(&mut self, file: StageFile) -> Result<()> {
        for entry in file.out {
            for line in lines(&entry.lines)? {
                if self.out.insert(line, entry.reason.clone()).is_some() {
                    bail!("line {line} is out of scope twice");
                }
                if entry.send {
                    self.sent.insert(line);
                }
            }
        }
        for entry in file.run {
            for line in lines(&entry.lines)? {
                self.runs.insert(line, Run { command: entry.command.clone(), compare: entry.compare });
            }
        }
        for entry in file.send {
            self.credentials.extend(lines(&entry.lines)?.into_iter().map(|line| (line, entry.credentials)));
        }
        for entry in file.loose {
            for line in lines(&entry.lines)? {
                self.loose.entry(line).or_default().extend(entry.fields.clone());
            }
        }
        self.holds.extend(file.hold.into_iter().map(|hold| (hold.task, hold)));
        self.acts.extend(file.acts);
        Ok(())
    }
}

/// `12-15,20`.
fn lines(text: &str) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().with_context(|| format!("lines = {text:?}"));
        found.extend(number(from)?..=number(to)?);
    }
    Ok(found)
}

/// A step's name as the name of its stage file.
pub(crate) fn slug(step: &str) -> String {
    step.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_file_is_read() {
        let text = "[[out]]\nlines = \"3-4,9\"\nreason = \"QEMU\"\n[[do]]\nat = 5\ncommand = \"true\"\n\
                    [[hold]]\ntask = 7\nat = \"archive\"\n[[send]]\nlines = \"5\"\ncredentials = \"bad-csrf\"\n";
        let mut stage = Stage::default();
        stage.add(toml::from_str(text).unwrap()).unwrap();
        assert_eq!(stage.out.keys().copied().collect::<Vec<_>>(), [3, 4, 9]);
        assert_eq!(stage.credentials[&5], Credentials::BadCsrf);
        assert_eq!(stage.holds[&7].at, "archive");
        assert!(toml::from_str::<StageFile>("[[do]]\nat = 1\nwhat = 3").is_err());
        assert_eq!(slug("clone/pool/misc"), "clone-pool-misc");
    }
}
