//! A guest's configuration file in Proxmox VE's own syntax: the description as leading `#` comments, `key: value` lines, raw
//! `lxc.*` lines, a `[pve:pending]` section and one section for each snapshot. Pure: text in, text out.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::property::{MountPoint, decode_text, encode_text, has_newline};
use crate::error::ApiError;

/// One section: the current configuration, the pending changes, or a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// Options, `description` included (it ends in a newline, F46).
    pub(crate) values: BTreeMap<String, String>,
    /// Raw `lxc.*` lines in their order.
    pub(crate) lxc: Vec<(String, String)>,
}

impl Section {
    /// An option's value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether a boolean option is set to 1.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    /// Sets an option.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// `rootfs` and `mpN` in PVE's order (rootfs first, then by number). Unparsable ones are left out.
    pub(crate) fn mount_points(&self) -> Vec<(String, MountPoint)> {
        let mut keys: Vec<(u32, &String)> =
            self.values.keys().filter_map(|k| mount_point_order(k).map(|n| (n, k))).collect();
        keys.sort();
        keys.into_iter()
            .filter_map(|(_, k)| Some((k.clone(), MountPoint::parse(k, self.get(k)?).ok()?)))
            .collect()
    }

    /// `unusedN` keys with their volume ids.
    pub(crate) fn unused(&self) -> Vec<(String, String)> {
        let of = |k: &str| k.strip_prefix("unused").is_some_and(|n| n.parse::<u32>().is_ok());
        self.values.iter().filter(|(k, _)| of(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Adds a volume as `unusedN`, under the first free number; once is enough.
    ///
    /// # Errors
    /// 500 if there are 256 already.
    pub(crate) fn add_unused(&mut self, volid: &str) -> Result<(), ApiError> {
        if self.unused().iter().any(|(_, v)| v == volid) {
            return Ok(());
        }
        let free = (0..256).map(|n| format!("unused{n}")).find(|k| self.get(k).is_none());
        let slot =
            free.ok_or_else(|| ApiError::die("Too many unused volumes - please delete them first."))?;
        self.set(&slot, volid);
        Ok(())
    }

    /// Removes `unusedN` of volumes that a mount point uses, as Proxmox VE does whenever it writes the file.
    pub(crate) fn drop_used(&mut self) {
        let used: Vec<String> = self.mount_points().into_iter().map(|(_, m)| m.volume).collect();
        self.values.retain(|key, value| !(key.starts_with("unused") && used.contains(value)));
    }

    /// Every volume id this section refers to: mount points of type volume, then unused ones.
    pub(crate) fn volids(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.mount_points().into_iter().filter(|(_, m)| m.is_volume()).map(|(_, m)| m.volume).collect();
        all.extend(self.unused().into_iter().map(|(_, v)| v));
        all
    }
}

fn mount_point_order(key: &str) -> Option<u32> {
    if key == "rootfs" { Some(0) } else { key.strip_prefix("mp")?.parse::<u32>().ok().map(|n| n + 1) }
}

/// A guest's whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestConfig {
    /// What a running guest runs with, and a stopped one starts with.
    pub(crate) current: Section,
    /// Changes that wait for the next stop; key `delete` lists removals.
    pub(crate) pending: Section,
    /// Snapshots by name.
    pub(crate) snapshots: BTreeMap<String, Section>,
}

impl GuestConfig {
    /// The first option whose value would reach over its line, the description excepted, which is encoded.
    pub(crate) fn broken_line(&self) -> Option<&str> {
        let sections = [&self.current, &self.pending].into_iter().chain(self.snapshots.values());
        let mut pairs = sections.flat_map(|s| s.values.iter().chain(s.lxc.iter().map(|(k, v)| (k, v))));
        pairs.find(|(key, value)| *key != "description" && has_newline(value)).map(|(key, _)| key.as_str())
    }

    /// Parses a file's text. Lines that make no sense are skipped, as Proxmox VE skips them with a warning.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let mut section = Section::default();
        let mut name = String::new();
        let mut description = String::new();
        let mut finish = |name: &str, mut section: Section, description: &mut String| {
            if !description.is_empty() {
                section.set("description", std::mem::take(description));
            }
            match name {
                "" => config.current = section,
                "pve:pending" => config.pending = section,
                _ => {
                    config.snapshots.insert(name.to_owned(), section);
                }
            }
        };
        for line in text.lines() {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                finish(&name, std::mem::take(&mut section), &mut description);
                header.clone_into(&mut name);
            } else if let Some(comment) = line.strip_prefix('#') {
                description.push_str(&decode_text(comment));
                description.push('\n');
            } else if let Some((key, value)) = line.split_once(':') {
                // One blank separates them; what follows belongs to the value (F15 leaves a blank value behind).
                let value = value.strip_prefix(' ').unwrap_or(value);
                if key == RUNTIME_ENVIRONMENT {
                    let all = section.values.entry("env".to_owned()).or_default();
                    all.push_str(if all.is_empty() { "" } else { "\0" });
                    all.push_str(value.trim());
                } else if key.starts_with("lxc.") {
                    section.lxc.push((key.to_owned(), value.trim().to_owned()));
                } else {
                    section.values.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        finish(&name, section, &mut description);
        config
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        write_section(&mut text, &self.current);
        if !self.pending.values.is_empty() {
            text.push_str("\n[pve:pending]\n");
            write_section(&mut text, &self.pending);
        }
        for (name, section) in &self.snapshots {
            let _ = write!(text, "\n[{name}]\n");
            write_section(&mut text, section);
        }
        text
    }

    /// 40 hexadecimal digits that change with every write. (Proxmox VE: SHA-1 of the file; here the first 160 bits of SHA-256.)
    pub(crate) fn digest(&self) -> String {
        hex::encode(&Sha256::digest(self.to_text().as_bytes())[..20])
    }

    /// What `/etc/vzdump/pct.conf` in an archive holds: the current section without lock, pending changes and snapshots.
    pub(crate) fn to_archive_text(&self) -> String {
        let mut section = self.current.clone();
        for key in ["lock", "parent"] {
            section.values.remove(key);
        }
        let mut text = String::new();
        write_section(&mut text, &section);
        text
    }
}

/// How the option `env` stands in the file, one line a variable (rec2 5, 17).
const RUNTIME_ENVIRONMENT: &str = "lxc.environment.runtime";

fn write_section(text: &mut String, section: &Section) {
    if let Some(description) = section.get("description") {
        for line in description.trim_end_matches('\n').split('\n').filter(|_| !description.is_empty()) {
            let _ = writeln!(text, "#{}", encode_text(line));
        }
    }
    for (key, value) in section.values.iter().filter(|(k, _)| *k != "description" && *k != "env") {
        let _ = writeln!(text, "{key}: {value}");
    }
    for variable in section.get("env").unwrap_or_default().split('\0').filter(|v| !v.is_empty()) {
        let _ = writeln!(text, "{RUNTIME_ENVIRONMENT}: {variable}");
    }
    for (key, value) in &section.lxc {
        let _ = writeln!(text, "{key}: {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_written_back() {
        let text = "#line1\n#second%3A %C3%BC\narch: amd64\nmp0: tank:101/vm-101-disk-1.raw,mp=/data,backup=1,size=1G\n\
                    rootfs: tank:101/vm-101-disk-0.raw,size=1G\nlxc.cap.drop: sys_admin\n\n[pve:pending]\nfeatures: nesting=1\n\n\
                    [s1]\n#one\nmemory: 128\nsnaptime: 1795433131\n";
        let config = GuestConfig::parse(text);
        assert_eq!(config.current.get("description"), Some("line1\nsecond: ü\n"));
        assert_eq!(config.snapshots["s1"].get("description"), Some("one\n"));
        assert_eq!(config.current.mount_points()[0].0, "rootfs");
        assert_eq!(config.to_text(), text);
    }

    #[test]
    fn the_archive_holds_neither_lock_nor_snapshots() {
        let config = GuestConfig::parse("lock: backup\nmemory: 128\n\n[vzdump]\nmemory: 128\n");
        assert_eq!(config.to_archive_text(), "memory: 128\n");
    }

    /// F74, rec2 5, 17: `env` is one value in the API and one line a variable in the file.
    #[test]
    fn f74_env_is_one_line_a_variable() {
        let text = "memory: 128\nlxc.environment.runtime: A=1\nlxc.environment.runtime: B=2\nlxc.cap.drop: sys_nice\n";
        let config = GuestConfig::parse(text);
        assert_eq!(config.current.get("env"), Some("A=1\0B=2"));
        assert_eq!(config.to_text(), text);
    }

    /// F76: from the POST until unpacking ends the file is `lock: create` and nothing else.
    #[test]
    fn a_locked_empty_guest_is_one_line() {
        let mut config = GuestConfig::default();
        config.current.set("lock", "create");
        assert_eq!(config.to_text(), "lock: create\n");
    }
}
