//! The group `proxmoxer`: a Python script with a real client's package against the simulator.
//!
//! Steps: a virtual environment under `target/` with the package, once → build the simulator → run the script → count its
//! lines.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use super::{Count, needs::Needs};
use crate::run;

/// What is installed.
const PACKAGES: [&str; 2] = ["proxmoxer==2.3.0", "requests>=2.32,<3"];
const SCRIPT: &str = "crates/test/pve-sim/tests/proxmoxer.py";

/// What the group needs. Debian's Python has `ensurepip` in a package of its own.
pub(super) const NEEDS: Needs =
    Needs { root: false, programs: &[], works: &[(has_venv, "python3-venv")], lines: &[], more: None };

/// Whether an environment can be made.
fn has_venv() -> bool {
    let mut import = Command::new("python3");
    import.args(["-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    import.status().is_ok_and(|status| status.success())
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
