//! Calling one of the programs for its answer: `PROGRAM … --json`, whose last line on standard output is one JSON value.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The last line on standard output, if it is JSON.
    pub(crate) json: Option<Value>,
    /// All of standard output.
    pub(crate) output: String,
    /// Standard error.
    pub(crate) errors: String,
}

/// Call and wait, whatever the exit status.
pub(crate) fn end_of(command: &mut Command) -> Result<Ended> {
    let words = run::describe(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{words}`"))?;
    Ok(ended(&out))
}

fn ended(out: &Output) -> Ended {
    let output = String::from_utf8_lossy(&out.stdout).into_owned();
    Ended {
        code: out.status.code(),
        json: last_line(&output),
        output,
        errors: String::from_utf8_lossy(&out.stderr).trim().to_owned(),
    }
}

/// Call, and have status 0 and a JSON answer.
pub(crate) fn json(command: &mut Command) -> Result<Value> {
    let words = run::describe(command);
    let ended = end_of(command)?;
    if ended.code != Some(0) {
        let why = if ended.errors.is_empty() { &ended.output } else { &ended.errors };
        bail!("`{words}` ended with status {:?}: {}", ended.code, last_lines(why, 12));
    }
    ended.json.with_context(|| format!("`{words}` printed no JSON as its last line: {}", ended.output))
}

/// Call with standard input, and have status 0 and a JSON answer.
pub(crate) fn json_with_input(command: &mut Command, input: &str) -> Result<Value> {
    let ended = end_with_input(command, input)?;
    let words = run::describe(command);
    if ended.code != Some(0) {
        bail!("`{words}` ended with status {:?}: {}", ended.code, last_lines(&ended.errors, 12));
    }
    ended.json.with_context(|| format!("`{words}` printed no JSON as its last line: {}", ended.output))
}

/// Call with standard input and wait, whatever the exit status.
pub(crate) fn end_with_input(command: &mut Command, input: &str) -> Result<Ended> {
    let words = run::describe(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{words}`"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).with_context(|| format!("`{words}` does not read its input"))?;
    drop(stdin);
    Ok(ended(&child.wait_with_output()?))
}

/// A program of ours, by its file.
pub(crate) fn program(folder: &Path, name: &str) -> Command {
    Command::new(folder.join(name))
}

fn last_line(output: &str) -> Option<Value> {
    serde_json::from_str(output.lines().rev().find(|line| !line.trim().is_empty())?).ok()
}

/// The end of a long text.
pub(crate) fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_answer() {
        let script = |text: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", text]);
            command
        };
        assert_eq!(json(&mut script("echo working; echo '{\"a\":1}'")).unwrap()["a"], 1);
        assert!(json(&mut script("echo no")).is_err());
        let error = json(&mut script("echo why >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        assert_eq!(json_with_input(&mut script("cat"), "[1]\n").unwrap()[0], 1);
        assert_eq!(end_of(&mut script("echo '{}'; exit 4")).unwrap().code, Some(4));
    }
}
