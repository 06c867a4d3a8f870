//! `/nodes`, `/nodes/{node}/status`, `/nodes/{node}/network`, `/nodes/{node}/version`, `/nodes/{node}/time`.

use std::fs;

use serde_json::{Map, Value as Json, json};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, plain, protected};
use crate::clock;
use crate::error::ApiError;
use crate::http::schema::{Kind, opt};
use crate::perm;
use crate::work::Job;

const NETWORK_TYPES: &[&str] = &[
    "bridge",
    "bond",
    "eth",
    "alias",
    "vlan",
    "fabric",
    "OVSBridge",
    "OVSBond",
    "OVSPort",
    "OVSIntPort",
    "vnet",
    "any_bridge",
    "any_local_bridge",
    "include_sdn",
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/nodes"), &[], Check::All, |call| data(json!([summary(call)]))),
    plain(
        ("GET", "/nodes/{node}/status"),
        &[&[formats::NODE]],
        perm("/nodes/{node}", &["Sys.Audit"]),
        status,
    ),
    plain(
        ("GET", "/nodes/{node}/network"),
        &[&[formats::NODE, opt("type", Kind::Enum(NETWORK_TYPES))]],
        Check::All,
        network,
    ),
    plain(("GET", "/nodes/{node}/version"), &[&[formats::NODE]], Check::All, |_| {
        data(json!({"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"}))
    }),
    plain(
        ("GET", "/nodes/{node}/time"),
        &[&[formats::NODE]],
        perm("/nodes/{node}", &["Sys.Audit"]),
        |call| {
            let zone = jiff::tz::TimeZone::system();
            let stamp = clock::local(call.host());
            let offset = stamp.offset().seconds();
            let name = zone.iana_name().unwrap_or("UTC").to_owned();
            data(
                json!({"time": clock::now(call.host()), "localtime": stamp.timestamp().as_second() + i64::from(offset), "timezone": name}),
            )
        },
    ),
    protected(
        ("POST", "/nodes/{node}/startall"),
        &[&[
            formats::NODE,
            opt("force", Kind::Boolean),
            opt("max-workers", Kind::Integer(1, 64)),
            opt("vms", Kind::List(formats::vmid_item)),
        ]],
        Check::All,
        startall,
    ),
];

/// The node as lists show it; numbers only to those who may audit it (rec 55, 70).
pub(crate) fn summary(call: &Call) -> Map<String, Json> {
    let node = &call.host().node;
    let mut entry = Map::new();
    entry.insert("node".into(), json!(node));
    entry.insert("id".into(), json!(format!("node/{node}")));
    entry.insert("type".into(), json!("node"));
    entry.insert("status".into(), json!("online"));
    entry.insert("level".into(), json!(""));
    entry.insert("ssl_fingerprint".into(), json!(call.daemon.fingerprint));
    if perm::has(&call.access, &call.authid, &format!("/nodes/{node}"), "Sys.Audit") {
        let memory = Memory::read();
        let disk = Disk::root();
        entry.insert("cpu".into(), json!(0.0));
        entry.insert("maxcpu".into(), json!(cpus()));
        entry.insert("mem".into(), json!(memory.used));
        entry.insert("maxmem".into(), json!(memory.total));
        entry.insert("disk".into(), json!(disk.used));
        entry.insert("maxdisk".into(), json!(disk.total));
        entry.insert("uptime".into(), json!(clock::uptime(call.host())));
    }
    entry
}

fn status(call: &Call) -> Answer {
    let memory = Memory::read();
    let disk = Disk::root();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    data(json!({
        "uptime": clock::uptime(call.host()),
        "cpu": 0,
        "wait": 0,
        "idle": 0,
        "loadavg": load,
        "memory": {"total": memory.total, "used": memory.used, "free": memory.free, "available": memory.available},
        "swap": {"total": memory.swap_total, "free": memory.swap_free, "used": memory.swap_total - memory.swap_free},
        "rootfs": {"total": disk.total, "used": disk.used, "free": disk.free, "avail": disk.avail},
        "ksm": {"shared": 0},
        "cpuinfo": {"cpus": cpus(), "cores": cpus(), "sockets": 1, "model": "simulated", "family": "6", "vendor": "GenuineSim", "mhz": "1000.000", "user_hz": 100, "hvm": "",
                    "flags": ""},
        "boot-info": {"mode": "legacy-bios"},
        "kversion": format!("Linux {release} #1 SMP PREEMPT_DYNAMIC @0"),
        "current-kernel": {"sysname": "Linux", "release": release, "version": "#1 SMP PREEMPT_DYNAMIC @0", "machine": "x86_64"},
        "pveversion": "pve-manager/9.2.11/14a22df35955d97d",
    }))
}

/// One bridge. With `type`, non-bridges are left out as on a real host.
fn network(call: &Call) -> Answer {
    let bridge = json!({
        "iface": "vmbr0", "type": "bridge", "method": "manual", "method6": "manual", "active": 1, "autostart": 1, "priority": 3,
        "families": ["inet"], "bridge_ports": "", "bridge_stp": "off", "bridge_fd": "0",
    });
    let ethernet = json!({
        "iface": "eth0", "type": "eth", "method": "manual", "method6": "manual", "active": 1, "exists": 1, "families": ["inet"],
    });
    let sees_bridge = super::lxc::bridge_visible(call, "vmbr0");
    match call.params.get("type").as_deref() {
        None | Some("include_sdn") => data(json!([ethernet, bridge])),
        Some("bridge" | "any_bridge" | "any_local_bridge") if sees_bridge => data(json!([bridge])),
        Some("eth") => data(json!([ethernet])),
        Some(_) => data(json!([])),
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

struct Memory {
    total: u64,
    used: u64,
    free: u64,
    available: u64,
    swap_total: u64,
    swap_free: u64,
}

impl Memory {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of = |name: &str| -> u64 {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
        };
        let (total, available) = (of("MemTotal"), of("MemAvailable"));
        Self {
            total,
            used: total.saturating_sub(available),
            free: of("MemFree"),
            available,
            swap_total: of("SwapTotal"),
            swap_free: of("SwapFree"),
        }
    }
}

struct Disk {
    total: u64,
    used: u64,
    free: u64,
    avail: u64,
}

impl Disk {
    fn root() -> Self {
        let Ok(fs) = rustix::fs::statvfs("/") else { return Self { total: 0, used: 0, free: 0, avail: 0 } };
        let size = fs.f_frsize;
        Self {
            total: fs.f_blocks * size,
            used: (fs.f_blocks - fs.f_bfree) * size,
            free: fs.f_bfree * size,
            avail: fs.f_bavail * size,
        }
    }
}

/// What a node does at boot (F92); who may not do it with all guests may do it with those named.
fn startall(call: &Call) -> Answer {
    let vms = call.params.list("vms");
    if !call.is_root() && !call.has("/", "VM.PowerMgmt") {
        if vms.is_empty() {
            return Err(ApiError::forbidden("/, VM.PowerMgmt"));
        }
        vms.iter().try_for_each(|id| call.need(&format!("/vms/{id}"), &["VM.PowerMgmt"]))?;
    }
    let only = call.params.get("vms").map(|_| vms.iter().filter_map(|id| id.parse().ok()).collect());
    call.task("startall", "", Job::StartAll { force: call.params.flag("force"), only })
}
