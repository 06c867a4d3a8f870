//! The parameters of `POST` and `PUT /storage`: those of every storage type, also of types that this host does not have.

use super::formats;
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
    opt("base", TEXT),
    opt("datastore", TEXT),
    opt("export", PATH),
    opt("iscsiprovider", TEXT),
    opt("path", PATH),
    opt("portal", TEXT),
    opt("share", TEXT),
    opt("target", TEXT),
    opt("thinpool", Kind::Format(lvm_name)),
    opt("vgname", Kind::Format(lvm_name)),
];

/// Also later.
pub(super) const SETTINGS: &[Field] = &[
    opt("blocksize", TEXT),
    opt("bwlimit", TEXT),
    opt("comstar_hg", TEXT),
    opt("comstar_tg", TEXT),
    opt("content", Kind::List(content)),
    opt("content-dirs", TEXT),
    opt("create-base-path", Kind::Boolean),
    opt("create-subdirs", Kind::Boolean),
    opt("data-pool", TEXT),
    opt("disable", Kind::Boolean),
    opt("domain", Kind::Text(256)),
    opt("encryption-key", TEXT),
    opt("fingerprint", Kind::Format(fingerprint)),
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
    opt("monhost", TEXT),
    opt("mountpoint", PATH),
    opt("namespace", TEXT),
    opt("nocow", Kind::Boolean),
    opt("nodes", Kind::List(formats::node_item)),
    opt("nowritecache", Kind::Boolean),
    opt("options", TEXT),
    opt("password", Kind::Text(256)),
    opt("pool", TEXT),
    opt("port", Kind::Integer(1, 65535)),
    opt("preallocation", Kind::Enum(PREALLOCATIONS)),
    opt("prune-backups", Kind::Format(formats::prune)),
    opt("saferemove", Kind::Boolean),
    opt("saferemove-stepsize", Kind::Enum(STEPS)),
    opt("saferemove_throughput", TEXT),
    opt("server", TEXT),
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
    if CONTENT.contains(&text) {
        Ok(())
    } else {
        Err(format!("invalid format - invalid content type '{text}'\n"))
    }
}

fn path(text: &str) -> Result<(), String> {
    let valid = text.len() > 1 && text.starts_with('/') && !text[1..].starts_with([';', '(', ')']);
    if valid {
        Ok(())
    } else {
        Err("invalid format - value does not look like a valid absolute path\n".into())
    }
}

fn lvm_name(text: &str) -> Result<(), String> {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    let valid = text.len() > 1
        && text.starts_with(alnum)
        && text.ends_with(alnum)
        && text.chars().all(|c| alnum(c) || "-_.".contains(c));
    if valid {
        Ok(())
    } else {
        Err(format!("invalid format - lvm name '{text}' contains illegal characters\n"))
    }
}

fn fingerprint(text: &str) -> Result<(), String> {
    let bytes: Vec<&str> = text.split(':').collect();
    let hex = |byte: &&str| byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit());
    if bytes.len() == 32 && bytes.iter().all(hex) {
        Ok(())
    } else {
        Err("value does not match the regex pattern".into())
    }
}
