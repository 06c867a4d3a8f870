//! The executor's configuration: one TOML file, each key also settable by environment.
//!
//! 1. the file is read (unknown keys are errors with line and column);
//! 2. `FELHOM_EXECUTOR_KEY`, or `FELHOM_EXECUTOR_TABLE_KEY` for a key of a table, overrides a key; the value is TOML, and
//!    what is no TOML is a string;
//! 3. ranges and texts are checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use felhom_gate::{BoxLimits, VmidRange, VmidRanges};
use felhom_host::{Host, Programs, Roots};
use felhom_model::desired::Tightening;
use felhom_model::{StorageId, Vmid};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

const ENV_PREFIX: &str = "FELHOM_EXECUTOR_";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Syntax, an unknown key, or a value of the wrong type; the text has line and column.
    #[error("configuration {path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// A value that cannot be.
    #[error("configuration: `{key}`: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
}

/// Everything that the executor is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Database, keys and imported golden archives' records.
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    /// The unix socket.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Group of the socket; absent keeps the process's own.
    #[serde(default)]
    pub socket_gid: Option<u32>,
    /// User ids that may speak on the socket. Empty: only the executor's own.
    #[serde(default)]
    pub allowed_uids: Vec<u32>,
    /// The Proxmox VE server.
    pub pve: PveConfig,
    /// `pct` with leading arguments, as a list.
    #[serde(default = "pct")]
    pub pct: Vec<String>,
    /// `pvesm` with leading arguments, as a list.
    #[serde(default = "pvesm")]
    pub pvesm: Vec<String>,
    /// `pveum` with leading arguments, as a list.
    #[serde(default = "pveum")]
    pub pveum: Vec<String>,
    /// `lxc-unfreeze` with leading arguments, as a list.
    #[serde(default = "lxc_unfreeze")]
    pub lxc_unfreeze: Vec<String>,
    /// `umount` with leading arguments, as a list.
    #[serde(default = "umount")]
    pub umount: Vec<String>,
    /// `timedatectl` with leading arguments, as a list.
    #[serde(default = "timedatectl")]
    pub timedatectl: Vec<String>,
    /// The directory that is the Proxmox host's `/`; only a simulated host has another.
    #[serde(default = "host_root")]
    pub host_root: PathBuf,
    /// Which storage is for what.
    pub storages: Storages,
    /// The bridge of guests' net0.
    #[serde(default = "bridge")]
    pub bridge: String,
    /// VMIDs by purpose.
    #[serde(default)]
    pub vmids: Vmids,
    /// The VMID in the golden archive's name.
    #[serde(default = "golden_vmid")]
    pub golden_vmid: u32,
    /// Tenants that need no operator.
    #[serde(default = "one")]
    pub max_guests: u32,
    /// Release keys, each a line as in a `.pub` file.
    #[serde(default)]
    pub release_keys: Vec<String>,
    /// The least time between two successful backups of a guest to one target, seconds.
    #[serde(default = "backup_interval")]
    pub backup_min_interval_s: u32,
    /// Seconds between the signatures and the act of what cannot be had back. A demo box sets few.
    #[serde(default = "grace_s")]
    pub grace_s: u64,
    /// Whether limits that the operator wishes to be stricter are heeded.
    #[serde(default = "heed")]
    pub heed_wished_limits: bool,
    /// Backups of a guest that stay on a target whatever retention says.
    #[serde(default = "keep_backups")]
    pub keep_backups: u32,
    /// How far apart the oldest and the newest of those that stay must lie, hours.
    #[serde(default = "keep_spread_h")]
    pub keep_spread_h: u32,
    /// Operations that one operator's key may authorize in a day of the box's running time.
    #[serde(default = "signatures_per_day")]
    pub signatures_per_day: u32,
    /// Refused requests that are written down in an hour; the others are answered only.
    #[serde(default = "refused_an_hour")]
    pub refused_an_hour: u32,
    /// Bytes that must stay free on a storage after something was made there.
    #[serde(default = "reserve_bytes")]
    pub reserve_bytes: u64,
    /// Waiting times.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// The Proxmox VE server and the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PveConfig {
    /// `https://HOST[:PORT]`.
    pub url: String,
    /// SHA-256 of its certificate, as `pvenode cert info` prints it.
    pub fingerprint: String,
    /// Node name.
    pub node: String,
    /// The pool that everything of ours is in.
    #[serde(default = "pool")]
    pub pool: String,
    /// `USER@REALM!TOKEN`.
    #[serde(default = "token_id")]
    pub token_id: String,
    /// 0600 file with the token's secret; `setup` writes it.
    pub token_file: PathBuf,
}

/// Which storage is for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storages {
    /// Guests' volumes.
    pub guest: StorageId,
    /// Backup targets: directory storages of this box.
    pub backup: Vec<StorageId>,
    /// Where golden archives lie.
    pub golden: StorageId,
}

/// VMIDs by purpose, each `[first, last]`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vmids {
    /// Customers' guests.
    pub tenants: [u32; 2],
    /// Restored copies.
    pub copies: [u32; 2],
    /// Scratch guests of restore tests.
    pub scratch: [u32; 2],
}

impl Default for Vmids {
    fn default() -> Self {
        Self { tenants: [2000, 2799], copies: [2800, 2899], scratch: [2900, 2999] }
    }
}

/// Waiting times in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a started guest's controller answers `pct exec`.
    pub guest_answers_s: u32,
    /// Until a bootstrapped guest's first heartbeat.
    pub first_heartbeat_s: u32,
    /// Until a controller that was granted a backup has frozen its apps; then it goes on without it.
    pub frozen_s: u32,
    /// Until a guest that was asked to shut down is stopped.
    pub shutdown_s: u32,
    /// Until a restored guest's apps are up.
    pub probe_apps_s: u32,
    /// An archive that stands still for so long is given up.
    pub archive_stalled_s: u32,
    /// Between two looks at a guest whose customer can still stop something.
    pub ask_guest_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            guest_answers_s: 120,
            first_heartbeat_s: 180,
            frozen_s: 120,
            shutdown_s: 60,
            probe_apps_s: 120,
            archive_stalled_s: 600,
            ask_guest_s: 10,
        }
    }
}

fn state_dir() -> PathBuf {
    "/var/lib/felhom/executor".into()
}
fn socket() -> PathBuf {
    "/run/felhom/executor.sock".into()
}
fn pct() -> Vec<String> {
    Programs::default().pct
}
fn pvesm() -> Vec<String> {
    Programs::default().pvesm
}
fn pveum() -> Vec<String> {
    Programs::default().pveum
}
fn lxc_unfreeze() -> Vec<String> {
    Programs::default().lxc_unfreeze
}
fn umount() -> Vec<String> {
    Programs::default().umount
}
fn timedatectl() -> Vec<String> {
    Programs::default().timedatectl
}
fn host_root() -> PathBuf {
    "/".into()
}
fn bridge() -> String {
    "vmbr0".to_owned()
}
fn pool() -> String {
    "felhom".to_owned()
}
fn token_id() -> String {
    "felhom@pve!executor".to_owned()
}
fn golden_vmid() -> u32 {
    1999
}
fn one() -> u32 {
    1
}
fn backup_interval() -> u32 {
    600
}
fn heed() -> bool {
    true
}
fn grace_s() -> u64 {
    BoxLimits::default().grace_s
}
fn keep_backups() -> u32 {
    BoxLimits::default().keep_backups
}
fn keep_spread_h() -> u32 {
    u32::try_from(BoxLimits::default().keep_spread.as_hours()).unwrap_or(u32::MAX)
}
fn refused_an_hour() -> u32 {
    120
}
fn signatures_per_day() -> u32 {
    BoxLimits::default().signatures_per_day
}
fn reserve_bytes() -> u64 {
    2 << 30
}

impl Config {
    /// Reads file and environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text, env)
    }

    fn parse(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let wrong = |e: toml::de::Error| ConfigError::Parse { path: path.to_owned(), message: e.to_string() };
        let overrides: BTreeMap<String, String> = env
            .filter_map(|(k, v)| Some((k.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase(), v)))
            // Names the file itself.
            .filter(|(k, _)| k != "config")
            .collect();
        let config: Self = if overrides.is_empty() {
            toml::from_str(text).map_err(wrong)?
        } else {
            let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
            for (key, value) in overrides {
                set(&mut table, &key, value);
            }
            table.try_into().map_err(wrong)?
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, why: &str| Err(ConfigError::Value { key, why: why.to_owned() });
        if self.pct.is_empty() {
            return bad("pct", "name the program, e.g. [\"/usr/sbin/pct\"]");
        }
        if self.storages.backup.is_empty() {
            return bad("storages.backup", "name at least one backup target");
        }
        let ranges = [self.vmids.tenants, self.vmids.copies, self.vmids.scratch];
        for (i, [first, last]) in ranges.into_iter().enumerate() {
            if Vmid::try_from(first).is_err() || Vmid::try_from(last).is_err() || first > last {
                return bad("vmids", "each is [first, last] with 100 ≤ first ≤ last ≤ 999999999");
            }
            if ranges[..i].iter().any(|[f, l]| first <= *l && *f <= last) {
                return bad("vmids", "the ranges overlap");
            }
            if (first..=last).contains(&self.golden_vmid) {
                return bad("golden_vmid", "lies in a range that guests use");
            }
        }
        for key in &self.release_keys {
            if let Err(e) = felhom_signing::sshsig::SshPublicKey::from_openssh(key) {
                return bad("release_keys", &e.to_string());
            }
        }
        Ok(())
    }

    /// The host's programs and places.
    #[must_use]
    pub fn host(&self, private_dir: impl Into<PathBuf>) -> Host {
        let programs = Programs {
            pct: self.pct.clone(),
            pvesm: self.pvesm.clone(),
            pveum: self.pveum.clone(),
            lxc_unfreeze: self.lxc_unfreeze.clone(),
            umount: self.umount.clone(),
            timedatectl: self.timedatectl.clone(),
            ..Programs::default()
        };
        Host::new(programs, private_dir).with_roots(Roots::below(&self.host_root))
    }

    /// The box-local limits, as the gate reads them.
    #[must_use]
    pub fn limits(&self) -> BoxLimits {
        let range = |[first, last]: [u32; 2]| VmidRange { first, last };
        BoxLimits {
            max_guests: self.max_guests,
            reserve_bytes: self.reserve_bytes,
            grace_s: self.grace_s,
            signatures_per_day: self.signatures_per_day,
            keep_backups: self.keep_backups,
            keep_spread: SignedDuration::from_hours(i64::from(self.keep_spread_h)),
            backup_interval: SignedDuration::from_secs(i64::from(self.backup_min_interval_s)),
            vmids: VmidRanges {
                tenants: range(self.vmids.tenants),
                copies: range(self.vmids.copies),
                scratch: range(self.vmids.scratch),
            },
            ..BoxLimits::default()
        }
    }

    /// The limits in force, if the operator wishes for these.
    #[must_use]
    pub fn limits_with(&self, wish: &Tightening) -> BoxLimits {
        if self.heed_wished_limits { self.limits().tightened(wish) } else { self.limits() }
    }

    /// The effective configuration as TOML. It holds paths of secrets, never secrets.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if it cannot be written as TOML.
    pub fn render(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|e| ConfigError::Value { key: "", why: e.to_string() })
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("executor.db")
    }

    /// The watermark's file, see [`crate::rollback`]; beside the socket, where a reboot empties it.
    #[must_use]
    pub fn watermark_file(&self) -> PathBuf {
        self.socket.parent().unwrap_or(Path::new("/")).join("head")
    }

    /// The attestation key's file.
    #[must_use]
    pub fn attestation_key_file(&self) -> PathBuf {
        self.state_dir.join("attestation.key")
    }

    /// All storages that are named, each once.
    #[must_use]
    pub fn all_storages(&self) -> Vec<StorageId> {
        let mut all = vec![self.storages.guest.clone(), self.storages.golden.clone()];
        all.extend(self.storages.backup.iter().cloned());
        all.sort();
        all.dedup();
        all
    }
}

fn set(table: &mut toml::Table, key: &str, value: String) {
    let parsed = format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("x"));
    let value = parsed.unwrap_or(toml::Value::String(value));
    for name in ["pve", "storages", "vmids", "timeouts"] {
        if let Some(inner) = key.strip_prefix(name).and_then(|k| k.strip_prefix('_')) {
            let entry = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inside) = entry {
                inside.insert(inner.to_owned(), value);
            }
            return;
        }
    }
    table.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
[pve]
url = "https://127.0.0.1:8006"
fingerprint = "AA:BB"
node = "pve"
token_file = "/etc/felhom/executor.token"
[storages]
guest = "local"
backup = ["local"]
golden = "local"
"#;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::parse(Path::new("executor.toml"), text, env)
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = load(MINIMAL, &[("PATH", "/bin")]).unwrap();
        assert_eq!(config.limits(), BoxLimits::default());
        assert_eq!(config.socket, PathBuf::from("/run/felhom/executor.sock"));
        let again: Config = toml::from_str(&config.render().unwrap()).unwrap();
        assert_eq!(again.render().unwrap(), config.render().unwrap());
    }

    #[test]
    fn environment_overrides_keys_and_keys_of_tables() {
        let env = [
            ("FELHOM_EXECUTOR_MAX_GUESTS", "3"),
            ("FELHOM_EXECUTOR_PVE_NODE", "pve2"),
            ("FELHOM_EXECUTOR_PCT", "[\"pve-sim\", \"pct\"]"),
        ];
        let config = load(MINIMAL, &env).unwrap();
        assert_eq!((config.max_guests, config.pve.node.as_str()), (3, "pve2"));
        assert_eq!(config.pct, ["pve-sim", "pct"]);
    }

    #[test]
    fn mistakes_are_named() {
        let typo = load(&MINIMAL.replace("node =", "nod ="), &[]).unwrap_err().to_string();
        assert!(typo.contains("nod") && typo.contains("line 5"), "{typo}");
        let overlap = load(&format!("{MINIMAL}[vmids]\ncopies = [2700, 2899]\n"), &[]).unwrap_err();
        assert!(overlap.to_string().contains("overlap"));
        let golden = load(&format!("golden_vmid = 2100\n{MINIMAL}"), &[]).unwrap_err();
        assert!(golden.to_string().contains("golden_vmid"));
    }
}
