//! A whole box for tests: simulated host after `setup`, golden archive of the stub guest, a serving executor, and the
//! test in the place of the agent (it speaks for the guests, whose key it knows).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use felhom_client::executor::ExecutorClient;
use felhom_model::{Digest, GuestUuid, OperationId, OperationState, Vmid};
use felhom_protocol::executor::{LocalApi, OperationRequest};
use felhom_protocol::local_api::{Bootstrap, Heartbeat, HeartbeatSummary};
use felhom_protocol::status::{Guest, Operation};
use felhom_signing::sshsig::{Namespace, openssh_line, sign};
use felhom_signing::{Context, Key, Signed};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::sim::{Sim, simulator};

pub(crate) const CONFIG: &str = "arch: amd64\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 256\n\
                      net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\nostype: debian\n\
                      rootfs: local:1999/vm-1999-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";
const LONG: Duration = Duration::from_secs(60);

/// A box under test.
pub(crate) struct Bench {
    pub(crate) sim: Sim,
    pub(crate) client: ExecutorClient,
    executor: Option<Child>,
    speaking: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.speaking.abort();
        if let Some(child) = &mut self.executor {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The key of the stub guest.
pub(crate) fn guest_key() -> Key {
    Key::from_seed(&[9; 32])
}

fn example(name: &str) -> PathBuf {
    let executor = Path::new(env!("CARGO_BIN_EXE_felhom-executor"));
    let built = executor.with_file_name("examples").join(name);
    assert!(built.exists(), "{} is built together with the tests", built.display());
    built
}

fn golden() -> Vec<u8> {
    let stub = fs::read(example("stub_guest")).unwrap();
    golden_of(CONFIG, &stub)
}

/// A golden archive with this configuration and this program.
pub(crate) fn golden_of(config: &str, program: &[u8]) -> Vec<u8> {
    felhom_rig::golden(config, program, &[("data/notes.db", b"ok, notes"), ("data/photo.jpg", b"a photo")])
}

/// Configures and sets up the executor, and imports the golden archive; answers a client of it, which does not serve yet.
fn set_up(sim: &Sim, more: &str, golden: Vec<u8>) -> ExecutorClient {
    let release = Key::from_seed(&[5; 32]);
    let line = openssh_line(&release.public(), "release").unwrap();
    let socket = sim.path("run/executor.sock");
    let more = format!("release_keys = [{line:?}]\nsocket = {socket:?}\nbackup_min_interval_s = 0\n{more}\n");
    sim.configure(&sim.url, &sim.fingerprint, &more);
    let done = sim.setup(&[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    import(sim, &release, golden);
    ExecutorClient::new(&socket).unwrap()
}

impl Bench {
    /// A box on which nothing was provisioned. `more` goes into the executor's configuration.
    pub(crate) async fn start(more: &str) -> Self {
        let sim = Sim::with_runtime("process");
        let client = set_up(&sim, more, golden());
        let speaking = tokio::spawn(speak(client.clone(), sim.path("pve")));
        let bench = Self { sim, client, executor: None, speaking };
        bench.serving().await
    }

    /// A box whose guests run only in the host's records, with a golden archive of a few bytes: fast, and enough for what
    /// asks nothing of the guests' inside. `pct` and `pvesm` are scripts that [`crate::rights`] writes into `tools`.
    pub(crate) async fn pretending(more: &str, golden: Vec<u8>, tools: impl FnOnce(&Sim)) -> Self {
        let sim = Sim::start();
        let client = set_up(&sim, more, golden);
        tools(&sim);
        let speaking = tokio::spawn(speak_for_pushed(client.clone(), sim.path("pushed")));
        let bench = Self { sim, client, executor: None, speaking };
        bench.serving().await
    }

    async fn serving(mut self) -> Self {
        self.serve().await;
        let api = LocalApi { url: "https://127.0.0.1:1".to_owned(), fingerprint: Digest::of(b"certificate") };
        self.client.set_local_api(&api).await.unwrap();
        self
    }

    /// Starts the executor.
    pub(crate) async fn serve(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-executor"));
        command.arg("--config").arg(self.sim.path("executor.toml")).arg("serve");
        self.spawn(command).await;
    }

    /// Starts an executor that dies at its `n`-th mutating call (`before` it was sent, or `after` it was answered).
    pub(crate) async fn serve_crashing(&mut self, n: u32, when: &str) {
        self.serve_planned(&format!("call:{n}:{when}"), "asked").await;
    }

    /// Starts an executor in which something goes wrong; the plan is that of `crashing_executor`. It names the points that it
    /// reaches in the file `points`.
    pub(crate) async fn serve_planned(&mut self, plan: &str, from: &str) {
        self.start_planned(plan, from);
        self.up().await;
    }

    /// The same, not waiting until it serves.
    pub(crate) fn start_planned(&mut self, plan: &str, from: &str) {
        let mut command = Command::new(example("crashing_executor"));
        command.arg(self.sim.path("executor.toml")).env("CRASH_AT", plan).env("CRASH_FROM", from);
        command.env("CRASH_POINTS", self.sim.path("points"));
        self.start_as(command);
    }

    async fn spawn(&mut self, command: Command) {
        self.start_as(command);
        self.up().await;
    }

    fn start_as(&mut self, mut command: Command) {
        assert!(self.executor.is_none());
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.sim.path("executor.log")).unwrap();
        command
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info,felhom_host=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.executor = Some(command.spawn().unwrap());
    }

    async fn up(&self) {
        let up = async || self.client.operations(None).await.is_ok();
        assert!(within(LONG, up).await, "the executor does not serve: {}", self.log());
    }

    /// Whether the executor is dead; one that is, is forgotten.
    pub(crate) fn is_dead(&mut self) -> bool {
        let dead = self.executor.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        if dead {
            self.executor = None;
        }
        dead
    }

    /// From now on nobody speaks for the guests.
    pub(crate) fn silence(&self) {
        self.speaking.abort();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.executor.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the executor died by itself; says whether it did.
    pub(crate) async fn died(&mut self, of: OperationId) -> bool {
        let deadline = Instant::now() + LONG;
        loop {
            if self.is_dead() {
                return true;
            }
            let op = self.client.operation(of).await;
            if op.is_ok_and(|op| op.state.is_final() || op.state == OperationState::NeedsOperator) {
                return false;
            }
            assert!(Instant::now() < deadline, "neither died nor ended: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.sim.path("executor.log")).unwrap_or_default()
    }

    /// Asks for an operation.
    pub(crate) async fn ask(&self, key: &str, kind: &str, params: Value) -> Operation {
        self.try_ask(key, kind, params).await.unwrap()
    }

    /// Asks for an operation of an executor that may die of it.
    pub(crate) async fn try_ask(
        &self,
        key: &str,
        kind: &str,
        params: Value,
    ) -> Result<Operation, felhom_client::Error> {
        let request = OperationRequest {
            request_id: key.to_owned(),
            kind: kind.to_owned(),
            params,
            reason: "test".to_owned(),
            asked_by: "local".to_owned(),
        };
        self.client.request(&request).await
    }

    /// Waits for its end.
    pub(crate) async fn end(&self, id: OperationId) -> Operation {
        let deadline = Instant::now() + LONG;
        loop {
            let op = self.client.operation(id).await.unwrap();
            if op.state.is_final() || op.state == OperationState::NeedsOperator {
                return op;
            }
            assert!(Instant::now() < deadline, "still {op:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks, waits, and expects it done.
    pub(crate) async fn done(&self, key: &str, kind: &str, params: Value) -> Operation {
        let op = self.ask(key, kind, params).await;
        let op = self.end(op.id).await;
        assert_eq!(op.state, OperationState::Done, "{:?}\n{}", op.reason, self.log());
        op
    }

    /// A provisioned tenant.
    pub(crate) async fn tenant(&self, name: &str) -> GuestUuid {
        self.done(&format!("provision-{name}"), "provision_guest", provision(name)).await.guest.unwrap()
    }

    /// The guest as observed.
    pub(crate) async fn guest(&self, uuid: GuestUuid) -> Guest {
        let seen = self.client.observation().await.unwrap();
        seen.guests.into_iter().find(|g| g.uuid == Some(uuid)).unwrap()
    }

    /// Reads a file inside a guest; `None` if it is not there.
    pub(crate) fn cat(&self, vmid: Vmid, path: &str) -> Option<Vec<u8>> {
        cat(&self.sim.path("pve"), vmid, path)
    }

    /// Runs the host's own `pct`.
    pub(crate) fn pct(&self, arguments: &[&str]) -> std::process::Output {
        let state = self.sim.path("pve");
        Command::new(simulator()).arg("pct").arg("--state").arg(state).args(arguments).output().unwrap()
    }
}

pub(crate) fn provision(name: &str) -> Value {
    json!({ "name": name, "cores": 1, "memory_mib": 256, "swap_mib": 0, "disk_gib": 1, "apps": ["sample"] })
}

fn import(sim: &Sim, key: &Key, bytes: Vec<u8>) {
    let dir = sim.path("release");
    fs::create_dir_all(&dir).unwrap();
    let artefact = json!({
        "kind": "golden", "name": "a.tar.zst", "sha256": Digest::of(&bytes), "bytes": bytes.len(), "apps": ["sample"],
    });
    let release = json!({ "schema": "felhom.release/v1", "version": 1, "artefacts": [artefact] });
    let release = serde_json::to_vec_pretty(&release).unwrap();
    fs::write(dir.join("a.tar.zst"), bytes).unwrap();
    fs::write(dir.join("release.json.sig"), sign(key, Namespace::Release, &release).unwrap()).unwrap();
    fs::write(dir.join("release.json"), release).unwrap();
    let done = sim.executor(&["golden", "import", dir.join("a.tar.zst").to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
}

fn cat(state: &Path, vmid: Vmid, path: &str) -> Option<Vec<u8>> {
    let output = Command::new(simulator())
        .arg("pct")
        .arg("--state")
        .arg(state)
        .args(["exec", &vmid.to_string(), "--", "/usr/bin/felhom-controller", "cat", path])
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}

/// Sends one heartbeat for every bootstrap that lies in a guest.
async fn speak(client: ExecutorClient, state: PathBuf) {
    speak_once(&client, || {
        // As the simulator lays a volume out.
        let guests = entries(&state.join("mnt/tank/images"));
        let volumes = guests.iter().flat_map(|guest| entries(guest));
        volumes.map(|volume| volume.join("disk.raw/run/felhom/bootstrap.json")).collect()
    })
    .await;
}

/// Sends one heartbeat for every bootstrap that was pushed.
async fn speak_for_pushed(client: ExecutorClient, pushed: PathBuf) {
    speak_once(&client, || entries(&pushed)).await;
}

async fn speak_once(client: &ExecutorClient, files: impl Fn() -> Vec<PathBuf>) {
    let mut said = BTreeSet::new();
    loop {
        for file in files() {
            let bytes = fs::read(file).unwrap_or_default();
            let Ok(bootstrap) = serde_json::from_slice::<Bootstrap>(&bytes) else { continue };
            if said.contains(&bootstrap.boot_nonce) {
                continue;
            }
            if client.heartbeat(&heartbeat(&bootstrap, &guest_key()).into()).await.is_ok() {
                said.insert(bootstrap.boot_nonce);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// A heartbeat of a guest.
pub(crate) fn heartbeat(bootstrap: &Bootstrap, key: &Key) -> Signed {
    let heartbeat = Heartbeat {
        guest: bootstrap.guest,
        boot_nonce: bootstrap.boot_nonce.clone(),
        time: jiff::Timestamp::now(),
        summary: HeartbeatSummary {
            version: "stub".to_owned(),
            slot: "A".to_owned(),
            apps: Vec::new(),
            url: None,
            received: None,
        },
    };
    Signed::new(key, Context::Heartbeat, serde_json::to_vec(&heartbeat).unwrap())
}

/// Asks again until it says yes, or the time is over.
pub(crate) async fn within(time: Duration, mut ask: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if ask().await {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
