//! Durations and sizes in words.

use jiff::SignedDuration;

/// E.g. `12 s`, `15 min`, `40 h`, `12 days`; rounded down, two digits as far as that goes.
pub(crate) fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// E.g. `310 ms`, `12.4 s`, `15 min`.
pub(crate) fn millis(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=119_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => duration(SignedDuration::from_millis(ms.min(1 << 53).cast_signed())),
    }
}

/// E.g. `999 B`, `12.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog2() / 10).clamp(1, 5);
    let tenths = u128::from(bytes) * 10 / (1u128 << (10 * exponent));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[exponent as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
        assert!(bytes(u64::MAX).ends_with("PiB"));
        assert_eq!(duration(SignedDuration::from_secs(-4)), "0 s");
        assert_eq!(duration(SignedDuration::from_secs(119)), "119 s");
        assert_eq!(duration(SignedDuration::from_hours(50)), "2 days");
        assert_eq!((millis(999), millis(12_456)), ("999 ms".to_owned(), "12.4 s".to_owned()));
        assert_eq!(millis(180_000), "3 min");
    }
}
