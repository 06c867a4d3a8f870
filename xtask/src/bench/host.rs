//! How fast the simulated host is, beside what it has to be compared with on the same disk.
//!
//! 1. a tree of files, packed with `tar | zstd` and unpacked with `zstd -d | tar`, as a host's own tools would;
//! 2. the same archive restored into a guest, that guest backed up, by the API, from the POST to the end of the task;
//! 3. fifty guests, and how long the calls take that list and show them, without the time of a new connection.
//!
//! Each is done several times in turn; the median counts.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run;

const PASSWORD: &str = "bench-password";
const ROUNDS: u32 = 3;
const CALLS: usize = 101;
const GUESTS: u32 = 50;
const CONFIG: &str = "arch: amd64\nhostname: bench\nmemory: 64\nostype: debian\n\
                      rootfs: local:999/vm-999-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";
/// Path, and the milliseconds of a genuine node with two cores and as many guests.
const LISTS: [(&str, f64); 4] = [
    ("/cluster/resources?type=vm", 1.4),
    ("/nodes/pve/lxc/1000/config", 0.6),
    ("/nodes/pve/lxc/1000/status/current", 5.0),
    ("/nodes/pve/lxc", 8.5),
];

/// What was measured, in milliseconds.
pub(super) struct Measured {
    pub(super) pack: f64,
    pub(super) vzdump: f64,
    pub(super) unpack: f64,
    pub(super) restore: f64,
    /// Path, time, and the genuine node's.
    pub(super) lists: Vec<(&'static str, f64, f64)>,
}

/// Measures with the simulator in `programs`, in a new folder below `dir`.
pub(super) fn measure(programs: &Path, dir: Option<&Path>) -> Result<Measured> {
    let folder = match dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let folder = folder.context("cannot make a folder")?;
    let (tree, small) = (folder.path().join("tree"), folder.path().join("small"));
    write_tree(&tree, 800)?;
    write_tree(&small, 1)?;
    let host = Host::start(programs, folder.path())?;
    let archive = host.archive("vzdump-lxc-999-2026_01_01-00_00_00.tar.zst");
    let tiny = host.archive("vzdump-lxc-998-2026_01_01-00_00_00.tar.zst");
    pack(&tree, &archive)?;
    pack(&small, &tiny)?;
    let (mut packs, mut dumps, mut unpacks, mut restores) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        packs.push(timed(|| pack(&tree, &folder.path().join("packed")))?);
        unpacks.push(timed(|| unpack(&archive, &folder.path().join(format!("unpacked{round}"))))?);
        restores.push(timed(|| host.restore(100 + round, &archive))?);
        dumps.push(timed(|| host.vzdump(100 + round))?);
    }
    for vmid in 1000..1000 + GUESTS - ROUNDS {
        host.restore(vmid, &tiny)?;
    }
    let lists = LISTS.iter().map(|(path, genuine)| Ok((*path, host.list(path)?, *genuine)));
    Ok(Measured {
        pack: median(packs),
        vzdump: median(dumps),
        unpack: median(unpacks),
        restore: median(restores),
        lists: lists.collect::<Result<_>>()?,
    })
}

/// Files of a quarter MiB that compress about as well as a guest's do: half of each block is noise.
fn write_tree(tree: &Path, files: u32) -> Result<()> {
    let config = tree.join("etc/vzdump");
    fs::create_dir_all(&config)?;
    fs::write(config.join("pct.conf"), CONFIG)?;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..files {
        let folder = tree.join(format!("data/{}", number / 100));
        fs::create_dir_all(&folder)?;
        let mut bytes = Vec::with_capacity(256 << 10);
        while bytes.len() < 256 << 10 {
            for _ in 0..256 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                bytes.extend_from_slice(&noise.to_le_bytes());
            }
            bytes.resize(bytes.len() + 2048, b'a');
        }
        fs::write(folder.join(format!("{number}")), bytes)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// `tar | zstd`, with the level and the one thread that a host uses.
fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar").args(["-c", "-C"]).arg(tree).arg(".").stdout(Stdio::piped()).spawn()?;
    let stream = tar.stdout.take().context("no output of tar")?;
    let file = fs::File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let zstd = Command::new("zstd").args(["-q", "-3", "-T1"]).stdin(stream).stdout(file).status()?;
    ensure!(tar.wait()?.success() && zstd.success(), "{} cannot be packed", tree.display());
    Ok(())
}

/// `zstd -d | tar -x` into a new folder.
pub(super) fn unpack(archive: &Path, target: &Path) -> Result<()> {
    fs::create_dir(target).with_context(|| format!("cannot make {}", target.display()))?;
    let mut zstd =
        Command::new("zstd").args(["-q", "-d", "-c"]).arg(archive).stdout(Stdio::piped()).spawn()?;
    let stream = zstd.stdout.take().context("no output of zstd")?;
    let tar = Command::new("tar").args(["-x", "-f", "-", "-C"]).arg(target).stdin(stream).status()?;
    ensure!(zstd.wait()?.success() && tar.success(), "{} cannot be unpacked", archive.display());
    Ok(())
}

/// A served simulator, called with `curl`.
struct Host {
    child: Child,
    state: PathBuf,
    api: String,
    /// A file with the token's header.
    header: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let (state, password) = (folder.join("state"), folder.join("password"));
        fs::write(&password, format!("{PASSWORD}\n"))?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        let mut child = Command::new(programs.join("pve-sim"))
            .args(["serve", "--listen", "127.0.0.1:0", "--runtime", "none", "--json", "--state"])
            .arg(&state)
            .arg("--root-password-file")
            .arg(&password)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start pve-sim")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output of pve-sim")?).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).with_context(|| format!("pve-sim said {line:?}"))?;
        let api = format!("{}/api2/json", ready["url"].as_str().context("no url")?);
        let host = Self { child, state, api, header: folder.join("header") };
        host.make_token(folder)?;
        Ok(host)
    }

    fn make_token(&self, folder: &Path) -> Result<()> {
        let login = format!("username=root@pam&password={PASSWORD}");
        let ticket = self.curl(&["-d", &login], "/access/ticket")?;
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned).context("no such field");
        let headers = format!(
            "Cookie: PVEAuthCookie={}\nCSRFPreventionToken: {}\n",
            text(&ticket, "ticket")?
                .replace(':', "%3A")
                .replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D"),
            text(&ticket, "CSRFPreventionToken")?
        );
        let file = folder.join("ticket");
        fs::write(&file, headers)?;
        let with_ticket = format!("@{}", file.display());
        let token =
            self.curl(&["-H", &with_ticket, "-d", "privsep=0"], "/access/users/root@pam/token/bench")?;
        let line = format!("Authorization: PVEAPIToken=root@pam!bench={}\n", text(&token, "value")?);
        Ok(fs::write(&self.header, line)?)
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.api);
        let output = run::output(Command::new("curl").args(["-sSk"]).args(arguments).arg(&url))?;
        let answer: Value = serde_json::from_slice(&output)
            .with_context(|| format!("{path}: {}", String::from_utf8_lossy(&output)))?;
        ensure!(!answer["data"].is_null(), "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    fn call(&self, form: Option<&str>, path: &str) -> Result<Value> {
        let header = format!("@{}", self.header.display());
        let mut arguments = vec!["-H", &header];
        arguments.extend(form.iter().flat_map(|form| ["-d", form]));
        self.curl(&arguments, path)
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.state.join("var/lib/vz/dump").join(name)
    }

    fn restore(&self, vmid: u32, archive: &Path) -> Result<()> {
        let name = archive.file_name().context("no name")?.to_string_lossy();
        let form = format!(
            "vmid={vmid}&restore=1&storage=tank&rootfs=tank:1&unprivileged=1&ostemplate=local:backup/{name}"
        );
        self.task(&form, "/nodes/pve/lxc")
    }

    fn vzdump(&self, vmid: u32) -> Result<()> {
        self.task(
            &format!("vmid={vmid}&storage=local&mode=snapshot&compress=zstd&remove=0"),
            "/nodes/pve/vzdump",
        )
    }

    /// Starts a task and waits for its end.
    fn task(&self, form: &str, path: &str) -> Result<()> {
        let upid = self.call(Some(form), path)?;
        let upid = upid.as_str().context("no UPID")?.replace('@', "%40").replace('!', "%21");
        loop {
            let status = self.call(None, &format!("/nodes/pve/tasks/{upid}/status"))?;
            match status["exitstatus"].as_str() {
                // Each look is a process and a handshake, which must not slow down what is measured.
                None => thread::park_timeout(Duration::from_millis(50)),
                Some("OK") => return Ok(()),
                Some(other) => bail!("{upid}: {other}"),
            }
        }
    }

    /// Milliseconds of one call, without making the connection where it takes a new one.
    fn list(&self, path: &str) -> Result<f64> {
        let url = format!("{}{path}", self.api);
        let mut command = Command::new("curl");
        command.args(["-sSk", "-H", &format!("@{}", self.header.display())]);
        for _ in 0..CALLS {
            command.args(["-o", "/dev/null"]).arg(&url);
        }
        let output = run::output(command.args(["-w", "%{http_code} %{time_total} %{time_appconnect}\n"]))?;
        let text = String::from_utf8_lossy(&output).into_owned();
        let one = |line: &str| {
            let mut words = line.split(' ');
            ensure!(words.next() == Some("200"), "{path}: {line}");
            let mut seconds = || words.next().and_then(|word| word.parse::<f64>().ok()).context("no time");
            Ok((seconds()? - seconds()?) * 1000.0)
        };
        Ok(median(text.lines().map(one).collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(vec![]).abs() < f64::EPSILON);
    }
}
