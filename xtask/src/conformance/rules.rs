//! What no two nodes share, and what is taken out of a recorded answer: `volatile.toml`, each with its reason. Pure.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

pub(super) type Object = serde_json::Map<String, Value>;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// It has to be there, of the same type.
    Type,
    /// It has to be there.
    Any,
    /// A list written as text, in any order.
    Set,
    /// It may also be missing.
    Maybe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldRule {
    keys: Vec<String>,
    /// Only for requests whose path contains this.
    path: Option<String>,
    /// Only in an object of which this is true: `type=node`.
    object: Option<String>,
    how: How,
    #[expect(dead_code, reason = "for the reader of the file")]
    reason: String,
}

/// Entries of recorded lists that are taken out: `type=pbs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AbsentRule {
    object: String,
    #[expect(dead_code, reason = "for the reader of the file")]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineRule {
    pattern: String,
    #[expect(dead_code, reason = "for the reader of the file")]
    reason: String,
}

/// Lines of a log that come in any order among each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderRule {
    prefixes: Vec<String>,
    #[expect(dead_code, reason = "for the reader of the file")]
    reason: String,
}

/// What is known to differ between two nodes: `volatile.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    field: Vec<FieldRule>,
    line: Vec<LineRule>,
    order: Vec<OrderRule>,
    absent: Vec<AbsentRule>,
    /// Lines of recorded task logs that are taken out.
    artefact: Vec<LineRule>,
}

impl Rules {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("volatile.toml")
    }

    pub(super) fn how(&self, path: &str, key: &str, object: &Object) -> Option<How> {
        let is = |condition: &String| holds(condition, object);
        let fits = |rule: &&FieldRule| {
            rule.keys.iter().any(|k| k == key)
                && rule.path.as_ref().is_none_or(|part| path.contains(part.as_str()))
                && rule.object.as_ref().is_none_or(is)
        };
        self.field.iter().find(fits).map(|rule| rule.how)
    }

    pub(super) fn any_order(&self, line: &str) -> bool {
        self.order.iter().any(|rule| rule.prefixes.iter().any(|prefix| line.starts_with(prefix.as_str())))
    }

    /// Whether two texts are the same but for numbers that no two nodes share.
    pub(crate) fn same_text(&self, recorded: &str, ours: &str) -> bool {
        let plain = |text: &str| sort_options(&blank_processes(&blank_times(text)));
        let (recorded, ours) = (plain(recorded), plain(ours));
        recorded == ours
            || self.line.iter().any(|rule| glob(&rule.pattern, &recorded) && glob(&rule.pattern, &ours))
    }
}

/// `type=node`: whether an object's field has a value.
fn holds(condition: &str, object: &Object) -> bool {
    condition.split_once('=').is_some_and(|(key, value)| object.get(key).is_some_and(|v| v == value))
}

impl Rules {
    /// Takes entries out of a recorded list that stand for what is not simulated.
    pub(super) fn without_absent(&self, answer: &mut Value) {
        let Some(list) = answer.get_mut("data").and_then(Value::as_array_mut) else { return };
        list.retain(|entry| {
            let Some(object) = entry.as_object() else { return true };
            !self.absent.iter().any(|rule| holds(&rule.object, object))
        });
    }

    /// How many lines of a recorded task log the recorded node's mail system put there.
    pub(crate) fn artefacts(&self, answer: &Value) -> u64 {
        let lines = answer["data"].as_array().into_iter().flatten();
        lines.filter(|line| self.is_artefact(line)).count() as u64
    }

    fn is_artefact(&self, line: &Value) -> bool {
        let text = line.get("t").and_then(Value::as_str);
        text.is_some_and(|text| self.artefact.iter().any(|rule| glob(&rule.pattern, text)))
    }

    /// Takes such lines out; `known` is how many the whole log has, of which this may be a page.
    pub(super) fn without_artefacts(&self, answer: &mut Value, known: u64) {
        let Some(lines) = answer.get_mut("data").and_then(Value::as_array_mut) else { return };
        let before = lines.len();
        let first = lines.iter().filter_map(|line| line["n"].as_u64()).min().unwrap_or(1);
        lines.retain(|line| !self.is_artefact(line));
        let removed = known.max((before - lines.len()) as u64);
        if removed == 0 {
            return;
        }
        for (at, line) in lines.iter_mut().enumerate() {
            line["n"] = Value::from(first + at as u64);
        }
        if let Some(total) = answer.get("total").and_then(Value::as_u64) {
            answer["total"] = Value::from(total - removed);
        }
    }
}
/// `vzdumptmp4711_100`, `/proc/4711/root`: process numbers in names.
fn blank_processes(text: &str) -> String {
    let after = |text: String, stem: &str| {
        let mut parts = text.split(stem);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |out, part| out + stem + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    after(after(text.to_owned(), "vzdumptmp"), "/proc/")
}

/// `2026-11-23 16:14:56` is `<time>`.
fn blank_times(text: &str) -> String {
    let bytes = text.as_bytes();
    let fits = |at: usize| {
        bytes.get(at..at + 19).is_some_and(|part| {
            part.iter().enumerate().all(|(n, c)| match n {
                4 | 7 => *c == b'-',
                10 => *c == b' ',
                13 | 16 => *c == b':',
                _ => c.is_ascii_digit(),
            })
        })
    };
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        if fits(at) {
            out.push_str(&text[done..at]);
            out.push_str("<time>");
            at += 19;
            done = at;
        } else {
            at += 1;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// PVE prints a backup's options in the order of a Perl hash.
fn sort_options(text: &str) -> String {
    if !text.starts_with("INFO: starting new backup job: ") {
        return text.to_owned();
    }
    let mut parts: Vec<&str> = text.split(" --").collect();
    parts[1..].sort_unstable();
    parts.join(" --")
}

/// `*` is any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
