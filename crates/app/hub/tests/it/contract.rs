//! The OpenAPI document as a contract: every exchange with the hub is held against it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jsonschema::Validator;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The document, and which of its answers were seen.
pub(crate) struct Contract {
    pub(crate) document: Value,
    /// Schemas that also refuse a field that is not documented.
    strict: Value,
    validators: RefCell<BTreeMap<(String, bool), Rc<Validator>>>,
    seen: RefCell<BTreeSet<String>>,
}

/// A request to the API with its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a Method,
    /// Whole, as it was sent.
    pub(crate) path: &'a str,
    /// `null`: no body.
    pub(crate) request: &'a Value,
    pub(crate) status: StatusCode,
    /// `null`: no body.
    pub(crate) answer: &'a Value,
}

impl Contract {
    /// Reads the document.
    pub(crate) fn new(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).expect("the OpenAPI document");
        let strict = strict(&document["components"]);
        Self { document, strict, validators: RefCell::default(), seen: RefCell::default() }
    }

    /// A validator of a named schema.
    pub(crate) fn validator(&self, name: &str) -> Rc<Validator> {
        self.cached(&component(name), false)
    }

    fn cached(&self, schema: &Value, strictly: bool) -> Rc<Validator> {
        let components = if strictly { &self.strict } else { &self.document["components"] };
        let mut validators = self.validators.borrow_mut();
        let made = || Rc::new(validator(schema, components));
        validators.entry((schema.to_string(), strictly)).or_insert_with(made).clone()
    }

    /// Every operation: method, path and what is said of it.
    pub(crate) fn operations(&self) -> Vec<(Method, &str, &Value)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().iter();
                methods.map(move |(method, operation)| {
                    (method.to_uppercase().parse().unwrap(), path.as_str(), operation)
                })
            })
            .collect()
    }

    fn find(&self, exchange: &Exchange<'_>) -> Option<(&str, &Value)> {
        let found = self
            .operations()
            .into_iter()
            .find(|(method, path, _)| method == exchange.method && parts(path, exchange.path).is_some());
        found.map(|(_, path, operation)| (path, operation))
    }

    /// Holds an exchange against the document.
    ///
    /// # Errors
    /// What is not as documented.
    pub(crate) fn check(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Exchange { method, path, status, answer, .. } = exchange;
        let Some((template, operation)) = self.find(exchange) else {
            let refused = matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
            ensure(refused, || format!("{method} {path} is not documented and answers {status}: {answer}"))?;
            return self.check_body(&component("ErrorBody"), answer);
        };
        let at = format!("{method} {template} {}", status.as_u16());
        let told = |why: String| format!("{at}: {why}\n{answer:#}");
        self.check_answer(&operation["responses"][status.as_str()], answer).map_err(told)?;
        self.check_request(operation, exchange).map_err(told)?;
        self.check_parameters(operation, parts(template, path).unwrap_or_default(), *status).map_err(told)?;
        self.seen.borrow_mut().insert(at);
        Ok(())
    }

    fn check_answer(&self, said: &Value, answer: &Value) -> Result<(), String> {
        ensure(said.is_object(), || "this status is not documented".to_owned())?;
        match said.get("content") {
            Some(content) => self.check_body(&content["application/json"]["schema"], answer),
            None => ensure(answer.is_null(), || "a body, and none is documented".to_owned()),
        }
    }

    fn check_body(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let validator = self.cached(schema, true);
        let errors: Vec<String> =
            validator.iter_errors(body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        ensure(errors.is_empty(), || format!("the answer is not as documented: {errors:#?}"))
    }

    /// What the document refuses, the hub refuses; what the hub calls malformed, the document refuses.
    fn check_request(&self, operation: &Value, exchange: &Exchange<'_>) -> Result<(), String> {
        let Exchange { request, status, answer, .. } = exchange;
        let Some(body) = operation.get("requestBody") else {
            return ensure(request.is_null(), || "a body was sent that is not documented".to_owned());
        };
        let valid = self.cached(&body["content"]["application/json"]["schema"], false).is_valid(request);
        ensure(valid || status.is_client_error(), || {
            format!("the hub takes what the document does not: {request}")
        })?;
        ensure(!valid || answer["error"] != "malformed", || {
            format!("the document takes what the hub does not: {request}")
        })
    }

    fn check_parameters(
        &self,
        operation: &Value,
        parts: Vec<(String, String)>,
        status: StatusCode,
    ) -> Result<(), String> {
        for (name, text) in parts {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let mut said = all.filter(|parameter| parameter["name"] == *name);
            let said = said.next().ok_or_else(|| format!("`{name}` is not documented"))?;
            let valid = self.cached(&said["schema"], false).is_valid(&json!(text));
            ensure(valid || status.is_client_error(), || {
                format!("the document refuses `{name}` = `{text}`")
            })?;
        }
        Ok(())
    }

    /// Documented answers of these statuses that no exchange has shown.
    pub(crate) fn unreached(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut unreached = Vec::new();
        for (method, path, operation) in self.operations() {
            for status in operation["responses"].as_object().unwrap().keys().filter(|status| wanted(status)) {
                let at = format!("{method} {path} {status}");
                if !self.seen.borrow().contains(&at) {
                    unreached.push(at);
                }
            }
        }
        unreached
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn component(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The named parts of a path, if it is one of this template.
fn parts(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (wanted, found): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    if wanted.len() != found.len() {
        return None;
    }
    let mut named = Vec::new();
    for (wanted, found) in wanted.into_iter().zip(found) {
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => named.push((name.to_owned(), found.to_owned())),
            None if wanted == found => {}
            None => return None,
        }
    }
    Some(named)
}

fn validator(schema: &Value, components: &Value) -> Validator {
    let root = json!({"allOf": [schema], "components": components});
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&root)
        .expect("a JSON schema")
}

/// The same schemas, but an object with a field that is not documented is invalid.
fn strict(components: &Value) -> Value {
    let mut strict = components.clone();
    for schema in strict["schemas"].as_object_mut().unwrap().values_mut() {
        for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
            // By its text: a part that refuses what it does not know would refuse the other parts' fields.
            if let Some(name) =
                part["$ref"].as_str().and_then(|path| path.strip_prefix("#/components/schemas/"))
            {
                *part = components["schemas"][name].clone();
            }
        }
        if schema.get("properties").is_some() || schema.get("allOf").is_some() {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    strict
}
