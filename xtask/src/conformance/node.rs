//! The simulator as a process on a state directory of its own, set up as the recorded node was before the first line.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{rename::Rename, stage::Fault, wire::Wire};
use crate::run;

/// `node.toml`: the node before the first line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    /// `none` or `process`.
    pub(crate) runtime: String,
    /// The node's name.
    pub(crate) node: String,
    /// Text of storage.cfg.
    pub(crate) storage_cfg: String,
    /// Names that the renamed replay replaces.
    pub(crate) names: Vec<String>,
    /// Other files.
    #[serde(default)]
    pub(crate) file: Vec<FileEntry>,
    /// Templates to make.
    #[serde(default)]
    pub(crate) template: Vec<TemplateEntry>,
    /// Calls by root that make the state, tasks waited for.
    #[serde(default)]
    pub(crate) api: Vec<ApiEntry>,
    /// A bash script at the end.
    pub(crate) script: Option<String>,
}

/// A file of the state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    /// In the state directory.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// A template archive that is made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateEntry {
    /// In the state directory; its end says how it is packed.
    pub(crate) path: String,
    /// `/etc/debian_version`.
    pub(crate) version: String,
    /// More folders (`etc/ssh`).
    #[serde(default)]
    pub(crate) folders: Vec<String>,
}

/// A call by root.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiEntry {
    /// POST, PUT or DELETE.
    pub(crate) method: String,
    /// Below `/api2/json`.
    pub(crate) path: String,
    /// The form.
    #[serde(default)]
    pub(crate) form: String,
}

/// Reads a `node.toml`.
pub(crate) fn load(path: &Path) -> Result<NodeFile> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// A running simulator.
#[derive(Debug)]
pub(crate) struct Node {
    /// The program.
    pub(crate) program: PathBuf,
    /// The node's name, as it runs.
    pub(crate) name: String,
    runtime: String,
    dir: TempDir,
    state: PathBuf,
    child: Option<Child>,
    /// To its API.
    pub(crate) wire: Wire,
    /// Root's ticket.
    pub(crate) ticket: String,
    /// Its CSRF token.
    pub(crate) csrf: String,
    faults: Vec<Value>,
    /// Seconds that its clock is ahead by, so that two backups need no second between them.
    pub(crate) clock: u64,
}

/// Password of root@pam.
const PASSWORD: &str = "conformance-root-47";

impl Node {
    /// Makes the state and starts it.
    pub(crate) fn start(program: &Path, file: &NodeFile, rename: &Rename) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("conf").tempdir()?;
        let state = dir.path().join("s");
        fs::create_dir_all(state.join("etc/pve"))?;
        let state = state.canonicalize()?;
        let text = |text: &str| rename.template(text).replace("{state}", &state.display().to_string());
        put(&state.join("etc/pve/storage.cfg"), &text(&file.storage_cfg))?;
        for entry in &file.file {
            put(&state.join(text(&entry.path)), &text(&entry.text))?;
        }
        for entry in &file.template {
            super::template::make(&state.join(&entry.path), &entry.version, &entry.folders)?;
        }
        fs::write(dir.path().join("root.pw"), PASSWORD)?;
        let mut node = Self {
            program: program.to_path_buf(),
            name: rename.word(&file.node),
            runtime: file.runtime.clone(),
            dir,
            state,
            child: None,
            wire: Wire::new(([127, 0, 0, 1], 9).into(), RootCertStore::empty())?,
            ticket: String::new(),
            csrf: String::new(),
            faults: Vec::new(),
            clock: 0,
        };
        node.serve()?;
        Ok(node)
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Starts the server and logs in.
    pub(crate) fn serve(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .arg("--state")
            .arg(&self.state)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--json",
                "--auth-delay-ms",
                "1",
                "--status-interval-ms",
                "3600000",
            ])
            .args(["--runtime", &self.runtime, "--node", &self.name])
            .arg("--root-password-file")
            .arg(self.dir.path().join("root.pw"))
            .env("TZ", "Etc/UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.dir.path().join("stderr"))?);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let out = child.stdout.take().context("no standard output")?;
        self.child = Some(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).with_context(|| {
            let text = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
            format!("the simulator did not start: {line}{text}")
        })?;
        let url = ready["url"].as_str().and_then(|url| url.strip_prefix("https://")).context("no address")?;
        let mut certificates = RootCertStore::empty();
        let certificate = self.state.join("etc/pve/local/pveproxy-ssl.pem");
        certificates.add(CertificateDer::from_pem_file(certificate)?)?;
        self.wire = Wire::new(url.parse().context("address")?, certificates)?;
        self.login()
    }

    fn login(&mut self) -> Result<()> {
        let form = format!("username=root%40pam&password={PASSWORD}");
        let answer = self.wire.call(
            format!(
                "POST /api2/json/access/ticket HTTP/1.1\r\nHost: pve\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            )
            .as_bytes(),
        )?;
        let json: Value = serde_json::from_str(&answer.body).with_context(|| answer.status.clone())?;
        let text = |name: &str| json["data"][name].as_str().map(str::to_owned).context("no ticket");
        self.ticket = text("ticket")?;
        self.csrf = text("CSRFPreventionToken")?;
        Ok(())
    }

    /// A call by root's ticket.
    pub(crate) fn root(&self, method: &str, path: &str, form: &str) -> Result<(String, Value)> {
        let ticket =
            format!("Cookie: PVEAuthCookie={}\r\nCSRFPreventionToken: {}", encode(&self.ticket), self.csrf);
        self.call(&ticket, method, path, form)
    }

    /// A call by a token.
    pub(crate) fn with_token(
        &self,
        token: &str,
        method: &str,
        path: &str,
        form: &str,
    ) -> Result<(String, Value)> {
        self.call(&format!("Authorization: {token}"), method, path, form)
    }

    fn call(&self, credentials: &str, method: &str, path: &str, form: &str) -> Result<(String, Value)> {
        let body = if method == "GET" || form.is_empty() {
            "\r\n".to_owned()
        } else {
            format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            )
        };
        let request = format!(
            "{method} /api2/json{path} HTTP/1.1\r\nHost: pve\r\nConnection: close\r\n\
             {credentials}\r\n{body}",
        );
        let answer = self.wire.call(request.as_bytes())?;
        Ok((answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null)))
    }

    /// Whether a task has ended.
    pub(crate) fn ended(&self, upid: &str) -> Result<bool> {
        let (_, json) =
            self.root("GET", &format!("/nodes/{}/tasks/{}/status", self.name, encode(upid)), "")?;
        Ok(json["data"]["status"].as_str() != Some("running"))
    }

    /// Waits for a task's end; whether it came in time.
    pub(crate) fn wait(&self, upid: &str, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(2);
        while !self.ended(upid)? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            run::pause(pause);
            pause = (pause * 2).min(Duration::from_millis(40));
        }
        Ok(true)
    }

    /// Waits until the log of a task has this text.
    pub(crate) fn wait_log(&self, upid: &str, text: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let path = format!("/nodes/{}/tasks/{}/log?limit=0", self.name, encode(upid));
        while !self.root("GET", &path, "")?.1.to_string().contains(text) {
            if Instant::now() > deadline {
                bail!("the log of {upid} does not say {text:?}");
            }
            run::pause(Duration::from_millis(10));
        }
        Ok(())
    }

    /// One round of pvestatd, unless its stage file holds it: lists show what changed since the last one.
    pub(crate) fn round(&self) -> Result<()> {
        if self.faults.iter().any(|rule| rule["at"] == "pvestatd.round") {
            return Ok(());
        }
        let mut command = Command::new(&self.program);
        run::check(command.arg("pvestatd").arg("--state").arg(&self.state).stdin(Stdio::null()))
    }

    /// SIGTERM or SIGKILL, and again on the same state.
    pub(crate) fn restart(&mut self, kill: bool) -> Result<()> {
        self.end(kill);
        self.serve()
    }

    fn end(&mut self, kill: bool) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_child(&child);
        let signal = if kill { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
        let _ = rustix::process::kill_process(pid, signal);
        let _ = child.wait();
    }

    /// Adds a rule.
    pub(crate) fn fault(&mut self, fault: &Fault, rename: &Rename) -> Result<()> {
        let act = match fault.act.split_once('=') {
            Some(("fail", text)) => serde_json::json!({ "fail": text }),
            Some((name, number)) => serde_json::json!({ name: number.trim().parse::<i64>()? }),
            None => Value::String(fault.act.clone()),
        };
        let mut rule = serde_json::json!({"at": fault.at, "do": act});
        for (name, value) in [("method", &fault.method), ("path", &fault.path)] {
            if let Some(value) = value {
                rule[name] = Value::String(rename.path(value));
            }
        }
        if let Some(id) = &fault.id {
            rule["id"] = Value::String(rename.id(id));
        }
        self.faults.push(rule);
        self.write_faults()
    }

    /// Takes the rules at a place away; for one id only, if given.
    pub(crate) fn unfault(&mut self, at: &str, id: Option<&str>) -> Result<()> {
        let gone = |rule: &Value| rule["at"] == at && id.is_none_or(|id| rule["id"] == id);
        self.faults.retain(|rule| !gone(rule));
        self.write_faults()
    }

    /// Whether a worker waits at a held place.
    pub(crate) fn is_held(&self, at: &str, id: &str) -> bool {
        self.state.join(format!("run/held/{at}.{id}")).exists()
    }

    /// Forgets that one did, which was killed there.
    pub(crate) fn forget_held(&self, at: &str, id: &str) {
        let _ = fs::remove_file(self.state.join(format!("run/held/{at}.{id}")));
    }

    /// Writes the rules.
    pub(crate) fn write_faults(&self) -> Result<()> {
        let path = self.state.join("control/faults.json");
        fs::create_dir_all(self.state.join("control"))?;
        let mut rules = self.faults.clone();
        if self.clock > 0 {
            rules.push(serde_json::json!({"at": "clock", "do": {"shift_s": self.clock}}));
        }
        let new = path.with_extension("new");
        fs::write(&new, serde_json::json!({ "rules": rules }).to_string())?;
        fs::rename(new, path)?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.faults.clear();
        let _ = self.write_faults();
        // Workers and guests are no children of ours; root may stop them before the state goes away.
        if let Ok((_, tasks)) = self.root("GET", &format!("/nodes/{}/tasks?source=active", self.name), "") {
            for task in tasks["data"].as_array().into_iter().flatten().filter(|t| t["endtime"].is_null()) {
                if let Some(upid) = task["upid"].as_str() {
                    let _ = self.root("DELETE", &format!("/nodes/{}/tasks/{}", self.name, encode(upid)), "");
                    let _ = self.wait(upid, Duration::from_secs(5));
                }
            }
        }
        self.end(false);
    }
}

/// Percent-encodes all but letters, digits and `-_.~`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for c in text.bytes() {
        if c.is_ascii_alphanumeric() || b"-_.~".contains(&c) {
            out.push(char::from(c));
        } else {
            out.push_str(&format!("%{c:02X}"));
        }
    }
    out
}

fn put(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::File::create(path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
