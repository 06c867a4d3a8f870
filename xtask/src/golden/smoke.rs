//! Trying a golden archive out: two guests are restored from it as containers of a simulated host and have to come up as customers'
//! guests do. And the group of tests that builds one twice.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Golden, Profile, Signing, archive, build_static, real};
use crate::{run, suite::Count};

/// Restore to first answer of the controller.
const AIM: Duration = Duration::from_secs(10);
const MOST_BYTES: u64 = 300 << 20;
/// Number of the simulated host among those of this machine.
const NET: &str = "196";

/// A simulated host in a folder of its own, powered off at the end.
struct Host {
    program: PathBuf,
    dir: tempfile::TempDir,
    server: Child,
}

impl Host {
    fn new(root: &Path) -> Result<Self> {
        run::check(&mut run::cargo_command(root, &["build", "--locked", "-p", "pve-sim"]))?;
        let program = super::target_folder(root)?.join("debug/pve-sim");
        let dir = tempfile::Builder::new().prefix("golden-").tempdir()?;
        // A container's root has to get to its files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let mut server = Command::new(&program)
            .args(["serve", "--listen", "127.0.0.1:0", "--runtime", "lxc", "--net", NET, "--json", "--state"])
            .arg(dir.path().join("pve"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("no output")?).read_line(&mut line)?;
        let host = Self { program, dir, server };
        ensure!(!line.is_empty(), "the simulated host does not start: {}", host.why_not());
        Ok(host)
    }

    fn why_not(&self) -> String {
        let again =
            self.command(&["serve"], &["--listen", "127.0.0.1:0", "--runtime", "lxc", "--net", NET]).output();
        again.map_or_else(|e| e.to_string(), |out| String::from_utf8_lossy(&out.stderr).trim().to_owned())
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("pve")
    }

    fn command(&self, command: &[&str], arguments: &[&str]) -> Command {
        let mut call = Command::new(&self.program);
        call.args(&command[..1]).arg("--state").arg(self.state()).args(&command[1..]).args(arguments);
        call
    }

    fn pct(&self, command: &[&str]) -> Result<String> {
        let out = run::output(&mut self.command(&["pct"], command))?;
        Ok(String::from_utf8_lossy(&out).trim().to_owned())
    }

    /// What a script prints in a guest.
    fn inside(&self, vmid: &str, script: &str) -> Result<String> {
        self.pct(&["exec", vmid, "--", "/bin/sh", "-c", script])
    }

    /// Waits until a script succeeds, and answers what it printed.
    fn until(&self, vmid: &str, script: &str, most: Duration) -> Result<String> {
        let deadline = Instant::now() + most;
        loop {
            match self.inside(vmid, script) {
                Err(_) if Instant::now() < deadline => run::pause(Duration::from_millis(50)),
                other => return other.with_context(|| format!("within {} s", most.as_secs())),
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What is left of a host that cannot be powered off is told by the test that looks for it.
        let _ = self.command(&["reboot"], &["--off"]).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Restores and boots two guests from the archive and asks them everything that a customer's guest must answer.
pub(super) fn test(root: &Path, golden: &Golden) -> Result<()> {
    let host = Host::new(root)?;
    let dump = host.state().join("var/lib/vz/dump");
    fs::create_dir_all(&dump)?;
    let name = golden.archive.file_name().and_then(|name| name.to_str()).context("an archive has a name")?;
    fs::copy(&golden.archive, dump.join(name))?;
    let volid = format!("local:backup/{name}");
    let guest = |vmid: &str| -> Result<Duration> {
        let begun = Instant::now();
        host.pct(&["restore", vmid, &volid, "--storage", "tank", "--unprivileged", "1"])?;
        host.pct(&["start", vmid])?;
        host.until(vmid, "felhom-controller public-key", Duration::from_secs(60))?;
        Ok(begun.elapsed())
    };
    let took = guest("100")?;
    println!("   restore to the controller's answer: {:.1} s (aim: {} s)", took.as_secs_f32(), AIM.as_secs());
    guest("101")?;
    for vmid in ["100", "101"] {
        booted(&host, vmid)?;
    }
    apart(&host)?;
    docker(&host)?;
    no_secrets(&golden.archive)?;
    ensure!(
        golden.bytes <= MOST_BYTES,
        "the archive has {} MiB, more than {}",
        golden.bytes >> 20,
        MOST_BYTES >> 20
    );
    println!("   size: {} MiB (aim: {} MiB)", golden.bytes >> 20, MOST_BYTES >> 20);
    Ok(())
}

fn booted(host: &Host, vmid: &str) -> Result<()> {
    let minute = Duration::from_secs(60);
    // It answers with a status of its own while jobs wait, and when something failed.
    host.until(vmid, "systemctl is-system-running", minute).or_else(|error| {
        let failed = host.inside(
            vmid,
            "systemctl --failed --no-legend --plain --no-pager; systemctl list-jobs --no-pager",
        );
        bail!("guest {vmid} is not `running`: {error:#}; {}", failed.unwrap_or_default())
    })?;
    host.until(vmid, "ip -4 -o address show dev eth0 | grep -q 'inet 10.198.'", minute)
        .with_context(|| format!("guest {vmid} gets no address"))?;
    let active = host.inside(vmid, "systemctl is-active felhom-controller docker containerd")?;
    ensure!(
        active.lines().all(|line| line == "active"),
        "guest {vmid}: controller, docker, containerd: {active}"
    );
    let ssh = host.inside(vmid, "systemctl is-enabled ssh.service ssh.socket; true")?;
    ensure!(
        ssh.lines().all(|line| line == "disabled"),
        "guest {vmid} lets people in from the network: {ssh}"
    );
    println!(
        "   guest {vmid}: systemd running, controller and Docker active, an address, no login from the network"
    );
    Ok(())
}

/// What two guests must not share.
fn apart(host: &Host) -> Result<()> {
    let own = "cat /etc/machine-id; ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; ls /etc/ssh/ssh_host_*_key | wc -l; \
               felhom-controller public-key; cat /etc/hostname";
    let (one, two) = (host.inside("100", own)?, host.inside("101", own)?);
    let pairs: Vec<_> = one.lines().zip(two.lines()).collect();
    ensure!(pairs.len() == 5, "a guest does not have all of its identity: {one}; {two}");
    for (what, (one, two)) in ["machine-id", "SSH host key", "number of keys", "guest key"].iter().zip(&pairs)
    {
        let same = one == two;
        ensure!(same == (*what == "number of keys"), "{what} of two guests: {one} and {two}");
    }
    println!("   two guests have different machine-ids, SSH host keys and guest keys");
    Ok(())
}

/// Docker runs a container from an image that is imported, and it has a network and limits of its own.
fn docker(host: &Host) -> Result<()> {
    let script = "set -e; cd /root; mkdir -p image/bin; cp /opt/felhom/current/felhom-controller image/bin/program; \
                  tar -C image -c . | docker import -c 'ENTRYPOINT [\"/bin/program\"]' - golden-smoke:1 >/dev/null; \
                  docker run --rm --memory 128m golden-smoke:1 version; docker info -f '{{.Driver}} {{.LiveRestoreEnabled}}'; \
                  docker compose version --short; docker rmi -f golden-smoke:1 >/dev/null; rm -r image";
    let said = host.inside("100", script).context("Docker in the guest")?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines.len() == 3 && lines[0].starts_with("felhom-controller"), "Docker's container said: {said}");
    ensure!(lines[1] == "overlay2 true", "Docker's storage and live-restore: {}", lines[1]);
    println!("   Docker runs a container from an imported image; compose {}", lines[2]);
    Ok(())
}

/// Keys that would be everybody's, and logs of the build.
fn no_secrets(path: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(zstd::Decoder::new(fs::File::open(path)?)?);
    let mut machine_id = String::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let name = name.trim_start_matches("./").to_owned();
        let secret = name.starts_with("etc/ssh/ssh_host_")
            || name.starts_with("var/lib/felhom/") && !name.ends_with('/')
            || name.starts_with("root/.") && name.contains("history")
            || name.starts_with("var/log/") && entry.header().entry_type().is_file();
        ensure!(!secret, "{name} must not be in the archive");
        if name == "etc/machine-id" {
            std::io::Read::read_to_string(&mut entry, &mut machine_id)?;
        }
    }
    let none = ["", "uninitialized"].contains(&machine_id.trim());
    ensure!(none, "the archive has a machine-id: {machine_id}");
    Ok(())
}

/// The group `golden`: built twice, the same bytes; tried out.
pub(crate) fn group(root: &Path) -> Result<Count> {
    let out = super::target_folder(root)?.join("golden-test");
    let programs = build_static(root, Profile::Dev)?;
    let args = super::Args { with_sample_app: false, ..super::Args::of_demo(&out) };
    let signing = Signing { version: 1, key: None };
    let name = archive::name(jiff::Timestamp::now());
    let make = |folder: &str| -> Result<Golden> {
        let out = out.join(folder);
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out)?;
        Ok(real(&programs, &out, (&name, &args), &signing)?.0)
    };
    let mut count = Count::default();
    let mut held = |what: &str, result: Result<()>| match result {
        Ok(()) => count.passed += 1,
        Err(error) => {
            eprintln!("error: {what}: {error:#}");
            count.failed += 1;
        }
    };
    let (first, second) = (make("first")?, make("second")?);
    held("smoke test", test(root, &first));
    let same = || -> Result<()> {
        let difference =
            format!("`diffoscope {} {}` shows where", first.archive.display(), second.archive.display());
        ensure!(first.sha256 == second.sha256, "two builds have different bytes; {difference}");
        println!("   built twice: the same {} bytes, SHA-256 {}", first.bytes, first.sha256);
        Ok(())
    };
    held("built twice", same());
    Ok(count)
}
