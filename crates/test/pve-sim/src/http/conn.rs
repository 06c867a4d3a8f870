//! One connection: TLS or not, requests one after another, who is slow is dropped (src/PVE/APIServer/AnyEvent.pm of
//! pve-http-server).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Manner, Response};
use super::params::Value;
use super::server::{self, Admission, Admitted};
use super::upload;
use super::wire::{self, Head, Parsed};
use crate::clock;
use crate::daemon::Daemon;
use crate::fault::{self, CallFault};

/// pveproxy's limit for a body, in bytes.
const BODY_LIMIT: usize = 512 * 1024;
/// Requests on one connection.
const KEEP_ALIVE: u32 = 100;
/// What a refused caller still sends is read up to this, so that it gets to see the answer and not a reset connection.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What to do with a connection after a request.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stay,
    Close,
}

/// Talks to one client until it or the server has enough.
pub(crate) async fn serve(daemon: Arc<Daemon>, tls: TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    let Ok(Ok(1)) = tokio::time::timeout(daemon.limits.idle, stream.peek(&mut first)).await else { return };
    let peer = peer_name(peer.ip());
    if first[0] == TLS_HANDSHAKE {
        let Ok(Ok(stream)) = tokio::time::timeout(daemon.limits.idle, tls.accept(stream)).await else {
            return;
        };
        Talk { daemon, stream, peer, secure: true, buffer: Vec::new(), last: false }.run().await;
    } else {
        Talk { daemon, stream, peer, secure: false, buffer: Vec::new(), last: false }.run().await;
    }
}

/// As the real server's dual-stack socket has it.
fn peer_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("::ffff:{v4}"),
        IpAddr::V6(v6) => v6.to_string(),
    }
}

struct Talk<S> {
    daemon: Arc<Daemon>,
    stream: S,
    peer: String,
    secure: bool,
    buffer: Vec<u8>,
    /// Whether no other request is read after this one.
    last: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk<S> {
    async fn run(mut self) {
        for left in (0..KEEP_ALIVE).rev() {
            let head = match self.head().await {
                Ok(head) => head,
                Err(Some((response, minor))) => {
                    let manner = self.manner(minor, false, false);
                    let _ = self.stream.write_all(&answer::write(response, manner).bytes).await;
                    break;
                }
                Err(None) => {
                    let _ = self.stream.shutdown().await;
                    return;
                }
            };
            match self.request(&head, left > 0).await {
                Some(Next::Stay) => {}
                Some(Next::Close) => break,
                // Dropped without a word.
                None => return,
            }
        }
        self.finish().await;
    }

    /// The next head; what to answer to something else, if anything.
    async fn head(&mut self) -> Result<Head, Option<(Response, u32)>> {
        loop {
            match wire::parse(&self.buffer) {
                Parsed::Head(head, used) => {
                    self.buffer.drain(..used);
                    return Ok(*head);
                }
                Parsed::Bad(status, reason, minor) => {
                    return Err(Some((answer::refusal(status, &reason, &reason), minor.unwrap_or(0))));
                }
                Parsed::Silent => {
                    // It dies while it reads and forgets the connection, which then times out.
                    tokio::time::sleep(self.daemon.limits.idle).await;
                    return Err(None);
                }
                Parsed::Incomplete => {
                    if !self.more().await {
                        return Err(None);
                    }
                }
            }
        }
    }

    /// Reads some more; not if nothing comes for too long, or nothing comes any more.
    async fn more(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer);
        matches!(tokio::time::timeout(self.daemon.limits.idle, read).await, Ok(Ok(n)) if n > 0)
    }

    async fn request(&mut self, head: &Head, more_allowed: bool) -> Option<Next> {
        let gzip = head.headers.get("accept-encoding").is_some_and(|v| v.contains("gzip"));
        let mut user = None;
        let response = match self.answer(head, &mut user).await {
            Some(response) => response,
            None => {
                self.daemon.access_log.line(
                    &self.daemon.host,
                    (&self.peer, user.as_deref()),
                    &head.line,
                    (500, None),
                );
                return None;
            }
        };
        let keep = more_allowed && head.keeps_alive() && !self.last;
        let delayed = response.delayed;
        let status = response.status;
        let wire = answer::write(response, self.manner(head.minor, keep, gzip));
        // The log has it before the caller does, also when that one has to wait.
        self.daemon.access_log.line(
            &self.daemon.host,
            (&self.peer, user.as_deref()),
            &head.line,
            (status, wire.length),
        );
        if delayed {
            tokio::time::sleep(self.daemon.limits.auth_delay).await;
        }
        self.stream.write_all(&wire.bytes).await.ok()?;
        self.stream.flush().await.ok()?;
        Some(if wire.stays && self.secure { Next::Stay } else { Next::Close })
    }

    fn manner(&self, minor: u32, keep_alive: bool, gzip: bool) -> Manner {
        Manner { minor, keep_alive, gzip, now: clock::now(&self.daemon.host) }
    }

    /// The answer, or nothing for a connection that is dropped.
    async fn answer(&mut self, head: &Head, user: &mut Option<String>) -> Option<Response> {
        if let Some(refused) = server::refuse_transport(head) {
            return Some(refused);
        }
        if !self.secure {
            return self.redirect(head);
        }
        let fault = self.fault(head).await;
        match fault {
            Some(CallFault::DropBefore) => return None,
            Some(CallFault::Fail(text)) => {
                let error = crate::error::ApiError::die(text);
                return Some(answer::failure(answer::Format::Json, &error, true));
            }
            _ => {}
        }
        let admitted = match server::admit(&self.daemon, head) {
            Admission::In(admitted) => admitted,
            Admission::Refused(response) => return Some(response),
        };
        *user = admitted.authid.clone();
        if let Some(boundary) = server::parts(&admitted, head) {
            return self.upload(admitted, (head, boundary)).await;
        }
        if let Some(refused) = server::refuse_body(head, BODY_LIMIT) {
            return Some(refused);
        }
        let length = head.length();
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let response = server::perform(&self.daemon, admitted, head, &body).await;
        match fault {
            Some(CallFault::DropAfter) => None,
            Some(CallFault::Timeout) => Some(answer::refusal(596, "Connection timed out", "")),
            _ => Some(response),
        }
    }

    /// A file that is sent: nothing for one who may not, or for a body that ends too soon. The connection ends afterwards.
    async fn upload(&mut self, admitted: Admitted, (head, boundary): (&Head, String)) -> Option<Response> {
        self.last = true;
        if !server::may_send(&self.daemon, &admitted).await {
            return None;
        }
        let here = self.buffer.len().min(head.length());
        let begun = std::io::Cursor::new(self.buffer.drain(..here).collect::<Vec<u8>>());
        let rest = (&mut self.stream).take((head.length() - here) as u64);
        let root = self.daemon.host.dir.root();
        let idle = self.daemon.limits.idle;
        let params = upload::receive(root, (begun.chain(rest), boundary), idle).await.ok()?;
        let temporary = params.get("tmpfilename").cloned();
        let response = server::perform_with(&self.daemon, admitted, head, params).await;
        if let (false, Some(Value::Text(name))) = (response.status == 200, temporary) {
            let _ = tokio::fs::remove_file(root.join(name.trim_start_matches('/'))).await;
        }
        Some(response)
    }

    async fn fault(&self, head: &Head) -> Option<CallFault> {
        if !fault::calls_concerned(&self.daemon.host) {
            return None;
        }
        let (daemon, method) = (Arc::clone(&self.daemon), head.method.clone());
        let path = server::split_format(&head.path()).map_or_else(|| head.path(), |(_, path)| path);
        let asked = tokio::task::spawn_blocking(move || fault::call(&daemon.host, &method, &path));
        asked.await.ok().flatten()
    }

    /// rec 809: plain HTTP on the TLS port.
    fn redirect(&self, head: &Head) -> Option<Response> {
        let host = head.headers.get("host")?;
        let bare =
            ["http://", "https://"].iter().find_map(|s| host.strip_prefix(s)).unwrap_or(&host).to_owned();
        let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
        let location = format!("https://{bare}{}{query}", head.raw_path);
        let (status, reason) =
            if head.method == "GET" { (301, "Moved Permanently") } else { (308, "Permanent Redirect") };
        let mut response = answer::refusal(status, reason, reason);
        response.fields.push(("Location", location));
        Some(response)
    }

    /// Says goodbye, and reads for a moment what a caller who was refused still sends.
    async fn finish(mut self) {
        let _ = self.stream.flush().await;
        let _ = self.stream.shutdown().await;
        let drain = async {
            let mut rest = vec![0; 64 * 1024];
            let mut total = 0;
            while let Ok(n) = self.stream.read(&mut rest).await {
                total += n;
                if n == 0 || total > DRAIN_LIMIT {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    }
}
