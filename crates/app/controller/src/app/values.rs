//! Values of compose files: durations, ports, command lines.

use std::time::Duration;

/// A published port: `published` on the guest's network leads to `target` of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The port on the guest's own address.
    pub published: u16,
    /// The port that the service listens on.
    pub target: u16,
}

/// Compose's durations: `1h2m3s4ms5us`, in this order, each at most once; a bare number is not one.
///
/// # Errors
/// A sentence that says what is expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration like 90s, 1m30s or 500ms");
    let (mut rest, mut total, mut rank) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let units = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (micros, this_rank) = match &rest[digits..digits + units] {
            "h" => (3_600_000_000, 1),
            "m" => (60_000_000, 2),
            "s" => (1_000_000, 3),
            "ms" => (1_000, 4),
            "us" => (1, 5),
            _ => return Err(bad()),
        };
        if this_rank <= rank {
            return Err(bad());
        }
        rank = this_rank;
        total += Duration::from_micros(number.checked_mul(micros).ok_or_else(bad)?);
        rest = &rest[digits + units..];
    }
    if rank == 0 { Err(bad()) } else { Ok(total) }
}

/// The short form of a port, `PUBLISHED:TARGET` with an optional `/tcp`.
///
/// # Errors
/// A sentence that says what is expected, naming the forms that are refused.
pub fn port(text: &str) -> Result<Port, String> {
    const FORM: &str = "write PUBLISHED:TARGET, for example 8081:8080";
    let ports = match text.split_once('/') {
        None => text,
        Some((ports, "tcp")) => ports,
        Some((_, other)) => return Err(format!("protocol `{other}` is not supported; only tcp is")),
    };
    let (published, target) = match ports.split(':').collect::<Vec<_>>()[..] {
        [published, target] => (published, target),
        [_] => return Err(format!("`{text}` publishes no fixed port; {FORM}")),
        _ => return Err(format!("`{text}` names a host address, which is not supported; {FORM}")),
    };
    let number = |part: &str| match part.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{part}` is no single port from 1 to 65535; {FORM}")),
    };
    Ok(Port { published: number(published)?, target: number(target)? })
}

/// Splits a command line as a shell would, without expanding anything.
///
/// # Errors
/// A quote that is not closed, or an escape at the end.
pub fn split_words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or_else(|| format!("`{line}` ends in a backslash"))?;
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("`{line}` has a quote that is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "10", "s", "1s1m", "1d", "1s1s", "-1s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port("8081:8080"), Ok(Port { published: 8081, target: 8080 }));
        assert_eq!(port("8081:8080/tcp").unwrap().target, 8080);
        for bad in ["8080", "127.0.0.1:1:2", "1:2/udp", "0:1", "1-3:1-3", "x:1", "[::1]:1:2", ""] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(split_words(r#"run "a b" 'c"d' e\ f"#).unwrap(), ["run", "a b", "c\"d", "e f"]);
        assert_eq!(split_words(" '' x ").unwrap(), ["", "x"]);
        assert!(split_words("a 'b").is_err());
    }
}
