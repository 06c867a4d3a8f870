//! The group `proxmoxer`: a Python script with a real client's package against the simulator.
//!
//! Steps: a virtual environment under `target/` with the package, once → build the simulator → run the script → count its
//! lines. Without Python, `venv` or the package the group says so and is skipped.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use super::Count;
use crate::run;

/// What is installed.
const PACKAGES: [&str; 2] = ["proxmoxer==2.3.0", "requests>=2.32,<3"];
const SCRIPT: &str = "crates/test/pve-sim/tests/proxmoxer.py";

/// Why the group cannot run here, if so.
pub(super) fn missing() -> Option<String> {
    let venv = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match venv {
        Ok(status) if status.success() => None,
        Ok(_) => Some("python3 has no venv (Debian: apt install python3-venv)".to_owned()),
        Err(_) => Some("no python3 (Debian: apt install python3-venv)".to_owned()),
    }
}

/// Runs it.
pub(super) fn work(root: &Path) -> Result<Count> {
    let python = match environment(root) {
        Ok(python) => python,
        Err(error) => {
            println!("   skipped: the package `proxmoxer` cannot be installed from PyPI: {error:#}");
            return Ok(Count { skipped: 1, ..Count::default() });
        }
    };
    let built = run::status(&mut run::cargo_command(root, &["build", "-p", "pve-sim", "--locked"]))?;
    ensure!(built.success(), "pve-sim does not build");
    let program = target(root).join("debug/pve-sim");
    // -I: nothing of this machine's own packages, nor the script's folder.
    let (status, text) = run::tee(Command::new(python).current_dir(root).args(["-I", SCRIPT]).arg(program))?;
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    Ok(Count { passed, failed: usize::from(!status.success()), skipped: 0 })
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The environment's Python; the packages are in it.
fn environment(root: &Path) -> Result<PathBuf> {
    let place = target(root).join("proxmoxer-venv");
    let python = place.join("bin/python");
    let ready = |python: &Path| {
        let import = Command::new(python).args(["-I", "-c", "import proxmoxer, requests"]).status();
        import.is_ok_and(|status| status.success())
    };
    if python.exists() && ready(&python) {
        return Ok(python);
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place).status()?;
    ensure!(made.success(), "python3 -m venv failed");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .status()?;
    ensure!(installed.success(), "pip install failed");
    Ok(python)
}
