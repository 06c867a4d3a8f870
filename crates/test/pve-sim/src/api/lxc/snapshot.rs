//! `/nodes/{node}/lxc/{vmid}/snapshot` (F50–F53).

use serde_json::{Map, Value as Json, json};

use super::config::section_json;
use crate::api::check::{Check, any, perm};
use crate::api::{Answer, Call, Route, data, formats, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::guests;
use crate::work::{Job, machine, snapshot};

const SNAPNAME: Field = req("snapname", formats::SNAPNAME).length(0, 40);
const DESCRIPTION: Field = opt("description", Kind::Text(usize::MAX));

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("GET", "/nodes/{node}/lxc/{vmid}/snapshot"),
        &[formats::GUEST],
        perm("/vms/{vmid}", &["VM.Audit"]),
        list,
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/snapshot"),
        &[formats::GUEST, &[SNAPNAME, DESCRIPTION]],
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        create,
    ),
    protected(
        ("DELETE", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}"),
        &[formats::GUEST, &[SNAPNAME, opt("force", Kind::Boolean)]],
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        delete,
    ),
    plain(
        ("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}"),
        &[formats::GUEST, &[SNAPNAME]],
        Check::All,
        |_| data(json!([{"cmd": "rollback"}, {"cmd": "config"}])),
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback"),
        &[formats::GUEST, &[SNAPNAME, opt("start", Kind::Boolean)]],
        any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        rollback,
    ),
    plain(
        ("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config"),
        &[formats::GUEST, &[SNAPNAME]],
        any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]),
        config,
    ),
    protected(
        ("PUT", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config"),
        &[formats::GUEST, &[SNAPNAME, DESCRIPTION]],
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        describe,
    ),
];

fn list(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let config = guests::load(call.host(), vmid)?;
    let mut all = Vec::new();
    for (name, section) in &config.snapshots {
        let mut entry = Map::new();
        entry.insert("name".into(), json!(name));
        entry.insert(
            "snaptime".into(),
            json!(section.get("snaptime").and_then(|t| t.parse::<u64>().ok()).unwrap_or_default()),
        );
        entry.insert("description".into(), json!(section.get("description").unwrap_or_default()));
        for key in ["parent", "snapstate"] {
            if let Some(value) = section.get(key) {
                entry.insert(key.into(), json!(value));
            }
        }
        all.push(Json::Object(entry));
    }
    let running = machine::running(call.host(), vmid).is_some();
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": config.digest(), "running": u8::from(running),
    });
    if let Some(parent) = config.current.get("parent") {
        current["parent"] = json!(parent);
    }
    all.push(current);
    data(json!(all))
}

fn create(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let name = call.params.need("snapname")?;
    if name == "current" {
        return Err(ApiError::die("unable to use snapshot name 'current' (reserved name)"));
    }
    if name == "vzdump" {
        return Err(ApiError::die("unable to use snapshot name 'vzdump' (reserved name)"));
    }
    let description = call.params.get("description").unwrap_or_default();
    call.task("vzsnapshot", &vmid.to_string(), Job::Snapshot { vmid, name, description })
}

fn delete(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let name = call.params.need("snapname")?;
    call.task(
        "vzdelsnapshot",
        &vmid.to_string(),
        Job::DeleteSnapshot { vmid, name, force: call.params.flag("force") },
    )
}

/// Everything is checked in the task only (F32, rec 208).
fn rollback(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    let name = call.params.need("snapname")?;
    let start = call.params.flag("start");
    call.task("vzrollback", &vmid.to_string(), Job::Rollback { vmid, name, start })
}

fn config(call: &Call) -> Answer {
    let name = call.params.need("snapname")?;
    let mut config = guests::load(call.host(), call.params.vmid()?)?;
    let mut section = config.snapshots.remove(&name).ok_or_else(|| snapshot::missing(&name))?;
    section.lxc.clear();
    data(Json::Object(section_json(&section)))
}

/// Changes the description, the only thing that can be changed.
fn describe(call: &Call) -> Answer {
    let (vmid, name) = (call.params.vmid()?, call.params.need("snapname")?);
    let Some(description) = call.params.get("description") else { return nothing() };
    let _held = call.host().lock_guest(vmid)?;
    let mut config = guests::load(call.host(), vmid)?;
    guests::check_lock(&config)?;
    let entry = config.snapshots.get_mut(&name).ok_or_else(|| snapshot::missing(&name))?;
    entry.set("description", description);
    guests::save(call.host(), vmid, &config)?;
    nothing()
}
