//! The table at the end of `cargo xtask test`.

use super::{Count, Outcome, Row};

/// The table and the closing line.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = format!("{:11} {:>7} {:>7} {:>7}  how\n", "group", "passed", "failed", "skipped");
    for row in rows {
        let line = match &row.outcome {
            Outcome::Ran(count, took) => {
                let (passed, failed, skipped) = (count.passed, count.failed, count.skipped);
                format!(
                    "{:11} {passed:>7} {failed:>7} {skipped:>7}  ran, {:.1} s",
                    row.group,
                    took.as_secs_f32()
                )
            }
            Outcome::Skipped(reason) => {
                format!("{:11} {:>7} {:>7} {:>7}  skipped: {reason}", row.group, "-", "-", "-")
            }
            Outcome::Lacking(reason) => {
                format!("{:11} {:>7} {:>7} {:>7}  required: {reason}", row.group, "-", "1", "-")
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    let Count { passed, failed, skipped } = total(rows);
    text.push_str(&format!("\n{passed} passed, {failed} failed, {skipped} skipped\n"));
    text
}

/// Sum of all groups; a group that did not run is none of them, or one failure if it had to.
pub(crate) fn total(rows: &[Row]) -> Count {
    rows.iter().fold(Count::default(), |sum, row| match &row.outcome {
        Outcome::Ran(count, _) => sum + *count,
        Outcome::Skipped(_) => sum,
        Outcome::Lacking(_) => sum + Count { failed: 1, ..Count::default() },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_group_that_had_to_run_and_did_not_is_a_failure() {
        let rows = [Row { group: "lxc".into(), outcome: Outcome::Lacking("needs root".into()) }];
        assert_eq!(total(&rows).failed, 1);
        assert!(render(&rows).contains("lxc               -       1       -  required: needs root\n"));
    }

    #[test]
    fn a_skipped_group_counts_as_nothing_and_says_why() {
        let rows = [
            Row {
                group: "unit".into(),
                outcome: Outcome::Ran(
                    Count { passed: 3, failed: 1, skipped: 2 },
                    Duration::from_millis(1500),
                ),
            },
            Row { group: "demo".into(), outcome: Outcome::Skipped("ssh-keygen is missing".into()) },
        ];
        let text = render(&rows);
        assert!(
            text.contains("demo              -       -       -  skipped: ssh-keygen is missing\n"),
            "{text}"
        );
        assert!(text.contains("ran, 1.5 s"), "{text}");
        assert_eq!(text.lines().last(), Some("3 passed, 1 failed, 2 skipped"));
    }
}
