//! What lists, status and resources say about a guest.

use serde_json::{Map, Value as Json, json};

use crate::state::Host;
use crate::state::guest_config::GuestConfig;
use crate::work::machine;

const GIB: u64 = 1 << 30;

/// `status/current` (without `ha`) and an entry of the list (rec 109, 166, 172).
pub(crate) fn of(host: &Host, vmid: u32, config: &GuestConfig) -> Json {
    let current = &config.current;
    let number =
        |key: &str, default: u64| current.get(key).map_or(default, |v| v.trim().parse().unwrap_or(0));
    let mut shown = Map::new();
    let mut put = |key: &str, value: Json| {
        shown.insert(key.to_owned(), value);
    };
    let rootfs = current.mount_points().into_iter().find(|(k, _)| k == "rootfs").and_then(|(_, m)| m.size());
    put("vmid", json!(vmid));
    put("type", json!("lxc"));
    put("name", json!(current.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned)));
    put("cpus", json!(cores(current.get("cores"))));
    put("maxmem", json!(number("memory", 512) << 20));
    put("maxswap", json!(number("swap", 0) << 20));
    put("maxdisk", json!(rootfs.unwrap_or(4 * GIB)));
    for key in ["cpu", "mem", "swap", "disk", "diskread", "diskwrite", "netin", "netout", "uptime"] {
        put(key, json!(0));
    }
    for key in ["lock", "tags"] {
        if let Some(text) = current.get(key) {
            put(key, json!(text));
        }
    }
    if current.flag("template") {
        put("template", json!(1));
    }
    match machine::running(host, vmid) {
        None => put("status", json!("stopped")),
        Some(running) => {
            put("status", json!("running"));
            put("pid", json!(running.pid));
            put("uptime", json!(running.uptime));
            put("mem", json!(running.memory));
            for key in ["cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome"] {
                put(&format!("pressure{key}"), json!("0.00"));
            }
        }
    }
    Json::Object(shown)
}

fn cores(text: Option<&str>) -> u64 {
    let all = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    text.and_then(|t| t.parse::<u64>().ok()).map_or(all, |n| n.min(all))
}

/// What an entry of `/cluster/resources` takes from the last round as it is.
const KNOWN: [&str; 12] = [
    "status",
    "name",
    "cpu",
    "mem",
    "maxmem",
    "disk",
    "maxdisk",
    "diskread",
    "diskwrite",
    "netin",
    "netout",
    "uptime",
];

/// An entry of `/cluster/resources` and of a pool, from what the last round knew: nothing yet is `unknown` (F48, rec 173, 241).
pub(crate) fn resource(host: &Host, vmid: u32, known: Option<&Json>, pool: Option<&str>) -> Json {
    let mut shown = json!({"id": format!("lxc/{vmid}"), "type": "lxc", "vmid": vmid, "node": host.node, "status": "unknown"});
    if let Some(known) = known {
        for key in KNOWN {
            shown[key] = known[key].clone();
        }
        shown["maxcpu"] = known["cpus"].clone();
        shown["template"] = json!(known["template"].as_u64().unwrap_or(0));
        shown["memhost"] = json!(0);
    }
    if let Some(pool) = pool {
        shown["pool"] = json!(pool);
    }
    shown
}
