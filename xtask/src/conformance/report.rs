//! The score of a replay: by step and in total, the tenth chosen by hash apart.

use std::fmt::Write as _;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    compare::Difference,
    recording::{Line, What},
    replay::Verdict,
};

/// Of what is in scope, so much has to match.
const MATCHED_GOAL: f64 = 97.0;
/// The tenth may be so many points worse than the rest.
const TENTH_GAP: f64 = 3.0;

/// Numbers of lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// As recorded.
    pub(crate) matched: usize,
    /// Compared.
    pub(crate) scope: usize,
    /// Not compared.
    pub(crate) out: usize,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Out(_) => self.out += 1,
            Verdict::Matched => {
                self.matched += 1;
                self.scope += 1;
            }
            Verdict::Differs(_) => self.scope += 1,
        }
    }

    /// Matched in a hundred in scope.
    pub(crate) fn rate(self) -> f64 {
        percent(self.matched, self.scope)
    }

    /// In scope in a hundred lines.
    pub(crate) fn coverage(self) -> f64 {
        percent(self.scope, self.scope + self.out)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    let (part, whole) = (u32::try_from(part).unwrap_or(u32::MAX), u32::try_from(whole).unwrap_or(u32::MAX));
    f64::from(part) * 100.0 / f64::from(whole)
}

/// One recording, one mode.
#[derive(Debug)]
pub(crate) struct Score {
    /// `recordings.jsonl`.
    pub(crate) file: String,
    /// `plain` or `renamed`.
    pub(crate) mode: &'static str,
    /// In scope at least, of a hundred lines.
    pub(crate) coverage_goal: f64,
    /// By step, in order.
    pub(crate) steps: Vec<(String, Tally)>,
    /// All.
    pub(crate) total: Tally,
    /// The tenth chosen by hash.
    pub(crate) tenth: Tally,
    /// The rest.
    pub(crate) rest: Tally,
}

/// Whether a line is in the tenth that is reported apart.
pub(crate) fn in_tenth(file: &str, line: usize) -> bool {
    let hash = Sha256::digest(format!("{file}:{line}"));
    let number = hash.iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    number % 10 == 0
}

/// Counts.
pub(crate) fn score(
    file: &str,
    mode: &'static str,
    coverage_goal: f64,
    lines: &[Line],
    verdicts: &[Verdict],
) -> Score {
    let mut score = Score {
        file: file.to_owned(),
        mode,
        coverage_goal,
        steps: Vec::new(),
        total: Tally::default(),
        tenth: Tally::default(),
        rest: Tally::default(),
    };
    for (line, verdict) in lines.iter().zip(verdicts) {
        if !score.steps.iter().any(|(step, _)| *step == line.step) {
            score.steps.push((line.step.clone(), Tally::default()));
        }
        if let Some((_, tally)) = score.steps.iter_mut().find(|(step, _)| *step == line.step) {
            tally.add(verdict);
        }
        score.total.add(verdict);
        if in_tenth(file, line.number) { score.tenth.add(verdict) } else { score.rest.add(verdict) }
    }
    score
}

impl Score {
    /// What is below its goal, in words.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if self.total.rate() < MATCHED_GOAL {
            misses.push(format!("matched {:.1} % < {MATCHED_GOAL} %", self.total.rate()));
        }
        if self.total.coverage() < self.coverage_goal {
            misses.push(format!("in scope {:.1} % < {} %", self.total.coverage(), self.coverage_goal));
        }
        if self.tenth.scope > 0 && self.tenth.rate() < self.rest.rate() - TENTH_GAP {
            misses.push(format!("the tenth {:.1} %, the rest {:.1} %", self.tenth.rate(), self.rest.rate()));
        }
        misses
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{} ({})\n", self.file, self.mode);
        let _ = writeln!(text, "  {:32} {:>7} {:>8} {:>12}", "step", "matched", "in scope", "out of scope");
        for (step, tally) in &self.steps {
            let _ = writeln!(
                text,
                "  {step:32} {:>7} {:>8} {:>12}  {:>5.1} %",
                tally.matched,
                tally.scope,
                tally.out,
                tally.rate()
            );
        }
        let total = self.total;
        let _ = writeln!(
            text,
            "  {:32} {:>7} {:>8} {:>12}  {:>5.1} %, in scope {:.1} % (goal {} %)",
            "total",
            total.matched,
            total.scope,
            total.out,
            total.rate(),
            total.coverage(),
            self.coverage_goal
        );
        let (tenth, rest) = (self.tenth, self.rest);
        let _ = writeln!(
            text,
            "  the tenth chosen by hash: {} of {} ({:.1} %), the rest {:.1} %",
            tenth.matched,
            tenth.scope,
            tenth.rate(),
            rest.rate()
        );
        text
    }
}

/// A line and its differences, for people.
pub(crate) fn describe(line: &Line, differences: &[Difference], whole: bool) -> String {
    let what = match &line.what {
        What::Http(exchange) => {
            let body = exchange.body.as_deref().unwrap_or_default();
            format!(
                "{} {} {}",
                exchange.method,
                exchange.path.trim_start_matches("/api2/json"),
                cut(body, 150, whole)
            )
        }
        What::Raw { request, .. } => format!("raw {:?}", cut(request, 150, whole)),
        What::Shell { line, .. } => format!("$ {}", cut(line, 150, whole)),
    };
    let mut text = format!("{:5} [{}] {what}\n", line.number, line.step);
    for difference in differences {
        let (expected, got) = (cut(&difference.expected, 400, whole), cut(&difference.got, 400, whole));
        let _ = writeln!(
            text,
            "        {}\n          expected {expected}\n          got      {got}",
            difference.at
        );
    }
    text
}

fn cut(text: &str, length: usize, whole: bool) -> String {
    if whole || text.chars().count() <= length {
        return text.to_owned();
    }
    let short: String = text.chars().take(length).collect();
    format!("{short}…")
}

/// For programs.
pub(crate) fn to_json(line: &Line, verdict: &Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Out(reason) => {
            json!({"line": line.number, "step": line.step, "verdict": "out", "reason": reason})
        }
        Verdict::Matched => json!({"line": line.number, "step": line.step, "verdict": "matched"}),
        Verdict::Differs(all) => {
            let all: Vec<_> =
                all.iter().map(|d| json!({"at": d.at, "expected": d.expected, "got": d.got})).collect();
            json!({"line": line.number, "step": line.step, "verdict": "differs", "differences": all})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(matched: usize, scope: usize, out: usize) -> Tally {
        Tally { matched, scope, out }
    }

    #[test]
    fn a_score_below_a_goal_says_so() {
        let mut score = score("f", "plain", 60.0, &[], &[]);
        score.total = tally(97, 100, 60);
        score.tenth = tally(9, 10, 0);
        score.rest = tally(90, 90, 0);
        assert_eq!(score.misses(), ["the tenth 90.0 %, the rest 100.0 %"]);
        score.total = tally(96, 100, 100);
        score.tenth = tally(10, 10, 0);
        assert_eq!(score.misses().len(), 2);
    }

    #[test]
    fn the_tenth_is_about_a_tenth_and_always_the_same() {
        let count = (1..=10_000).filter(|line| in_tenth("recordings.jsonl", *line)).count();
        assert!((900..1100).contains(&count), "{count}");
        assert_eq!(in_tenth("a", 1), in_tenth("a", 1));
    }
}
