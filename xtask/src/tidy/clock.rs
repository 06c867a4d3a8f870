//! Hub, agent and executor are dated by the clock that is handed in: nothing in them reads another one.

use super::{Finding, purity::has_word, source::Source};

const RULE: &str = "clock";
const FOLDERS: [&str; 3] = ["crates/app/hub/src/", "crates/app/agent/src/", "crates/app/executor/src/"];
const READINGS: [&str; 3] = ["Timestamp::now", "Zoned::now", "SystemTime::now"];

/// Lines that read the machine's clock.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !FOLDERS.iter().any(|folder| source.path.starts_with(folder)) || source.is_test_file() {
        return Vec::new();
    }
    let shipped = (0..source.raw.len()).filter(|line| source.is_production(*line));
    let reads = shipped.filter(|line| READINGS.iter().any(|word| has_word(&source.code[*line], word)));
    let finding = |line: usize| Finding {
        place: format!("{}:{}", source.path, line + 1),
        rule: RULE,
        text: "reads the machine's clock; ask the one that was handed in, or hand in `Clock::of_machine()`"
            .to_owned(),
    };
    reads.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_that_are_simulated_are_held_to_it() {
        let findings = |path: &str, line: &str| {
            let source = Source::parse(path.to_owned(), &format!("fn f() {{ {line} }}\n"));
            check(&source).len()
        };
        for line in ["let at = Timestamp::now();", "jiff::Zoned::now();", "f(SystemTime::now);"] {
            assert_eq!(findings("crates/app/hub/src/a.rs", line), 1, "{line}");
            assert_eq!(findings("crates/app/cli/src/a.rs", line), 0, "{line}");
            assert_eq!(findings("crates/app/agent/tests/it/a.rs", line), 0, "{line}");
        }
        assert_eq!(findings("crates/app/hub/src/a.rs", "let at = hub.now(); // Timestamp::now"), 0);
    }
}
