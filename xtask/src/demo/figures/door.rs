//! A door between agent and hub that counts what goes through, as HTTP, without TLS. It has the hub's own certificate and key, so
//! that the box that pins the hub takes it for the hub.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::demo::world::World;

/// Longer than any pause between two syncs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Path of the request.
    pub(crate) path: String,
    /// Bytes of the request, with its headers.
    pub(crate) up: usize,
    /// Bytes of the answer, with its headers.
    pub(crate) down: usize,
    /// The connection's number; the same for all that were sent on one.
    pub(crate) connection: usize,
}

type Seen = Arc<Mutex<Vec<Exchange>>>;

/// An open door.
#[derive(Debug)]
pub(super) struct Door {
    /// Where it is.
    pub(super) address: SocketAddr,
    seen: Seen,
}

impl Door {
    /// Opens one to the hub of this world; the hub need not be there yet.
    pub(super) fn open(world: &World) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let seen = Seen::default();
        let (hub, state, kept) = (world.hub, world.path("hub"), Arc::clone(&seen));
        // It ends with the process.
        thread::Builder::new().name("door".to_owned()).spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (state, kept) = (state.clone(), Arc::clone(&kept));
                // What fails here is seen as a sync that never came.
                thread::spawn(move || pass_on(stream, connection, hub, &state, &kept));
            }
        })?;
        Ok(Self { address, seen })
    }

    /// All that went through so far.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pass_on(agent: TcpStream, connection: usize, hub: SocketAddr, state: &Path, seen: &Seen) -> Result<()> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(state.join("tls.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(state.join("tls.key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in &chain {
        roots.add(certificate.clone())?;
    }
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(hub.ip());
    let hub = TcpStream::connect(hub)?;
    for stream in [&agent, &hub] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    let mut agent = StreamOwned::new(ServerConnection::new(Arc::new(server))?, agent);
    let mut hub = StreamOwned::new(ClientConnection::new(Arc::new(client), name)?, hub);
    while let Some(request) = message(&mut agent)? {
        hub.write_all(&request)?;
        hub.flush()?;
        let answer = message(&mut hub)?.context("the hub gave no answer")?;
        let first = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let exchange = Exchange {
            path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
            up: request.len(),
            down: answer.len(),
            connection,
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
        agent.write_all(&answer)?;
        agent.flush()?;
    }
    Ok(())
}

/// The next message; `None` if the other side has closed instead.
fn message(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    while !is_whole(&bytes) {
        match stream.read(&mut chunk)? {
            0 if bytes.is_empty() => return Ok(None),
            0 => bail!("a message was cut off"),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(Some(bytes))
}

/// Whether these are headers and all of the body that they tell of.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if header("transfer-encoding:") == Some("chunked") {
        return bytes.ends_with(b"\r\n0\r\n\r\n");
    }
    let length = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    bytes.len() >= end + 4 + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_to_its_end() {
        let request = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(message(&mut &request[..]).unwrap().unwrap(), request);
        assert!(message(&mut &request[..request.len() - 1]).is_err());
        assert!(message(&mut &b""[..]).unwrap().is_none());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"));
        assert!(is_whole(b"HTTP/1.1 204 No Content\r\n\r\n"));
    }
}
