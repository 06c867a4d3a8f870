//! A simulated Proxmox host on which the executor was set up. Its guests run in the host's records only; `pct` answers for them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use felhom_client::executor::ExecutorClient;
use felhom_model::Digest;
use felhom_protocol::local_api::{Bootstrap, Heartbeat, HeartbeatSummary};
use felhom_rig::{Ready, program};
use felhom_signing::sshsig::{Namespace, openssh_line, sign};
use felhom_signing::{Context, Signed};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::part::run;
use crate::people;

const CONFIG: &str = "arch: amd64\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 256\n\
                      net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\nostype: debian\n\
                      rootfs: local:1999/vm-1999-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";
/// What every guest of the golden archive holds, where it lies.
pub(crate) const NOTES: (&str, &[u8]) = ("data/notes.db", b"ok, notes");

/// The host.
pub(crate) struct Host {
    dir: PathBuf,
    child: Child,
    url: String,
    fingerprint: String,
    /// Boots of guests that were spoken for.
    spoken: BTreeSet<String>,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Host {
    /// Starts it below `dir`, sets the executor up and gives it a golden archive and the operators' file.
    pub(crate) fn new(dir: &Path) -> Self {
        write_private(&dir.join("password"), b"canary-root-password\n");
        let (child, Ready { url, fingerprint }) = felhom_rig::serve(dir, "127.0.0.1:0", "none");
        let host = Self { dir: dir.to_owned(), child, url, fingerprint, spoken: BTreeSet::new() };
        fs::create_dir_all(host.path("pushed")).unwrap();
        fs::create_dir_all(host.path("pve/control")).unwrap();
        host.configure();
        host.executor(&["setup", "--password-file", host.path("password").to_str().unwrap()]);
        host.import_golden();
        fs::write(host.path("operators.json"), people::operators_file()).unwrap();
        host.executor(&["operators", "install", host.path("operators.json").to_str().unwrap()]);
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn configure(&self) {
        let (simulator, state) = (program("pve-sim", "pve-sim"), self.path("pve"));
        let tool = |name: &str| {
            format!("{} = [{simulator:?}, {name:?}, \"--state\", {state:?}]\n", name.replace('-', "_"))
        };
        let release = openssh_line(&people::release().public(), "release").unwrap();
        let text = format!(
            "state_dir = {:?}\nsocket = {:?}\nhost_root = {state:?}\npct = [\"/bin/sh\", {:?}]\n{}{}{}\
             release_keys = [{release:?}]\nbackup_min_interval_s = 0\nreserve_bytes = 0\ngrace_s = 1\nmax_guests = 9\n\
             timeouts.guest_answers_s = 5\n[pve]\nurl = {:?}\nfingerprint = {:?}\nnode = \"pve\"\ntoken_file = {:?}\n\
             [storages]\nguest = \"tank\"\nbackup = [\"local\"]\ngolden = \"local\"\n",
            self.path("executor"),
            self.path("run/executor.sock"),
            self.path("pct.sh"),
            tool("pvesm"),
            tool("pveum"),
            tool("lxc-unfreeze"),
            self.url,
            self.fingerprint,
            self.path("token"),
        );
        fs::write(self.path("executor.toml"), text).unwrap();
        // Who a guest is lies in its root volume, and so in its backups, and so in what is restored from them.
        let pct = format!(
            "PATH=/usr/bin:/bin\nroot=$(dirname \"$(dirname \"$(find {images}/$2 -name notes.db | head -n 1)\")\")\n\
             case \"$1 $5\" in\n'exec public-key') echo '{key}' ;;\n\
             'exec probe') nonce=$(sed -n 's/.*\"nonce\":\"\\([0-9a-f]*\\)\".*/\\1/p')\n\
             guest=$(sed -n 's/.*\"guest\":\"\\([0-9a-f-]*\\)\".*/\\1/p' \"$root/bootstrap.json\")\n\
             printf '{{\"nonce\":\"%s\",\"guest\":\"%s\",\"version\":\"1\",\"apps\":[],\"samples\":[]}}\\n' \"$nonce\" \"$guest\" ;;\n\
             'exec watermark') cat \"$root/watermark.json\" 2>/dev/null || exit 0 ;;\n\
             push*) cp \"$3\" \"$root/$(basename \"$4\")\"\ncp \"$3\" \"{pushed}/$2-$(basename \"$4\")\" ;;\n\
             *) exit 2 ;;\nesac\n",
            images = self.path("pve/mnt/tank/images").display(),
            key = people::guest().public(),
            pushed = self.path("pushed").display(),
        );
        fs::write(self.path("pct.sh"), pct).unwrap();
    }

    fn executor(&self, arguments: &[&str]) {
        let config = self.path("executor.toml");
        let all = [&["--config", config.to_str().unwrap()], arguments].concat();
        run(program("felhom-executor", "felhom-executor"), &all, "");
    }

    fn import_golden(&self) {
        let bytes = felhom_rig::golden(CONFIG, b"a program", &[NOTES]);
        let artefact = json!({"kind": "golden", "name": "a.tar.zst", "sha256": Digest::of(&bytes), "bytes": bytes.len()});
        let release = json!({"schema": "felhom.release/v1", "version": 1, "artefacts": [artefact]});
        let release = serde_json::to_vec_pretty(&release).unwrap();
        let dir = self.path("release");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("a.tar.zst"), bytes).unwrap();
        let signature = sign(&people::release(), Namespace::Release, &release).unwrap();
        fs::write(dir.join("release.json.sig"), signature).unwrap();
        fs::write(dir.join("release.json"), release).unwrap();
        self.executor(&["golden", "import", dir.join("a.tar.zst").to_str().unwrap()]);
    }

    /// Sets the host's clock.
    pub(crate) fn set_clock(&self, ms: i64) {
        let shift = (ms - Timestamp::now().as_millisecond()) / 1000;
        let rules = json!({"rules": [{"at": "clock", "do": {"shift_s": shift}}]});
        fs::write(self.path("pve/control/new"), rules.to_string()).unwrap();
        fs::rename(self.path("pve/control/new"), self.path("pve/control/faults.json")).unwrap();
    }

    /// Sends the first heartbeat of guests that were told who they are.
    pub(crate) async fn speak(&mut self, executor: &ExecutorClient) {
        for file in fs::read_dir(self.path("pushed")).unwrap().flatten() {
            let bytes = fs::read(file.path()).unwrap_or_default();
            let Ok(bootstrap) = serde_json::from_slice::<Bootstrap>(&bytes) else { continue };
            if self.spoken.contains(&bootstrap.boot_nonce) {
                continue;
            }
            if executor.heartbeat(&heartbeat(&bootstrap).into()).await.is_ok() {
                self.spoken.insert(bootstrap.boot_nonce);
            }
        }
    }

    /// What it destroyed so far that its task had not made itself: what and which.
    pub(crate) fn destroyed(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("pve/var/log/destroyed.log")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        lines
            .filter(|line| line["own"] == false)
            .map(|line| (text(&line["what"]), text(&line["id"])))
            .collect()
    }

    /// The bytes of a guest's notes.
    pub(crate) fn notes(&self, vmid: u32) -> Option<Vec<u8>> {
        find(&self.path(&format!("pve/mnt/tank/images/{vmid}")), Path::new(NOTES.0))
    }
}

/// The first file of this path below any folder of `dir`.
fn find(dir: &Path, file: &Path) -> Option<Vec<u8>> {
    let here = fs::read(dir.join(file)).ok();
    let below = || fs::read_dir(dir).ok()?.flatten().find_map(|entry| find(&entry.path(), file));
    here.or_else(below)
}

fn heartbeat(bootstrap: &Bootstrap) -> Signed {
    let heartbeat = Heartbeat {
        guest: bootstrap.guest,
        boot_nonce: bootstrap.boot_nonce.clone(),
        time: Timestamp::now(),
        summary: HeartbeatSummary {
            version: "simulated".to_owned(),
            slot: "A".to_owned(),
            apps: Vec::new(),
            url: None,
            received: None,
        },
    };
    Signed::new(&people::guest(), Context::Heartbeat, serde_json::to_vec(&heartbeat).unwrap())
}
