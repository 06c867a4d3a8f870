//! The machine that plays all three roles: a container with Debian 13 and a real systemd as init, in which the simulator stands
//! for Proxmox, at the places where Proxmox has its things.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::document::Who;
use crate::run;

const NAME: &str = "first-box";
const SUITE: &str = "trixie";
const PACKAGES: &str = "ca-certificates,dbus,iproute2,openssh-client,procps,systemd,systemd-sysv,tzdata";
/// The simulator's state.
const STATE: &str = "/var/lib/proxmox";
const SIMULATOR: &str = "/usr/local/lib/pve-sim";
/// What Proxmox has where, and the simulator in its state.
const PLACES: [&str; 4] = ["etc/pve", "etc/vzdump.conf", "var/lib/vz", "mnt/tank"];
/// Where root's password of the simulated host is for whoever is asked for it.
pub(super) const PASSWORD: &str = "/root/pve-password";
/// The address of box and hub.
pub(super) const ADDRESS: &str = "192.0.2.10";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The running container; gone when dropped.
pub(super) struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// Boots one with these files in `/root/felhom`.
    pub(super) fn boot(root: &Path, simulator: &Path, release: &[PathBuf]) -> Result<Self> {
        let system = system(root)?;
        let dir = tempfile::Builder::new().prefix("first-box-").tempdir()?;
        let machine = Self { dir };
        let rootfs = machine.rootfs();
        fs::create_dir_all(&rootfs)?;
        fs::create_dir_all(machine.dir.path().join("lxc"))?;
        run::check(Command::new("tar").arg("-xf").arg(&system).arg("-C").arg(&rootfs))?;
        machine.furnish(simulator, release)?;
        let config = machine.dir.path().join("config");
        fs::write(&config, lxc_config(&rootfs))?;
        run::check(machine.lxc("lxc-start").args(["-d", "-f"]).arg(&config))?;
        machine.until("systemd", "systemctl is-system-running | grep -qx running")?;
        machine.network_and_proxmox()?;
        Ok(machine)
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn lxc(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("-P").arg(self.dir.path().join("lxc")).args(["-n", NAME]);
        command
    }

    /// Proxmox's files, its commands, and what a release is.
    fn furnish(&self, simulator: &Path, release: &[PathBuf]) -> Result<()> {
        let at = |path: &str| self.rootfs().join(path.trim_start_matches('/'));
        let program = |path: &str, text: String| -> Result<()> {
            fs::write(at(path), text)?;
            Ok(fs::set_permissions(at(path), fs::Permissions::from_mode(0o755))?)
        };
        fs::copy(simulator, at(SIMULATOR))?;
        for (path, tool) in [
            ("/usr/sbin/pct", "pct"),
            ("/usr/sbin/pvesm", "pvesm"),
            ("/usr/sbin/pveum", "pveum"),
            ("/usr/bin/lxc-unfreeze", "lxc-unfreeze"),
        ] {
            program(path, format!("#!/bin/sh\nexec {SIMULATOR} {tool} --state {STATE} \"$@\"\n"))?;
        }
        for place in PLACES {
            let state = PathBuf::from(STATE).join(place);
            let inside = at(&state.display().to_string());
            fs::create_dir_all(if place.ends_with(".conf") {
                inside.parent().unwrap_or(&inside)
            } else {
                &inside
            })?;
            fs::create_dir_all(at(place).parent().context("a place has a parent")?)?;
            symlink(&state, at(place))?;
        }
        fs::write(at(PASSWORD), "password-of-the-first-box\n")?;
        fs::set_permissions(at(PASSWORD), fs::Permissions::from_mode(0o600))?;
        fs::write(at("/etc/hostname"), "pve\n")?;
        for ids in ["/etc/subuid", "/etc/subgid"] {
            fs::write(at(ids), "root:100000:65536\n")?;
        }
        let unit = format!(
            "[Service]\nExecStart={SIMULATOR} serve --state {STATE} --listen 127.0.0.1:8006 --node pve \
             --root-password-file {PASSWORD}\n"
        );
        fs::write(at("/etc/systemd/system/pveproxy.service"), unit)?;
        for folder in ["/root/felhom", "/root/me"] {
            fs::create_dir_all(at(folder))?;
        }
        for file in release {
            let name = file.file_name().context("a file has a name")?;
            fs::copy(file, at("/root/felhom").join(name)).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    fn network_and_proxmox(&self) -> Result<()> {
        self.quietly(&format!(
            "ip link add vmbr0 type bridge && ip addr add {ADDRESS}/24 dev vmbr0 && ip link set vmbr0 up && \
             systemctl start pveproxy"
        ))?;
        self.until(
            "the simulated host",
            "systemctl is-active -q pveproxy && test -s /etc/pve/local/pveproxy-ssl.pem",
        )
    }

    /// Runs what somebody types.
    pub(super) fn typed(&self, who: Who, text: &str) -> Result<Output> {
        let (directory, home) = match who {
            Who::Hub | Who::Box => ("/root/felhom", "/root"),
            Who::Me => ("/root/me", "/root/me"),
        };
        let mut command = self.lxc("lxc-attach");
        command.args([
            "--clear-env",
            "--set-var",
            &format!("PATH={PATH}"),
            "--set-var",
            &format!("HOME={home}"),
        ]);
        command.args([
            "--set-var",
            "TERM=dumb",
            "--",
            "/bin/bash",
            "-c",
            &format!("cd {directory} || exit\n{text}"),
        ]);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// What a script says that has to succeed.
    pub(super) fn quietly(&self, script: &str) -> Result<String> {
        let output = self.typed(Who::Box, script)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    fn until(&self, what: &str, script: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.typed(Who::Box, script)?.status.success() {
            if Instant::now() > deadline {
                bail!("{what} does not come up in the container within 30 s");
            }
            run::pause(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may never have started.
        let _ = self.lxc("lxc-stop").arg("-k").stderr(Stdio::null()).status();
    }
}

/// Debian's packages as one file, kept between runs.
fn system(root: &Path) -> Result<PathBuf> {
    let path = root.join("target/first-box/system.tar");
    if path.exists() {
        return Ok(path);
    }
    println!("   building Debian {SUITE} with systemd …");
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    let new = path.with_extension("new");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--format=tar", "--quiet", &format!("--include={PACKAGES}"), SUITE]);
    run::check(command.arg(&new))?;
    fs::rename(&new, &path)?;
    Ok(path)
}

fn lxc_config(rootfs: &Path) -> String {
    format!(
        "lxc.include = /usr/share/lxc/config/common.conf\nlxc.include = /usr/share/lxc/config/nesting.conf\n\
         lxc.arch = amd64\nlxc.apparmor.profile = unconfined\nlxc.uts.name = pve\nlxc.rootfs.path = dir:{}\n\
         lxc.net.0.type = empty\nlxc.console.path = none\nlxc.tty.max = 0\n",
        rootfs.display()
    )
}
