//! `/nodes/{node}/vzdump/defaults`: the host's own settings of backups (F67, F68).

use serde_json::{Map, Value as Json, json};

use super::check::Check;
use super::storage::SEE;
use super::vzdump::printed;
use super::{Answer, Call, Route, data, formats, plain};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt};
use crate::perm;
use crate::state::property::Properties;
use crate::state::storage::Storages;
use crate::state::vzdump_conf::{BUILT_IN, Defaults};

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[plain(
    ("GET", "/nodes/{node}/vzdump/defaults"),
    &[&[formats::NODE, opt("storage", Kind::Format(formats::storage_id))]],
    Check::All,
    defaults,
)];

/// The host's settings that apply to a call unless it passes its own (F67, F68).
fn defaults(call: &Call) -> Answer {
    let conf = Defaults::load(call.host())?;
    let mut shown: Map<String, Json> = Map::new();
    for (name, value, number) in BUILT_IN {
        let value = if *number { json!(value.parse::<i64>().unwrap_or_default()) } else { json!(value) };
        shown.insert((*name).to_owned(), value);
    }
    shown.insert("fleecing".into(), merged(&conf, "fleecing", json!({"enabled": 0})));
    let performance = json!({"max-workers": 16, "pbs-entries-max": 1_048_576});
    shown.insert("performance".into(), merged(&conf, "performance", performance));
    for (name, value) in conf.all().filter(|(n, _)| !["fleecing", "performance"].contains(&n.as_str())) {
        let value = if name == "prune-backups" { printed(name, value) } else { value.clone() };
        shown.insert(name.clone(), json!(value));
    }
    if !conf.exclude_path().is_empty() {
        shown.insert("exclude-path".into(), json!(conf.exclude_path().join(",")));
    }
    let id = call.params.get("storage").or_else(|| conf.set("storage").map(str::to_owned));
    let id = id.or_else(|| conf.set("dumpdir").is_none().then(|| "local".to_owned()));
    if let Some(id) = id {
        shown.insert("storage".into(), json!(id));
        perm::check_any(&call.access, &call.authid, &format!("/storage/{id}"), SEE)?;
        let storages = Storages::load(call.host())?;
        let storage = storages.get(&id)?;
        if !storage.holds("backup") {
            return Err(ApiError::die(format!("can't use storage '{id}' for backups - wrong content type")));
        }
        shown.insert("dumpdir".into(), json!(storage.shown(&storage.dump_dir())));
        if let Some(prune) = storage.options.get("prune-backups") {
            shown.insert("prune-backups".into(), json!(printed("prune-backups", prune)));
        }
    }
    if !call.has(&format!("/nodes/{}", call.host().node), "Sys.Audit") {
        for name in ["mailto", "tmpdir", "dumpdir", "script", "ionice"] {
            shown.remove(name);
        }
    }
    if let Some(pool) = conf.set("pool").filter(|p| !call.has(&format!("/pool/{p}"), "Pool.Audit")) {
        shown.retain(|name, value| name != "pool" || value != pool);
    }
    data(Json::Object(shown))
}

/// A setting that is shown as an object: what the file says over the built-in values.
fn merged(conf: &Defaults, name: &str, mut built_in: Json) -> Json {
    let default = (name == "fleecing").then_some("enabled");
    if let Some(set) = conf.set(name).and_then(|text| Properties::parse(text, default).ok()) {
        for (key, value) in
            set.first.iter().map(|v| ("enabled", v)).chain(set.pairs.iter().map(|(k, v)| (k.as_str(), v)))
        {
            built_in[key] = value.parse::<i64>().map_or_else(|_| json!(value), |n| json!(n));
        }
    }
    built_in
}
