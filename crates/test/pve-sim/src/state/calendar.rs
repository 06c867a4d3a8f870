//! Calendar events of backup jobs: `daily`, `02:30`, `mon..fri 22:00`, `*/15`, `sat,sun 1,13:30`. Pure.
//!
//! Unrecorded: proxmox-time's `parse_calendar_event`; dates and seconds are not implemented.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Time, Weekday};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// When something is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Indexes into [`DAYS`].
    days: BTreeSet<usize>,
    /// Days of the month; none: any.
    of_month: Option<i8>,
    /// Months; none: any.
    months: Vec<i8>,
    hours: BTreeSet<i8>,
    minutes: BTreeSet<i8>,
}

impl Event {
    /// Parses an event.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let any = |days: BTreeSet<usize>, hours: BTreeSet<i8>, minutes: BTreeSet<i8>| Self {
            days,
            of_month: None,
            months: Vec::new(),
            hours,
            minutes,
        };
        let all_days: BTreeSet<usize> = (0..7).collect();
        let midnight = || (BTreeSet::from([0]), BTreeSet::from([0]));
        let text = text.trim().to_ascii_lowercase();
        let (zero_hour, zero_minute) = midnight();
        let monthly = |months: &[i8]| Self {
            of_month: Some(1),
            months: months.to_vec(),
            ..any(all_days.clone(), zero_hour.clone(), zero_minute.clone())
        };
        match text.as_str() {
            "" => return Err("unable to parse calendar event - event is empty".into()),
            "minutely" => return Ok(any(all_days, (0..24).collect(), (0..60).collect())),
            "hourly" => return Ok(any(all_days, (0..24).collect(), zero_minute)),
            "daily" => return Ok(any(all_days, zero_hour, zero_minute)),
            "weekly" => return Ok(any(BTreeSet::from([0]), zero_hour, zero_minute)),
            "monthly" => return Ok(monthly(&[])),
            "quarterly" => return Ok(monthly(&[1, 4, 7, 10])),
            "semiannually" | "semi-annually" => return Ok(monthly(&[1, 7])),
            "yearly" | "annually" => return Ok(monthly(&[1])),
            _ => {}
        }
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        let (days, time) = if first.starts_with(|c: char| c.is_ascii_alphabetic()) {
            (days(first)?, words.next())
        } else {
            (all_days, Some(first))
        };
        if words.next().is_some() || time.is_some_and(|t| t.contains('-')) {
            return Err(format!("unable to parse calendar event at '{text}' - dates are not implemented"));
        }
        let (hours, minutes) = match time.map(|t| t.split_once(':').map_or((None, t), |(h, m)| (Some(h), m)))
        {
            None => midnight(),
            Some((hours, minutes)) => {
                (hours.map_or_else(|| Ok((0..24).collect()), |h| numbers(h, 23))?, numbers(minutes, 59)?)
            }
        };
        Ok(any(days, hours, minutes))
    }

    /// The first time after `after`, within four years.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        for _ in 0..1462 {
            let day_matches = self.days.iter().any(|d| DAYS[*d].1 == date.weekday())
                && self.of_month.is_none_or(|d| d == date.day())
                && (self.months.is_empty() || self.months.contains(&date.month()));
            if day_matches {
                for hour in &self.hours {
                    for minute in &self.minutes {
                        let time = date.to_datetime(Time::new(*hour, *minute, 0, 0).ok()?);
                        if time > after {
                            return Some(time);
                        }
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

fn days(text: &str) -> Result<BTreeSet<usize>, String> {
    let index = |name: &str| {
        let found = DAYS.iter().position(|(d, _)| name.len() >= 3 && name.starts_with(d));
        found.ok_or_else(|| format!("unable to parse calendar event at '{name}' - no such weekday"))
    };
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((from, to)) => all.extend(index(from)?..=index(to)?),
            None => {
                all.insert(index(part)?);
            }
        }
    }
    Ok(all)
}

/// `*`, `5`, `1,13`, `8..17`, each with `/STEP`.
fn numbers(text: &str, max: i8) -> Result<BTreeSet<i8>, String> {
    let bad = || format!("unable to parse calendar event at '{text}' - value out of range (0..{max})");
    let number = |t: &str| t.parse::<i8>().ok().filter(|n| (0..=max).contains(n)).ok_or_else(bad);
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once("..") {
            Some((from, to)) => (number(from)?, number(to)?),
            None if range == "*" => (0, max),
            None if step.is_some() => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        let step = usize::from(step.unwrap_or(1).unsigned_abs().max(1));
        all.extend((from..=to).step_by(step));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn next(event: &str) -> String {
        // A Monday.
        let now = date(2026, 11, 23).at(11, 28, 42, 0);
        Event::parse(event).unwrap().next(now).unwrap().to_string()
    }

    /// rec 655, 916: daily is the next midnight.
    #[test]
    fn the_next_run_of_a_job() {
        assert_eq!(next("daily"), "2026-11-24T00:00:00");
        assert_eq!(next("02:30"), "2026-11-24T02:30:00");
        assert_eq!(next("*/15"), "2026-11-23T11:30:00");
        assert_eq!(next("sat,sun 1,13:30"), "2026-11-28T01:30:00");
        assert_eq!(next("mon..fri 8..17/2:00"), "2026-11-23T12:00:00");
        assert_eq!(next("sat"), "2026-11-28T00:00:00");
        assert_eq!(next("monthly"), "2026-12-01T00:00:00");
        assert_eq!(next("yearly"), "2027-01-01T00:00:00");
        for bad in ["", "25:00", "someday", "*-*-01", "mon 1:00 x"] {
            assert!(Event::parse(bad).is_err(), "{bad}");
        }
    }
}
