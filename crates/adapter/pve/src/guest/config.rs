//! A guest's configuration: read tolerantly, written through a closed list of options.
//!
//! `rootfs` cannot be written here: PVE stores `rootfs=store:2` literally and loses the volume's reference. An `mpN` can
//! only name a volume that exists. `lock` cannot be written either: the API can set it and never remove it.
//!
//! `unusedN` cannot be deleted here: that destroys its volume.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{AttachedVolume, Guest};
use crate::decode::{flag_from_text, scalar_text};
use crate::error::Error;
use crate::form::Form;
use crate::props::{InvalidProperty, Mount, MountPoint, NetInterface};

/// A configuration, from the API or from an archive's `pct.conf`. Every scalar is kept as its text in `raw`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestConfig {
    raw: BTreeMap<String, String>,
    lxc: Vec<(String, String)>,
}

impl GuestConfig {
    pub(crate) fn from_json(map: &Map<String, Value>) -> Self {
        let raw = map.iter().filter_map(|(k, v)| Some((k.clone(), scalar_text(v)?))).collect();
        let pair = |entry: &Value| Some((scalar_text(entry.get(0)?)?, scalar_text(entry.get(1)?)?));
        let lxc = map.get("lxc").and_then(Value::as_array).map(|list| list.iter().filter_map(pair).collect());
        Self { raw, lxc: lxc.unwrap_or_default() }
    }

    /// Reads `pct.conf` text, as `extractconfig` gives it; sections of snapshots are left out.
    ///
    /// # Errors
    /// [`InvalidProperty`] with the first line that is neither a comment nor `KEY: VALUE`, or a key that comes twice.
    pub fn from_text(text: &str) -> Result<Self, InvalidProperty> {
        let mut config = Self::default();
        let mut description = String::new();
        for line in text.lines() {
            let trimmed = line.trim_end();
            if trimmed.starts_with('[') {
                break;
            }
            if let Some(comment) = trimmed.strip_prefix('#') {
                description.push_str(&decode_comment(comment));
                description.push('\n');
                continue;
            }
            if trimmed.is_empty() {
                continue;
            }
            let wrong = |reason| InvalidProperty::new("configuration line", line, reason);
            // Raw lxc keys may also be written with `=`.
            let separator =
                trimmed.find([':', '=']).ok_or_else(|| wrong("neither a comment nor KEY: VALUE"))?;
            let (key, value) = (trimmed[..separator].trim(), trimmed[separator + 1..].trim());
            if key.starts_with("lxc.") {
                config.lxc.push((key.to_owned(), value.to_owned()));
            } else if config.raw.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(wrong("the key comes twice"));
            }
        }
        if !description.is_empty() {
            config.raw.insert("description".to_owned(), description);
        }
        Ok(config)
    }

    /// A value's text.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.raw.get(key).map(String::as_str)
    }

    /// All keys with their text, without raw lxc entries.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.raw.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Raw `lxc.*` entries.
    #[must_use]
    pub fn raw_lxc(&self) -> &[(String, String)] {
        &self.lxc
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(flag_from_text).unwrap_or(false)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.trim().parse().ok()
    }

    /// The digest of this version, for a write that must not overtake another one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.get("digest")
    }

    /// The lock that holds the guest.
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// The description, without the newline that PVE adds.
    #[must_use]
    pub fn description(&self) -> &str {
        self.get("description").unwrap_or_default().trim_end_matches('\n')
    }

    /// The hostname.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        self.get("hostname")
    }

    /// Tags, as PVE sorts them.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        self.get("tags").unwrap_or_default().split([';', ',', ' ']).filter(|t| !t.is_empty()).collect()
    }

    /// Main memory in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> Option<u32> {
        self.number("memory")
    }

    /// Swap in MiB.
    #[must_use]
    pub fn swap_mib(&self) -> Option<u32> {
        self.number("swap")
    }

    /// CPU cores; absent is all of the host's.
    #[must_use]
    pub fn cores(&self) -> Option<u32> {
        self.number("cores")
    }

    /// Whether it starts with the host.
    #[must_use]
    pub fn onboot(&self) -> bool {
        self.flag("onboot")
    }

    /// Whether it is protected from destruction.
    #[must_use]
    pub fn protection(&self) -> bool {
        self.flag("protection")
    }

    /// Whether its root is no root at the host.
    #[must_use]
    pub fn unprivileged(&self) -> bool {
        self.flag("unprivileged")
    }

    /// Whether it is a template.
    #[must_use]
    pub fn template(&self) -> bool {
        self.flag("template")
    }

    fn numbered<T: std::str::FromStr>(&self, prefix: &str) -> Result<BTreeMap<u8, T>, T::Err> {
        let numbered = |(key, value): (&String, &String)| {
            let n: u8 = key.strip_prefix(prefix)?.parse().ok()?;
            Some(value.parse().map(|value| (n, value)))
        };
        self.raw.iter().filter_map(numbered).collect()
    }

    /// Network interfaces by number.
    ///
    /// # Errors
    /// [`InvalidProperty`] with the first value that cannot be read.
    pub fn nets(&self) -> Result<BTreeMap<u8, NetInterface>, InvalidProperty> {
        self.numbered("net")
    }

    /// Mount points by number.
    ///
    /// # Errors
    /// [`InvalidProperty`] with the first value that cannot be read.
    pub fn mounts(&self) -> Result<BTreeMap<u8, MountPoint>, InvalidProperty> {
        self.numbered("mp")
    }

    /// Volumes that the guest owns without mounting them.
    ///
    /// # Errors
    /// [`InvalidProperty`] with the first value that cannot be read.
    pub fn unused(&self) -> Result<BTreeMap<u8, Mount>, InvalidProperty> {
        self.numbered("unused")
    }

    /// The root file system, absent while the guest is being made.
    ///
    /// # Errors
    /// [`InvalidProperty`] if the value cannot be read.
    pub fn rootfs(&self) -> Result<Option<Mount>, InvalidProperty> {
        self.get("rootfs").map(str::parse).transpose()
    }

    /// Every volume that the configuration names: root file system, mount points, unused ones.
    ///
    /// # Errors
    /// [`InvalidProperty`] with the first value that cannot be read.
    pub fn volumes(&self) -> Result<Vec<crate::ids::Volid>, InvalidProperty> {
        let mounts = self.mounts()?;
        let (rootfs, unused) = (self.rootfs()?, self.unused()?);
        let all = rootfs.iter().chain(mounts.values().map(|point| &point.mount)).chain(unused.values());
        Ok(all.filter_map(Mount::volume).cloned().collect())
    }
}

/// PVE percent-encodes colons, percents and other bytes in comment lines.
fn decode_comment(comment: &str) -> String {
    let mut bytes = Vec::with_capacity(comment.len());
    let mut rest = comment.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, tail.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An option that may be reset to its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `cores`: all of the host's again.
    Cores,
    /// `cpulimit`: none.
    CpuLimit,
    /// `description`.
    Description,
    /// `tags`.
    Tags,
    /// `nameserver`: the host's.
    Nameserver,
    /// `hostname`: PVE's `CTID`.
    Hostname,
    /// `netN`; an archive may bring one along that a restore cannot leave out.
    Net(u8),
    /// `mpN`: its volume becomes `unusedN` and stays, at once or, while the guest runs, at its next stop.
    Mount(u8),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cores => f.write_str("cores"),
            Self::CpuLimit => f.write_str("cpulimit"),
            Self::Description => f.write_str("description"),
            Self::Tags => f.write_str("tags"),
            Self::Nameserver => f.write_str("nameserver"),
            Self::Hostname => f.write_str("hostname"),
            Self::Net(n) => write!(f, "net{n}"),
            Self::Mount(n) => write!(f, "mp{n}"),
        }
    }
}

/// A change of configuration; what is `None` is left alone. On a running guest most of it takes effect at once, a new
/// `mpN` and a link as well; the hostname at the next start, **a change of an `mpN` that is there** at the next stop.
#[derive(Debug, Clone, Default)]
pub struct ConfigUpdate {
    /// Only if the configuration still has this digest; else [`Error::Refused`].
    pub digest: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Tags; PVE lower-cases, de-duplicates and sorts them.
    pub tags: Option<Vec<String>>,
    /// Hostname.
    pub hostname: Option<String>,
    /// DNS servers.
    pub nameserver: Option<String>,
    /// Main memory in MiB.
    pub memory_mib: Option<u32>,
    /// Swap in MiB.
    pub swap_mib: Option<u32>,
    /// CPU cores.
    pub cores: Option<u32>,
    /// Whether it starts with the host.
    pub onboot: Option<bool>,
    /// Whether it is protected from destruction.
    pub protection: Option<bool>,
    /// Interfaces to replace, whole: one without `hwaddr` gets a fresh MAC address and is replaced in a running guest.
    pub nets: BTreeMap<u8, NetInterface>,
    /// Volumes to attach, by number. What the number named before becomes `unusedN`. A protected guest refuses it.
    pub mounts: BTreeMap<u8, AttachedVolume>,
    /// Options to reset.
    pub reset: Vec<Setting>,
}

impl ConfigUpdate {
    pub(crate) fn form(&self) -> Form {
        let mut form = Form::new()
            .with_opt("digest", self.digest.as_deref())
            .with_opt("description", self.description.as_deref())
            .with_opt("tags", self.tags.as_ref().map(|tags| tags.join(";")))
            .with_opt("hostname", self.hostname.as_deref())
            .with_opt("nameserver", self.nameserver.as_deref())
            .with_opt("memory", self.memory_mib)
            .with_opt("swap", self.swap_mib)
            .with_opt("cores", self.cores)
            .with_opt_flag("onboot", self.onboot)
            .with_opt_flag("protection", self.protection);
        for (n, net) in &self.nets {
            form = form.with(&format!("net{n}"), net);
        }
        for (n, mount) in &self.mounts {
            form = form.with(&format!("mp{n}"), mount);
        }
        let reset: Vec<_> = self.reset.iter().map(ToString::to_string).collect();
        if reset.is_empty() { form } else { form.with("delete", reset.join(",")) }
    }
}

impl Guest {
    /// The configuration that is **in effect**; with pending changes the plain one would show what is not so yet.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such guest, [`Error::Forbidden`] also while it is being restored, else any
    /// [`Error`] of the call.
    pub async fn config(&self) -> Result<GuestConfig, Error> {
        let query = Form::new().with_flag("current", true);
        let map: Map<String, Value> = self.node.pve.get(&self.path("/config"), &query).await?;
        Ok(GuestConfig::from_json(&map))
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Refused`] for another digest, else any [`Error`] of the call.
    pub async fn set_config(&self, update: &ConfigUpdate) -> Result<(), Error> {
        self.node.pve.put_done(&self.path("/config"), &update.form()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"unprivileged":1,"description":"first line\nsecond: ünï\n","tags":"a;b","swap":0,"digest":"fc4b","cores":1,"memory":128,"ostype":"debian","mp0":"btr:101/vm-101-disk-1.raw,mp=/data,backup=1,size=1G","mp1":"btr:101/vm-101-disk-2.raw,mp=/scratch,backup=0,size=1G","net0":"name=eth0,bridge=vmbr0,hwaddr=BC:24:11:0D:05:F6,ip=10.99.0.101/24,type=veth","hostname":"ct101","rootfs":"btr:101/vm-101-disk-0.raw,size=1G","features":"nesting=1","unused0":"btr:101/vm-101-disk-9.raw","lxc":[["lxc.cap.drop","sys_nice"]]}"#;

    #[test]
    fn recorded_configuration() {
        let config = GuestConfig::from_json(&serde_json::from_str(RECORDED).unwrap());
        assert_eq!(config.description(), "first line\nsecond: ünï");
        assert_eq!(
            (config.memory_mib(), config.cores(), config.unprivileged(), config.onboot()),
            (Some(128), Some(1), true, false)
        );
        assert_eq!(config.tags(), ["a", "b"]);
        assert_eq!(config.nets().unwrap()[&0].bridge.as_ref().unwrap().as_str(), "vmbr0");
        let points = config.mounts().unwrap();
        assert_eq!((points[&0].in_backup(), points[&1].in_backup()), (true, false));
        assert_eq!(config.volumes().unwrap().len(), 4);
        assert_eq!(config.raw_lxc(), [("lxc.cap.drop".to_owned(), "sys_nice".to_owned())]);
        let creating =
            GuestConfig::from_json(&serde_json::from_str(r#"{"digest":"a7","lock":"create"}"#).unwrap());
        assert_eq!((creating.lock(), creating.rootfs().unwrap()), (Some("create"), None));
    }

    #[test]
    fn recorded_text_of_an_archive() {
        let text = "#line1\n#line2%3A %C3%BC #x\narch: amd64\ndev0: /dev/fuse,uid=1,mode=0666\nfeatures: nesting=1,keyctl=1\n\
            mp0: btr:101/vm-101-disk-1.raw,mp=/data,backup=1,size=1G\nrootfs: btr:101/vm-101-disk-0.raw,size=1G\n\
            lxc.environment.runtime: A=1\nlxc.cap.drop = sys_nice\n\n[snap1]\nmemory: 1\n";
        let config = GuestConfig::from_text(text).unwrap();
        assert_eq!(config.description(), "line1\nline2: ü #x");
        assert_eq!(config.get("dev0"), Some("/dev/fuse,uid=1,mode=0666"));
        assert_eq!(config.memory_mib(), None);
        assert_eq!(config.raw_lxc().len(), 2);
        assert!(GuestConfig::from_text("just words\n").is_err());
        assert!(GuestConfig::from_text("memory: 1\nmemory: 2\n").is_err());
    }

    #[test]
    fn an_update_sends_only_what_is_set() {
        assert!(ConfigUpdate::default().form().is_empty());
        let update = ConfigUpdate {
            tags: Some(vec!["felhom".into(), "tenant".into()]),
            onboot: Some(true),
            reset: vec![Setting::Net(1), Setting::Cores],
            ..ConfigUpdate::default()
        };
        assert_eq!(update.form().encode(), "tags=felhom%3Btenant&onboot=1&delete=net1%2Ccores");
        let mut point: MountPoint = "btr:220/vm-220-disk-1.raw,mp=/data,backup=1".parse().unwrap();
        let update = ConfigUpdate {
            mounts: BTreeMap::from([(0, AttachedVolume::try_from(point.clone()).unwrap())]),
            reset: vec![Setting::Mount(3), Setting::Hostname],
            ..ConfigUpdate::default()
        };
        let recorded = "mp0=btr%3A220%2Fvm-220-disk-1.raw%2Cmp%3D%2Fdata%2Cbackup%3D1";
        assert_eq!(update.form().encode(), format!("{recorded}&delete=mp3%2Chostname"));
        point.mount.source = crate::props::Source::Host("/srv".to_owned());
        assert!(AttachedVolume::try_from(point).is_err());
    }
}
