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
                report.differences.push(format!("{name}: {what}"));
            }
        }
    }
    Ok(report)
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
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for name in names {
        match (theirs.get(name), ours.get(name)) {
            (Some(theirs), Some(ours)) => {
                found.extend(
                    parameter(theirs, ours).into_iter().map(|what| format!("parameter {name}: {what}")),
                );
            }
            (Some(_), None) => found.push(format!("parameter {name}: the simulator has none")),
            (None, _) => found.push(format!("parameter {name}: the schema has none")),
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

fn parameter(theirs: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let optional = (flag(&theirs["optional"], 0), flag(&ours["optional"], 0));
    if optional.0 != optional.1 {
        found.push(format!("optional: schema {}, simulator {}", optional.0, optional.1));
    }
    let kind = |value: &Value| match value["type"].as_str() {
        Some("array") => "string".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "string".to_owned(),
    };
    if kind(theirs) != kind(ours) {
        found.push(format!("type: schema {}, simulator {}", kind(theirs), kind(ours)));
        return found;
    }
    for (limit, none) in [("minimum", f64::MIN), ("maximum", f64::MAX)] {
        // The simulator's integers have 64 bits: its ends stand for no limit.
        let number = |value: &Value| value[limit].as_f64().filter(|n| n.abs() < 9e18);
        let (a, b) = (number(theirs).unwrap_or(none), number(ours).unwrap_or(none));
        if (a - b).abs() > f64::EPSILON {
            found.push(format!("{limit}: schema {}, simulator {}", theirs[limit], ours[limit]));
        }
    }
    let choices = |value: &Value| -> BTreeSet<String> {
        value["enum"].as_array().into_iter().flatten().map(|v| text_of(v).to_owned()).collect()
    };
    if choices(theirs) != choices(ours) {
        found.push(format!("enum: schema {}, simulator {}", theirs["enum"], ours["enum"]));
    }
    let checked = |value: &Value| !value["format"].is_null() || !value["pattern"].is_null();
    if kind(theirs) == "string" && checked(theirs) && !checked(ours) && choices(ours).is_empty() {
        let what = if theirs["format"].is_null() { &theirs["pattern"] } else { &theirs["format"] };
        let what: String = what.to_string().chars().take(60).collect();
        found.push(format!("format: schema {what}, simulator none"));
    }
    let length = (theirs["maxLength"].as_u64(), ours["maxLength"].as_u64());
    if let (Some(a), b) = length
        && Some(a) != b
        && !checked(ours)
    {
        found.push(format!("maxLength: schema {a}, simulator {}", ours["maxLength"]));
    }
    found
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
        route["parameters"]["name"] = json!({"type": "string", "optional": 0});
        route["parameters"]["more"] = json!({"type": "string", "optional": 1});
        let found = differences(Some(&schema), &route);
        let starts: Vec<&str> = found.iter().filter_map(|f| f.split(": schema").next()).collect();
        let wanted = [
            "protected",
            "permissions",
            "parameter mode: enum",
            "parameter more: the schema has none",
            "parameter name: optional",
            "parameter name: format",
            "parameter vmid: minimum",
        ];
        assert_eq!(starts, wanted);
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
