//! `/nodes/{node}/lxc/{vmid}/snapshot` (F50, F52).

use serde_json::{Map, Value as Json, json};

use super::config::section_json;
use crate::api::check::{any, perm};
use crate::api::{Answer, Call, Route, data, formats, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::guests;
use crate::work::{Job, machine};

const SNAPNAME: Field = req("snapname", Kind::Format(formats::config_id));

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
        &[formats::GUEST, &[SNAPNAME, opt("description", Kind::Text(8192))]],
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
        ("GET", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config"),
        &[formats::GUEST, &[SNAPNAME]],
        any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]),
        config,
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

fn config(call: &Call) -> Answer {
    let name = call.params.need("snapname")?;
    let config = guests::load(call.host(), call.params.vmid()?)?;
    match config.snapshots.get(&name) {
        Some(section) => data(Json::Object(section_json(section))),
        None => Err(ApiError::die(format!("snapshot '{name}' does not exist"))),
    }
}
