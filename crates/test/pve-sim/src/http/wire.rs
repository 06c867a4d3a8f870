//! Reading a request's head as Proxmox VE's web server does, line by line (`push_request_header`, `unshift_read_header` and
//! `process_header` in src/PVE/APIServer/AnyEvent.pm of pve-http-server). Pure.

use crate::state::property::decode_text;

/// Header lines of a request, at most.
const MAX_HEADERS: usize = 64;
/// Bytes in header lines, at most.
const MAX_HEADER_BYTES: usize = 8 * 1024;
/// A line without an end is read up to this many bytes, the size of the server's read buffer.
const MAX_LINE: usize = 520 * 1024;

/// Header fields in their order; names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// All values of a field, joined as one.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let all = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let all: Vec<&str> = all.collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// A request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The request line.
    pub(crate) line: String,
    /// `GET`, or whatever was sent.
    pub(crate) method: String,
    /// The target without scheme, authority, query and fragment, as sent.
    pub(crate) raw_path: String,
    /// What follows the first `?`.
    pub(crate) query: String,
    /// The minor version of HTTP/1.
    pub(crate) minor: u32,
    /// Header fields.
    pub(crate) headers: Headers,
}

impl Head {
    /// The path, decoded.
    pub(crate) fn path(&self) -> String {
        decode_text(&self.raw_path)
    }

    /// Bytes of the body that is announced.
    pub(crate) fn length(&self) -> usize {
        let text = self.headers.get("content-length").unwrap_or_default();
        let digits = text.trim();
        match digits.parse() {
            Ok(length) => length,
            // More than any number here.
            Err(_) if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) => usize::MAX,
            Err(_) => 0,
        }
    }

    /// Whether the connection stays for another request as far as the client is concerned.
    pub(crate) fn keeps_alive(&self) -> bool {
        match self.headers.get("connection") {
            Some(value) => !value.to_ascii_lowercase().contains("close"),
            None => self.minor >= 1,
        }
    }
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// More is needed.
    Incomplete,
    /// A head, and how many bytes it took.
    Head(Box<Head>, usize),
    /// No request: status and reason. The version is known only after the request line.
    Bad(u16, String, Option<u32>),
    /// The server gives up without an answer.
    Silent,
}

/// Reads a head from the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut at = 0;
    let first = loop {
        match next_line(bytes, at) {
            None if bytes.len() - at > MAX_LINE => return Parsed::Silent,
            None => return Parsed::Incomplete,
            // Empty lines before a request are ignored.
            Some((line, end)) if line.is_empty() => at = end,
            Some((line, end)) => {
                at = end;
                break line;
            }
        }
    };
    let mut head = match request_line(first) {
        Ok(head) => head,
        Err((status, reason)) => return Parsed::Bad(status, reason, None),
    };
    let (mut size, mut count) = (0, 0);
    loop {
        let Some((line, end)) = next_line(bytes, at) else {
            return if bytes.len() - at > MAX_LINE { Parsed::Silent } else { Parsed::Incomplete };
        };
        at = end;
        (size, count) = (size + line.len(), count + 1);
        if count >= MAX_HEADERS || size >= MAX_HEADER_BYTES {
            return Parsed::Silent;
        }
        if line.is_empty() {
            return Parsed::Head(Box::new(head), at);
        }
        if !field(&mut head.headers, &line) {
            return Parsed::Bad(506, "unable to parse request header".into(), Some(head.minor));
        }
    }
}

/// The line that begins at `at`, without its end, and where the next one begins.
fn next_line(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let rest = &bytes[at..];
    let end = rest.iter().position(|b| *b == b'\n')?;
    let line = &rest[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Some((String::from_utf8_lossy(line).into_owned(), at + end + 1))
}

fn request_line(line: String) -> Result<Head, (u16, String)> {
    let words: Vec<&str> = line.split(' ').collect();
    let found = words.windows(3).find_map(|three| {
        let version = three[2].strip_prefix("HTTP/")?;
        let (major, minor) = version.split_once('.')?;
        let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
        let (major, minor) = (digits(major) == major && !major.is_empty()).then(|| (major, digits(minor)))?;
        let word = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
        (word(three[0]) && word(three[1]) && !minor.is_empty())
            .then(|| (three[0], three[1], major.to_owned(), minor))
    });
    let Some((method, url, major, minor)) = found else { return Err((400, "bad request".into())) };
    if major.parse() != Ok(1) {
        return Err((506, format!("http protocol version {major}.{minor} not supported")));
    }
    if url.split('/').next().is_some_and(|before| before.contains('@')) {
        return Err((400, "invalid url".into()));
    }
    let local = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let local = local.map_or(url, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    let local = local.split('#').next().unwrap_or_default();
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let (method, raw_path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    let minor = minor.parse().unwrap_or(u32::MAX);
    Ok(Head { method, raw_path, query, minor, headers: Headers::default(), line })
}

/// `Name: value`, or the continuation of the field before.
fn field(headers: &mut Headers, line: &str) -> bool {
    if line.starts_with(char::is_whitespace) {
        if let Some((_, value)) = headers.0.last_mut() {
            value.push(' ');
            value.push_str(line.trim_start());
        }
        return true;
    }
    let Some((name, value)) = line.split_once(':') else { return false };
    let name = name.trim_end();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return false;
    }
    headers.0.push((name.to_owned(), value.trim_start().to_owned()));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Head(head, used) => {
                assert_eq!(used, text.len());
                *head
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_with_its_fields() {
        let text = "\r\nGET /api2/json/a%20b?x=1?2#f HTTP/1.1\r\nHost : h\r\nA: 1\n b\r\na: 2\r\n\r\n";
        let head = head(text);
        assert_eq!(
            (head.method.as_str(), head.path().as_str(), head.query.as_str()),
            ("GET", "/api2/json/a b", "x=1?2")
        );
        assert_eq!(head.headers.get("HOST").unwrap(), "h");
        assert_eq!(head.headers.get("a").unwrap(), "1 b, 2");
        assert!(head.keeps_alive());
        assert_eq!(parse(&text.as_bytes()[..text.len() - 1]), Parsed::Incomplete);
    }

    /// rec 813: HTTP/1.0 does not stay; rec 810: nor does `close`.
    #[test]
    fn who_stays() {
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keeps_alive());
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keeps_alive());
        assert!(!head("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keeps_alive());
        assert_eq!(head("GET http://h:1/p?q HTTP/1.1\r\n\r\n").raw_path, "/p");
    }

    #[test]
    fn what_is_no_request() {
        let bad = |text: &str| match parse(text.as_bytes()) {
            Parsed::Bad(status, reason, _) => (status, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(bad("hello\r\n"), (400, "bad request".into()));
        assert_eq!(bad("GET / HTTP/2.0\r\n"), (506, "http protocol version 2.0 not supported".into()));
        assert_eq!(bad("GET a@b/ HTTP/1.1\r\n"), (400, "invalid url".into()));
        assert_eq!(bad("GET / HTTP/1.1\r\nno field\r\n"), (506, "unable to parse request header".into()));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(64));
        assert_eq!(parse(many.as_bytes()), Parsed::Silent);
        let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(9000));
        assert_eq!(parse(large.as_bytes()), Parsed::Silent);
    }
}
