//! `/nodes/{node}/lxc`: lists, status, interfaces, features, resize; see the submodules for creating, changing, power, snapshots.

pub(crate) mod clone;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod fields;
pub(crate) mod move_volume;
pub(crate) mod perms;
pub(crate) mod power;
pub(crate) mod snapshot;
pub(crate) mod status;

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::check::{Check, any, perm};
use super::{Answer, Call, Route, data, formats, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt, req};
use crate::perm;
use crate::state::guest_config::Section;
use crate::state::guests;
use crate::state::property::{MountPoint, Properties, parse_boolean};
use crate::state::storage::Storages;
use crate::state::volid::Volid;
use crate::work::snapshot as work_snapshot;
use crate::work::{Job, disks, machine};

const AUDIT: Check = perm("/vms/{vmid}", &["VM.Audit"]);

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(("GET", "/nodes/{node}/lxc"), &[&[formats::NODE]], Check::All, list),
    plain(("GET", "/nodes/{node}/lxc/{vmid}"), &[formats::GUEST], Check::All, index),
    protected(("GET", "/nodes/{node}/lxc/{vmid}/status/current"), &[formats::GUEST], AUDIT, current),
    protected(("GET", "/nodes/{node}/lxc/{vmid}/interfaces"), &[formats::GUEST], AUDIT, interfaces),
    protected(
        ("GET", "/nodes/{node}/lxc/{vmid}/feature"),
        &[
            formats::GUEST,
            &[
                req("feature", Kind::Enum(&["snapshot", "clone", "copy"])),
                opt("snapname", formats::SNAPNAME).length(0, 40),
            ],
        ],
        AUDIT,
        feature,
    ),
    protected(
        ("PUT", "/nodes/{node}/lxc/{vmid}/resize"),
        &[
            formats::GUEST,
            &[
                req("disk", Kind::Volumes(&["mp"])),
                req("size", Kind::Pattern(formats::is_resize)),
                opt("digest", Kind::Text(40)),
            ],
        ],
        any("/vms/{vmid}", &["VM.Config.Disk"]),
        resize,
    ),
    protected(
        ("DELETE", "/nodes/{node}/lxc/{vmid}"),
        &[
            formats::GUEST,
            &[
                opt("force", Kind::Boolean),
                opt("purge", Kind::Boolean),
                opt("destroy-unreferenced-disks", Kind::Boolean),
            ],
        ],
        perm("/vms/{vmid}", &["VM.Allocate"]),
        destroy,
    ),
];

/// Guests the caller may see (F26).
fn list(call: &Call) -> Answer {
    let mut all = Vec::new();
    for vmid in guests::list(call.host())? {
        if call.has(&format!("/vms/{vmid}"), "VM.Audit")
            && let Ok(config) = guests::load(call.host(), vmid)
        {
            all.push(status::of(call.host(), vmid, &config));
        }
    }
    data(json!(all))
}

fn index(call: &Call) -> Answer {
    guests::load(call.host(), call.params.vmid()?)?;
    let names = [
        "config",
        "pending",
        "status",
        "vncproxy",
        "termproxy",
        "vncwebsocket",
        "spiceproxy",
        "migrate",
        "clone",
        "rrd",
        "rrddata",
        "firewall",
        "snapshot",
        "resize",
        "interfaces",
    ];
    data(json!(names.map(|n| json!({"subdir": n}))))
}

fn current(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    machine::await_mounts(call.host(), vmid)?;
    let config = guests::load(call.host(), vmid)?;
    let mut shown = status::of(call.host(), vmid, &config);
    shown["ha"] = json!({"managed": 0});
    data(shown)
}

/// The interfaces of a running guest with their addresses.
fn interfaces(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let config = guests::load(call.host(), vmid)?;
    let Some(all) = machine::interfaces(call.host(), vmid, &config.current)? else { return data(Json::Null) };
    let shown = all.into_iter().map(|interface| {
        let mac = interface.mac.to_ascii_lowercase();
        let mut entry =
            json!({"name": interface.name, "hwaddr": mac, "hardware-address": mac, "ip-addresses": []});
        let family = |ip: &IpAddr| if ip.is_ipv4() { "inet" } else { "inet6" };
        for (ip, bits) in &interface.addresses {
            entry[family(ip)] = json!(format!("{ip}/{bits}"));
        }
        let address = |(ip, bits): &(IpAddr, u8)| {
            json!({"ip-address": ip, "ip-address-type": family(ip), "prefix": bits.to_string()})
        };
        entry["ip-addresses"] = interface.addresses.iter().map(address).collect();
        entry
    });
    data(shown.collect())
}

/// Whether every mount point lies on a storage that can snapshot; a bind mount makes it impossible (F50).
pub(crate) fn can_snapshot(storages: &Storages, config: &Section) -> bool {
    config.mount_points().iter().all(|(_, m)| {
        m.is_volume()
            && Volid::parse(&m.volume).and_then(|v| storages.get(&v.storage)).is_ok_and(|s| s.snapshots())
    })
}

/// Whether one volume's storage can do something with it, or with a snapshot of it. Unrecorded but for `snapshot`: BTRFSPlugin.pm:600
/// and Plugin.pm:1575 of pve-storage 9.1.7 (a raw file on `dir` can be copied, but not cloned into another raw file).
pub(crate) fn feature_of(storages: &Storages, feature: &str, mount: &MountPoint, of_snapshot: bool) -> bool {
    let storage = Volid::parse(&mount.volume).and_then(|v| storages.get(&v.storage));
    mount.is_volume() && storage.is_ok_and(|s| s.snapshots() || (feature == "copy" && !of_snapshot))
}

fn feature(call: &Call) -> Answer {
    let config = guests::load(call.host(), call.params.vmid()?)?;
    let storages = Storages::load(call.host())?;
    let name = call.params.get("snapname");
    let section = match &name {
        Some(name) => config.snapshots.get(name).ok_or_else(|| work_snapshot::missing(name))?,
        None => &config.current,
    };
    let wanted = call.params.need("feature")?;
    let points = section.mount_points();
    let has = points.iter().all(|(_, mount)| feature_of(&storages, &wanted, mount, name.is_some()));
    data(json!({"hasFeature": u8::from(has)}))
}

fn resize(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let (disk, size) = (call.params.need("disk")?, call.params.need("size")?);
    let config = guests::load(call.host(), vmid)?;
    guests::check_lock(&config)?;
    // `disk` is no option that the check of options knows, so that it is one of VM.Config.Options.
    call.need(&format!("/vms/{vmid}"), &["VM.Config.Options"])?;
    config::check_digest(call, &config)?;
    let found = disks::check_resize(call.host(), vmid, &config, (&disk, &size))?;
    call.need(&format!("/storage/{}", found.volid.storage), &["Datastore.AllocateSpace"])?;
    found.check_size()?;
    call.task("resize", &vmid.to_string(), Job::Resize { vmid, disk, size })
}

/// Refusals at once: lock, protection, running (F45, F88); the rest happens in the task.
fn destroy(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let config = guests::load(call.host(), vmid)?;
    if config.current.flag("protection") {
        return Err(ApiError::die(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    guests::check_lock(&config)?;
    if !call.params.flag("force") && machine::running(call.host(), vmid).is_some() {
        return Err(ApiError::die(format!("unable to destroy CT {vmid} - container is running")));
    }
    let job = Job::Destroy {
        vmid,
        force: call.params.flag("force"),
        purge: call.params.flag("purge"),
        unreferenced: call.params.flag("destroy-unreferenced-disks"),
    };
    call.task("vzdestroy", &vmid.to_string(), job)
}

/// The path on which using a bridge is allowed.
pub(crate) fn bridge_path(net: &Properties) -> Option<String> {
    let bridge = net.get("bridge")?;
    let path = format!("/sdn/zones/localnetwork/{bridge}");
    Some(match net.get("tag") {
        Some(tag) => format!("{path}/{tag}"),
        None => path,
    })
}

/// Whether the caller may see a bridge in a list.
pub(crate) fn bridge_visible(call: &Call, bridge: &str) -> bool {
    let path = format!("/sdn/zones/localnetwork/{bridge}");
    perm::check_any(&call.access, &call.authid, &path, &["SDN.Audit", "SDN.Use"]).is_ok()
}

/// Whether `link_down=1` stands in a net value.
pub(crate) fn link_down(net: &Properties) -> bool {
    net.get("link_down").and_then(parse_boolean) == Some(true)
}
