//! `/pools`.

use serde_json::{Map, Value as Json, json};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, lxc, nothing, plain, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::perm;
use crate::state::access::{Access, Pool};
use crate::state::{access_file, guests};

const POOLID: Field = req("poolid", Kind::Format(formats::pool_id));
const MEMBER_TYPE: Field = opt("type", Kind::Enum(&["qemu", "lxc", "storage"]));
const UPDATE: &[Field] = &[
    POOLID,
    opt("comment", Kind::Text(usize::MAX)),
    opt("vms", Kind::List(formats::vmid_item)),
    opt("storage", Kind::List(formats::storage_id)),
    opt("delete", Kind::Boolean),
    opt("allow-move", Kind::Boolean),
];
const ALLOCATE: Check = perm("/pool/{poolid}", &["Pool.Allocate"]);

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(
        ("GET", "/pools"),
        &[&[opt("poolid", Kind::Format(formats::pool_id)), MEMBER_TYPE.requires("poolid")]],
        Check::All,
        list,
    ),
    protected(("POST", "/pools"), &[&[POOLID, opt("comment", Kind::Text(usize::MAX))]], ALLOCATE, create),
    protected(("PUT", "/pools"), &[UPDATE], ALLOCATE, update),
    protected(("DELETE", "/pools"), &[&[POOLID]], ALLOCATE, delete),
    plain(
        ("GET", "/pools/{poolid}"),
        &[&[POOLID, MEMBER_TYPE]],
        perm("/pool/{poolid}", &["Pool.Audit"]),
        show,
    ),
    protected(("PUT", "/pools/{poolid}"), &[UPDATE], ALLOCATE, update),
    protected(("DELETE", "/pools/{poolid}"), &[&[POOLID]], ALLOCATE, delete),
];

fn get<'a>(access: &'a Access, id: &str) -> Result<&'a Pool, ApiError> {
    access.pools.get(id).ok_or_else(|| ApiError::die(format!("pool '{id}' does not exist")))
}

fn entry(id: &str, pool: &Pool) -> Map<String, Json> {
    let mut entry = Map::new();
    entry.insert("poolid".into(), json!(id));
    if !pool.comment.is_empty() {
        entry.insert("comment".into(), json!(pool.comment));
    }
    entry
}

fn list(call: &Call) -> Answer {
    if let Some(id) = call.params.get("poolid") {
        call.need(&format!("/pool/{id}"), &["Pool.Audit"])?;
        let pool = get(&call.access, &id)?;
        let mut entry = entry(&id, pool);
        entry.insert("members".into(), members(call, pool));
        return data(json!([entry]));
    }
    let visible = |id: &str| perm::has(&call.access, &call.authid, &format!("/pool/{id}"), "Pool.Audit");
    let all: Vec<Json> = call
        .access
        .pools
        .iter()
        .filter(|(id, _)| visible(id))
        .map(|(id, pool)| Json::Object(entry(id, pool)))
        .collect();
    data(json!(all))
}

fn show(call: &Call) -> Answer {
    let id = call.params.need("poolid")?;
    let pool = get(&call.access, &id)?;
    let mut entry = entry(&id, pool);
    entry.insert("members".into(), members(call, pool));
    data(Json::Object(entry))
}

/// Members as the last ten-second round knew them (F48).
fn members(call: &Call, pool: &Pool) -> Json {
    let statistics = call.daemon.statistics();
    let wanted = call.params.get("type");
    let is = |kind: &str| wanted.as_deref().is_none_or(|w| w == kind);
    let guests = pool.vms.iter().filter(|v| is("lxc") && guests::exists(call.host(), **v));
    let mut all: Vec<Json> =
        guests.map(|v| lxc::status::resource(call.host(), *v, statistics.get(v), None)).collect();
    for id in pool.storages.iter().filter(|_| is("storage")) {
        if let Some(entry) = super::storage::resource(call.host(), id) {
            all.push(entry);
        }
    }
    json!(all)
}

fn create(call: &Call) -> Answer {
    let id = call.params.need("poolid")?;
    access_file::update(call.host(), |access| {
        if access.pools.contains_key(&id) {
            return Err(ApiError::die(format!("create pool failed: pool '{id}' already exists")));
        }
        let comment = call.params.get("comment").unwrap_or_default();
        access.pools.insert(id.clone(), Pool { comment, ..Pool::default() });
        Ok(())
    })?;
    nothing()
}

fn update(call: &Call) -> Answer {
    let id = call.params.need("poolid")?;
    access_file::update(call.host(), |access| {
        change(access, call, &id)
            .map_err(|e| if e.status == 500 { e.prefixed("update pools failed: ") } else { e })
    })?;
    nothing()
}

fn change(access: &mut Access, call: &Call, id: &str) -> Result<(), ApiError> {
    get(access, id)?;
    let delete = call.params.flag("delete");
    for text in call.params.list("vms") {
        let vmid: u32 = text.parse().map_err(|_| ApiError::die(format!("invalid VMID '{text}'")))?;
        perm::check_modify(access, &call.authid, &format!("/vms/{vmid}"))?;
        let current = access.pool_of(vmid).map(str::to_owned);
        if delete {
            if current.as_deref() != Some(id) {
                return Err(ApiError::die(format!("VM {vmid} is not a pool member")));
            }
        } else if current.as_deref() == Some(id) {
            return Err(ApiError::die(format!("VM {vmid} is already a pool member")));
        } else if let Some(other) = &current {
            if !call.params.flag("allow-move") {
                return Err(ApiError::die(format!(
                    "VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set"
                )));
            }
            access.pools.values_mut().for_each(|p| {
                p.vms.remove(&vmid);
            });
        } else if !guests::exists(call.host(), vmid) {
            return Err(ApiError::die(format!("VM {vmid} does not exist")));
        }
        if let Some(pool) = access.pools.get_mut(id) {
            if delete {
                pool.vms.remove(&vmid)
            } else {
                pool.vms.insert(vmid)
            };
        }
    }
    for storage in call.params.list("storage") {
        perm::check_modify(access, &call.authid, &format!("/storage/{storage}"))?;
        if let Some(pool) = access.pools.get_mut(id) {
            let changed =
                if delete { pool.storages.remove(&storage) } else { pool.storages.insert(storage.clone()) };
            if !changed {
                let what = if delete { "not" } else { "already" };
                return Err(ApiError::die(format!("Storage '{storage}' is {what} a pool member")));
            }
        }
    }
    if let (Some(comment), Some(pool)) = (call.params.get("comment"), access.pools.get_mut(id)) {
        pool.comment = comment;
    }
    Ok(())
}

fn delete(call: &Call) -> Answer {
    let id = call.params.need("poolid")?;
    access_file::update(call.host(), |access| {
        let failed = |text: String| ApiError::die(format!("delete pool failed: {text}"));
        let pool = access.pools.get(&id).ok_or_else(|| failed(format!("pool '{id}' does not exist")))?;
        if let Some(vmid) = pool.vms.first() {
            return Err(failed(format!("pool '{id}' is not empty (contains VM {vmid})")));
        }
        if let Some(storage) = pool.storages.first() {
            return Err(failed(format!("pool '{id}' is not empty (contains storage '{storage}')")));
        }
        access.pools.remove(&id);
        access.acl.remove(&format!("/pool/{id}"));
        Ok(())
    })?;
    nothing()
}
