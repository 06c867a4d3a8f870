//! A hub process in its own directory, an operator who calls its API, and boxes that sign their requests.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use felhom_model::{BoxId, Digest, Generation};
use felhom_protocol::hub_sync::{
    ANSWER_SIGNATURE, EnrollAnswer, EnrollRequest, Report, SyncAnswer, SyncRequest, Ticket, Turn,
};
use felhom_signing::{Context, Key, PublicKey, http};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::contract::{Contract, Exchange};

/// How long anything may take before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The binary with the hub's directory and a free port.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-hub"));
    command
        .env_clear()
        .env("FELHOM_HUB_STATE_DIR", dir.join("hub"))
        .env("FELHOM_HUB_LISTEN", "127.0.0.1:0")
        .env("FELHOM_HUB_NEXT_SYNC_S", "60");
    command
}

/// Runs to the end; what it printed, and whether it succeeded.
pub(crate) fn run(dir: &Path, args: &[&str]) -> (bool, String, String) {
    let output = command(dir).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Starts a hub that was initialised; its process and its ready line.
pub(crate) fn start(dir: &Path, variables: &[(&str, &str)]) -> (Child, Value) {
    let mut child = command(dir)
        .envs(variables.iter().copied())
        .args(["serve", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready = serde_json::from_str(&line).expect("the hub's ready line");
    (child, ready)
}

/// A serving hub with its operator `ada`.
pub(crate) struct Hub {
    pub(crate) dir: tempfile::TempDir,
    child: Child,
    pub(crate) url: String,
    pub(crate) key: PublicKey,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    /// What the API promises; every call is held against it.
    pub(crate) contract: Contract,
}

/// Where the operator's token is.
pub(crate) fn token_file(dir: &Path) -> PathBuf {
    dir.join("ada.token")
}

/// The password of `ada`.
pub(crate) const PASSWORD: &str = "correct horse battery";

fn write_private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Hub {
    /// Initialises and starts one.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same with variables of its configuration.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (token, password) = (token_file(dir.path()), dir.path().join("ada.password"));
        write_private(&password, &format!("{PASSWORD}\n"));
        let args = ["init", "--operator", "ada", "--token-file", token.to_str().unwrap()];
        let (ok, _, err) =
            run(dir.path(), &[&args[..], &["--password-file", password.to_str().unwrap()]].concat());
        assert!(ok, "{err}");
        let token = std::fs::read_to_string(token).unwrap().trim().to_owned();
        let certificate = std::fs::read(dir.path().join("hub/tls.crt")).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let (ok, document, err) = run(dir.path(), &["openapi"]);
        assert!(ok, "{err}");
        let contract = Contract::new(&document);
        let (child, ready) = start(dir.path(), variables);
        let (url, key) = addresses(&ready);
        Self { dir, child, url, key, http, token, contract }
    }

    /// SIGKILL and a new start on the same directory.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A new start on the same directory.
    pub(crate) fn restart(&mut self) {
        let (child, ready) = start(self.dir.path(), &[]);
        self.child = child;
        let (url, key) = addresses(&ready);
        assert_eq!(key, self.key, "the hub's key changed");
        self.url = url;
    }

    /// Calls the operators' API; request and answer are held against its document.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.call_as(Some(&self.token), method, path, body).await
    }

    /// The same with another token, or none.
    pub(crate) async fn call_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let path = format!("/api/v1{path}");
        let request = self.http.request(method.clone(), format!("{}{path}", self.url));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let answer = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        let (method, path, request) = (&method, path.as_str(), &body);
        let exchange = Exchange { method, path, request, status, answer: &answer };
        self.contract.check(&exchange).unwrap_or_else(|why| panic!("{why}"));
        (status, answer)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Adds a box, or renews its ticket.
    pub(crate) async fn ticket(&self, name: &str, renew: bool) -> Ticket {
        let body = json!({"name": name, "renew": renew});
        let (status, body) = self.call(Method::POST, "/boxes", body).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        Ticket::decode(body["ticket"].as_str().unwrap()).unwrap()
    }

    /// Adds a box and enrols it.
    pub(crate) async fn enrolled(&self, name: &str, seed: u8) -> TestBox {
        let ticket = self.ticket(name, false).await;
        let mut test_box = TestBox::new(seed);
        let (status, answer) = test_box.enrol(self, &ticket.token).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        test_box.id = Some(serde_json::from_value::<EnrollAnswer>(answer).unwrap().box_id);
        test_box
    }

    /// Sets desired state with one guest of this name; its generation.
    pub(crate) async fn set(&self, box_name: &str, guest: &str) -> u64 {
        let body = json!({"spec": spec(guest)});
        let (status, body) = self.call(Method::PUT, &format!("/boxes/{box_name}/desired"), body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["generation"].as_u64().unwrap()
    }

    /// Kinds of the box's events, newest first.
    pub(crate) async fn event_kinds(&self, box_name: &str) -> Vec<String> {
        let detail = self.get(&format!("/boxes/{box_name}")).await;
        let events = detail["events"].as_array().unwrap();
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn addresses(ready: &Value) -> (String, PublicKey) {
    assert_eq!(ready["ready"], true);
    let key = ready["hub_public_key"].as_str().unwrap().parse().unwrap();
    (ready["url"].as_str().unwrap().to_owned(), key)
}

/// A desired state with one guest.
pub(crate) fn spec(guest: &str) -> Value {
    json!({"schema": "felhom.desired/v1", "guest": [{"name": guest}]})
}

/// A report of a box that has nothing.
pub(crate) fn empty_report() -> Report {
    Report {
        agent_version: "1.0.0".into(),
        executor_version: Some("1.0.0".into()),
        observed_generation: Generation(0),
        conditions: vec![],
        guests: vec![],
        operations: vec![],
        archives: vec![],
        storages: vec![],
        receipts: vec![],
        jobs: vec![],
        audit_head: None,
        challenges: vec![],
        outcomes: vec![],
    }
}

/// An empty sync.
pub(crate) fn idle() -> SyncRequest {
    SyncRequest {
        nonce: "echo".into(),
        generation: Generation(0),
        document_digest: None,
        report: None,
        wait_s: 0,
    }
}

/// A signed request as it goes over the wire, to be meddled with.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) body: Vec<u8>,
    pub(crate) headers: http::Headers,
}

/// A box: its keys, and how it signs.
pub(crate) struct TestBox {
    pub(crate) device: Key,
    pub(crate) attestation: Key,
    pub(crate) id: Option<BoxId>,
    run: String,
    count: Cell<u64>,
}

impl TestBox {
    pub(crate) fn new(seed: u8) -> Self {
        let (device, attestation) = (Key::from_seed(&[seed; 32]), Key::from_seed(&[seed ^ 0x80; 32]));
        let run = format!("run-{}", Timestamp::now().as_nanosecond());
        Self { device, attestation, id: None, run, count: Cell::new(0) }
    }

    /// The same box, as an earlier process of its agent that was not heard.
    pub(crate) fn of_another_run(&self) -> Self {
        let (device, attestation) =
            (Key::from_seed(&self.device.seed()), Key::from_seed(&self.attestation.seed()));
        Self { device, attestation, id: self.id, run: format!("earlier-{}", self.run), count: Cell::new(0) }
    }

    /// Its agent is another process from now on.
    pub(crate) fn starts_again(&mut self) {
        self.run.push('x');
        self.count.set(0);
    }

    /// Enrols; the hub's signature over the answer is checked.
    pub(crate) async fn enrol(&self, hub: &Hub, token: &str) -> (StatusCode, Value) {
        let request = EnrollRequest {
            token: token.to_owned(),
            device_key: self.device.public(),
            attestation_key: self.attestation.public(),
            hostname: "pve1".into(),
            version: "1.0.0".into(),
        };
        let url = format!("{}/api/v1/enroll", hub.url);
        verified(hub, hub.http.post(url).json(&request).send().await.unwrap()).await
    }

    /// Signs a body, `skew` seconds off the clock.
    pub(crate) fn sign(&self, body: Vec<u8>, skew: i64) -> Wire {
        self.count.set(self.count.get() + 1);
        let params = http::Params {
            created: Timestamp::now().as_second() + skew,
            nonce: Turn { run: self.run.clone(), count: self.count.get() }.to_string(),
            key_id: self.id.expect("an enrolled box").to_string(),
        };
        let request = http::Request { method: "POST", path: "/api/v1/sync", body: &body };
        let headers = http::sign(&self.device, &request, &params);
        Wire { body, headers }
    }

    /// Signs and sends.
    pub(crate) async fn try_sync(&self, hub: &Hub, request: &SyncRequest) -> (StatusCode, Value) {
        send(hub, self.sign(serde_json::to_vec(request).unwrap(), 0)).await
    }

    /// A sync that has to succeed.
    pub(crate) async fn sync(&self, hub: &Hub, request: &SyncRequest) -> SyncAnswer {
        let (status, body) = self.try_sync(hub, request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_value(body).unwrap()
    }

    /// A sync with a report.
    pub(crate) async fn tell(&self, hub: &Hub, report: Report) -> SyncAnswer {
        let generation = report.observed_generation;
        self.sync(hub, &SyncRequest { report: Some(report), generation, ..idle() }).await
    }
}

/// Sends what was signed.
pub(crate) async fn send(hub: &Hub, wire: Wire) -> (StatusCode, Value) {
    let response = post(hub, wire).await;
    verified(hub, response).await
}

/// The same, with the answer as it came.
pub(crate) async fn post(hub: &Hub, wire: Wire) -> reqwest::Response {
    let request = hub.http.post(format!("{}/api/v1/sync", hub.url));
    let signed = request
        .header("content-digest", wire.headers.content_digest)
        .header("signature-input", wire.headers.signature_input)
        .header("signature", wire.headers.signature);
    signed.body(wire.body).send().await.unwrap()
}

/// Checks the hub's signature over an answer, refusals too.
async fn verified(hub: &Hub, response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    let signature = response.headers()[ANSWER_SIGNATURE].to_str().unwrap().parse().unwrap();
    let body = response.bytes().await.unwrap();
    hub.key.verify(Context::SyncAnswer, &body, &signature).expect("the answer's signature");
    (status, serde_json::from_slice(&body).unwrap())
}

/// The digest of a JSON answer's desired state.
pub(crate) fn document_digest(answer: &SyncAnswer) -> Option<Digest> {
    answer.desired_state.as_ref().map(|signed| Digest::of(&signed.bytes))
}

/// Asks again until it is so.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
