//! A simulated Proxmox host as a process of its own, and the executor's commands against it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use felhom_rig::Ready;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "canary-root-password";

/// A running host with the storages `tank` (btrfs) and `local` (dir), and a configuration for the executor.
pub(crate) struct Sim {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) fingerprint: String,
    child: Child,
}

/// How a command of the executor ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// The last line of standard output.
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Guests and workers outlive the simulator, as on a real host; not the test.
        while kill_all_below(&self.path("")) > 0 {
            std::thread::yield_now();
        }
    }
}

/// Kills every process that names the folder in its arguments or its environment; how many there were.
fn kill_all_below(folder: &Path) -> usize {
    let needle = folder.as_os_str().as_encoded_bytes();
    let names_it = |pid: &i32| {
        ["cmdline", "environ"].iter().any(|file| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.windows(needle.len()).any(|window| window == needle)
        })
    };
    let own = i32::try_from(std::process::id()).unwrap();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found: Vec<i32> = pids.filter(|pid| *pid != own).filter(names_it).collect();
    for pid in found.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    found.len()
}

/// The simulator's program.
pub(crate) fn simulator() -> PathBuf {
    felhom_rig::program("pve-sim", "pve-sim")
}

pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Sim {
    /// Replaces the rules by which the host fails.
    pub(crate) fn faults(&self, rules: &Value) {
        let path = self.path("pve/control");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("new"), serde_json::json!({ "rules": rules }).to_string()).unwrap();
        fs::rename(path.join("new"), path.join("faults.json")).unwrap();
    }

    pub(crate) fn start() -> Self {
        Self::with_runtime("none")
    }

    /// `runtime` is `none`, or `process` for guests that run.
    pub(crate) fn with_runtime(runtime: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_private(&dir.path().join("password"), &format!("{PASSWORD}\n"));
        let (child, Ready { url, fingerprint }) = felhom_rig::serve(dir.path(), "127.0.0.1:0", runtime);
        let sim = Self { url, fingerprint, dir, child };
        sim.configure(&sim.url, &sim.fingerprint, "");
        sim
    }

    /// The host's API is gone (SIGKILL).
    pub(crate) fn gone(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its power is off and on again: workers and guests have ended, and those that start at boot are being started.
    pub(crate) fn boots(&self) {
        let mut command = Command::new(simulator());
        command.args(["reboot", "--guests", "--state"]).arg(self.path("pve"));
        assert!(command.status().unwrap().success());
    }

    /// The host is there again, at the same address.
    pub(crate) fn again(&mut self) {
        let address = self.url.strip_prefix("https://").unwrap();
        self.child = felhom_rig::serve(self.dir.path(), address, "process").0;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the executor's configuration; `more` goes in front of the tables.
    pub(crate) fn configure(&self, url: &str, fingerprint: &str, more: &str) {
        let (simulator, state) = (simulator(), self.path("pve"));
        let tool = |name: &str| {
            format!("{} = [{simulator:?}, {name:?}, \"--state\", {state:?}]\n", name.replace('-', "_"))
        };
        let text = format!(
            "state_dir = {:?}\nhost_root = {state:?}\n{}{}{}{}{more}\n[pve]\nurl = {url:?}\nfingerprint = {fingerprint:?}\nnode = \"pve\"\n\
             token_file = {:?}\n[storages]\nguest = \"tank\"\nbackup = [\"local\"]\ngolden = \"local\"\n",
            self.path("executor"),
            tool("pct"),
            tool("pvesm"),
            tool("pveum"),
            tool("lxc-unfreeze"),
            self.path("token"),
        );
        fs::write(self.path("executor.toml"), text).unwrap();
    }

    /// Runs a command with `--json`.
    pub(crate) fn executor(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_felhom-executor"))
            .arg("--config")
            .arg(self.path("executor.toml"))
            .args(arguments)
            .arg("--json")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let json = stdout.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let everything = format!("{stdout}{stderr}");
        assert!(!everything.contains(PASSWORD), "the password is in the output: {everything}");
        if let Ok(secret) = fs::read_to_string(self.path("token")) {
            assert!(!everything.contains(secret.trim()), "the secret is in the output");
        }
        Ended { code: output.status.code().unwrap(), json, stderr }
    }

    /// `setup` with the right password.
    pub(crate) fn setup(&self, more: &[&str]) -> Ended {
        let password = self.path("password");
        let mut arguments = vec!["setup", "--password-file", password.to_str().unwrap()];
        arguments.extend(more);
        self.executor(&arguments)
    }

    /// The host's own record of users, roles, tokens and access lists.
    pub(crate) fn user_cfg(&self) -> String {
        fs::read_to_string(self.path("pve/etc/pve/user.cfg")).unwrap()
    }
}
