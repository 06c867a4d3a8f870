//! Property strings (`tank:2,mp=/data,backup=1`), sizes and encoded text as Proxmox VE writes them. Pure.

use std::fmt::Write;

/// A property string: an optional leading value without a key, then `key=value` pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// The value of the default key.
    pub(crate) first: Option<String>,
    /// The other pairs in the order given.
    pub(crate) pairs: Vec<(String, String)>,
}

impl Properties {
    /// Splits a string; `default` is the key that may be left out.
    ///
    /// # Errors
    /// A second value without a key, or a key twice.
    pub(crate) fn parse(text: &str, default: Option<&str>) -> Result<Self, String> {
        let mut properties = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) if Some(key) == default => {
                    if properties.first.is_some() {
                        return Err(format!("duplicate key in comma-separated list property: {key}"));
                    }
                    properties.first = Some(value.to_owned());
                }
                Some((key, value)) => {
                    if properties.get(key).is_some() {
                        return Err(format!("duplicate key in comma-separated list property: {key}"));
                    }
                    properties.pairs.push((key.to_owned(), value.to_owned()));
                }
                None if default.is_some() && properties.first.is_none() => {
                    properties.first = Some(part.to_owned())
                }
                None if default.is_some() => {
                    let key = default.unwrap_or_default();
                    return Err(format!("duplicate key in comma-separated list property: {key}"));
                }
                None => return Err("value without key, but schema does not define a default key".into()),
            }
        }
        Ok(properties)
    }

    /// A pair's value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Sets or replaces a pair.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.pairs.iter_mut().find(|(k, _)| k == key) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((key.to_owned(), value)),
        }
    }

    /// Removes a pair.
    pub(crate) fn remove(&mut self, key: &str) {
        self.pairs.retain(|(k, _)| k != key);
    }

    /// Writes it in PVE's order: the default key's value, the required key, the rest by name.
    pub(crate) fn to_text(&self, required: Option<&str>) -> String {
        let mut parts: Vec<String> = self.first.iter().cloned().collect();
        let mut rest: Vec<&(String, String)> = self.pairs.iter().collect();
        rest.sort_by_key(|(k, _)| (Some(k.as_str()) != required, k.clone()));
        parts.extend(rest.into_iter().map(|(k, v)| format!("{k}={v}")));
        parts.join(",")
    }
}

/// What lies behind a `rootfs` or `mpN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// `STORE:ID/vm-ID-disk-N.raw`, a host directory, or a device.
    pub(crate) volume: String,
    /// Path in the guest, `/` for rootfs.
    pub(crate) mp: String,
    /// The other options: backup, ro, size, acl, quota, mountoptions, replicate, shared.
    pub(crate) options: Properties,
}

impl MountPoint {
    /// Parses the value of `rootfs` or `mpN`.
    ///
    /// # Errors
    /// As [`Properties::parse`], for a missing volume, a missing `mp`, or an option nobody knows.
    pub(crate) fn parse(key: &str, text: &str) -> Result<Self, String> {
        let mut options = Properties::parse(text, Some("volume"))?;
        let volume = options
            .first
            .take()
            .ok_or_else(|| format!("{key}.volume: property is missing and it is not optional"))?;
        let rootfs = key == "rootfs";
        let mp = match options.get("mp") {
            Some(mp) if !rootfs => mp.to_owned(),
            None if rootfs => "/".to_owned(),
            Some(_) => return Err(format!("{key}.mp: {NOT_DEFINED}")),
            None => return Err(format!("{key}.mp: property is missing and it is not optional")),
        };
        options.remove("mp");
        for (name, value) in &options.pairs {
            match name.as_str() {
                "backup" if rootfs => return Err(format!("{key}.{name}: {NOT_DEFINED}")),
                "acl" | "backup" | "quota" | "replicate" | "ro" | "shared" | "keepattrs" => {
                    parse_boolean(value).ok_or_else(|| {
                        format!("{key}.{name}: type check ('boolean') failed - got '{value}'")
                    })?;
                }
                "size" => {
                    parse_size(value).ok_or_else(|| {
                        format!("{key}.size: invalid format - value does not look like a valid disk size")
                    })?;
                }
                "mountoptions" | "idmap" => {}
                _ => return Err(format!("{key}.{name}: {NOT_DEFINED}")),
            }
        }
        Ok(Self { volume, mp, options })
    }

    /// A volume of a storage, not a directory or device of the host.
    pub(crate) fn is_volume(&self) -> bool {
        !self.volume.starts_with('/')
    }

    /// `volume`, `bind` or `device`.
    pub(crate) fn kind(&self) -> &'static str {
        if self.volume.starts_with("/dev/") {
            "device"
        } else if self.volume.starts_with('/') {
            "bind"
        } else {
            "volume"
        }
    }

    /// Whether vzdump archives it: rootfs always, another volume with `backup=1` only, anything else never (F54).
    pub(crate) fn in_backup(&self, key: &str) -> bool {
        key == "rootfs"
            || (self.is_volume() && self.options.get("backup").and_then(parse_boolean) == Some(true))
    }

    /// Size in bytes, if the configuration names it.
    pub(crate) fn size(&self) -> Option<u64> {
        self.options.get("size").and_then(parse_size)
    }

    /// As the configuration file holds it.
    pub(crate) fn to_text(&self, key: &str) -> String {
        let mut all = self.options.clone();
        all.first = Some(self.volume.clone());
        if key != "rootfs" {
            all.set("mp", self.mp.clone());
        }
        all.to_text(Some("mp"))
    }
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";

/// `1 on yes true` and `0 off no false`, in property strings only (F14).
pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// Whether a value would reach over its line in one of the node's files.
pub(crate) fn has_newline(value: &str) -> bool {
    value.contains(['\n', '\r'])
}

/// `8G`, `512M`, `307M`, `0.5G`, `4KiB`, `1024` to bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let shift = match unit.strip_suffix("iB").filter(|unit| !unit.is_empty()).unwrap_or(unit) {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if [whole, part].iter().any(|text| text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = (number.parse::<f64>().ok()? * (1_u64 << shift) as f64) as u64;
    Some(bytes)
}

/// Bytes as PVE writes them: the largest unit that divides them (`1536M`, `1G`, `307M`).
pub(crate) fn format_size(bytes: u64) -> String {
    let mut value = bytes;
    for unit in ["", "K", "M", "G", "T"] {
        if unit == "T" || value == 0 || !value.is_multiple_of(1024) {
            return format!("{value}{unit}");
        }
        value /= 1024;
    }
    value.to_string()
}

/// Percent-encodes what Proxmox VE's `encode_text` encodes: control characters, `%`, `:` and everything that is not ASCII.
pub(crate) fn encode_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if !(b' '..0x7f).contains(&byte) || byte == b'%' || byte == b':' {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

/// Undoes [`encode_text`], and any other percent-encoding. Bytes that are no UTF-8 are replaced.
pub(crate) fn decode_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match code.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_divides_them() {
        assert_eq!(format_size(parse_size("1.5G").unwrap()), "1536M");
        assert_eq!(format_size(1 << 30), "1G");
        assert_eq!(format_size(1000), "1000");
        assert_eq!(parse_size("4KiB"), Some(4096));
        for bad in ["12Q", "12iB", "1.", ".5", "1.2.3", "-1", ""] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_mount_point_keeps_pves_order() {
        let mp = MountPoint::parse("mp0", "tank:101/vm-101-disk-1.raw,size=1G,backup=1,mp=/data").unwrap();
        assert_eq!(mp.to_text("mp0"), "tank:101/vm-101-disk-1.raw,mp=/data,backup=1,size=1G");
        assert!(mp.in_backup("mp0"));
    }

    /// F54: mount points default to backup=0, bind mounts are never in.
    #[test]
    fn only_volumes_with_backup_1_and_rootfs_are_in_a_backup() {
        let of = |key: &str, text: &str| MountPoint::parse(key, text).unwrap().in_backup(key);
        assert!(of("rootfs", "tank:1"));
        assert!(!of("mp0", "tank:1,mp=/a"));
        assert!(of("mp0", "tank:1,mp=/a,backup=yes"));
        assert!(!of("mp1", "/srv/x,mp=/x,backup=1"));
    }

    #[test]
    fn text_survives_encoding() {
        let text = "a: 100% ü\tx";
        assert_eq!(encode_text(text), "a%3A 100%25 %C3%BC%09x");
        assert_eq!(decode_text(&encode_text(text)), text);
    }
}
