//! The whole: host, executor, agent, network, hub, and who leads them.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use felhom_client::executor::ExecutorClient;
use felhom_model::OperationState;
use felhom_protocol::status::Operation;
use felhom_rig::program;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::host::Host;
use crate::network::{Fate, Network};
use crate::part::{Part, run};

/// The box's name at the hub.
pub(crate) const BOX: &str = "home";
/// Until everything stands.
const LONGEST: Duration = Duration::from_secs(90);
/// What waits for longer waits for somebody.
const GRACE: Duration = Duration::from_secs(4);

/// Who can be killed, and whose clock can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Hub,
    Agent,
    Executor,
}

impl Who {
    /// Of its files, and the word that starts it.
    fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Agent => "agent",
            Self::Executor => "executor",
        }
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) host: Host,
    pub(crate) network: Network,
    pub(crate) client: ExecutorClient,
    pub(crate) executor: Part,
    pub(crate) agent: Part,
    arrived: Receiver<()>,
    hub: Part,
    hub_url: String,
    token: String,
    http: reqwest::Client,
    /// The true time, milliseconds since 1970.
    now: i64,
    /// How far the clocks of box and hub are off, milliseconds.
    off: [i64; 2],
}

impl World {
    /// A box that is enrolled, and nothing else.
    pub(crate) fn new(seed: u64) -> Self {
        // Another history of this process may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        let host = Host::new(dir.path());
        let now = Timestamp::now().as_millisecond();
        let hub_toml = format!("state_dir = {:?}\nlisten = \"127.0.0.1:0\"\n", path("hub"));
        fs::write(path("hub.toml"), &hub_toml).unwrap();
        let (config, token) = (path("hub.toml"), path("token.ada"));
        let init = ["init", "--operator", "ada", "--token-file", token.to_str().unwrap(), "--config"];
        run(program("felhom-hub", "felhom-hub"), &[&init[..], &[config.to_str().unwrap()]].concat(), "");
        let token = fs::read_to_string(token).unwrap().trim().to_owned();
        let (network, arrived) = runtime.block_on(Network::start(&path("hub"), seed));
        fs::write(path("hub.toml"), format!("{hub_toml}public_url = {:?}\n", network.url)).unwrap();
        let agent_toml = format!(
            "state_dir = {:?}\nexecutor_socket = {:?}\nlocal_api_listen = \"127.0.0.1:0\"\ntime_zone = \"UTC\"\n\
             quiesce_wait_s = 1\n",
            path("agent"),
            path("run/executor.sock"),
        );
        fs::write(path("agent.toml"), agent_toml).unwrap();
        let certificate = fs::read(path("hub/tls.crt")).unwrap();
        let certificate = reqwest::Certificate::from_pem(&certificate).unwrap();
        let http = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap();
        let part = |who| start(dir.path(), who, now);
        let (executor, mut hub) = (part(Who::Executor), part(Who::Hub));
        let hub_url = listening(&mut hub);
        network.lead_to(&hub_url);
        let client = ExecutorClient::new(&path("run/executor.sock")).unwrap();
        let ticket = runtime.block_on(async {
            serves(&client).await;
            let request = http.post(format!("{hub_url}/api/v1/boxes")).bearer_auth(&token);
            let answer = request.json(&json!({"name": BOX})).send().await.unwrap();
            answer.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned()
        });
        let config = path("agent.toml");
        let enroll = ["--config", config.to_str().unwrap(), "enroll", "-"];
        run(program("felhom-agent", "felhom-agent"), &enroll, &ticket);
        let mut agent = part(Who::Agent);
        assert_eq!(agent.order("introduce"), Ok(()));
        let off = [0, 0];
        Self {
            dir,
            runtime,
            host,
            network,
            client,
            executor,
            agent,
            arrived,
            hub,
            hub_url,
            token,
            http,
            now,
            off,
        }
    }

    /// What a part logged.
    pub(crate) fn log(&self, who: Who) -> String {
        fs::read_to_string(self.dir.path().join(format!("{}.log", who.name()))).unwrap_or_default()
    }

    /// Time goes on; all clocks with it.
    pub(crate) fn tick(&mut self, ms: i64) {
        self.now += ms;
        self.set_clocks();
    }

    /// Sets by how much the clock of the box, or of the hub, is off.
    pub(crate) fn set_off(&mut self, who: Who, ms: i64) {
        self.off[usize::from(who == Who::Hub)] = ms;
        self.set_clocks();
    }

    fn clock(&self, who: Who) -> i64 {
        self.now + self.off[usize::from(who == Who::Hub)]
    }

    fn set_clocks(&mut self) {
        let (on_box, at_hub) = (self.clock(Who::Agent), self.clock(Who::Hub));
        self.host.set_clock(on_box);
        for (part, ms) in [(&mut self.executor, on_box), (&mut self.agent, on_box), (&mut self.hub, at_hub)] {
            assert_eq!(part.order(&format!("clock {ms}")), Ok(()));
        }
    }

    fn part(&mut self, who: Who) -> &mut Part {
        match who {
            Who::Hub => &mut self.hub,
            Who::Agent => &mut self.agent,
            Who::Executor => &mut self.executor,
        }
    }

    /// SIGKILL, and a new start.
    pub(crate) fn restart(&mut self, who: Who) {
        self.part(who).kill();
        *self.part(who) = start(self.dir.path(), who, self.clock(who));
        match who {
            Who::Hub => {
                self.hub_url = listening(&mut self.hub);
                self.network.lead_to(&self.hub_url);
            }
            // An executor that stands at a point answers all the same.
            Who::Agent => assert_eq!(self.agent.order("introduce"), Ok(())),
            Who::Executor => self.runtime.block_on(serves(&self.client)),
        }
    }

    /// One exchange of the agent, of this fate.
    pub(crate) fn sync(&mut self, fate: Fate) -> Result<(), String> {
        self.network.set(fate);
        if fate != Fate::SenderDies {
            return self.agent.order("sync");
        }
        self.agent.begin("sync");
        self.arrived.recv_timeout(LONGEST).expect("the request arrives");
        self.restart(Who::Agent);
        Err("died".to_owned())
    }

    /// Calls the hub's API.
    pub(crate) fn call(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.hub_url));
        let request = request.bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.json(body) };
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let status = answer.status();
            (status, answer.json().await.unwrap_or_default())
        })
    }

    /// Reads from the hub's API.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, &Value::Null);
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// All operations of the executor, oldest first.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.runtime.block_on(async {
            let mut all = Vec::new();
            loop {
                let after = all.last().map(|op: &Operation| op.id);
                let page = self.client.operations(after).await.unwrap();
                if page.is_empty() {
                    return all;
                }
                all.extend(page);
            }
        })
    }

    /// Waits until nothing moves: each operation that runs stands at a point, or waits for one that does. Answers how they stand;
    /// nothing if the executor died.
    pub(crate) fn settle(&mut self) -> Option<Vec<Operation>> {
        let begun = Instant::now();
        let end = begun + LONGEST;
        let mut still = 0;
        loop {
            assert!(
                Instant::now() < end,
                "it does not settle: {:?}\n{}",
                self.operations(),
                self.log(Who::Executor)
            );
            self.executor.hear(Duration::from_millis(3));
            if self.executor.is_dead() {
                return None;
            }
            let (host, client) = (&mut self.host, &self.client);
            self.runtime.block_on(host.speak(client));
            let operations = self.operations();
            let moves = operations.iter().filter(|op| runs(op.state)).count();
            // What waits for its grace begins by itself, soon.
            let waits = operations.iter().any(|op| op.state == OperationState::Waiting);
            let stands = moves <= self.executor.standing.len() && (!waits || begun.elapsed() > GRACE);
            still = if stands { still + 1 } else { 0 };
            if still == 2 {
                return Some(operations);
            }
        }
    }
}

/// Whether the executor works on it.
pub(crate) fn runs(state: OperationState) -> bool {
    matches!(state, OperationState::Pending | OperationState::Running | OperationState::RollingBack)
}

fn listening(hub: &mut Part) -> String {
    let ready: Value = serde_json::from_str(&hub.ready()).unwrap();
    format!("https://{}", ready["listen"].as_str().unwrap())
}

fn start(dir: &Path, who: Who, ms: i64) -> Part {
    let file = |kind: &str| dir.join(format!("{}.{kind}", who.name()));
    Part::start(who.name(), &file("toml"), ms, &file("log"))
}

async fn serves(executor: &ExecutorClient) {
    let end = Instant::now() + LONGEST;
    while executor.operations(None).await.is_err() {
        assert!(Instant::now() < end, "the executor does not serve");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
