//! Printing: tables and text for people, one line of JSON for programs.

use crate::exit::Failure;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::io::Write as _;

/// A line on standard output; whoever reads may stop reading at any time, as `head` does.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Where and how a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One line of JSON on standard output.
    pub(crate) json: bool,
}

impl Output {
    /// A line for people.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if self.json {
            eprintln!("{}", text.as_ref());
        } else {
            print_line(text.as_ref());
        }
    }

    /// A table for people, or `empty` where it has no rows.
    pub(crate) fn table(self, head: &[&str], rows: Vec<Vec<String>>, empty: &str) {
        if rows.is_empty() {
            return self.say(empty);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(head.iter().map(|h| h.to_uppercase()));
        table.add_rows(rows);
        let text = table.to_string();
        let lines: Vec<&str> =
            text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
        self.say(lines.join("\n"));
    }

    /// The command's result for programs: the last line on standard output.
    pub(crate) fn result(self, value: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(value).map_err(|e| Failure::Failed(e.to_string()))?;
            print_line(&line);
        }
        Ok(())
    }

    /// The result of a command that did not go well: for programs still one object, with the error beside what was found.
    pub(crate) fn failed_result(self, mut value: serde_json::Value, failure: Failure) -> Failure {
        if !self.json {
            return failure;
        }
        if !value.is_object() {
            value = serde_json::json!({ "result": value });
        }
        value["error"] = failure.to_string().into();
        value["exit_code"] = failure.code().into();
        print_line(&value.to_string());
        Failure::Told(Box::new(failure))
    }
}

/// A failure for people, and for programs too.
pub(crate) fn failure(failure: &Failure, json: bool) {
    eprintln!("felhom: {failure}");
    if json && !matches!(failure, Failure::Told(_)) {
        let code = failure.code();
        print_line(&serde_json::json!({ "error": failure.to_string(), "exit_code": code }).to_string());
    }
}
