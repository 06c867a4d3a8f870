//! A guest that is a directory, with the controller as a process.

use felhom_controller::{
    engine::instance::{Instance, ServiceFiles},
    paths::Paths,
};
use felhom_protocol::probe::{ProbeAnswer, ProbeRequest};
use rustix::process::Signal;
use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_felhom-controller");

pub(crate) const COMPOSE: &str = r#"
services:
  web:
    image: sample
    command: ["app", "--ignored", "--exact", "app_process", "--nocapture"]
    environment:
      - DATA_DIR=data
    volumes: ["data:/data"]
    ports: ["8081:8090"]
    restart: always
    stop_grace_period: 5s
volumes:
  data:
"#;

pub(crate) const MANIFEST: &str = r#"
schema: felhom.app/v1
name: { hu: Jegyzetek, en: Notes }
volumes:
  data: { class: app }
databases:
  - { name: notes, engine: sqlite, volume: data, path: notes.db }
consistency: frozen
health:
  - service: web
    http: { port: 8090, path: /health }
ingress: { service: web, port: 8090 }
"#;

/// A guest directory; what runs in it ends with it.
pub(crate) struct Guest {
    pub(crate) root: PathBuf,
    pub(crate) lo: Ipv4Addr,
    pub(crate) net0: Ipv4Addr,
    pub(crate) controller: Option<Child>,
    _dir: TempDir,
}

/// An address of this machine's loopback network that nobody else uses.
fn address() -> Ipv4Addr {
    let mut bytes = [0_u8; 3];
    getrandom(&mut bytes);
    Ipv4Addr::new(127, bytes[0] | 1, bytes[1], bytes[2] | 1)
}

fn getrandom(bytes: &mut [u8]) {
    bytes.copy_from_slice(&fs::read("/proc/sys/kernel/random/uuid").unwrap()[..bytes.len()]);
    let id = felhom_controller::random_hex().unwrap();
    for (byte, random) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(random).unwrap(), 16).unwrap();
    }
}

impl Guest {
    /// With the app `notes` installed and told to run; the link is down.
    pub(crate) fn new() -> Self {
        let guest = Self::empty();
        guest.install("notes", COMPOSE, MANIFEST);
        guest.should_run(&["notes"]);
        guest
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/net0"), "").unwrap();
        Self { root, lo: address(), net0: address(), controller: None, _dir: dir }
    }

    /// What a restore of its archive makes: everything but `/run`, with addresses of its own and the link down.
    pub(crate) fn restored_copy(&self) -> Self {
        let copy = Self::empty();
        fs::remove_dir_all(&copy.root).unwrap();
        let status = Command::new("cp").arg("-a").arg(&self.root).arg(&copy.root).status().unwrap();
        assert!(status.success());
        fs::remove_dir_all(copy.root.join("run")).unwrap();
        fs::create_dir_all(copy.root.join("run")).unwrap();
        fs::write(copy.root.join("run/net0"), "").unwrap();
        copy
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::new(&self.root)
    }

    pub(crate) fn install(&self, app: &str, compose: &str, manifest: &str) {
        let dir = self.root.join("opt/felhom/apps").join(app);
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::write(dir.join("compose.yaml"), compose).unwrap();
        fs::write(dir.join("felhom.yaml"), manifest).unwrap();
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), dir.join("bin/app")).unwrap();
    }

    pub(crate) fn should_run(&self, apps: &[&str]) {
        let state = self.paths().state();
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("apps.json"), format!("{apps:?}")).unwrap();
    }

    pub(crate) fn link_up(&self) {
        fs::write(self.root.join("run/net0"), self.net0.to_string()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--root").arg(&self.root).arg("--lo").arg(self.lo.to_string());
        command.arg("--net0-file").arg(self.root.join("run/net0"));
        command
    }

    pub(crate) fn start(&mut self) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.root.join("controller.log")).unwrap();
        let child =
            self.command(&["serve"]).stderr(log).env("FELHOM_CONTROLLER_FREEZE_MAX_S", "4").spawn().unwrap();
        self.controller = Some(child);
    }

    pub(crate) fn kill_controller(&mut self) {
        let mut child = self.controller.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; returns when it has ended.
    pub(crate) fn stop(&mut self) {
        let mut child = self.controller.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("controller.log")).unwrap_or_default()
    }

    /// Runs a command of the controller's program with this standard input.
    pub(crate) fn call(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn probe(&self, request: &ProbeRequest) -> ProbeAnswer {
        let output = self.call(&["probe", "--json"], &serde_json::to_string(request).unwrap());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}\n{}", self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until every app is healthy.
    pub(crate) fn healthy(&self) -> ProbeAnswer {
        let answer = self.probe(&ProbeRequest { nonce: "n".into(), wait_ms: 30_000, samples: vec![] });
        let bad = answer.apps.iter().find(|app| !app.healthy);
        assert!(bad.is_none() && !answer.apps.is_empty(), "{answer:?}\n{}", self.log());
        answer
    }

    pub(crate) fn instance(&self) -> Instance {
        self.instance_of("notes", "web")
    }

    pub(crate) fn instance_of(&self, app: &str, service: &str) -> Instance {
        let files = ServiceFiles::new(&self.paths(), &app.parse().unwrap(), service);
        files.running().unwrap().unwrap_or_else(|| panic!("{app} does not run\n{}", self.log()))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}:8090{path}", self.lo)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("var/lib/felhom/volumes/notes_data")
    }

    /// Adds a note and a file through the app.
    pub(crate) async fn add_data(&self, note: &str, file: &str, bytes: &[u8]) {
        let http = reqwest::Client::new();
        let note =
            http.post(self.url("/notes")).json(&serde_json::json!({ "text": note })).send().await.unwrap();
        assert_eq!(note.status(), 201);
        let file = http.put(self.url(&format!("/files/{file}"))).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(file.status(), 201);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(mut child) = self.controller.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Everything of this guest, by where it started or what it runs.
        let services = self.root.join("run/felhom/services");
        let files = walk(&services).into_iter().filter(|path| path.ends_with("instance.json"));
        for file in files {
            if let Some(instance) =
                fs::read(file).ok().and_then(|b| serde_json::from_slice::<Instance>(&b).ok())
                && instance.process.is_alive()
            {
                let _ = felhom_controller::engine::proc::signal_group(instance.process.pid, Signal::KILL);
            }
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Polls until `ready` gives something.
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
