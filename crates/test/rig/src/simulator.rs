//! Programs of the workspace, and the simulated host in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What a host says when it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Of its API.
    pub url: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
}

/// A program of the workspace beside the running test's own `deps/`, built if its package was left out.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn program(package: &str, name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.parent().and_then(Path::parent).unwrap().join(name);
    if !program.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "-q", "-p", package]).status().unwrap();
        assert!(built.success(), "{package} does not build");
    }
    program
}

/// Starts `pve-sim` with its state in `pve` below `dir`, and root's password from the file `password` there. `runtime` is `none`,
/// or `process` for guests that run.
///
/// # Panics
/// If it does not get ready.
#[must_use]
pub fn serve(dir: &Path, listen: &str, runtime: &str) -> (Child, Ready) {
    let mut child = Command::new(program("pve-sim", "pve-sim"))
        .args(["serve", "--listen", listen, "--auth-delay-ms", "50", "--runtime", runtime, "--json"])
        .arg("--state")
        .arg(dir.join("pve"))
        .arg("--root-password-file")
        .arg(dir.join("password"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let text = |key: &str| ready[key].as_str().unwrap().to_owned();
    (child, Ready { url: text("url"), fingerprint: text("fingerprint") })
}
