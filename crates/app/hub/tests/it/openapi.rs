//! The OpenAPI document: as it is printed, served and checked in; as the wire types' sources say it; as a hub answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use felhom_model::{
    AppName, BoxId, Digest, GuestName, GuestUuid, JobId, OperationId, StorageId, Vmid, Volid,
};
use felhom_protocol::hub_sync::Report;
use felhom_signing::{Context, Key, PublicKey, Signature};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::contract::{Contract, Exchange};
use crate::support::{Hub, empty_report, run, spec};
use crate::{audit, challenges, sample};

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap().to_owned()
}

fn printed() -> String {
    let dir = tempfile::tempdir().unwrap();
    let (ok, text, err) = run(dir.path(), &["openapi"]);
    assert!(ok, "{err}");
    text
}

/// The name behind a `$ref`.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

#[tokio::test]
async fn it_is_checked_in_as_it_is_printed_and_served() {
    let text = printed();
    let file = root().join("docs/hub-openapi.json");
    if std::env::var_os("FELHOM_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "docs/hub-openapi.json differs; FELHOM_WRITE_OPENAPI=1 cargo nextest run -p felhom-hub -E 'test(openapi::)' \
         writes it"
    );
    let hub = Hub::new();
    let response = hub.http.get(format!("{}/api/v1/openapi.json", hub.url)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "without a token");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), text);
    let (ok, line, err) = run(hub.dir.path(), &["openapi", "--json"]);
    assert!(ok && err.is_empty() && line.lines().count() == 1, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), hub.contract.document);
    let (_, help, _) = run(hub.dir.path(), &["openapi", "--help"]);
    assert!(help.contains("felhom-hub openapi > "), "{help}");
}

#[test]
fn it_is_a_sound_document() {
    let document = Contract::new(&printed()).document;
    assert_eq!((&document["openapi"], &document["info"]["version"]), (&json!("3.1.0"), &json!("1")));
    assert_eq!(document["security"], json!([{"operator_token": []}]));
    assert_eq!(document["components"]["securitySchemes"]["operator_token"]["scheme"], "bearer");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema}");
        assert!(schema["description"].is_string() || schema["allOf"].is_array(), "{name} has no description");
    }
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    assert_eq!(used, schemas.keys().cloned().collect(), "every schema is there, and used");
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    found.extend(referred(value).map(str::to_owned));
    match value {
        Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        Value::Object(all) => all.values().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The calls in the table of `felhom_protocol::hub_api`: method and path → body and answer.
fn table() -> BTreeMap<(String, String), (String, String)> {
    let source = include_str!("../../../../pure/protocol/src/hub_api.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `")?.strip_suffix(" |"));
    let rows = rows.filter_map(|row| {
        let (call, rest) = row.split_once("` | ")?;
        let (method, path) = call.split_once(' ')?;
        let (body, answer) = rest.split_once('→').unwrap();
        let answer = answer.trim().split([';', ',']).next().unwrap();
        Some(((method.to_owned(), path.to_owned()), (bare(body), bare(answer))))
    });
    rows.collect()
}

/// Without the marks of a link, and without the module.
fn bare(text: &str) -> String {
    let text = text.split("](").next().unwrap().replace(['[', ']', '`'], "");
    let (many, name) =
        text.trim().strip_prefix("array of ").map_or((false, text.trim()), |name| (true, name));
    let name = name.rsplit("::").next().unwrap();
    if many { format!("array of {name}") } else { name.to_owned() }
}

/// A schema in the table's words.
fn in_words(schema: &Value) -> String {
    match (referred(schema), referred(&schema["items"])) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => format!("array of {name}"),
        (None, None) => String::new(),
    }
}

#[test]
fn it_names_the_calls_that_the_protocol_names() {
    let contract = Contract::new(&printed());
    let mut documented = BTreeMap::new();
    for (method, path, operation) in contract.operations() {
        let schema = |of: &Value| in_words(&of["content"]["application/json"]["schema"]);
        let body = schema(&operation["requestBody"]);
        let answers = operation["responses"].as_object().unwrap();
        let (status, answer) = answers.iter().find(|(status, _)| status.starts_with('2')).unwrap();
        let answer = match answer.get("content") {
            None => status.clone(),
            Some(_) if path.ends_with("/openapi.json") => "this API as an OpenAPI 3.1 document".to_owned(),
            Some(_) => schema(answer),
        };
        documented.insert((method.to_string(), path.to_owned()), (body, answer));
    }
    assert_eq!(documented, table());
}

/// The calls that the client of the command line makes, from its source.
fn clients_calls() -> BTreeSet<(String, String)> {
    let source = include_str!("../../../../adapter/client/src/hub.rs");
    let between = |text: &str, before: &str, after: &str| -> Option<String> {
        Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
    };
    let call = |function: &str| -> Option<(String, String)> {
        let method = between(function, "Method::", ",")?;
        let rest = |of: &str| {
            let text = function.split_once(of)?.1.trim_start_matches("&format!(");
            Some(text.strip_prefix('"')?.split('"').next()?.replace("{operation}", "{id}"))
        };
        let path = match (rest("of_box(name, "), rest("of_challenge(digest, ")) {
            (Some(rest), _) => format!("/api/v1/boxes/{{name}}{rest}"),
            (None, Some(rest)) => format!("/api/v1/challenges/{{digest}}{rest}"),
            (None, None) => format!("/api/v1{}", between(function, "\"/api/v1", "\"")?),
        };
        Some((method, path))
    };
    source.split("pub async fn ").skip(1).map(|function| call(function).expect("a call")).collect()
}

#[test]
fn it_has_what_the_command_line_calls() {
    let contract = Contract::new(&printed());
    let all =
        contract.operations().into_iter().map(|(method, path, _)| (method.to_string(), path.to_owned()));
    let (all, called): (BTreeSet<_>, _) = (all.collect(), clients_calls());
    assert_eq!(called.difference(&all).collect::<Vec<_>>(), [] as [&(String, String); 0]);
    let others: Vec<&str> = all.difference(&called).map(|(_, path)| path.as_str()).collect();
    assert_eq!(others, ["/api/v1/boxes/{name}/enrolment", "/api/v1/openapi.json"], "for other programs");
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Documented types of the sources, with whether they refuse what they do not know.
fn documented_types() -> BTreeMap<String, bool> {
    let mut texts = Vec::new();
    for name in ["model", "signing", "protocol"] {
        sources(&root().join("crates/pure").join(name).join("src"), &mut texts);
    }
    let mut types = BTreeMap::new();
    for text in &texts {
        for part in text.split("derive(utoipa::ToSchema)").skip(1) {
            let (attributes, rest) = part.split_once("\npub ").unwrap();
            let name: String = rest
                .split_once(' ')
                .map(|(_, name)| name.chars().take_while(|c| c.is_alphanumeric()).collect())
                .unwrap();
            let before = types.insert(name.clone(), attributes.contains("deny_unknown_fields"));
            assert_eq!(before, None, "two documented types are called {name}");
        }
    }
    types
}

#[test]
fn what_refuses_unknown_fields_says_so() {
    let document = Contract::new(&printed()).document;
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let closed: BTreeMap<String, bool> = schemas
        .iter()
        .map(|(name, schema)| (name.clone(), schema["additionalProperties"] == false))
        .collect();
    assert_eq!(closed, documented_types());
    for name in ["AddBox", "SetDesired", "Spec", "GuestSpec", "AddJob", "AddVeto", "Armored", "AddAnswer"] {
        assert!(closed[name], "{name}");
    }
}

/// The document's pattern takes the text exactly if the type does.
fn same<T: FromStr>(contract: &Contract, name: &str, texts: &[&str])
where
    T::Err: Debug,
{
    let validator = contract.validator(name);
    let long = "a".repeat(63);
    let longer = "a".repeat(64);
    let common = ["", " ", "a", "a-", "-a", "A", "ab\n", "á", "0", "a.b", "local", &long, &longer];
    for text in common.iter().chain(texts) {
        assert_eq!(validator.is_valid(&json!(text)), text.parse::<T>().is_ok(), "{name}: `{text}`");
    }
    assert!(texts.iter().any(|text| text.parse::<T>().is_ok()), "{name}: one that is good");
    let example = &contract.document["components"]["schemas"][name]["examples"][0];
    assert!(example.as_str().is_none_or(|text| text.parse::<T>().is_ok()), "{name}: {example}");
}

#[test]
fn what_is_a_text_has_the_pattern_that_is_parsed() {
    let contract = Contract::new(&printed());
    let uuid = GuestUuid::from_random([7; 16]).to_string();
    let uuids = [uuid.as_str(), &uuid.to_uppercase(), &uuid.replace('-', ""), &format!("{{{uuid}}}")];
    same::<GuestUuid>(&contract, "GuestUuid", &uuids);
    same::<BoxId>(&contract, "BoxId", &uuids);
    let ulid = OperationId::from_parts(u64::MAX >> 16, u128::MAX).to_string();
    let ulids =
        [ulid.as_str(), &ulid.to_lowercase(), &ulid.replace('7', "8"), &ulid.replace('Z', "U"), &ulid[1..]];
    same::<OperationId>(&contract, "OperationId", &ulids);
    same::<JobId>(&contract, "JobId", &ulids);
    same::<GuestName>(&contract, "GuestName", &["family-1", "0x", "a_b"]);
    same::<AppName>(&contract, "AppName", &["notes"]);
    same::<StorageId>(&contract, "StorageId", &["local", "a.b-c_d9", "9a", "a/b"]);
    let volids = [
        "local:backup/x.tar.zst",
        "tank:subvol-2000-disk-0",
        "local:",
        "local:/etc",
        ":x",
        "local:a,b",
        "local:a b",
    ];
    same::<Volid>(&contract, "Volid", &volids);
    let digest = Digest::of(b"").to_string();
    same::<Digest>(&contract, "Digest", &[&digest, &digest.to_uppercase(), &digest[1..], &digest[7..]]);
    let key = Key::from_seed(&[3; 32]);
    let (public, signature) = (key.public().to_string(), key.sign(Context::Frozen, b"x").to_string());
    same::<PublicKey>(&contract, "PublicKey", &[&public, &public[..43], &signature]);
    same::<Signature>(&contract, "Signature", &[&signature, &signature[..86], &public]);
    let vmid = contract.validator("Vmid");
    for number in [99_u32, 100, 999_999_999, 1_000_000_000] {
        assert_eq!(vmid.is_valid(&json!(number)), Vmid::try_from(number).is_ok(), "{number}");
    }
}

#[tokio::test]
async fn limits_are_the_hubs_own() {
    let hub = Hub::new();
    hub.ticket("home", false).await;
    let guest = |key: &str, value: Value| json!({"spec": {"schema": "felhom.desired/v1", "guest": [{"name": "a", key: value}]}});
    let job = |ttl: Value| json!({"kind": "x", "ttl_s": ttl});
    let add = |ttl: Value| json!({"name": "home", "renew": true, "ttl_s": ttl});
    let (post, put) = (Method::POST, Method::PUT);
    let cases = [
        (
            &post,
            "/boxes",
            "AddBox",
            vec![add(json!(1)), add(json!(259_200))],
            vec![add(json!(0)), add(json!(259_201))],
        ),
        (
            &post,
            "/boxes/home/jobs",
            "AddJob",
            vec![job(json!(1)), job(json!(2_592_000))],
            vec![job(json!(0)), job(json!(2_592_001)), json!({"kind": ""}), json!({"kind": "x".repeat(65)})],
        ),
        (
            &put,
            "/boxes/home/desired",
            "SetDesired",
            vec![
                guest("cores", json!(256)),
                guest("memory_mib", json!(64)),
                guest("memory_mib", json!(4_194_304)),
                guest("swap_mib", json!(0)),
                guest("disk_gib", json!(131_072)),
                guest("state", json!("retired")),
            ],
            vec![
                guest("cores", json!(0)),
                guest("cores", json!(257)),
                guest("memory_mib", json!(63)),
                guest("memory_mib", json!(4_194_305)),
                guest("swap_mib", json!(4_194_305)),
                guest("disk_gib", json!(0)),
                guest("disk_gib", json!(131_073)),
                guest("state", json!("gone")),
                guest("golden", json!("sha256:00")),
                json!({"spec": {"schema": "felhom.desired/v2"}}),
            ],
        ),
    ];
    for (method, path, schema, good, bad) in cases {
        let validator = hub.contract.validator(schema);
        for (bodies, taken) in [(good, true), (bad, false)] {
            for body in bodies {
                let (status, answer) = hub.call(method.clone(), path, body.clone()).await;
                assert_eq!(
                    (status.is_success(), validator.is_valid(&body)),
                    (taken, taken),
                    "{body}: {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_documented_answer_is_given_as_it_is_documented() {
    let hub = Hub::new();
    sample::fleet(&hub).await;
    let box_alone = ["", "/desired", "/desired/history", "/jobs", "/operations", "/audit-heads"];
    for name in ["kovacs", "nagy", "szabo", "toth", "varga"] {
        for rest in box_alone {
            hub.call(Method::GET, &format!("/boxes/{name}{rest}"), Value::Null).await;
        }
        hub.call(Method::POST, &format!("/boxes/{name}/plan"), spec("family")).await;
    }
    hub.get("/boxes").await;
    hub.get("/openapi.json").await;
    hub.call(Method::POST, "/boxes", json!({"name": "varga"})).await;
    for _ in 0..2 {
        hub.call(Method::DELETE, "/boxes/varga/enrolment", Value::Null).await;
    }
    what_people_say(&hub).await;
    what_is_refused(&hub).await;
    // What a test cannot bring about at will: too many failures, no randomness, a database that fails.
    let unreached = hub.contract.unreached(|status| !["429", "500", "503"].contains(&status));
    assert_eq!(unreached, [] as [String; 0]);
}

/// Challenges, answers, renewals and vetoes; the end of an audit log.
async fn what_people_say(hub: &Hub) {
    let home = hub.enrolled("home", 1).await;
    let waits = challenges::challenge(&home, 1, &home.attestation);
    let forged = challenges::challenge(&home, 2, &Key::from_seed(&[66; 32]));
    let waits_for_people = challenges::in_state(1, "pending_authorization");
    let operations = vec![
        serde_json::from_value(waits_for_people).unwrap(),
        challenges::rotation(7, &home.attestation, home.id.unwrap()),
    ];
    let audit_head = Some(audit::head(&home.attestation, 3, "three"));
    let told = vec![waits.clone(), forged.clone()];
    home.tell(hub, Report { challenges: told, operations, audit_head, ..empty_report() }).await;
    hub.get("/boxes/home/audit-heads").await;
    hub.get("/challenges").await;
    hub.get("/waiting").await;
    let post = async |path: String, body: Value| hub.call(Method::POST, &path, body).await.0;
    for (digest, status) in [(waits.digest, StatusCode::OK), (forged.digest, StatusCode::CONFLICT)] {
        hub.get(&format!("/challenges/{digest}")).await;
        let body = json!({"signature": "armored"});
        assert_eq!(post(format!("/challenges/{digest}/answers"), body).await, status);
        assert_eq!(post(format!("/challenges/{digest}/renewals"), Value::Null).await, status);
    }
    hub.get(&format!("/challenges/{}", waits.digest)).await;
    let vetoes = format!("/boxes/home/operations/{}/vetoes", waits.operation);
    for n in 0..33 {
        let body = json!({"signed": {"bytes": "AAAA", "signature": format!("armored {n}")}});
        post(vetoes.clone(), body).await;
    }
    hub.get(&vetoes).await;
}

/// Every call without a token, at what is not there, with a path and a body that are wrong.
async fn what_is_refused(hub: &Hub) {
    let (ulid, digest) = (OperationId::from_parts(1, 1).to_string(), Digest::of(b"nothing").to_string());
    let good = [("{name}", "nowhere"), ("{id}", &ulid), ("{digest}", &digest)];
    let bad = [("{name}", "%FF"), ("{id}", "x"), ("{digest}", "x")];
    let at = |template: &str, parts: &[(&str, &str)]| {
        let path = template.strip_prefix("/api/v1").unwrap().to_owned();
        parts.iter().fold(path, |path, (part, text)| path.replace(part, text))
    };
    let bodies = [
        ("AddBox", json!({"name": "x"})),
        ("AddJob", json!({"kind": "x"})),
        ("SetDesired", json!({"spec": spec("a")})),
        ("Spec", spec("a")),
        ("AddAnswer", json!({"signature": "x"})),
        ("AddVeto", json!({"signed": {"bytes": "", "signature": "x"}})),
    ];
    for (method, template, operation) in hub.contract.operations() {
        let schema = referred(&operation["requestBody"]["content"]["application/json"]["schema"]);
        let body = schema.map_or(Value::Null, |schema| {
            bodies
                .iter()
                .find(|(name, _)| *name == schema)
                .unwrap_or_else(|| panic!("a body of {schema}"))
                .1
                .clone()
        });
        if operation.get("security").is_none() {
            let (status, answer) =
                hub.call_as(None, method.clone(), &at(template, &good), body.clone()).await;
            assert_eq!(
                (status, &answer["error"]),
                (StatusCode::UNAUTHORIZED, &json!("no_token")),
                "{template}"
            );
        }
        if template.contains('{') {
            hub.call(method.clone(), &at(template, &good), body.clone()).await;
            let (status, answer) = hub.call(method.clone(), &at(template, &bad), body.clone()).await;
            assert_eq!(
                (status, &answer["error"]),
                (StatusCode::BAD_REQUEST, &json!("bad_request")),
                "{template}"
            );
        }
        if schema.is_some() {
            let path = at(template, &good);
            let (status, answer) = hub.call(method.clone(), &path, json!({"more": 1})).await;
            assert_eq!(
                (status, &answer["error"]),
                (StatusCode::BAD_REQUEST, &json!("malformed")),
                "{template}"
            );
            let (status, _) = hub.call(method.clone(), &path, json!("x".repeat(1 << 20))).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{template}");
        }
    }
    let twice = json!({"schema": "felhom.desired/v1", "guest": [{"name": "a"}, {"name": "a"}]});
    let (status, _) = hub.call(Method::POST, "/boxes/home/plan", twice.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = hub.call(Method::PUT, "/boxes/home/desired", json!({"spec": twice})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let old = json!({"spec": spec("a"), "if_generation": 7});
    let (status, _) = hub.call(Method::PUT, "/boxes/home/desired", old).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_call_that_is_not_in_it_is_refused_in_its_form() {
    let hub = Hub::new();
    for path in ["/boxes", "/boxes/home/jobs", "/openapi.json"] {
        let (status, answer) = hub.call(Method::PATCH, path, Value::Null).await;
        assert_eq!(
            (status, &answer["error"]),
            (StatusCode::METHOD_NOT_ALLOWED, &json!("method_not_allowed"))
        );
    }
    let (status, answer) = hub.call(Method::GET, "/boxes/home/nothing", Value::Null).await;
    assert_eq!((status, &answer["error"]), (StatusCode::NOT_FOUND, &json!("no_such_path")));
}

#[test]
fn what_is_not_as_documented_is_noticed() {
    let contract = Contract::new(&printed());
    let summary = json!({
        "name": "home", "box_id": null, "enrolment": "waiting", "liveness": "never", "last_seen": null, "risk": "ok",
        "reasons": [], "generation": 0, "observed_generation": 0, "guests": 0, "last_backup": null, "last_proven": null,
    });
    let with = |value: &Value, more: Value| {
        let mut changed = value.clone();
        changed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        changed
    };
    let rest = json!({
        "hostname": null, "attestation_key": null, "attestation_fingerprint": null, "desired": null, "report": null,
        "jobs": [], "events": [],
    });
    let detail = with(&summary, rest);
    let mut short = summary.clone();
    short.as_object_mut().unwrap().remove("liveness");
    let error = json!({"error": "no_such_box", "message": "there is none"});
    let (job, added) =
        (json!({"kind": "x"}), json!({"name": "home", "ticket": "t", "expires": "2026-01-01T00:00:00Z"}));
    let none = Value::Null;
    let cases = [
        ("GET /boxes", &none, 200, json!([summary]), ""),
        ("GET /boxes", &none, 200, json!([short]), "liveness"),
        ("GET /boxes", &none, 200, json!([with(&summary, json!({"colour": 1}))]), "colour"),
        ("GET /boxes", &none, 200, json!([with(&summary, json!({"last_seen": "yesterday"}))]), "yesterday"),
        ("GET /boxes", &none, 200, json!([with(&summary, json!({"box_id": "HOME"}))]), "box_id"),
        ("GET /boxes", &none, 404, error.clone(), "this status is not documented"),
        ("GET /boxes", &job, 200, json!([]), "a body was sent"),
        ("GET /boxes/home", &none, 200, detail.clone(), ""),
        ("GET /boxes/home", &none, 200, with(&detail, json!({"colour": 1})), "colour"),
        ("GET /boxes/home", &none, 404, error.clone(), ""),
        ("GET /boxes/home", &none, 404, json!("no such box"), "not of type"),
        ("GET /boxes/Home!", &none, 200, detail, "refuses `name`"),
        ("DELETE /boxes/home/enrolment", &none, 204, Value::Null, ""),
        ("DELETE /boxes/home/enrolment", &none, 204, json!({}), "none is documented"),
        ("POST /boxes", &json!({"name": "home"}), 201, added.clone(), ""),
        (
            "POST /boxes",
            &json!({"name": "home", "colour": 1}),
            201,
            added,
            "the hub takes what the document does not",
        ),
        (
            "POST /boxes/home/jobs",
            &job,
            400,
            json!({"error": "malformed", "message": ""}),
            "takes what the hub does not",
        ),
        ("GET /boxen", &none, 404, error.clone(), ""),
        ("GET /boxen", &none, 200, error, "GET /api/v1/boxen is not documented"),
    ];
    for (call, request, status, answer, word) in cases {
        let (method, path) = call.split_once(' ').unwrap();
        let (method, path) = (method.parse().unwrap(), format!("/api/v1{path}"));
        let status = StatusCode::from_u16(status).unwrap();
        let checked =
            contract.check(&Exchange { method: &method, path: &path, request, status, answer: &answer });
        match checked {
            Ok(()) => assert_eq!(word, "", "{call} {status} {answer}"),
            Err(why) => assert!(!word.is_empty() && why.contains(word), "{call}: {why}"),
        }
    }
    assert!(
        contract
            .unreached(|status| status == "201")
            .contains(&"POST /api/v1/boxes/{name}/jobs 201".to_owned())
    );
    assert!(!contract.unreached(|_| true).contains(&"POST /api/v1/boxes 201".to_owned()));
}
