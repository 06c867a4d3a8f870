//! `POST /nodes/{node}/lxc/{vmid}/move_volume`: to another storage, or to another guest (F82–F85).

use super::fields::is_unused;
use crate::api::check::perm;
use crate::api::{Answer, Call, Route, formats, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm::check_guest;
use crate::state::guest_config::GuestConfig;
use crate::state::guests;
use crate::state::property::MountPoint;
use crate::state::volid::Volid;
use crate::work::move_volume::{self, Reassign, ToStorage};
use crate::work::{Job, disks, machine};

const VOLUME: Kind = Kind::Volumes(&["mp", "unused"]);
const FIELDS: &[Field] = &[
    opt("target-vmid", Kind::Vmid),
    req("volume", VOLUME),
    opt("storage", Kind::Format(formats::storage_id)),
    opt("delete", Kind::Boolean),
    opt("digest", Kind::Text(40)),
    opt("bwlimit", Kind::Number(0.0, f64::MAX)),
    opt("target-volume", VOLUME),
    opt("target-digest", Kind::Text(40)),
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[protected(
    ("POST", "/nodes/{node}/lxc/{vmid}/move_volume"),
    &[formats::GUEST, FIELDS],
    perm("/vms/{vmid}", &["VM.Config.Disk"]),
    run,
)];

fn run(call: &Call) -> Answer {
    match (call.params.get("target-vmid"), call.params.get("storage")) {
        (Some(_), Some(_)) => Err(ApiError::die("either set storage or target-vmid, but not both")),
        (Some(target), None) => reassign(call, target.parse().unwrap_or_default()),
        (None, Some(storage)) => to_storage(call, storage),
        (None, None) => {
            // Unrecorded: API2/LXC.pm:2912 of pve-container 6.1.10.
            let text = "both 'storage' and 'target-vmid' missing, either needs to be set";
            let both = ["target-vmid", "storage"].map(|name| (name.to_owned(), text.to_owned()));
            Err(ApiError::params(both.into()))
        }
    }
}

fn reassign(call: &Call, target: u32) -> Answer {
    let params = &call.params;
    let key = params.need("volume")?;
    let job = Reassign {
        vmid: params.vmid()?,
        target,
        target_key: params.get("target-volume").unwrap_or_else(|| key.clone()),
        key,
        digest: params.get("digest").filter(|d| !d.is_empty()),
        target_digest: params.get("target-digest").filter(|d| !d.is_empty()),
    };
    if !call.is_root() {
        check_guest(&call.access, &call.authid, target, None, "VM.Config.Disk")?;
    }
    let found = move_volume::check(call.host(), &job)?;
    let storage = Volid::parse(&found.mount.volume)?.storage;
    call.need(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let id = format!("{}-{}>{target}-{}", job.vmid, job.key, job.target_key);
    call.task("move_volume", &id, Job::Reassign(Box::new(job)))
}

/// The guest is locked (`disk`) before the task begins.
fn to_storage(call: &Call, storage: String) -> Answer {
    let params = &call.params;
    let vmid = params.vmid()?;
    call.need(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let (key, delete) = (params.need("volume")?, params.flag("delete"));
    let mount = {
        let _held = call.host().lock_guest(vmid)?;
        let mut config = guests::load(call.host(), vmid)?;
        let mount = check_storage_move(call, (vmid, &config), &key)?;
        config.current.set("lock", move_volume::LOCK);
        guests::save(call.host(), vmid, &config)?;
        mount
    };
    let bwlimit = params.get("bwlimit").and_then(|text| text.parse().ok());
    let job = ToStorage { vmid, key, volume: mount.volume, storage, delete, bwlimit };
    let started = call.task("move_volume", &vmid.to_string(), Job::MoveToStorage(Box::new(job)));
    if started.is_err() {
        guests::clear_lock(call.host(), vmid, Some(move_volume::LOCK))?;
    }
    started
}

/// Unrecorded, but for `running` (rec 2/471): API2/LXC.pm:2582–2607 of pve-container 6.1.10.
fn check_storage_move(
    call: &Call,
    (vmid, config): (u32, &GuestConfig),
    key: &str,
) -> Result<MountPoint, ApiError> {
    guests::check_lock(config)?;
    if machine::running(call.host(), vmid).is_some() {
        return Err(ApiError::die("cannot move volumes of a running container"));
    }
    if is_unused(key) {
        return Err(ApiError::die(format!(
            "cannot move volume '{key}', only configured volumes can be moved to another storage"
        )));
    }
    let mount = disks::stored_mount_point(config, key)?;
    if call.params.flag("delete") && move_volume::in_snapshot(config, &mount.volume) {
        return Err(ApiError::die("you can't move a volume with snapshots and delete the source"));
    }
    super::config::check_digest(call, config)?;
    Ok(mount)
}
