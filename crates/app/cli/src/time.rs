//! Times, sizes and durations for people.

use jiff::Timestamp;

/// `3 min ago`, `in 2 h`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - time.as_second();
    let amount = match seconds.unsigned_abs() {
        0..=1 => return "now".to_owned(),
        s => self::seconds(s),
    };
    if seconds > 0 { format!("{amount} ago") } else { format!("in {amount}") }
}

/// `45 s`, `3 min`, `2 h`.
pub(crate) fn seconds(count: u64) -> String {
    match count {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// The same for a time that may be missing.
pub(crate) fn ago_or(time: Option<Timestamp>, now: Timestamp, missing: &str) -> String {
    time.map_or_else(|| missing.to_owned(), |time| ago(time, now))
}

/// `1.4 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// `350 ms`, `12.5 s`.
pub(crate) fn millis(count: u64) -> String {
    if count < 1_000 { format!("{count} ms") } else { format!("{}.{} s", count / 1_000, count % 1_000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(ago(at(100), at(100)), "now");
        assert_eq!(ago(at(0), at(61)), "61 s ago");
        assert_eq!(ago(at(0), at(600)), "10 min ago");
        assert_eq!(ago(at(7_200), at(0)), "in 2 h");
        assert_eq!(ago(at(0), at(864_000)), "10 days ago");
        assert_eq!((millis(999), millis(12_540)), ("999 ms".to_owned(), "12.5 s".to_owned()));
    }
}
