//! What a test runner says about itself, as numbers.

use std::ops::Add;

use anyhow::{Result, bail};

/// Tests of a group.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Held.
    pub(crate) passed: usize,
    /// Did not.
    pub(crate) failed: usize,
    /// Were not run.
    pub(crate) skipped: usize,
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Count {
    /// The count, unless the runner's status says something else than its figures.
    ///
    /// # Errors
    /// The runner failed although it names no failed test: it did not build, or died.
    pub(crate) fn or_failed(self, success: bool) -> Result<Self> {
        if !success && self.failed == 0 {
            bail!("the test runner failed without naming a failed test (a build error?); see above");
        }
        Ok(self)
    }
}

/// Without colours, which somebody may have asked for.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A sequence ends with a letter.
            chars.find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

/// From nextest's last line: `Summary [ 1.2s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
pub(crate) fn nextest(text: &str) -> Count {
    let lines = text.lines().rev().map(plain);
    let Some(line) = lines.into_iter().find(|line| line.trim_start().starts_with("Summary [")) else {
        return Count::default();
    };
    let figures = line.split_once("run:").map_or("", |(_, figures)| figures);
    Count {
        passed: before(figures, "passed"),
        failed: before(figures, "failed") + before(figures, "timed out") + before(figures, "exec failed"),
        skipped: before(figures, "skipped"),
    }
}

/// From every `test result: ok. 5 passed; 0 failed; 1 ignored; …` of libtest.
pub(crate) fn libtest(text: &str) -> Count {
    let lines = text.lines().map(plain);
    let results = lines.filter(|line| line.trim_start().starts_with("test result: "));
    results.fold(Count::default(), |sum, line| {
        let before = |word| before(&line, word);
        sum + Count { passed: before("passed"), failed: before("failed"), skipped: before("ignored") }
    })
}

/// The number in front of the word, in a list parted by commas, semicolons or stops.
fn before(figures: &str, word: &str) -> usize {
    let mut parts = figures.split([',', ';', '.', '(', ')']).map(str::trim);
    parts.find_map(|part| part.strip_suffix(word)?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_lines_are_read() {
        let line =
            |text: &str| nextest(&format!("noise\n     Summary [   0.5s] {text}\nerror: test run failed\n"));
        let count = |passed, failed, skipped| Count { passed, failed, skipped };
        assert_eq!(line("12 tests run: 12 passed, 3 skipped"), count(12, 0, 3));
        assert_eq!(
            line("5 tests run: 3 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 2 skipped"),
            count(3, 2, 2)
        );
        assert_eq!(line("3/9 tests run: 2 passed, 1 exec failed, 0 skipped"), count(2, 1, 0));
        assert_eq!(nextest("error: could not compile"), count(0, 0, 0));
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.5s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(nextest(coloured), count(2, 0, 0));
    }

    #[test]
    fn libtest_lines_are_summed() {
        let text = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(libtest(text), Count { passed: 7, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_an_error() {
        assert!(Count::default().or_failed(false).is_err());
        assert!(Count { failed: 1, ..Count::default() }.or_failed(false).is_ok());
        assert!(Count::default().or_failed(true).is_ok());
    }
}
