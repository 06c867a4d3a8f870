//! How often a key was used, for the daily limit.
//!
//! A consent is held against the day before it was given: those that come later do not undo it, and one beyond the limit does
//! not begin to count once that day is over, however long its operation waits.

use std::collections::{BTreeMap, BTreeSet};

use felhom_model::OperationId;
use felhom_signing::challenge::Consenter;

use crate::ledger::ConsentRow;

/// A day of the box's running time.
pub(super) const DAY_S: u64 = 24 * 3600;

/// Key → other operations that it consented to within the day before its newest consent to this one; before now, where it gave
/// none yet. `rows` are in the order in which they came.
pub(super) fn uses(rows: &[ConsentRow], within: OperationId, now_s: u64) -> Vec<(String, u32)> {
    let mut by_key: BTreeMap<&str, Vec<&ConsentRow>> = BTreeMap::new();
    for row in rows {
        if let Consenter::Operator { key, .. } = &row.by {
            by_key.entry(key).or_default().push(row);
        }
    }
    let counted = by_key.into_iter().map(|(key, rows)| {
        let own = rows.iter().rposition(|row| row.operation == within);
        let (before, at_s) = own.map_or((&rows[..], now_s), |n| (&rows[..n], rows[n].ran_s));
        let since = at_s.saturating_sub(DAY_S);
        let others = before.iter().filter(|row| row.operation != within && row.ran_s >= since);
        let others: BTreeSet<OperationId> = others.map(|row| row.operation).collect();
        (key.to_owned(), u32::try_from(others.len()).unwrap_or(u32::MAX))
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ConsentDocument;
    use felhom_model::Digest;

    const HOUR: u64 = 3600;

    fn id(n: u64) -> OperationId {
        OperationId::from_parts(n, 0)
    }

    fn row(key: &str, operation: u64, ran_s: u64) -> ConsentRow {
        ConsentRow {
            challenge: Digest::of(b"a challenge"),
            operation: id(operation),
            by: Consenter::Operator { name: "anna".to_owned(), key: key.to_owned() },
            document: ConsentDocument::Operator(String::new()),
            ran_s,
        }
    }

    fn of_a(rows: &[ConsentRow], within: u64, now_s: u64) -> u32 {
        uses(rows, id(within), now_s).into_iter().find(|(key, _)| key == "a").map_or(0, |(_, n)| n)
    }

    #[test]
    fn before_it_signs_a_key_has_what_it_signed_in_the_last_day() {
        let rows = [row("a", 1, HOUR), row("a", 2, 2 * HOUR), row("a", 2, 3 * HOUR), row("b", 3, 3 * HOUR)];
        assert_eq!(of_a(&rows, 9, 4 * HOUR), 2, "operations, not signatures, and of this key");
        assert_eq!(of_a(&rows, 9, HOUR + DAY_S + 1), 1);
        assert_eq!(of_a(&rows, 9, 4 * HOUR + DAY_S), 0);
    }

    #[test]
    fn what_it_signs_later_does_not_undo_a_consent() {
        let rows = [row("a", 1, HOUR), row("a", 2, 2 * HOUR), row("a", 3, 3 * HOUR), row("a", 4, 4 * HOUR)];
        for (operation, uses) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
            assert_eq!(of_a(&rows, operation, 5 * HOUR), uses);
            assert_eq!(of_a(&rows, operation, 5 * HOUR + DAY_S), uses, "nor does time");
        }
    }

    #[test]
    fn a_consent_beyond_the_limit_does_not_begin_to_count_by_waiting() {
        let rows: Vec<_> = (1..=100).map(|n| row("a", n, HOUR)).collect();
        let counts = (1..=100).map(|n| of_a(&rows, n, HOUR + 3 * DAY_S));
        assert!(counts.eq(0..100), "the order in which they came decides in one second, too");
    }
}
