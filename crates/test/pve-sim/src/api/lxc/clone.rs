//! `/nodes/{node}/lxc/{vmid}/clone` and `/template`.

use std::collections::BTreeMap;

use super::feature_of;
use super::fields::is_mount_point;
use super::perms::{check_bridge, is_net};
use crate::api::check::{Check, perm};
use crate::api::{Answer, Call, Route, formats, nothing, protected};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt, req};
use crate::state::guest_config::{GuestConfig, Section};
use crate::state::guests;
use crate::state::property::{MountPoint, Properties};
use crate::state::storage::Storages;
use crate::state::volid::Volid;
use crate::work::{CloneJob, Job, machine, settings, snapshot};

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/clone"),
        &[
            formats::GUEST,
            &[
                req("newid", Kind::Vmid),
                opt("bwlimit", Kind::Number(0.0, f64::MAX)),
                opt("description", Kind::Text(usize::MAX)),
                opt("full", Kind::Boolean),
                opt("hostname", Kind::Format(formats::dns_name)),
                opt("pool", Kind::Format(formats::pool_id)),
                opt("snapname", formats::SNAPNAME).length(0, 40),
                opt("storage", Kind::Format(formats::storage_id)),
                opt("target", Kind::Format(formats::node)),
            ],
        ],
        Check::And(&[
            perm("/vms/{vmid}", &["VM.Clone"]),
            Check::Or(&[
                perm("/vms/{newid}", &["VM.Allocate"]),
                Check::WithParam { path: "/pool/{pool}", privs: &["VM.Allocate"], param: "pool" },
            ]),
        ]),
        clone,
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/template"),
        &[formats::GUEST],
        perm("/vms/{vmid}", &["VM.Allocate"]),
        template,
    ),
];

/// Locks source and target, writes the target's options, and starts the task, which copies the volumes.
fn clone(call: &Call) -> Answer {
    let (vmid, host) = (call.params.vmid()?, call.host());
    let newid: u32 =
        call.params.need("newid")?.parse().map_err(|_| ApiError::param("newid", "not a VMID"))?;
    if let Some(pool) = call.params.get("pool")
        && !call.access.pools.contains_key(&pool)
    {
        return Err(ApiError::die(format!("pool '{pool}' does not exist")));
    }
    if let Some(target) = call.params.get("target").filter(|t| *t != host.node && t != "localhost") {
        return Err(ApiError::die(format!("no such cluster node '{target}'")));
    }
    if let Some(storage) = call.params.get("storage") {
        Storages::load(host)?.enabled(&storage)?;
    }
    let config = guests::set_lock(host, vmid, "disk")?;
    let claimed = claim(call, newid);
    if claimed.is_err() {
        guests::clear_lock(host, vmid, Some("disk"))?;
    }
    claimed?;
    let started = prepare(call, (vmid, newid), &config)
        .and_then(|job| call.task("vzclone", &vmid.to_string(), Job::Clone(Box::new(job))));
    if started.is_err() {
        guests::clear_lock(host, vmid, Some("disk"))?;
        guests::remove(host, newid)?;
    }
    started
}

/// Takes the new VMID by a configuration with `lock: create`.
fn claim(call: &Call, newid: u32) -> Result<(), ApiError> {
    let host = call.host();
    let _held = host.lock_guest(newid)?;
    if guests::exists(host, newid) {
        return Err(ApiError::die(format!("CT {newid} already exists on node '{}'", host.node)));
    }
    let mut config = GuestConfig::default();
    config.current.set("lock", "create");
    guests::save(host, newid, &config)
}

fn prepare(call: &Call, (vmid, newid): (u32, u32), config: &GuestConfig) -> Result<CloneJob, ApiError> {
    let host = call.host();
    let (storage, name) = (call.params.get("storage"), call.params.get("snapname"));
    let full = call.params.get("full").map_or_else(|| !config.current.flag("template"), |f| f == "1");
    if storage.is_some() && !full {
        return Err(ApiError::die("parameter 'storage' not allowed for linked clones"));
    }
    let source = match &name {
        Some(name) => config.snapshots.get(name).ok_or_else(|| snapshot::missing(name))?,
        None => &config.current,
    };
    let running = machine::running(host, vmid).is_some();
    let storages = Storages::load(host)?;
    let mut mount_points = BTreeMap::new();
    let mut new = Section { lxc: source.lxc.clone(), ..Section::default() };
    for (key, value) in source.values.iter().filter(|(k, _)| !k.starts_with("unused")) {
        if is_mount_point(key) {
            let mount = MountPoint::parse(key, value).map_err(ApiError::die)?;
            if !mount.is_volume() {
                let kind = mount.kind();
                return Err(ApiError::die(format!("unable to clone mountpoint '{key}' (type {kind})")));
            }
            let own = Volid::parse(&mount.volume)?.storage;
            let sid = storage.as_deref().unwrap_or(&own);
            storages.get(sid)?;
            call.need(&format!("/storage/{sid}"), &["Datastore.AllocateSpace"])?;
            if full && running && name.is_none() {
                let text = "Full clone of a running container is only possible from a snapshot";
                return Err(ApiError::die(text));
            }
            if !full && !feature_of(&storages, "clone", &mount, name.is_some()) {
                let text = format!("Linked clone feature for '{}' is not available", mount.volume);
                return Err(ApiError::die(text));
            }
            mount_points.insert(key.clone(), value.clone());
        } else if is_net(key) {
            let mut net = Properties::parse(value, None).map_err(ApiError::die)?;
            net.remove("hwaddr");
            let net = settings::net_value(&net.to_text(Some("name")))?;
            check_bridge(&call.access, &call.authid, &net)?;
            new.set(key, net);
        } else {
            new.set(key, value.clone());
        }
    }
    for key in ["parent", "snaptime", "snapstate", "template"] {
        new.values.remove(key);
    }
    new.set("lock", "create");
    for key in ["hostname", "description"] {
        if let Some(value) = call.params.get(key).filter(|v| !v.is_empty()) {
            new.set(key, value);
        }
    }
    let _held = host.lock_guest(newid)?;
    guests::save(host, newid, &GuestConfig { current: new, ..GuestConfig::default() })?;
    Ok(CloneJob { vmid, newid, snapshot: name, storage, pool: call.params.get("pool"), full, mount_points })
}

/// Answers null at once; the renaming is a task nobody is told of (rec 2/585).
fn template(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    {
        let _held = call.host().lock_guest(vmid)?;
        let config = guests::load(call.host(), vmid)?;
        guests::check_lock(&config)?;
        if !config.snapshots.is_empty() {
            return Err(ApiError::die("unable to create template, because CT contains snapshots"));
        }
        if config.current.flag("template") {
            return Err(ApiError::die("you can't convert a template to a template"));
        }
        if machine::running(call.host(), vmid).is_some() {
            return Err(ApiError::die("you can't convert a CT to template if the CT is running"));
        }
    }
    call.start("vztemplate", &vmid.to_string(), Job::Template { vmid })?;
    nothing()
}
