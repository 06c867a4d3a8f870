//! The route tables as data, in the words of the API's own schema: for `pve-sim routes`, which others compare with that schema.

use serde_json::{Map, Value as Json, json};

use super::check::{Check, Groups};
use super::reads::RIGHTS_ONLY;
use super::{Route, TABLES};
use crate::http::property::PropertyString;
use crate::http::schema::{Field, Kind, volumes};

/// Every route, ordered by path and method.
pub(crate) fn routes() -> Vec<Json> {
    let mut all: Vec<&Route> = TABLES.iter().copied().flatten().collect();
    all.sort_by_key(|route| (route.path, route.method));
    all.into_iter().map(route).collect()
}

fn route(route: &Route) -> Json {
    let fields = route.fields.iter().copied().flatten();
    let parameters: Map<String, Json> = fields.map(|f| (f.name.to_owned(), field(f))).collect();
    json!({
        "method": route.method, "path": route.path, "protected": u8::from(route.protected),
        "allowtoken": u8::from(route.allow_token), "permissions": permissions(&route.check), "parameters": parameters,
        "rights_only": u8::from(RIGHTS_ONLY.contains(&route.path)),
    })
}

fn permissions(check: &Check) -> Json {
    match check {
        Check::World => json!({"user": "world"}),
        Check::All => json!({"user": "all"}),
        other => json!({"check": expression(other)}),
    }
}

fn expression(check: &Check) -> Json {
    match check {
        Check::World => json!("world"),
        Check::All => json!("all"),
        Check::Perm { path, privs, any: false } => json!(["perm", path, privs]),
        Check::Perm { path, privs, any: true } => json!(["perm", path, privs, "any", 1]),
        Check::WithParam { path, privs, param } => json!(["perm", path, privs, "require_param", param]),
        Check::PermModify => json!(["perm-modify", "{path}"]),
        Check::UserSelf => json!(["userid-param", "self"]),
        Check::UserRealm => json!(["userid-param", "Realm.AllocateUser"]),
        Check::UserGroup { privs, groups: Groups::Any } => json!(["userid-group", privs]),
        Check::UserGroup { privs, groups: Groups::Create } => {
            json!(["userid-group", privs, "groups_param", "create"])
        }
        Check::UserGroup { privs, groups: Groups::Update } => {
            json!(["userid-group", privs, "groups_param", "update"])
        }
        Check::And(all) => list("and", all),
        Check::Or(all) => list("or", all),
    }
}

fn list(word: &str, all: &[Check]) -> Json {
    std::iter::once(json!(word)).chain(all.iter().map(expression)).collect()
}

fn field(field: &Field) -> Json {
    let mut shown = match field.kind {
        Kind::Text(usize::MAX) => json!({"type": "string"}),
        Kind::Text(max) => json!({"type": "string", "maxLength": max}),
        Kind::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Vmid => json!({"type": "integer", "minimum": 100, "maximum": 999_999_999, "format": "checked"}),
        Kind::Steps(all) => json!({"type": "integer", "enum": all}),
        Kind::Number(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Enum(all) => json!({"type": "string", "enum": all}),
        Kind::Volumes(stems) => json!({"type": "string", "enum": volumes(stems)}),
        Kind::Format(_) | Kind::Pattern(_) => json!({"type": "string", "format": "checked"}),
        Kind::Property(string) => json!({"type": "string", "format": properties(string)}),
        Kind::List(_) => json!({"type": "string", "format": "list"}),
    };
    let (min, max) = field.length;
    if min > 0 {
        shown["minLength"] = json!(min);
    }
    if max < usize::MAX {
        shown["maxLength"] = json!(max);
    }
    if let Some(other) = field.requires {
        shown["requires"] = json!(other);
    }
    shown["optional"] = json!(u8::from(field.optional));
    if field.count > 0 {
        shown["count"] = json!(field.count);
    }
    shown
}

fn properties(string: &PropertyString) -> Json {
    let one = |key: &Field| {
        let mut shown = field(key);
        if string.default_key == Some(key.name) {
            shown["default_key"] = json!(1);
        }
        (key.name.to_owned(), shown)
    };
    Json::Object(string.keys.iter().map(one).collect())
}
