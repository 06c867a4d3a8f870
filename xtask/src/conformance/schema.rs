//! Every route that the simulator has, against the genuine node's API schema: parameters, types, limits, formats, and who may call.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::run;

/// Differences that stay, with the reason.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OutFile {
    out: Vec<Out>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Out {
    /// `GET /nodes/{node}/lxc`, or `*`.
    route: String,
    /// What differs (`protected`, `parameter skiplock`), or its beginning with a `*` at the end.
    what: Vec<String>,
    #[expect(dead_code, reason = "for the reader of the file")]
    reason: String,
}

impl Out {
    fn covers(&self, route: &str, what: &str) -> bool {
        let route_fits = self.route == "*" || self.route == route;
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => what.starts_with(start),
            None => {
                pattern == what
                    || what.strip_prefix(pattern.as_str()).is_some_and(|rest| rest.starts_with(':'))
            }
        };
        route_fits && self.what.iter().any(fits)
    }
}

/// What the check found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Routes of the simulator.
    pub(crate) routes: usize,
    /// `GET /path: what: schema … simulator …`.
    pub(crate) differences: Vec<String>,
    /// Differences with a reason.
    pub(crate) explained: usize,
}

/// Compares all routes.
///
/// # Errors
/// The schema or the list of routes cannot be read.
pub(crate) fn check(program: &Path, folder: &Path, home: &Path) -> Result<Report> {
    let path = folder.join("pve-api-schema.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut schema = BTreeMap::new();
    for node in serde_json::from_str::<Vec<Value>>(&text)? {
        collect(&node, &mut schema);
    }
    let routes = run::output(Command::new(program).args(["routes", "--json"]))?;
    let routes: Vec<Value> = serde_json::from_slice(&routes).context("pve-sim routes --json")?;
    let out: OutFile =
        toml::from_str(&fs::read_to_string(home.join("schema.toml"))?).context("schema.toml")?;
    let mut report = Report { routes: routes.len(), ..Report::default() };
    for route in &routes {
        let name = format!("{} {}", text_of(&route["method"]), text_of(&route["path"]));
        for what in differences(schema.get(&name), route) {
            if out.out.iter().any(|out| out.covers(&name, &what)) {
                report.explained += 1;
            } else {
                report.differences.push(shortened(&format!("{name}: {what}")));
            }
        }
    }
    Ok(report)
}

/// As much as a line of a terminal shows.
fn shortened(text: &str) -> String {
    const MOST: usize = 150;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn collect(node: &Value, found: &mut BTreeMap<String, Value>) {
    for (method, info) in node["info"].as_object().into_iter().flatten() {
        found.insert(format!("{method} {}", text_of(&node["path"])), info.clone());
    }
    for child in node["children"].as_array().into_iter().flatten() {
        collect(child, found);
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn flag(value: &Value, default: u64) -> u64 {
    match value {
        Value::Bool(flag) => u64::from(*flag),
        Value::Number(number) => number.as_u64().unwrap_or(default),
        Value::String(text) => text.parse().unwrap_or(default),
        _ => default,
    }
}

/// What differs between the schema's entry and the simulator's route.
fn differences(schema: Option<&Value>, route: &Value) -> Vec<String> {
    let Some(schema) = schema else { return vec!["route: the schema has none".to_owned()] };
    let mut found = Vec::new();
    for (name, default) in [("protected", 0), ("allowtoken", 1)] {
        let (theirs, ours) = (flag(&schema[name], default), flag(&route[name], default));
        if theirs != ours {
            found.push(format!("{name}: schema {theirs}, simulator {ours}"));
        }
    }
    let (theirs, ours) = (permissions(&schema["permissions"]), permissions(&route["permissions"]));
    if theirs != ours {
        found.push(format!("permissions: schema {theirs}, simulator {ours}"));
    }
    let empty = Map::new();
    let theirs = schema["parameters"]["properties"].as_object().unwrap_or(&empty);
    let ours = route["parameters"].as_object().unwrap_or(&empty);
    found.extend(parameters("parameter", theirs, ours));
    found
}

/// What differs between parameters, or keys of a property string.
fn parameters(word: &str, theirs: &Map<String, Value>, ours: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (theirs.get(name), ours.get(name)) {
            (Some(theirs), Some(ours)) => {
                found
                    .extend(parameter(theirs, ours).into_iter().map(|what| format!("{word} {name}: {what}")));
            }
            (Some(_), None) => found.push(format!("{word} {name}: the simulator has none")),
            (None, _) => found.push(format!("{word} {name}: the schema has none")),
        }
    }
    found
}

/// Without prose.
fn permissions(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut map = map.clone();
            map.remove("description");
            if map.get("user") == Some(&json!("all")) || map.get("user") == Some(&json!("world")) {
                map.retain(|key, _| key == "user");
            }
            map.get("check").map_or_else(|| Value::Object(map.clone()), normal)
        }
        other => other.clone(),
    }
}

/// Privileges in any order, numbers and flags as one.
fn normal(check: &Value) -> Value {
    match check {
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(normal).collect();
            if all.iter().all(|v| v.as_str().is_some_and(|s| s.contains('.'))) {
                all.sort_by_key(ToString::to_string);
            }
            Value::Array(all)
        }
        Value::String(text) if text == "1" => json!(1),
        other => other.clone(),
    }
}

/// What differs between two descriptions of a value.
fn parameter(theirs: &Value, ours: &Value) -> Vec<String> {
    let (kind, our_kind) = (kind(theirs), kind(ours));
    let mut found = Vec::new();
    for name in ["optional", "default_key"] {
        let (theirs, ours) = (flag(&theirs[name], 0), flag(&ours[name], 0));
        if theirs != ours {
            found.push(format!("{name}: schema {theirs}, simulator {ours}"));
        }
    }
    if kind != our_kind {
        found.push(format!("type: schema {kind}, simulator {our_kind}"));
        return found;
    }
    // Without a limit the simulator's integers have 64 bits.
    for (limit, none) in [("minimum", -9e18), ("maximum", 9e18), ("minLength", 0.0), ("maxLength", 9e18)] {
        let number = |value: &Value| number(&value[limit]).filter(|n| n.abs() < 9e18).unwrap_or(none);
        if (number(theirs) - number(ours)).abs() > f64::EPSILON {
            found.push(format!("{limit}: schema {}, simulator {}", theirs[limit], ours[limit]));
        }
    }
    if theirs["requires"] != ours["requires"] {
        found.push(format!("requires: schema {}, simulator {}", theirs["requires"], ours["requires"]));
    }
    found.extend(choices(theirs, ours));
    match (&theirs["format"], &ours["format"]) {
        (Value::Object(theirs), Value::Object(ours)) => found.extend(parameters("key", theirs, ours)),
        (Value::Object(keys), _) => {
            let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
            found.push(format!("format: schema has the keys {}, simulator none", keys.join(", ")));
        }
        _ if kind == "string" && checked(theirs) && !checked(ours) && ours["enum"].is_null() => {
            let what = if theirs["format"].is_null() { &theirs["pattern"] } else { &theirs["format"] };
            found.push(format!("format: schema {what}, simulator none"));
        }
        _ => {}
    }
    found
}

fn kind(value: &Value) -> &str {
    match value["type"].as_str() {
        Some("array") | None => "string",
        Some(kind) => kind,
    }
}

fn checked(value: &Value) -> bool {
    !value["format"].is_null() || !value["pattern"].is_null()
}

/// The schema writes some of its numbers as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The values that only one of them takes.
fn choices(theirs: &Value, ours: &Value) -> Option<String> {
    let all = |value: &Value| -> BTreeSet<String> {
        value["enum"].as_array().into_iter().flatten().map(|v| text_of(v).to_owned()).collect()
    };
    let (theirs, ours) = (all(theirs), all(ours));
    let only = |these: &BTreeSet<String>, others: &BTreeSet<String>| -> String {
        these.difference(others).cloned().collect::<Vec<_>>().join(", ")
    };
    let text =
        format!("enum: only schema [{}], only simulator [{}]", only(&theirs, &ours), only(&ours, &theirs));
    (theirs != ours).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_to_the_schema_is_found() {
        let schema = json!({"protected": 1, "permissions": {"check": ["perm", "/vms/{vmid}", ["VM.Audit"]], "description": "x"},
            "parameters": {"properties": {
                "vmid": {"type": "integer", "minimum": 100, "maximum": 999_999_999, "format": "pve-vmid"},
                "mode": {"type": "string", "optional": 1, "enum": ["a", "b"]},
                "name": {"type": "string", "optional": 1, "format": "pve-x"}}}});
        let mut route = json!({"protected": 1, "permissions": {"check": ["perm", "/vms/{vmid}", ["VM.Audit"]]}, "parameters": {
                "vmid": {"type": "integer", "minimum": 100, "maximum": 999_999_999, "optional": 0},
                "mode": {"type": "string", "optional": 1, "enum": ["b", "a"]},
                "name": {"type": "string", "optional": 1, "format": "checked"}}});
        assert_eq!(differences(Some(&schema), &route), [""; 0]);
        assert_eq!(differences(None, &route).len(), 1);
        route["protected"] = json!(0);
        route["permissions"]["check"][2][0] = json!("VM.Allocate");
        route["parameters"]["vmid"]["minimum"] = json!(1);
        route["parameters"]["mode"]["enum"] = json!(["a"]);
        route["parameters"]["name"] =
            json!({"type": "string", "optional": 0, "minLength": 2, "requires": "x"});
        route["parameters"]["more"] = json!({"type": "string", "optional": 1});
        let found = differences(Some(&schema), &route);
        let starts: Vec<&str> = found.iter().filter_map(|f| f.split(": schema").next()).collect();
        let wanted = [
            "protected",
            "permissions",
            "parameter mode: enum: only schema [b], only simulator []",
            "parameter more: the schema has none",
            "parameter name: optional",
            "parameter name: minLength",
            "parameter name: requires",
            "parameter name: format",
            "parameter vmid: minimum",
        ];
        assert_eq!(starts, wanted);
    }

    #[test]
    fn keys_of_property_strings_are_compared_as_parameters_are() {
        let property = |keys: Value| json!({"type": "string", "format": keys});
        let theirs = property(json!({
            "size": {"type": "number", "minimum": "0", "optional": 1},
            "volume": {"type": "string", "format": "pve-x", "default_key": 1}}));
        let ours = property(json!({
            "size": {"type": "number", "minimum": 0.0, "optional": 1},
            "volume": {"type": "string", "format": "checked", "default_key": 1}}));
        assert_eq!(parameter(&theirs, &ours), [""; 0]);
        let ours = property(json!({"size": {"type": "number", "minimum": 1.5, "optional": 1}}));
        assert_eq!(
            parameter(&theirs, &ours),
            ["key size: minimum: schema \"0\", simulator 1.5", "key volume: the simulator has none"]
        );
        assert_eq!(
            parameter(&theirs, &json!({"type": "string"})),
            ["format: schema has the keys size, volume, simulator none"]
        );
    }

    #[test]
    fn long_differences_are_shortened() {
        let many = |n: usize| json!({"type": "string", "enum": (0..n).map(|i| format!("mp{i}")).collect::<Vec<_>>()});
        let short = parameter(&many(256), &many(255));
        assert_eq!(short, ["enum: only schema [mp255], only simulator []"]);
        let found = parameter(&many(256), &many(0)).remove(0);
        let line = shortened(&found);
        assert!(
            line.chars().count() == 151
                && line.ends_with('…')
                && found.starts_with("enum: only schema [mp0, mp1, ")
        );
    }

    #[test]
    fn what_is_explained_is_named_exactly_or_by_its_beginning() {
        let out = Out {
            route: "GET /a".into(),
            what: vec!["parameter x".into(), "perm*".into()],
            reason: String::new(),
        };
        assert!(out.covers("GET /a", "parameter x: format: …") && out.covers("GET /a", "permissions: …"));
        assert!(
            !out.covers("GET /b", "parameter x: format") && !out.covers("GET /a", "parameter xy: format")
        );
    }
}
