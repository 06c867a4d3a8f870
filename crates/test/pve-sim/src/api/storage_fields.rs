//! The parameters of `POST` and `PUT /storage`: those of every storage type, also of types that this host does not have.

use std::net::Ipv6Addr;

use super::formats::{self, valid};
use super::properties;
use crate::http::schema::{Field, Kind, opt};

const TEXT: Kind = Kind::Text(usize::MAX);
const PATH: Kind = Kind::Format(path);
const FORMATS: &[&str] = &["raw", "qcow2", "subvol", "vmdk"];
const PREALLOCATIONS: &[&str] = &["off", "metadata", "falloc", "full"];
const STEPS: &[&str] = &["1", "2", "4", "8", "16", "32"];
const SMB: &[&str] = &["default", "2.0", "2.1", "3", "3.0", "3.11"];

/// Only when it is made.
pub(super) const CREATE: &[Field] = &[
    opt("authsupported", TEXT),
    opt("base", Kind::Format(formats::volume_id)),
    opt("datastore", TEXT),
    opt("export", PATH),
    opt("iscsiprovider", TEXT),
    opt("path", PATH),
    opt("portal", Kind::Format(portal)),
    opt("share", TEXT),
    opt("target", TEXT),
    opt("thinpool", Kind::Format(lvm_name)),
    opt("vgname", Kind::Format(lvm_name)),
];

/// Also later.
pub(super) const SETTINGS: &[Field] = &[
    opt("blocksize", Kind::Format(block_size)),
    opt("bwlimit", Kind::Property(&properties::BWLIMIT)),
    opt("comstar_hg", TEXT),
    opt("comstar_tg", TEXT),
    opt("content", Kind::List(content)),
    opt("content-dirs", Kind::List(content_directory)),
    opt("create-base-path", Kind::Boolean),
    opt("create-subdirs", Kind::Boolean),
    opt("data-pool", TEXT),
    opt("disable", Kind::Boolean),
    opt("domain", Kind::Text(256)),
    opt("encryption-key", TEXT),
    opt("fingerprint", Kind::Pattern(is_fingerprint)),
    opt("format", Kind::Enum(FORMATS)),
    opt("fs-name", Kind::Format(formats::config_id)),
    opt("fuse", Kind::Boolean),
    opt("is_mountpoint", TEXT),
    opt("keyring", TEXT),
    opt("krbd", Kind::Boolean),
    opt("lio_tpg", TEXT),
    opt("master-pubkey", TEXT),
    opt("max-protected-backups", Kind::Integer(-1, i64::MAX)),
    opt("mkdir", Kind::Boolean),
    opt("monhost", Kind::List(portal)),
    opt("mountpoint", PATH),
    opt("namespace", TEXT),
    opt("nocow", Kind::Boolean),
    opt("nodes", Kind::List(formats::node)),
    opt("nowritecache", Kind::Boolean),
    opt("options", Kind::Format(mount_options)),
    opt("password", Kind::Text(256)),
    opt("pool", TEXT),
    opt("port", Kind::Integer(1, 65535)),
    opt("preallocation", Kind::Enum(PREALLOCATIONS)),
    opt("prune-backups", Kind::Property(&properties::PRUNE)),
    opt("saferemove", Kind::Boolean),
    opt("saferemove-stepsize", Kind::Steps(STEPS)),
    opt("saferemove_throughput", TEXT),
    opt("server", Kind::Format(formats::server)),
    opt("shared", Kind::Boolean),
    opt("skip-cert-verification", Kind::Boolean),
    opt("smbversion", Kind::Enum(SMB)),
    opt("snapshot-as-volume-chain", Kind::Boolean),
    opt("sparse", Kind::Boolean),
    opt("subdir", PATH),
    opt("tagged_only", Kind::Boolean),
    opt("username", TEXT),
    opt("zfs-base-path", PATH),
];

/// Content types.
pub(super) const CONTENT: &[&str] =
    &["backup", "images", "import", "iso", "none", "rootdir", "snippets", "vztmpl"];

/// rec 393.
pub(super) fn content(text: &str) -> Result<(), String> {
    valid(CONTENT.contains(&text), || format!("invalid content type '{text}'"))
}

fn path(text: &str) -> Result<(), String> {
    let good = text.len() > 1 && text.starts_with('/') && !text[1..].starts_with([';', '(', ')']);
    valid(good, || "value does not look like a valid absolute path".into())
}

fn lvm_name(text: &str) -> Result<(), String> {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    let good = text.len() > 1
        && text.starts_with(alnum)
        && text.ends_with(alnum)
        && text.chars().all(|c| alnum(c) || "-_.".contains(c));
    valid(good, || format!("lvm name '{text}' contains illegal characters"))
}

fn is_fingerprint(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |byte: &&str| byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit());
    bytes.len() == 32 && bytes.iter().all(hex)
}

/// A host, also with a port: `10.0.0.1:3260`, `[fd00::1]:3260`, `fd00::1.3260` (src/PVE/Tools.pm:942 of pve-common).
fn portal(text: &str) -> Result<(), String> {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_host =
        |host: &str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let is_v6 = |ip: &str| ip.parse::<Ipv6Addr>().is_ok();
    let good = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            (is_host(host) || is_v6(host)) && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        }
        None if is_v6(text) => true,
        None => {
            let of_v6 = text.rsplit_once('.').is_some_and(|(ip, port)| is_v6(ip) && is_port(port));
            let of_host = text.split_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port));
            is_host(text) || of_host || of_v6
        }
    };
    valid(good, || "value does not look like a valid portal address".into())
}

/// src/PVE/Storage/ZFSPoolPlugin.pm:17 of pve-storage.
fn block_size(text: &str) -> Result<(), String> {
    let (number, shift) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 0), |number| (number, 20)),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    valid(text.is_empty() || digits, || {
        format!(
            "invalid ZFS blocksize format '{text}'. Use a positive number (no leading zeros) with an optional 'k' or 'm' suffix."
        )
    })?;
    let bytes = number.parse::<u64>().ok().filter(|n| *n <= 1 << 24).map(|n| n << shift);
    let good = bytes.is_some_and(|n| (512..=1 << 24).contains(&n) && n.is_power_of_two());
    valid(text.is_empty() || good, || {
        format!(
            "value '{text}' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m)."
        )
    })
}

/// `backup=own/dump`: a content and where it lies (src/PVE/Storage/Plugin.pm:420 of pve-storage).
fn content_directory(text: &str) -> Result<(), String> {
    let words = |path: &str| !path.ends_with('.') && !path.contains("..");
    let parts = text.split_once('=').filter(|(kind, path)| {
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase()) && !path.is_empty() && words(path)
    });
    let Some((kind, path)) = parts else { return valid(false, || format!("invalid override '{text}'")) };
    content(kind)?;
    let short = path.len() < 1023 && path.split('/').all(|name| name.len() < 255);
    valid(short, || format!("invalid override '{text}'"))
}

fn mount_options(text: &str) -> Result<(), String> {
    valid(formats::is_solid(text), || format!("invalid options '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str], text: &str) {
        for value in good {
            assert_eq!(format(value), Ok(()), "{value:?}");
        }
        for value in bad {
            assert_eq!(
                format(value),
                Err(format!("invalid format - {}\n", text.replace("{}", value))),
                "{value:?}"
            );
        }
    }

    /// rec 393; the rest is unrecorded: src/PVE/Storage/Plugin.pm:288–440 of pve-storage.
    #[test]
    fn formats_of_storages() {
        check(content, &["backup", "import"], &["bogus", ""], "invalid content type '{}'");
        check(
            path,
            &["/a", "/ä b"],
            &["", "/", "a", "/;", "/(a)"],
            "value does not look like a valid absolute path",
        );
        check(
            lvm_name,
            &["pve", "a-b.c_d1"],
            &["a", "", "-a", "a b"],
            "lvm name '{}' contains illegal characters",
        );
        let good = ["nas", "nas:3260", "10.0.0.1:3260", "[fd00::1]", "[nas]:1", "fd00::1", "fd00::1.3260"];
        check(
            portal,
            &good,
            &["", "a b", "nas:", "nas:x", "[nas", "[]:1"],
            "value does not look like a valid portal address",
        );
        check(mount_options, &["noatime,ro"], &["", "a b"], "invalid options '{}'");
        let good = ["backup=own/dump", "iso=.hidden", "rootdir=a.b/c"];
        check(
            content_directory,
            &good,
            &["backup", "backup=", "=a", "Backup=a", "iso=..", "iso=a/../b", "iso=a."],
            "invalid override '{}'",
        );
        check(content_directory, &[], &[&format!("iso={}", "a".repeat(255))], "invalid override '{}'");
        assert_eq!(
            content_directory("bogus=a"),
            Err("invalid format - invalid content type 'bogus'\n".into())
        );
        assert!(is_fingerprint(&["aF"; 32].join(":")) && !is_fingerprint(&["aF"; 31].join(":")));
    }

    /// Unrecorded: src/PVE/Storage/ZFSPoolPlugin.pm:17 of pve-storage.
    #[test]
    fn block_sizes_are_powers_of_two() {
        let text = "value '{}' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m).";
        check(block_size, &["", "4k", "16M", "512"], &["3k", "256", "32m", "99999999999999999999"], text);
        let text = "invalid ZFS blocksize format '{}'. Use a positive number (no leading zeros) with an optional 'k' or 'm' suffix.";
        check(block_size, &[], &["0", "04k", "4g", "k", "-4k"], text);
    }
}
