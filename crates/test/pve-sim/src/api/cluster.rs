//! `/cluster`: nextid, resources, tasks, status.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, lxc, nodes, plain, protected, storage, tasks};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt};
use crate::perm;
use crate::state::guests;
use crate::task::index;

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/cluster/nextid"), &[&[opt("vmid", Kind::Vmid)]], Check::All, nextid),
    plain(
        ("GET", "/cluster/resources"),
        &[&[opt("type", Kind::Enum(&["vm", "storage", "node", "sdn"]))]],
        Check::All,
        resources,
    ),
    plain(("GET", "/cluster/tasks"), &[], Check::All, recent_tasks),
    protected(("GET", "/cluster/status"), &[], perm("/", &["Sys.Audit"]), status),
];

/// The lowest free VMID as a string (F16); it reserves nothing (F40).
fn nextid(call: &Call) -> Answer {
    if let Some(vmid) = call.params.get("vmid") {
        let taken = vmid.parse().is_ok_and(|v| guests::exists(call.host(), v));
        return if taken {
            Err(ApiError::param("vmid", format!("VM {vmid} already exists")))
        } else {
            data(json!(vmid))
        };
    }
    let taken = guests::list(call.host())?;
    let free = (100..).find(|v| taken.binary_search(v).is_err()).unwrap_or(100);
    data(json!(free.to_string()))
}

/// What the ten-second rounds know (F48), filtered by rights (F26).
fn resources(call: &Call) -> Answer {
    let wanted = call.params.get("type");
    let is = |kind: &str| wanted.as_deref().is_none_or(|w| w == kind);
    let sees = |path: &str, privilege: &str| perm::has(&call.access, &call.authid, path, privilege);
    let mut all: Vec<Json> = Vec::new();
    let statistics = call.daemon.statistics();
    if wanted.is_none() {
        let pools = call.access.pools.keys().filter(|id| sees(&format!("/pool/{id}"), "Pool.Audit"));
        all.extend(pools.map(|id| pool(call, id, &statistics)));
    }
    if is("vm") {
        for vmid in guests::list(call.host())? {
            if sees(&format!("/vms/{vmid}"), "VM.Audit") {
                let pool = call.access.pool_of(vmid).filter(|p| sees(&format!("/pool/{p}"), "Pool.Audit"));
                let mut shown = lxc::status::resource(call.host(), vmid, statistics.get(&vmid), pool);
                // Read from the configurations, so not of the last round (rec 465); a pool's members have neither (rec 498).
                for (key, value) in call.daemon.lock_and_tags(vmid) {
                    shown[key] = json!(value);
                }
                all.push(shown);
            }
        }
    }
    if is("node") {
        let mut node = nodes::summary(call);
        node.insert("cgroup-mode".into(), json!(2));
        node.remove("ssl_fingerprint");
        all.push(Json::Object(node));
    }
    if is("storage") {
        let visible = storage::visible(call)?;
        let audited = visible
            .iter()
            .filter(|s| !s.disabled() && sees(&format!("/storage/{}", s.id), "Datastore.Audit"));
        all.extend(audited.filter_map(|s| storage::resource(call.host(), &s.id)));
    }
    if wanted.is_none() && sees("/sdn/zones/localnetwork", "SDN.Audit") {
        let node = &call.host().node;
        all.push(json!({
            "id": format!("network/{node}/zone/localnetwork"), "type": "network", "network-type": "zone", "network": "localnetwork",
            "node": node, "status": "ok",
        }));
    }
    data(json!(all))
}

/// A pool with the sums of its running guests (rec 2/967), also of those that the caller does not see.
fn pool(call: &Call, id: &str, statistics: &BTreeMap<u32, Json>) -> Json {
    let mut shown = json!({"id": format!("/pool/{id}"), "type": "pool", "pool": id});
    let members = statistics.iter().filter(|(vmid, _)| call.access.pool_of(**vmid) == Some(id));
    let running = members.map(|(_, known)| known).filter(|known| known["uptime"].as_u64().unwrap_or(0) > 0);
    let number = |known: &Json, key: &str| known[key].as_u64().unwrap_or(0);
    for known in running {
        shown["uptime"] = json!(number(&shown, "uptime").max(number(known, "uptime")));
        for (key, of) in [("mem", "mem"), ("maxmem", "maxmem"), ("maxcpu", "cpus")] {
            shown[key] = json!(number(&shown, key) + number(known, of));
        }
        shown["cpu"] = json!(0);
    }
    shown
}

/// The newest finished tasks of the caller itself (`/cluster/tasks` does not show a token its own, PRIVILEGES.md).
fn recent_tasks(call: &Call) -> Answer {
    let all = call.has("/", "Sys.Audit");
    let mut list = Vec::new();
    let (active, archive) = index::both(call.host())?;
    let mut newest = true;
    for entry in active.into_iter().chain(archive).take(25) {
        if !(all || entry.upid.user() == call.authid) {
            continue;
        }
        let mut shown: Map<String, Json> = tasks::listed(&entry);
        for key in ["pid", "pstart"] {
            shown.remove(key);
        }
        // What ended since the list was last written is a number, what was read from it a text (rec 456, rec 2/1006).
        let saved = match entry.end {
            None => json!("0"),
            Some(_) if newest => json!(1),
            Some(_) => json!("1"),
        };
        newest &= entry.end.is_none();
        shown.insert("saved".into(), saved);
        list.push(Json::Object(shown));
    }
    data(json!(list))
}

fn status(call: &Call) -> Answer {
    let node = &call.host().node;
    data(json!([{
        "type": "node", "id": format!("node/{node}"), "name": node, "nodeid": 0, "local": 1, "online": 1, "level": "",
        "ip": "127.0.0.1",
    }]))
}
