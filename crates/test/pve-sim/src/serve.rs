//! The `serve` command: prepare the state directory, listen, say that it is ready, answer until SIGTERM or SIGINT.
//!
//! Running guests and tasks are no children of this process's making: they go on when it ends, and are found again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_rustls::TlsAcceptor;

use crate::daemon::{Daemon, Limits};
use crate::http::ticket::TicketKey;
use crate::http::{conn, tls};
use crate::preset::{self, Preset};
use crate::state::host::HostFile;
use crate::state::secrets::SecretFile;
use crate::state::{Host, RuntimeKind, atomic, secrets};
use crate::work::machine;

/// What the command line said.
#[derive(Debug)]
pub(crate) struct Options {
    /// State directory.
    pub(crate) state: PathBuf,
    /// Address.
    pub(crate) listen: SocketAddr,
    /// Node name.
    pub(crate) node: String,
    /// How guests run.
    pub(crate) runtime: RuntimeKind,
    /// Second octet of guests' addresses.
    pub(crate) net: u8,
    /// See [`HostFile::mmp_wait_ms`].
    pub(crate) mmp_wait_ms: u64,
    /// Password of root@pam; one is made up if there is none.
    pub(crate) root_password_file: Option<PathBuf>,
    /// What a new state directory holds.
    pub(crate) preset: Preset,
    /// Ready line as JSON.
    pub(crate) json: bool,
    /// Times of the server.
    pub(crate) limits: Limits,
    /// Between two rounds.
    pub(crate) status_interval: Duration,
}

/// Serves until it is told to end.
///
/// # Errors
/// If the state directory, the password file or the address cannot be used.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _serving = alone(options)?;
    let host = prepare(options)?;
    let tls = tls::load_or_create(&host).context("certificate")?;
    let key = ticket_key(&host).context("ticket key")?;
    let listener =
        TcpListener::bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let daemon =
        Arc::new(Daemon::new(host, key, tls.fingerprint.clone(), options.limits).context("access log")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        tokio::spawn(Arc::clone(&daemon).rounds(options.status_interval));
        announce(options, &daemon, address)?;
        tokio::select! {
            () = accept(&daemon, &listener, &acceptor) => {}
            () = told_to_end() => {}
        }
        anyhow::Ok(())
    })?;
    // What is being done gets a moment to be finished.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

async fn accept(daemon: &Arc<Daemon>, listener: &tokio::net::TcpListener, acceptor: &TlsAcceptor) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(conn::serve(Arc::clone(daemon), acceptor.clone(), stream, peer));
            }
            // Out of file descriptors, mostly: those who are here come first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// What may be in a state directory before it is served for the first time.
const OF_A_NODE: [&str; 9] = ["control", "etc", "mnt", "root", "root.password", "run", "srv", "tmp", "var"];

/// A state directory is served by one process: the lock ends with it.
fn alone(options: &Options) -> Result<std::fs::File> {
    let state = options.state.display();
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if options.node.is_empty() || !options.node.chars().all(named) {
        bail!("'{}' is no name of a node: letters, digits and hyphens", options.node);
    }
    let known = options.state.join("etc/host.json").exists();
    let all = std::fs::read_dir(&options.state).into_iter().flatten().flatten();
    let mut foreign =
        all.map(|entry| entry.file_name()).filter(|name| !OF_A_NODE.iter().any(|own| name == own));
    if let (Some(name), false) = (foreign.next(), known) {
        let name = name.display();
        bail!(
            "{state} was never served and holds `{name}`, which is none of a node's; give an empty or a new directory"
        );
    }
    let folder = options.state.join("run");
    std::fs::create_dir_all(&folder).with_context(|| format!("state directory {state}"))?;
    let path = folder.join("serving");
    let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        bail!("{state} is being served by another process");
    }
    Ok(file)
}

fn prepare(options: &Options) -> Result<Host> {
    let file = HostFile {
        node: options.node.clone(),
        runtime: options.runtime,
        net: options.net,
        mmp_wait_ms: options.mmp_wait_ms,
    };
    let host = Host::create(&options.state, &file)
        .with_context(|| format!("state directory {}", options.state.display()))?;
    machine::prepare(&host).map_err(|error| anyhow::anyhow!("runtime lxc: {error}"))?;
    preset::apply(&host, options.preset).context("state directory")?;
    atomic::sweep(&host.dir.root().join("etc")).context("state directory")?;
    let file = match &options.root_password_file {
        Some(file) => file.clone(),
        None => own_password_file(&host).context("state directory")?,
    };
    let path = file.display();
    let text = std::fs::read_to_string(&file).with_context(|| format!("password file {path}"))?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        bail!("password file {path} is empty; write root@pam's password into it");
    }
    // A hash that fits stays: making one takes a moment, and the file does not change for nothing.
    if !secrets::password_matches(&host, "root@pam", password)? {
        let _held = host.lock_access()?;
        secrets::set(&host, SecretFile::Passwords, "root@pam", &secrets::hash_password(password)?)?;
    }
    Ok(host)
}

/// `root.password` in the state directory, made up at the first start.
fn own_password_file(host: &Host) -> Result<PathBuf> {
    let path = host.dir.root().join("root.password");
    if !path.exists() {
        atomic::write_secret(&path, format!("{}\n", secrets::random_hex(12)?).as_bytes())?;
    }
    writeln!(std::io::stderr(), "pve-sim: the password of root@pam is in {}", path.display())?;
    Ok(path)
}

fn ticket_key(host: &Host) -> Result<TicketKey> {
    let path = host.dir.ticket_key();
    if !path.exists() {
        atomic::write_secret(&path, secrets::random_hex(32)?.as_bytes())?;
    }
    Ok(TicketKey::new(std::fs::read(&path)?))
}

fn announce(options: &Options, daemon: &Daemon, address: SocketAddr) -> Result<()> {
    let (node, fingerprint, pid) = (&daemon.host.node, &daemon.fingerprint, std::process::id());
    let url = format!("https://{address}");
    let mut line = String::new();
    if options.json {
        let mut ready = serde_json::json!({"url": url, "fingerprint": fingerprint, "node": node, "pid": pid});
        if let Some(address) = machine::bridge(&daemon.host) {
            ready["bridge"] = address.to_string().into();
        }
        writeln!(line, "{ready}")?;
    } else {
        writeln!(line, "ready: node {node} at {url}, fingerprint {fingerprint}, pid {pid}")?;
    }
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()?;
    Ok(())
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}
