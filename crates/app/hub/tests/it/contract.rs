//! The OpenAPI document as a contract: every exchange with the hub is held against it.

use std::cell::RefCell;
use std::collections::BTreeSet;

use jsonschema::Validator;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The document, and which of its answers were seen.
pub(crate) struct Contract {
    pub(crate) document: Value,
    /// Schemas that also refuse a field that is not documented.
    strict: Value,
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
        Self { document, strict, seen: RefCell::default() }
    }

    /// A validator of a schema of the document.
    pub(crate) fn validator(&self, schema: &Value) -> Validator {
        validator(schema, &self.document["components"])
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
    pub(crate) fn check(&self, exchange: &Exchange<'_>) {
        let Exchange { method, path, status, answer, .. } = exchange;
        let Some((template, operation)) = self.find(exchange) else {
            let expected = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(
                expected.contains(status),
                "{method} {path} is not documented and answers {status}: {answer}"
            );
            return self.check_body(
                &format!("{method} {path}"),
                &json!({"$ref": "#/components/schemas/ErrorBody"}),
                answer,
            );
        };
        let at = format!("{method} {template} {}", status.as_u16());
        let said = &operation["responses"][status.as_str()];
        assert!(said.is_object(), "{at} is not documented: {answer}");
        match said.get("content") {
            Some(content) => self.check_body(&at, &content["application/json"]["schema"], answer),
            None => assert!(answer.is_null(), "{at} is documented without a body: {answer}"),
        }
        self.check_request(&at, operation, exchange);
        self.check_parameters(&at, operation, parts(template, path).unwrap_or_default(), *status);
        self.seen.borrow_mut().insert(at);
    }

    fn check_body(&self, at: &str, schema: &Value, body: &Value) {
        let validator = validator(schema, &self.strict);
        let errors: Vec<String> =
            validator.iter_errors(body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{at}: the answer is not as documented: {errors:#?}\n{body:#}");
    }

    /// What the document refuses, the hub refuses; what the hub calls malformed, the document refuses.
    fn check_request(&self, at: &str, operation: &Value, exchange: &Exchange<'_>) {
        let Exchange { request, status, answer, .. } = exchange;
        let Some(body) = operation.get("requestBody") else {
            assert!(request.is_null(), "{at}: a body was sent that is not documented");
            return;
        };
        let valid = self.validator(&body["content"]["application/json"]["schema"]).is_valid(request);
        assert!(
            valid || status.is_client_error(),
            "{at}: the document refuses what the hub takes: {request}"
        );
        assert!(
            !valid || answer["error"] != "malformed",
            "{at}: the document takes {request}, and the hub does not: {answer}"
        );
    }

    fn check_parameters(
        &self,
        at: &str,
        operation: &Value,
        parts: Vec<(String, String)>,
        status: StatusCode,
    ) {
        for (name, text) in parts {
            let all = operation["parameters"].as_array().unwrap();
            let said = all.iter().find(|parameter| parameter["name"] == *name).unwrap();
            let valid = self.validator(&said["schema"]).is_valid(&json!(text));
            assert!(valid || status.is_client_error(), "{at}: the document refuses `{name}` = `{text}`");
        }
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
