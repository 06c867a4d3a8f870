//! The router and the document say the same, and the document says all.

use std::collections::BTreeSet;

use axum::Router;
use serde_json::Value;

use super::{BASE, declared, document, router};
use crate::hub::Hub;

const METHODS: [&str; 8] = ["get", "head", "delete", "options", "patch", "post", "put", "trace"];

/// Methods and paths of a router, from its debug form: there is no other way to ask it.
fn routes(router: &Router<Hub>) -> BTreeSet<(String, String)> {
    let text = format!("{router:?}");
    let text = text.split_once("fallback_router").unwrap().0;
    let mut handlers = Vec::new();
    let mut paths = Vec::new();
    for part in text.split("RouteId(").skip(1) {
        let (id, rest) = part.split_once("): ").unwrap();
        match rest.strip_prefix('"') {
            Some(path) => paths.push((id, path.split('"').next().unwrap())),
            None => handlers
                .extend(METHODS.iter().filter(|m| rest.contains(&format!(" {m}: Boxed"))).map(|m| (id, *m))),
        }
    }
    let path_of = |wanted: &str| paths.iter().find(|(id, _)| *id == wanted).unwrap().1;
    handlers.into_iter().map(|(id, method)| (method.to_owned(), format!("{BASE}{}", path_of(id)))).collect()
}

/// Every operation with its method and path.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(&document()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let of_path = |(path, item): (String, Value)| {
        let item = item.as_object().unwrap().clone();
        item.into_iter().map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.into_iter().flat_map(of_path).collect()
}

#[test]
fn the_router_has_the_documents_routes_and_no_other() {
    let documented: BTreeSet<_> = operations().into_iter().map(|(method, path, _)| (method, path)).collect();
    assert!(documented.contains(&("put".to_owned(), format!("{BASE}/boxes/{{name}}/desired"))));
    assert_eq!(routes(&router()), documented);
    let more = Router::from(declared()).route("/more", axum::routing::patch(async || ()));
    let more: Vec<_> = routes(&more).difference(&documented).cloned().collect();
    assert_eq!(more, [("patch".to_owned(), format!("{BASE}/more"))], "another one would be seen");
}

#[test]
fn every_operation_says_what_it_is_and_what_comes_of_it() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let at = format!("{method} {path}");
        let said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(said(&operation["summary"]), "{at} has no summary");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{at} needs one tag");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{at}: its id is not its own"
        );
        let open = path.ends_with("/openapi.json");
        assert_eq!(operation["security"].is_array(), open, "{at}: only the document needs no token");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.values().all(|answer| said(&answer["description"])), "{at}: an answer says nothing");
        assert_eq!(answers.keys().filter(|status| status.starts_with('2')).count(), 1, "{at}: one success");
        for status in ["401", "429", "503"] {
            assert_eq!(answers.contains_key(status), !open, "{at}: {status}");
        }
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<&str> = parameters.iter().map(|p| p["name"].as_str().unwrap()).collect();
        let placed: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(names, placed, "{at}: its parameters");
        for parameter in &parameters {
            assert!(said(&parameter["description"]) && parameter["schema"].is_object(), "{at}: {parameter}");
        }
    }
}

/// Texts for people.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|value| texts(value, found)),
        Value::Object(all) => {
            let said = ["summary", "description"].iter().filter_map(|key| all.get(*key)?.as_str());
            found.extend(said.map(str::to_owned));
            all.values().for_each(|value| texts(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn nothing_in_it_is_for_readers_of_the_source() {
    let text = document();
    let mut said = Vec::new();
    texts(&serde_json::from_str(&text).unwrap(), &mut said);
    for word in ["[`", "`]", "](", "::"] {
        assert_eq!(said.iter().find(|text| text.contains(word)), None, "`{word}`");
    }
    assert!(said.iter().any(|text| text == "Text of the `Ticket`."), "a link's text stays");
}
