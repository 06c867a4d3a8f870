//! As much HTTP/1.1 as a person's browser needs for the demo's app: one request a connection, over plain TCP or a unix
//! socket. Used only to look from outside.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Header names in lower case, with their values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, decoded.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, if the status is 2xx.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        self.ok()?;
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }

    /// An error with the body's text unless the status is 2xx.
    pub(crate) fn ok(&self) -> Result<()> {
        if !(200..300).contains(&self.status) {
            bail!("status {}: {}", self.status, String::from_utf8_lossy(&self.body).trim());
        }
        Ok(())
    }

    /// A header's value; the name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Ask over TCP.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
) -> Result<Answer> {
    let head = format!("{method} {path} HTTP/1.1\r\nContent-Type: application/json\r\n");
    send(address, &head, body, timeout)
}

/// Send a form of a page that is served there, as a browser does.
pub(crate) fn form(
    address: SocketAddr,
    path: &str,
    fields: &[(String, String)],
    timeout: Duration,
) -> Result<Answer> {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    let body = pairs.collect::<Vec<_>>().join("&");
    let kind = "application/x-www-form-urlencoded";
    let head = format!("POST {path} HTTP/1.1\r\nOrigin: http://{address}\r\nContent-Type: {kind}\r\n");
    send(address, &head, body.as_bytes(), timeout)
}

/// Text in a form's body.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Send a request; `head` is its first line and the headers that are its own.
fn send(address: SocketAddr, head: &str, body: &[u8], timeout: Duration) -> Result<Answer> {
    let what = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let head =
        format!("{head}Host: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut bytes = Vec::new();
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).context("cannot send")?;
    stream.read_to_end(&mut bytes).with_context(|| format!("{what} at {address}"))?;
    parse(&bytes).with_context(|| format!("{what} at {address}"))
}

/// Read a whole answer.
pub(crate) fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the headers")?;
    let head = std::str::from_utf8(&bytes[..end]).context("headers are no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let header = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
    };
    let mut answer = Answer {
        status: status.context("no status")?,
        headers: lines.filter_map(header).collect(),
        body: Vec::new(),
    };
    let rest = &bytes[end + 4..];
    answer.body = match (answer.header("transfer-encoding"), answer.header("content-length")) {
        (Some("chunked"), _) => unchunk(rest)?,
        (_, Some(length)) => {
            let length: usize = length.parse().context("bad content-length")?;
            rest.get(..length).context("the answer was cut off")?.to_vec()
        }
        _ => rest.to_vec(),
    };
    Ok(answer)
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").context("the answer was cut off")?;
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).context("bad chunk size")?;
        let chunk = rest.get(end + 2..end + 2 + size).context("the answer was cut off")?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).context("the answer was cut off")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_cut_ones_are_errors() {
        let plain = parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi").unwrap();
        assert_eq!((plain.status, plain.body.as_slice(), plain.header("x-a")), (201, &b"hi"[..], Some("b")));
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, b"abcde");
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").is_err());
        assert!(parse(b"HTTP/1.1 500 No\r\n\r\n{}").unwrap().json().is_err());
    }
}
