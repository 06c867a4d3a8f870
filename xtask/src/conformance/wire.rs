//! Bytes over TLS, as written: one connection a call, nothing added, nothing left out.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs, pki_types::ServerName,
};

/// Longer than any answer that is not a 596.
const TIMEOUT: Duration = Duration::from_secs(40);

/// An answer as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `401 No ticket`.
    pub(crate) status: String,
    /// Names as received.
    pub(crate) headers: Vec<(String, String)>,
    /// Text of the body.
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// A header's value, the name in any case.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Talks to one server.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Wire {
    /// For the simulator at an address, which shows one of these certificates.
    pub(crate) fn new(address: SocketAddr, certificates: RootCertStore) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(certificates)
            .with_no_client_auth();
        Ok(Self { address, config: Arc::new(config) })
    }

    /// Sends and reads one answer.
    pub(crate) fn call(&self, request: &[u8]) -> Result<Answer> {
        let mut stream = self.tls()?;
        send(&mut stream, request)?;
        let mut bytes = Vec::new();
        let mut chunk = [0; 16384];
        loop {
            if let Some(answer) = parse(&bytes, false)? {
                return Ok(answer);
            }
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if closed(&error) => break,
                Err(error) => return Err(error).context("cannot read the answer"),
            }
        }
        parse(&bytes, true)?.context("no answer")
    }

    /// Sends and reads until the other side closes.
    pub(crate) fn raw(&self, request: &[u8], tls: bool) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if tls {
            let mut stream = self.tls()?;
            stream.sock.set_read_timeout(Some(Duration::from_secs(1)))?;
            let _ = send(&mut stream, request);
            read_all(&mut stream, &mut bytes)?;
        } else {
            let mut stream = self.tcp()?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            stream.write_all(request)?;
            read_all(&mut stream, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn tcp(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn tls(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("localhost").context("server name")?;
        Ok(StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name)?, self.tcp()?))
    }
}

fn send(stream: &mut impl Write, request: &[u8]) -> Result<()> {
    stream.write_all(request).and_then(|()| stream.flush()).context("cannot send")
}

fn read_all(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Result<()> {
    let mut chunk = [0; 16384];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if closed(&error) || timed_out(&error) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the answer"),
        }
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Reads an answer; `None` if more has to come. `ended`: nothing more will come.
pub(crate) fn parse(bytes: &[u8], ended: bool) -> Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let Some((_, status)) = first.split_once(' ') else { bail!("no status line: {first:?}") };
    let split = |line: &str| line.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(split).collect();
    let rest = &bytes[end + 4..];
    let body = if header(&headers, "transfer-encoding") == Some("chunked") {
        match unchunk(rest) {
            Some(body) => body,
            None if ended => bail!("the answer was cut off"),
            None => return Ok(None),
        }
    } else if let Some(length) = header(&headers, "content-length") {
        let length: usize = length.parse().context("bad content-length")?;
        match rest.get(..length) {
            Some(body) => body.to_vec(),
            None if ended => bail!("the answer was cut off"),
            None => return Ok(None),
        }
    } else if ended || header(&headers, "connection").is_some_and(|c| !c.eq_ignore_ascii_case("close")) {
        rest.to_vec()
    } else {
        return Ok(None);
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Answer { status: status.to_owned(), headers, body }))
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim().to_owned();
        let size = usize::from_str_radix(&size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_more_has_to_come() {
        let plain = b"HTTP/1.1 401 No ticket\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        let answer = parse(plain, false).unwrap().unwrap();
        assert_eq!((answer.status.as_str(), answer.body.as_str()), ("401 No ticket", "hi"));
        assert!(parse(&plain[..plain.len() - 1], false).unwrap().is_none());
        assert!(parse(&plain[..plain.len() - 1], true).is_err());
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, false).unwrap().unwrap().body, "abc");
        let bare = b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\n";
        assert!(parse(bare, false).unwrap().is_none());
        assert_eq!(parse(bare, true).unwrap().unwrap().body, "");
    }
}
