//! A served host, callers with a ticket or a token, and archives to restore from.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pve_sim::runtime::Guest;
use reqwest::header::HeaderMap;
use serde_json::{Value as Json, json};

use crate::support::PVE_SIM;

/// Password of root@pam in the tests.
pub(crate) const PASSWORD: &str = "root-password";
/// The test archive's volume id.
pub(crate) const ARCHIVE: &str = "local:backup/vzdump-lxc-999-2026_01_01-00_00_00.tar.zst";
/// Its configuration.
pub(crate) const CONFIG: &str = "#golden\narch: amd64\ncores: 1\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 256\n\
     mp0: tank:999/vm-999-disk-1.raw,mp=/data,backup=1,size=1G\n\
     mp1: tank:999/vm-999-disk-2.raw,mp=/scratch,backup=0,size=1G\n\
     net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\nonboot: 1\nostype: debian\n\
     rootfs: tank:999/vm-999-disk-0.raw,size=2G\nswap: 0\ntags: golden\nunprivileged: 1\n";

/// A serving simulator with a state directory of its own.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
    url: String,
}

impl Server {
    /// Guests are only marked as running; failed logins are answered at once.
    pub(crate) fn start() -> Self {
        Self::with(&["--runtime", "none", "--auth-delay-ms", "0"])
    }

    /// Guests are processes.
    pub(crate) fn with_processes() -> Self {
        Self::with(&["--runtime", "process", "--net", "97", "--auth-delay-ms", "0"])
    }

    /// With other arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Where guests are containers, their root has to get to its files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("root.pw"), format!("{PASSWORD}\n")).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let (child, url) = serve(dir.path(), &arguments);
        Self { dir, arguments, child, url }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }

    /// SIGKILL, then the same state served again. Callers made before are of no use any more.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same state served again.
    pub(crate) fn restart(&mut self) {
        (self.child, self.url) = serve(self.dir.path(), &self.arguments);
    }

    /// Where `local` keeps archives.
    pub(crate) fn dump(&self) -> PathBuf {
        self.state().join("var/lib/vz/dump")
    }

    /// Puts the test archive there.
    pub(crate) fn add_archive(&self) {
        write_archive(&self.dump().join("vzdump-lxc-999-2026_01_01-00_00_00.tar.zst"), CONFIG, 0);
    }

    /// root@pam with a ticket.
    pub(crate) async fn root(&self) -> Caller {
        self.ticket("root@pam", PASSWORD).await
    }

    /// A user with a ticket.
    pub(crate) async fn ticket(&self, user: &str, password: &str) -> Caller {
        let nobody = self.nobody();
        let answer = nobody.post("/access/ticket", &[("username", user), ("password", password)]).await;
        let data = answer.ok();
        let mut headers = HeaderMap::new();
        let ticket = data["ticket"].as_str().unwrap();
        headers.insert("cookie", format!("PVEAuthCookie={}", encode(ticket)).parse().unwrap());
        headers.insert("CSRFPreventionToken", data["CSRFPreventionToken"].as_str().unwrap().parse().unwrap());
        Caller { headers, ..nobody }
    }

    /// A token.
    pub(crate) fn token(&self, id: &str, secret: &str) -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("PVEAPIToken={id}={secret}").parse().unwrap());
        Caller { headers, ..self.nobody() }
    }

    /// Nobody.
    pub(crate) fn nobody(&self) -> Caller {
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        Caller { client, url: self.url.clone(), headers: HeaderMap::new() }
    }

    /// A restored guest, by root.
    pub(crate) async fn restored(&self, root: &Caller, vmid: u32) {
        self.add_archive();
        let vmid = vmid.to_string();
        let answer = root
            .post(
                "/nodes/pve/lxc",
                &[("vmid", &vmid), ("ostemplate", ARCHIVE), ("restore", "1"), ("storage", "tank")],
            )
            .await;
        assert_eq!(root.wait(&answer.upid()).await, "OK");
    }

    /// A user, a privilege-separated token of it, and the same role for both on each path.
    pub(crate) async fn tenant(&self, root: &Caller, role: &str, paths: &[&str]) -> Caller {
        root.post("/access/users", &[("userid", "t@pve")]).await.ok();
        let made = root.post("/access/users/t@pve/token/tok", &[("privsep", "1")]).await.ok();
        if role.contains('.') {
            root.post("/access/roles", &[("roleid", "Tenant"), ("privs", role)]).await.ok();
        }
        let role = if role.contains('.') { "Tenant" } else { role };
        for path in paths {
            let form = [
                ("path", *path),
                ("roles", role),
                ("users", "t@pve"),
                ("tokens", "t@pve!tok"),
                ("propagate", "0"),
            ];
            root.put("/access/acl", &form).await.ok();
        }
        self.token("t@pve!tok", made["value"].as_str().unwrap())
    }
}

impl Server {
    /// Leaves what was called, for the table of endpoints in the README (`cargo xtask sim-endpoints`).
    fn note_calls(&self) -> std::io::Result<()> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pve-sim-calls");
        fs::create_dir_all(&dir)?;
        let log = fs::read_to_string(self.state().join("var/log/pveproxy/access.log"))?;
        let answered = |line: &&str| !line.contains("\" 501 ");
        let calls: std::collections::BTreeSet<&str> = log
            .lines()
            .filter(answered)
            .filter_map(|l| l.split('"').nth(1)?.strip_suffix(" HTTP/1.1"))
            .collect();
        let text: String = calls.iter().map(|call| format!("{call}\n")).collect();
        fs::write(dir.join(std::process::id().to_string()), text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for vmid in 100..1000 {
            if let Ok(Some((guest, _))) = Guest::open(&self.state(), vmid) {
                let _ = guest.stop();
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.note_calls();
    }
}

fn serve(dir: &Path, arguments: &[String]) -> (Child, String) {
    let mut child = Command::new(PVE_SIM)
        .args(["serve", "--listen", "127.0.0.1:0", "--json", "--state"])
        .arg(dir.join("state"))
        .arg("--root-password-file")
        .arg(dir.join("root.pw"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Json = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["pid"], child.id());
    (child, ready["url"].as_str().unwrap().to_owned())
}

/// Somebody who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    client: reqwest::Client,
    url: String,
    pub(crate) headers: HeaderMap,
}

impl Caller {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send("POST", path, Some(("application/x-www-form-urlencoded", encode_form(form)))).await
    }

    pub(crate) async fn put(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send("PUT", path, Some(("application/x-www-form-urlencoded", encode_form(form)))).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// Any request: path below `/api2/json`, or a whole path that begins with `/api2`.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<(&str, String)>) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    /// The same, for a connection that may end without an answer.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, String)>,
    ) -> reqwest::Result<Answer> {
        let whole = if path.starts_with("/api2") { path.to_owned() } else { format!("/api2/json{path}") };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request =
            self.client.request(method, format!("{}{whole}", self.url)).headers(self.headers.clone());
        if let Some((kind, body)) = body {
            if !kind.is_empty() {
                request = request.header("content-type", kind);
            }
            request = request.body(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let custom = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = custom.map(|r| String::from_utf8_lossy(r.as_bytes()).into_owned());
        let reason = reason.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
        let headers = response.headers().clone();
        let body = response.text().await.unwrap();
        Ok(Answer {
            status: status.as_u16(),
            reason,
            headers,
            json: serde_json::from_str(&body).unwrap_or(Json::Null),
            body,
        })
    }

    /// Polls a task until it stopped; its exit status.
    pub(crate) async fn wait(&self, upid: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.get(&format!("/nodes/pve/tasks/{}/status", encode(upid))).await.ok();
            if status["status"] == "stopped" {
                return status["exitstatus"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "{upid} does not end: {status}");
            tokio::task::yield_now().await;
        }
    }

    /// Polls a list of finished tasks until it has one: it is brought up to date when the daemon hears of the worker's end, a
    /// moment after the task's status says so.
    pub(crate) async fn finished(&self, query: &str) -> Json {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let list = self.get(&format!("/nodes/pve/tasks{query}")).await;
            if list.json["total"].as_u64().is_some_and(|n| n > 0) {
                return list.json;
            }
            assert!(Instant::now() < deadline, "{}", list.body);
        }
    }

    /// Starts a task by POST and waits for it.
    pub(crate) async fn run(&self, path: &str, form: &[(&str, &str)]) -> String {
        let upid = self.post(path, form).await.upid();
        self.wait(&upid).await
    }

    /// A task's whole log.
    pub(crate) async fn log(&self, upid: &str) -> Vec<String> {
        let lines = self.get(&format!("/nodes/pve/tasks/{}/log?limit=0", encode(upid))).await.ok();
        lines.as_array().unwrap().iter().map(|l| l["t"].as_str().unwrap().to_owned()).collect()
    }

    /// Polls a task's log until it has a line that contains `text`.
    pub(crate) async fn until_logged(&self, upid: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log(upid).await.iter().any(|l| l.contains(text)) {
            assert!(Instant::now() < deadline, "{upid} does not log {text}");
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) json: Json,
}

impl Answer {
    /// The data of a successful answer.
    pub(crate) fn ok(&self) -> Json {
        assert_eq!(self.status, 200, "{} {}", self.reason, self.body);
        self.json["data"].clone()
    }

    /// A task's name.
    pub(crate) fn upid(&self) -> String {
        self.ok().as_str().unwrap().to_owned()
    }

    /// Checks an error: status, reason phrase and message in the body (F5).
    pub(crate) fn failed(&self, status: u16, reason: &str) {
        assert_eq!((self.status, self.reason.as_str()), (status, reason), "{}", self.body);
        let message = self.json["message"].as_str().unwrap_or(&self.body);
        assert_eq!(message.lines().next().unwrap_or_default(), reason);
        assert_eq!(self.json["data"], Json::Null);
    }

    /// Checks a parameter error.
    pub(crate) fn bad_parameter(&self, name: &str, text: &str) {
        self.failed(400, "Parameter verification failed.");
        assert_eq!(self.json["errors"][name], json!(text), "{}", self.body);
    }
}

/// Percent-encodes everything but letters and digits.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn encode_form(form: &[(&str, &str)]) -> String {
    form.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect::<Vec<_>>().join("&")
}

/// Pid in a UPID.
pub(crate) fn pid_of(upid: &str) -> i32 {
    i32::from_str_radix(upid.split(':').nth(2).unwrap(), 16).unwrap()
}

/// SIGKILL.
pub(crate) fn kill9(pid: i32) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

/// An archive with a small guest whose init writes `run/started`, a file on /data, and `zeros` bytes of nothing.
pub(crate) fn write_archive(path: &Path, config: &str, zeros: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let out = zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap().auto_finish();
    let mut tar = tar::Builder::new(out);
    let init =
        "#!/bin/sh\ntrap 'exit 0' TERM\necho $$ > run/started\nwhile :; do sleep 100 & wait $!; done\n";
    entry(&mut tar, "./etc/vzdump/pct.conf", config.as_bytes(), 0o644);
    for dir in [".", "./etc", "./bin", "./sbin", "./run", "./data", "./scratch"] {
        tar.append(&header(tar::EntryType::Directory, dir, 0, (0, 0o755)), std::io::empty()).unwrap();
    }
    for tool in ["sh", "sleep"] {
        let program =
            ["/bin", "/usr/bin"].iter().map(|d| Path::new(d).join(tool)).find(|p| p.exists()).unwrap();
        entry(&mut tar, &format!("./bin/{tool}"), &fs::read(program).unwrap(), 0o755);
    }
    entry(&mut tar, "./sbin/init", init.as_bytes(), 0o755);
    entry(&mut tar, "./etc/hostname", b"golden\n", 0o644);
    entry(&mut tar, "./data/file", b"v1\n", 0o644);
    if zeros > 0 {
        let header = header(tar::EntryType::Regular, "./data/zeros", zeros, (0, 0o644));
        tar.append(&header, std::io::repeat(1).take(zeros)).unwrap();
    }
    entry(&mut tar, "./data/last", b"end\n", 0o644);
    tar.into_inner().unwrap();
}

/// With the leading `./` that tar writes and the archiver looks for; the crate's own functions drop it.
pub(crate) fn header(kind: tar::EntryType, name: &str, size: u64, (owner, mode): (u64, u32)) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    header.set_uid(owner);
    header.set_gid(owner);
    if kind == tar::EntryType::Char {
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
    }
    header.set_cksum();
    header
}

fn entry<W: std::io::Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8], mode: u32) {
    tar.append(&header(tar::EntryType::Regular, name, bytes.len() as u64, (0, mode)), bytes).unwrap();
}
