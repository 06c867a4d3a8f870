//! `POST /nodes/{node}/lxc`: create from a template, or restore from an archive (`PVE::API2::LXC::create_vm`).
//!
//! Before the task: VMID, pool, rights, archive's rights, options' rights, storages; then the VMID is taken by an empty
//! configuration with `lock: create`, and the task is started.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fields::{OPTIONS, is_mount_point};
use super::perms::{Change, new_disk};
use crate::api::check::Check;
use crate::api::{Answer, Call, Route, formats, protected, volumes};
use crate::error::ApiError;
use crate::http::params::split_list;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::guest_config::GuestConfig;
use crate::state::storage::Storages;
use crate::state::volid::Volid;
use crate::state::{bandwidth, guests};
use crate::work::{CreateJob, Job, create, machine};

/// How long a create waits for somebody who works on the VMID.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);

const CREATE: &[Field] = &[
    formats::NODE,
    req("vmid", Kind::Vmid),
    req("ostemplate", Kind::Text(255)),
    opt("bwlimit", Kind::Number(0.0, f64::MAX)),
    opt("force", Kind::Boolean),
    opt("ha-managed", Kind::Boolean),
    opt("ignore-unpack-errors", Kind::Boolean),
    opt("password", Kind::Text(usize::MAX)).length(5, usize::MAX),
    opt("pool", Kind::Format(formats::pool_id)),
    opt("restore", Kind::Boolean),
    opt("ssh-public-keys", Kind::Text(usize::MAX)),
    opt("start", Kind::Boolean),
    opt("storage", Kind::Format(formats::storage_id)),
    opt("unique", Kind::Boolean).requires("restore"),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] =
    &[protected(("POST", "/nodes/{node}/lxc"), &[CREATE, OPTIONS], Check::All, post)];

fn post(call: &Call) -> Answer {
    let params = &call.params;
    let vmid = params.vmid()?;
    let restore = params.flag("restore");
    let unprivileged = params.get("unprivileged").map(|u| u == "1");
    if !restore && unprivileged == Some(false) {
        call.need("/", &["Sys.Modify"])?;
    }
    refuse_unknown(call, restore)?;
    let overwrite = check_vmid(call, vmid, restore)?;
    let pool = params.get("pool");
    if let Some(pool) = &pool
        && !call.access.pools.contains_key(pool)
    {
        return Err(ApiError::die(format!("pool '{pool}' does not exist")));
    }
    let allocates = check_allocate(call, (vmid, pool.as_deref()), overwrite, unprivileged)?;
    let storage = params.get("storage").unwrap_or_else(|| "local".into());
    let (mount_points, options) = split_options(call, &storage)?;
    check_rights(call, (vmid, pool.as_deref()), (&mount_points, &options), unprivileged)?;
    let archive = params.need("ostemplate")?;
    let content = if restore { "backup" } else { "vztmpl" };
    let storages = Storages::load(call.host())?;
    storages.get(&Volid::parse(&archive)?.storage)?;
    volumes::check_access(&call.access, &call.authid, &archive, Some(vmid), Some(content))?;
    if !mount_points.is_empty() && !mount_points.contains_key("rootfs") {
        return Err(ApiError::die("mount points configured, but 'rootfs' not set - aborting"));
    }
    let used = used_storages(&mount_points, &storage);
    for id in &used {
        use_storage(call, &storages, id)?;
    }
    let limit = params.get("bwlimit").and_then(|text| text.parse().ok());
    let limit = match limit {
        None => bandwidth::limit(call.host(), &storages, ("restore", &used))?,
        named => named,
    };
    create::check_options(call.host(), &options)?;
    let force = params.flag("force");
    claim(call, vmid, restore, force)?;
    let job = Job::Create(Box::new(CreateJob {
        vmid,
        restore,
        archive,
        storage,
        pool,
        mount_points,
        options,
        unprivileged: if restore { unprivileged } else { Some(unprivileged.unwrap_or(true)) },
        unique: params.flag("unique"),
        start: params.flag("start"),
        overwrite,
        ignore_unpack_errors: params.flag("ignore-unpack-errors"),
        keep_firewall: !allocates,
        bwlimit: limit.map(whole),
    }));
    let started = call.task(if restore { "vzrestore" } else { "vzcreate" }, &vmid.to_string(), job);
    if started.is_err() && !overwrite {
        guests::remove(call.host(), vmid)?;
    }
    started
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// What this simulator cannot do it does not pretend to do.
fn refuse_unknown(call: &Call, restore: bool) -> Result<(), ApiError> {
    let refused = |what: &str| {
        let text = format!("{what} is not implemented by this simulator");
        Err(ApiError { status: 501, ..ApiError::die(text) })
    };
    if call.params.flag("ha-managed") {
        call.need("/", &["Sys.Console"])?;
        return refused("ha-managed");
    }
    for name in ["password", "ssh-public-keys"] {
        // A restore ignores both.
        if !restore && call.params.get(name).is_some() {
            return refused(name);
        }
    }
    Ok(())
}

/// F58: an existing guest is only ever overwritten by a restore with `force`, stopped and unprotected. Answers whether it would be.
fn check_vmid(call: &Call, vmid: u32, restore: bool) -> Result<bool, ApiError> {
    if !guests::exists(call.host(), vmid) {
        return Ok(false);
    }
    if !(restore && call.params.flag("force")) {
        return Err(exists(call, vmid));
    }
    if machine::running(call.host(), vmid).is_some() {
        return Err(ApiError::die("can't overwrite running container"));
    }
    if guests::load(call.host(), vmid)?.current.flag("protection") {
        return Err(ApiError::die(format!("unable to restore CT {vmid} - protection mode enabled")));
    }
    Ok(true)
}

fn exists(call: &Call, vmid: u32) -> ApiError {
    ApiError::die(format!("CT {vmid} already exists on node '{}'", call.host().node))
}

/// F28: VM.Backup is enough to overwrite a guest, but not its firewall file. Answers whether the caller has VM.Allocate.
fn check_allocate(
    call: &Call,
    (vmid, pool): (u32, Option<&str>),
    overwrite: bool,
    unprivileged: Option<bool>,
) -> Result<bool, ApiError> {
    let guest = format!("/vms/{vmid}");
    if call.has(&guest, "VM.Allocate") || pool.is_some_and(|p| call.has(&format!("/pool/{p}"), "VM.Allocate"))
    {
        return Ok(true);
    }
    if !(overwrite && call.has(&guest, "VM.Backup")) {
        return Err(ApiError::forbidden(""));
    }
    if unprivileged == Some(false) && guests::load(call.host(), vmid)?.current.flag("unprivileged") {
        call.need("/", &["Sys.Modify"])?;
    }
    Ok(false)
}

type Options = BTreeMap<String, String>;

/// Mount points and the other options; a number alone is a size on the default storage.
fn split_options(call: &Call, storage: &str) -> Result<(Options, Options), ApiError> {
    let (mut mount_points, mut options) = (BTreeMap::new(), BTreeMap::new());
    for name in call.params.0.keys() {
        let value = call.params.get(name).unwrap_or_default();
        if is_mount_point(name) {
            let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_digit() || c == '.');
            mount_points.insert(name.clone(), if plain { format!("{storage}:{value}") } else { value });
        } else if OPTIONS.iter().any(|f| f.is(name)) && name != "unprivileged" && !name.starts_with("unused")
        {
            let value = if name == "tags" { normalise_tags(&value) } else { value };
            options.insert(name.clone(), value);
        }
    }
    if options.contains_key("lock") {
        return Err(ApiError::die("unable to set 'lock' at creation"));
    }
    Ok((mount_points, options))
}

/// F46: lower case, sorted, each once, joined by `;`.
pub(crate) fn normalise_tags(text: &str) -> String {
    let tags: std::collections::BTreeSet<String> = split_list(&text.to_lowercase()).into_iter().collect();
    tags.into_iter().collect::<Vec<_>>().join(";")
}

fn check_rights(
    call: &Call,
    (vmid, pool): (u32, Option<&str>),
    (mount_points, options): (&Options, &Options),
    unprivileged: Option<bool>,
) -> Result<(), ApiError> {
    // A restore does not know yet what the guest will be, and takes it for a privileged one.
    let unprivileged = unprivileged.unwrap_or(!call.params.flag("restore"));
    let change = Change { access: &call.access, authid: &call.authid, vmid, pool, old: None, unprivileged };
    let all: Options = mount_points.iter().chain(options).map(|(k, v)| (k.clone(), v.clone())).collect();
    change.check(&all, &[])
}

fn used_storages(mount_points: &Options, default: &str) -> Vec<String> {
    if mount_points.is_empty() {
        return vec![default.to_owned()];
    }
    let of = |value: &String| new_disk(value.split(',').next()?).map(|(s, _)| s.to_owned());
    let all: std::collections::BTreeSet<String> = mount_points.values().filter_map(of).collect();
    all.into_iter().collect()
}

fn use_storage(call: &Call, storages: &Storages, id: &str) -> Result<(), ApiError> {
    let storage = storages.enabled(id)?;
    if !storage.holds("rootdir") {
        return Err(ApiError::param(
            "storage",
            format!("storage '{id}' does not support container directories"),
        ));
    }
    perm::check(&call.access, &call.authid, &format!("/storage/{id}"), &["Datastore.AllocateSpace"])?;
    storage.activate(call.host())
}

/// Takes the VMID, waiting for whoever works on it (F59): exactly one of several callers gets it (F40).
fn claim(call: &Call, vmid: u32, restore: bool, force: bool) -> Result<(), ApiError> {
    let verb = if restore { "restore" } else { "create" };
    let failed = |e: ApiError| e.prefixed(&format!("unable to {verb} CT {vmid} - "));
    let host = call.host();
    let _held = host.lock(&format!("pve-config-{vmid}"), CLAIM_TIMEOUT, &mut || ()).map_err(failed)?;
    let there = guests::exists(host, vmid);
    if there && !force {
        return Err(failed(exists(call, vmid)));
    }
    let mut config = if there { guests::load(host, vmid).map_err(failed)? } else { GuestConfig::default() };
    guests::check_lock(&config).map_err(failed)?;
    config.current.set("lock", "create");
    guests::save(host, vmid, &config).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F46, rec 146/152.
    #[test]
    fn f46_tags_are_normalised() {
        assert_eq!(normalise_tags("prod,Web;db test prod"), "db;prod;test;web");
    }
}
