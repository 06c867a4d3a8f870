//! The operators' API: who may call it, what it refuses, and that it says why.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Hub, spec};

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let hub = Hub::new();
    for (method, template, operation) in hub.contract.operations() {
        if operation.get("security").is_some() {
            continue;
        }
        let path = template.strip_prefix("/api/v1").unwrap().replace("{name}", "home");
        let (status, answer) = hub.call_as(None, method.clone(), &path, Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(answer["error"], "no_token");
    }
    let request = |token: &str| hub.http.get(format!("{}/api/v1/boxes", hub.url)).bearer_auth(token).send();
    let mut last = StatusCode::OK;
    for n in 0..12 {
        last = request(&format!("felhom-op-{n}")).await.unwrap().status();
        assert_ne!(last, StatusCode::OK);
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "guessing is slowed down");
    assert_eq!(request(&hub.token).await.unwrap().status(), StatusCode::OK, "a right token passes");
}

#[tokio::test]
async fn an_empty_hub_and_an_empty_box_answer_with_emptiness() {
    let hub = Hub::new();
    assert_eq!(hub.get("/boxes").await, json!([]));
    hub.ticket("home", false).await;
    assert_eq!(hub.get("/boxes/home/jobs").await, json!([]));
    assert_eq!(hub.get("/boxes/home/operations").await, json!([]));
    assert_eq!(hub.get("/boxes/home/desired/history").await, json!([]));
    let (status, body) = hub.call(Method::GET, "/boxes/home/desired", Value::Null).await;
    assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("no_desired_state")));
    for (method, path) in [(Method::GET, "/boxes/x"), (Method::GET, "/boxes/x/jobs")] {
        let (status, body) = hub.call(method, path, Value::Null).await;
        assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("no_such_box")));
    }
    let (status, body) = hub.call(Method::GET, "/boxen", Value::Null).await;
    assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("no_such_path")));
}

#[tokio::test]
async fn bad_box_names_and_times_are_named() {
    let hub = Hub::new();
    for (body, word) in [
        (json!({"name": "Home!"}), "`Home!` is not a box name"),
        (json!({"name": "home", "ttl_s": 0}), "`ttl_s`"),
        (json!({"name": "home", "ttl_s": 259_201}), "72 h"),
        (json!({"name": "home", "ttl": 5}), "unknown field `ttl`"),
        (json!({}), "missing field `name`"),
    ] {
        let (status, answer) = hub.call(Method::POST, "/boxes", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["message"].as_str().unwrap().contains(word), "{answer}");
    }
    assert_eq!(hub.get("/boxes").await, json!([]), "nothing was made");
}

#[tokio::test]
async fn a_malformed_desired_state_changes_nothing_and_names_field_and_reason() {
    let hub = Hub::new();
    hub.ticket("home", false).await;
    hub.set("home", "family").await;
    let cron = json!({"schema": "felhom.desired/v1", "guest": [
        {"name": "family", "backup": {"schedule": "61 * * * *", "target": "local"}}]});
    let twice = json!({"schema": "felhom.desired/v1", "guest": [{"name": "a"}, {"name": "a"}]});
    let cases = [
        (json!({"spec": {"schema": "felhom.desired/v9"}}), "felhom.desired/v9"),
        (json!({"spec": {"schema": "felhom.desired/v1", "guest": [{"name": "a", "corez": 1}]}}), "corez"),
        (json!({"spec": {"schema": "felhom.desired/v1", "guest": [{"name": "Ä"}]}}), "`spec.guest[0]"),
        (json!({"spec": cron}), "backup.schedule"),
        (json!({"spec": twice}), "listed twice"),
        (json!({"spec": spec("a"), "force": true}), "force"),
    ];
    for (body, word) in cases {
        let (status, answer) = hub.call(Method::PUT, "/boxes/home/desired", body).await;
        assert!(status.is_client_error(), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(word), "{word}: {answer}");
    }
    let history = hub.get("/boxes/home/desired/history").await;
    assert_eq!(history.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn two_operators_do_not_overwrite_each_other() {
    let hub = Hub::new();
    hub.ticket("home", false).await;
    let set =
        |generation: u64| json!({"spec": spec("family"), "if_generation": generation, "message": "why"});
    let (status, _) = hub.call(Method::PUT, "/boxes/home/desired", set(0)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = hub.call(Method::PUT, "/boxes/home/desired", set(0)).await;
    assert_eq!((status, &answer["error"]), (StatusCode::CONFLICT, &json!("generation_conflict")));
    assert!(answer["message"].as_str().unwrap().contains("generation 1"), "{answer}");
    let (status, answer) = hub.call(Method::PUT, "/boxes/home/desired", set(1)).await;
    assert_eq!((status, &answer["generation"]), (StatusCode::OK, &json!(2)));
    let history = hub.get("/boxes/home/desired/history").await;
    assert_eq!((&history[0]["author"], &history[0]["message"]), (&json!("ada"), &json!("why")));
}

#[tokio::test]
async fn a_plan_is_shown_before_it_is_set() {
    let hub = Hub::new();
    hub.ticket("home", false).await;
    let (status, plan) = hub.call(Method::POST, "/boxes/home/plan", spec("family")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(plan["operations"][0]["kind"], "provision_guest");
    assert_eq!(plan["based_on"], Value::Null);
    assert_eq!(hub.get("/boxes/home/desired/history").await, json!([]), "nothing was set");
    let (status, _) = hub.call(Method::POST, "/boxes/nowhere/plan", spec("family")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_job_that_nobody_takes_expires_visibly() {
    let hub = Hub::new();
    hub.ticket("home", false).await;
    let (status, _) =
        hub.call(Method::POST, "/boxes/home/jobs", json!({"kind": "backup_guest", "ttl_s": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    crate::support::eventually("the job expires", async || {
        hub.get("/boxes/home/jobs").await[0]["state"] == "expired"
    })
    .await;
    let (status, answer) = hub.call(Method::POST, "/boxes/home/jobs", json!({"kind": ""})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, _) = hub.call(Method::POST, "/boxes/x/jobs", json!({"kind": "backup_guest"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
