//! Keys and an agent of the real OpenSSH.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Makes a key pair without passphrase; the private key's file.
pub(crate) fn keygen(dir: &Path, name: &str, kind: &[&str]) -> PathBuf {
    let key = dir.join(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", name, "-f"]).arg(&key).args(kind).stdin(Stdio::null());
    assert!(command.status().expect("ssh-keygen is needed; install openssh-client").success());
    key
}

/// The public half beside a key.
pub(crate) fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

/// An agent that holds one key; it ends with the test.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    pub(crate) fn with(dir: &Path, key: &Path) -> Self {
        let socket = dir.join("agent");
        let mut command = Command::new("ssh-agent");
        let child = command.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { child, socket };
        let add = || {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).stderr(Stdio::null());
            add.status().unwrap().success()
        };
        assert!((0..500).any(|_| add()), "the agent takes no key");
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
