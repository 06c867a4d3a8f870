//! Starts and kills the agent; waits for what should become true.

use crate::executor::Executor;
use crate::hub::Hub;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What takes longer than this failed.
const LONGEST: Duration = Duration::from_secs(20);

/// A box: temporary directory, executor, hub, and the agent while it runs.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) executor: Executor,
    pub(crate) hub: Hub,
    agent: Option<Child>,
}

impl World {
    /// Everything but the agent runs.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The same, with more lines in the agent's configuration.
    pub(crate) async fn with(config: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let executor = Executor::start(&dir.path().join("executor.sock")).await;
        let hub = Hub::start().await;
        let text = format!(
            "state_dir = \"{0}/agent\"\nexecutor_socket = \"{0}/executor.sock\"\nlocal_api_listen = \"127.0.0.1:0\"\n\
             time_zone = \"Europe/Budapest\"\nobserve_s = 1\n{config}\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("agent.toml"), text).unwrap();
        Self { dir, executor, hub, agent: None }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_felhom-agent"));
        command.arg("--config").arg(self.path("agent.toml")).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command of the agent to its end, without blocking the servers of the test.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Enrols the box.
    pub(crate) async fn enroll(&self) -> Output {
        let output = self.run(&["enroll", &self.hub.ticket().encode(), "--json"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        self.agent = Some(self.command(&["serve"]).stderr(log).stdout(Stdio::null()).spawn().unwrap());
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// Enrolled and running.
    pub(crate) async fn ready(config: &str) -> Self {
        let mut world = Self::with(config).await;
        world.enroll().await;
        world.start();
        world
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Polls until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + LONGEST;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "not seen: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}
