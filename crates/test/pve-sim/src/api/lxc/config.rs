//! `/nodes/{node}/lxc/{vmid}/config` and `/pending` (F15, F41–F43, F46, F88, F95).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::create::normalise_tags;
use super::fields::{self, OPTIONS, is_mount_point, is_option};
use super::perms::{Change, is_net};
use crate::api::check::{Check, any, perm};
use crate::api::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt};
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::guests;
use crate::state::property::MountPoint;
use crate::work::{machine, settings, snapshot};

const AUDIT: Check = perm("/vms/{vmid}", &["VM.Audit"]);
const CONFIG: &[&str] =
    &["VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(
        ("GET", "/nodes/{node}/lxc/{vmid}/config"),
        &[formats::GUEST, &[opt("current", Kind::Boolean), opt("snapshot", formats::SNAPNAME).length(0, 40)]],
        AUDIT,
        show,
    ),
    protected(
        ("PUT", "/nodes/{node}/lxc/{vmid}/config"),
        &[
            formats::GUEST,
            &[
                opt("delete", Kind::List(config_key)),
                opt("revert", Kind::List(config_key)),
                opt("digest", Kind::Text(40)),
            ],
            OPTIONS,
        ],
        any("/vms/{vmid}", CONFIG),
        update,
    ),
    plain(("GET", "/nodes/{node}/lxc/{vmid}/pending"), &[formats::GUEST], AUDIT, pending),
];

fn config_key(text: &str) -> Result<(), String> {
    let valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if valid { Ok(()) } else { Err(format!("invalid format - invalid configuration ID '{text}'\n")) }
}

fn json_of(key: &str, value: &str) -> Json {
    match value.parse::<i64>() {
        Ok(number) if fields::is_number(key) || key == "snaptime" => json!(number),
        _ => json!(value),
    }
}

/// A section as the API shows it.
pub(super) fn section_json(section: &Section) -> Map<String, Json> {
    let mut shown: Map<String, Json> =
        section.values.iter().map(|(k, v)| (k.clone(), json_of(k, v))).collect();
    if !section.lxc.is_empty() {
        shown.insert("lxc".into(), json!(section.lxc));
    }
    shown
}

/// Without `current`, pending changes are shown as if they had been made (F95).
fn show(call: &Call) -> Answer {
    let name = call.params.get("snapshot");
    if name.is_some() && call.params.flag("current") {
        let text = "cannot use 'snapshot' parameter with 'current'";
        let both = ["snapshot", "current"].map(|n| (n.to_owned(), text.to_owned()));
        return Err(ApiError::params(BTreeMap::from(both)));
    }
    let config = guests::load(call.host(), call.params.vmid()?)?;
    let mut section = config.current.clone();
    if let Some(name) = name {
        section = config.snapshots.get(&name).ok_or_else(|| snapshot::missing(&name))?.clone();
    } else if !call.params.flag("current") {
        section.values.extend(
            config.pending.values.iter().filter(|(k, _)| *k != "delete").map(|(k, v)| (k.clone(), v.clone())),
        );
        // Also of what is pending itself (rec 2/682–693).
        for key in settings::pending_deletes(&config) {
            section.values.remove(&key);
        }
    }
    let mut shown = section_json(&section);
    shown.insert("digest".into(), json!(config.digest()));
    data(Json::Object(shown))
}

fn pending(call: &Call) -> Answer {
    let config = guests::load(call.host(), call.params.vmid()?)?;
    let deletes = settings::pending_deletes(&config);
    let current = config.current.values.iter();
    let mut values: BTreeMap<String, Map<String, Json>> = current
        .map(|(key, value)| {
            (key.clone(), Map::from_iter([("key".into(), json!(key)), ("value".into(), json_of(key, value))]))
        })
        .collect();
    for (key, value) in config.pending.values.iter().filter(|(k, _)| *k != "delete") {
        let entry = values.entry(key.clone()).or_insert_with(|| Map::from_iter([("key".into(), json!(key))]));
        entry.insert("pending".into(), json_of(key, value));
    }
    for key in deletes {
        if let Some(entry) = values.get_mut(&key) {
            entry.insert("delete".into(), json!(1));
        }
    }
    let mut all: Vec<Json> = values.into_values().map(Json::Object).collect();
    all.push(json!({"key": "digest", "value": config.digest()}));
    data(json!(all))
}

/// # Errors
/// 500 if the caller read another version (F46).
pub(super) fn check_digest(call: &Call, config: &GuestConfig) -> Result<(), ApiError> {
    match call.params.get("digest") {
        Some(digest) if !digest.is_empty() && digest != config.digest() => {
            Err(ApiError::die("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}

fn update(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    if !call.params.0.keys().any(|name| !["node", "vmid", "digest"].contains(&name.as_str())) {
        return Err(ApiError::die("no options specified"));
    }
    let _held = call.host().lock_guest(vmid)?;
    let mut config = guests::load(call.host(), vmid)?;
    guests::check_lock(&config)?;
    check_digest(call, &config)?;
    let (set, delete) = wanted(call)?;
    let revert = call.params.list("revert");
    let change = Change {
        access: &call.access,
        authid: &call.authid,
        vmid,
        pool: None,
        old: Some(&config.current),
        unprivileged: config.current.flag("unprivileged"),
    };
    change.check(&BTreeMap::new(), &delete)?;
    change.check(&BTreeMap::new(), &revert)?;
    change.check(&set, &[])?;
    for key in &revert {
        settings::revert(&mut config, key);
    }
    let delete = check_deletes(vmid, &config, delete)?;
    check_values(call, vmid, &config, &set)?;
    let running = machine::running(call.host(), vmid).is_some();
    settings::apply(
        call.host(),
        vmid,
        &mut config,
        settings::Request { set: &set, delete: &delete, running },
    )?;
    guests::save(call.host(), vmid, &config)?;
    for key in set.keys().chain(&delete).filter(|key| running && is_net(key)) {
        machine::set_link(call.host(), vmid, key, &config.current)?;
    }
    nothing()
}

/// What is to be set, and what removed.
fn wanted(call: &Call) -> Result<(BTreeMap<String, String>, Vec<String>), ApiError> {
    let mut set = BTreeMap::new();
    for name in call.params.0.keys().filter(|n| OPTIONS.iter().any(|f| f.is(n))) {
        let value = call.params.get(name).unwrap_or_default();
        set.insert(name.clone(), if name == "tags" { normalise_tags(&value) } else { value });
    }
    let (delete, revert) = (call.params.list("delete"), call.params.list("revert"));
    for key in &revert {
        if !is_option(key) || key.starts_with("lxc.") {
            return Err(ApiError::param("revert", format!("unknown option '{key}'")));
        }
        if set.contains_key(key) {
            let text = format!("you can't use '-{key}' and '-revert {key}' at the same time");
            return Err(ApiError::param("revert", text));
        }
    }
    let mut seen = BTreeSet::new();
    for key in &delete {
        if !is_option(key) || key.starts_with("lxc.") {
            return Err(ApiError::param("delete", format!("unknown option '{key}'")));
        }
        if set.contains_key(key) {
            let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(ApiError::param("delete", text));
        }
        if revert.contains(key) {
            let text = format!("you can't use '-delete {key}' and '-revert {key}' at the same time");
            return Err(ApiError::param("delete", text));
        }
        seen.insert(key.clone());
    }
    Ok((set, seen.into_iter().collect()))
}

/// What is there to be removed; the rest is passed over. F88: a protected guest keeps its volumes, also if the same call lifts the
/// protection (unrecorded: LXC/Config.pm:1314–1330 of pve-container 6.1.10; in rec 2/580 the volume was not there).
fn check_deletes(vmid: u32, config: &GuestConfig, delete: Vec<String>) -> Result<Vec<String>, ApiError> {
    let there = |k: &String| config.current.get(k).is_some() || config.pending.get(k).is_some();
    let found: Vec<String> = delete.into_iter().filter(there).collect();
    for key in &found {
        match key.as_str() {
            "memory" | "rootfs" | "ostype" => {
                return Err(ApiError::die(format!("unable to delete required option '{key}'")));
            }
            "unprivileged" => {
                return Err(ApiError::die(format!("unable to delete read-only option: '{key}'")));
            }
            _ if is_mount_point(key) || key.starts_with("unused") => {
                check_protection(vmid, config, "remove", key)?;
            }
            _ => {}
        }
    }
    Ok(found)
}

fn check_values(
    call: &Call,
    vmid: u32,
    config: &GuestConfig,
    set: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    for (key, value) in set {
        if is_mount_point(key) {
            check_protection(vmid, config, "update", key)?;
            let mount = MountPoint::parse(key, value).map_err(|e| ApiError::param(key, e))?;
            settings::check_content(call.host(), &mount)?;
        } else if key == "unprivileged" {
            return Err(ApiError::die(format!("unable to modify read-only option: '{key}'")));
        }
    }
    Ok(())
}

fn check_protection(vmid: u32, config: &GuestConfig, verb: &str, key: &str) -> Result<(), ApiError> {
    if config.current.flag("protection") {
        return Err(ApiError::die(format!("can't {verb} CT {vmid} drive '{key}' - protection mode enabled")));
    }
    Ok(())
}

/// Whether a change of `key` reaches a running guest at once; the others wait for its next stop (F95).
pub(crate) fn is_live(key: &str) -> bool {
    matches!(
        key,
        "memory"
            | "swap"
            | "cores"
            | "cpulimit"
            | "cpuunits"
            | "onboot"
            | "description"
            | "tags"
            | "startup"
            | "protection"
            | "hostname"
            | "lock"
            | "hookscript"
    ) || is_net(key)
        || key.starts_with("unused")
}
