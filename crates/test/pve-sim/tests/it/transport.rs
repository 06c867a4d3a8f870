//! F1–F19: HTTP, tickets, tokens, forms, error shapes. `rec N` is the number of the recorded exchange.

use crate::server::{Caller, PASSWORD, Server};

/// F1, rec 1: without a ticket, the reason phrase says so and the body is empty.
#[tokio::test]
async fn f1_no_ticket_is_an_empty_401() {
    let server = Server::start();
    let answer = server.nobody().get("/version").await;
    assert_eq!((answer.status, answer.reason.as_str(), answer.body.as_str()), (401, "No ticket", ""));
    assert!(answer.headers.get("content-type").is_none());
    assert_eq!(answer.headers["connection"], "close");
}

/// F1, rec 2, 3: a wrong password is a 401 with a JSON body.
#[tokio::test]
async fn f1_a_wrong_password_is_a_401_with_a_body() {
    let server = Server::start();
    for user in ["root@pam", "nosuch@pve"] {
        let answer =
            server.nobody().post("/access/ticket", &[("username", user), ("password", "wrong")]).await;
        answer.failed(401, "authentication failure");
        assert_eq!(answer.json["message"], "authentication failure\n");
    }
}

/// F1, rec 5–7: forged ticket; a write without, or with a wrong, CSRF token.
#[tokio::test]
async fn f1_forged_tickets_and_missing_csrf_tokens_are_refused() {
    let server = Server::start();
    let mut root = server.root().await;
    root.headers.insert("CSRFPreventionToken", "6B000000:wrong".parse().unwrap());
    for _ in 0..2 {
        let answer = root.post("/access/users", &[("userid", "x@pve")]).await;
        assert_eq!(answer.reason, "Permission denied - invalid csrf token");
        assert_eq!((answer.status, answer.body.as_str()), (401, ""));
        root.headers.remove("CSRFPreventionToken");
    }
    assert_eq!(root.get("/version").await.status, 200);
    root.headers.insert("cookie", "PVEAuthCookie=PVE:root@pam:6B000000::xxx".parse().unwrap());
    let answer = root.get("/version").await;
    assert_eq!((answer.status, answer.reason.as_str()), (401, "Authentication failed!"));
}

async fn token(server: &Server, root: &Caller, form: &[(&str, &str)]) -> (String, Caller) {
    let made = root.post("/access/users/root@pam/token/tk", form).await.ok();
    let secret = made["value"].as_str().unwrap().to_owned();
    let caller = server.token("root@pam!tk", &secret);
    (secret, caller)
}

/// F2, rec 44–47: unknown token, wrong secret and expired token look alike.
#[tokio::test]
async fn f2_tokens_that_do_not_work_look_alike() {
    let server = Server::start();
    let root = server.root().await;
    let (secret, expired) = token(&server, &root, &[("privsep", "0"), ("expire", "1")]).await;
    let wrong = [
        expired,
        server.token("root@pam!tk", "wrong"),
        server.token("root@pam!none", &secret),
        server.token("no@pve!none", &secret),
    ];
    for caller in wrong {
        let answer = caller.get("/version").await;
        let got = (answer.status, answer.reason.as_str(), answer.body.as_str());
        assert_eq!(got, (401, "Authentication failed!", ""));
    }
}

/// F3, rec 817: a bad cookie beats a good token.
#[tokio::test]
async fn f3_a_bad_cookie_beats_a_good_token() {
    let server = Server::start();
    let root = server.root().await;
    let (_, mut good) = token(&server, &root, &[("privsep", "0")]).await;
    good.get("/version").await.ok();
    good.headers.insert("cookie", "PVEAuthCookie=bad".parse().unwrap());
    assert_eq!(good.get("/version").await.reason, "Authentication failed!");
}

/// F4, rec 48, 49, 815, 816: `=` or a blank after the scheme, whose case counts; the id may be percent-encoded.
#[tokio::test]
async fn f4_spellings_of_the_authorization_header() {
    let server = Server::start();
    let root = server.root().await;
    let (secret, mut caller) = token(&server, &root, &[("privsep", "0")]).await;
    let cases = [
        (format!("PVEAPIToken root@pam!tk={secret}"), "OK"),
        (format!("PVEAPIToken=root%40pam%21tk={secret}"), "OK"),
        (format!("pveapitoken=root@pam!tk={secret}"), "No ticket"),
        (format!("Bearer {secret}"), "No ticket"),
        ("PVEAPIToken=nonsense".to_owned(), "Authentication failed!"),
    ];
    for (header, reason) in cases {
        caller.headers.insert("authorization", header.parse().unwrap());
        assert_eq!(caller.get("/version").await.reason, reason, "{header}");
    }
}

/// F5, F6, rec 57, 61, 67, 234: what is missing is a 500 with the message in reason phrase and body.
#[tokio::test]
async fn f6_what_does_not_exist_is_a_500() {
    let server = Server::start();
    let root = server.root().await;
    for (path, message) in [
        ("/nodes/pve/lxc/100/config", "Configuration file 'nodes/pve/lxc/100.conf' does not exist"),
        ("/nodes/pve/storage/nosuch/content", "storage 'nosuch' does not exist"),
        ("/pools/none", "pool 'none' does not exist"),
        ("/access/users/nope@pve", "no such user ('nope@pve')"),
        ("/access/roles/Nope", "role 'Nope' does not exist"),
    ] {
        let answer = root.get(path).await;
        answer.failed(500, message);
        assert_eq!(answer.json["message"], format!("{message}\n"));
        assert_eq!(answer.headers["connection"], "close");
    }
    let answer = root.get("/nodes/nosuch/status").await;
    assert!(answer.reason.starts_with("hostname lookup 'nosuch' failed"), "{}", answer.reason);
}

/// F7, rec 354, 355, 361, 362: what is not there is 501 with method and path, without a newline in the body.
#[tokio::test]
async fn f7_unknown_paths_and_methods_are_501() {
    let server = Server::start();
    let root = server.root().await;
    let answer = root.get("/nosuch").await;
    answer.failed(501, "Method 'GET /nosuch' not implemented");
    assert_eq!(answer.json["message"], "Method 'GET /nosuch' not implemented");
    root.post("/version", &[]).await.failed(501, "Method 'POST /version' not implemented");
    let answer = root.send("PATCH", "/nodes/pve/lxc/101/config", Some(("", "memory=1".into()))).await;
    assert_eq!((answer.status, answer.reason.as_str()), (501, "method 'PATCH' not available"));
    assert_eq!(answer.body, "");
    assert_eq!(root.send("HEAD", "/version", None).await.reason, "method 'HEAD' not available");
}

/// F8, rec 87, 359: every bad parameter at once, on GET too.
#[tokio::test]
async fn f8_all_bad_parameters_are_named_at_once() {
    let server = Server::start();
    let root = server.root().await;
    let answer = root.post("/nodes/pve/lxc", &[("bogus", "1"), ("memory", "abc")]).await;
    let not_defined = "property is not defined in schema and the schema does not allow additional properties";
    answer.bad_parameter("bogus", not_defined);
    answer.bad_parameter("memory", "type check ('integer') failed - got 'abc'");
    answer.bad_parameter("vmid", "property is missing and it is not optional");
    answer.bad_parameter("ostemplate", "property is missing and it is not optional");
    root.get("/version?foo=1").await.bad_parameter("foo", not_defined);
}

/// F9, rec 812, 8, 68: answers of the worker daemon close the connection, and carry two Connection headers.
#[tokio::test]
async fn f9_protected_answers_close_the_connection() {
    let server = Server::start();
    let root = server.root().await;
    let answer = root.get("/nodes/pve/lxc").await;
    let all: Vec<_> = answer.headers.get_all("connection").iter().collect();
    assert_eq!(all, ["close", "Keep-Alive"]);
    assert_eq!(root.get("/version").await.headers["connection"], "Keep-Alive");
}

/// F10, rec 357, 358: a body on DELETE or GET is refused in plain text.
#[tokio::test]
async fn f10_a_body_on_delete_or_get_is_refused() {
    let server = Server::start();
    let root = server.root().await;
    for method in ["DELETE", "GET"] {
        let answer = root.send(method, "/nodes/pve/lxc/999", Some(("", "purge=1".into()))).await;
        let text = format!("Unexpected content for method '{method}'");
        assert_eq!((answer.status, &answer.reason, &answer.body), (501, &text, &text));
    }
}

/// F11, rec 365–368, 820: formats, content types and sizes that are refused before anything else.
#[tokio::test]
async fn f11_bodies_that_are_refused() {
    let server = Server::start();
    let root = server.root().await;
    let answer = root.send("POST", "/pools", Some(("text/xml", "<x/>".into()))).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (506, "upload 'Content-Type 'text/xml' not implemented")
    );
    let answer = root.send("POST", "/pools", Some(("application/json", "{\"poolid\": broken".into()))).await;
    assert_eq!(answer.status, 500);
    assert!(answer.reason.starts_with("malformed JSON string"), "{}", answer.reason);
    let answer = root.send("POST", "/pools", Some(("", "x".repeat(600 * 1024)))).await;
    assert_eq!((answer.status, answer.reason.as_str()), (501, "for data too large"));
    root.send("POST", "/pools", Some(("", "poolid=nct".into()))).await.ok();
    let answer = root.get("/api2/xml/version").await;
    assert_eq!((answer.status, answer.body.as_str()), (501, "no formatter for uri /version, xml"));
}

/// F12, rec 370, 1029: `;` separates pairs, and a second `=` ends the value.
#[tokio::test]
async fn f12_unencoded_characters_in_a_form_are_lost() {
    let server = Server::start();
    let root = server.root().await;
    let form = |text: &str| Some(("application/x-www-form-urlencoded", text.to_owned()));
    root.send("POST", "/pools", form("poolid=eq1&comment=a=b=c")).await.ok();
    assert_eq!(root.get("/pools?poolid=eq1").await.ok()[0]["comment"], "a");
    let answer = root.send("POST", "/pools", form("poolid=pq&comment=a;c")).await;
    assert!(answer.json["errors"]["c"].is_string(), "{}", answer.body);
}

/// F13, rec 373, 376: the query overrides the body, nothing overrides the path.
#[tokio::test]
async fn f13_query_beats_body_and_path_beats_both() {
    let server = Server::start();
    let root = server.root().await;
    root.post("/pools?poolid=queryname", &[("poolid", "bodyname")]).await.ok();
    assert_eq!(root.get("/pools").await.ok()[0]["poolid"], "queryname");
    let answer = root.put("/nodes/pve/lxc/101/config", &[("vmid", "102"), ("memory", "128")]).await;
    answer.bad_parameter("vmid", "duplicate parameter (already defined in URI) with conflicting values!");
}

/// F14, F15, rec 377–383: JSON bodies with booleans, numbers and lists; null is accepted and corrupts the configuration.
#[tokio::test]
async fn f15_json_null_corrupts_the_configuration() {
    let server = Server::start();
    let root = server.root().await;
    server.restored(&root, 100).await;
    let body = |text: &str| Some(("application/json", text.to_owned()));
    let path = "/nodes/pve/lxc/100/config";
    root.send("PUT", path, body(r#"{"onboot": true, "memory": 200, "tags": ["y", "x"]}"#)).await.ok();
    let config = root.get(path).await.ok();
    assert_eq!((config["onboot"].as_u64(), config["memory"].as_u64()), (Some(1), Some(200)));
    assert_eq!(config["tags"], "x;y");
    root.put(path, &[("onboot", "yes")])
        .await
        .bad_parameter("onboot", "type check ('boolean') failed - got 'yes'");
    root.send("PUT", path, body(r#"{"memory": null}"#)).await.ok();
    assert_eq!(root.get(path).await.ok()["memory"], " ");
    assert_eq!(root.get("/nodes/pve/lxc/100/status/current").await.ok()["maxmem"], 0);
}

/// F16, rec 20, 24, 27, 63: a token's fields come back as they were sent, and as numbers when read; nextid is a string.
#[tokio::test]
async fn f16_types_drift() {
    let server = Server::start();
    let root = server.root().await;
    let made = root.post("/access/users/root@pam/token/a1", &[("privsep", "0"), ("comment", "t")]).await.ok();
    assert_eq!(made["info"], serde_json::json!({"privsep": "0", "comment": "t"}));
    let made = root.post("/access/users/root@pam/token/b2", &[]).await.ok();
    assert_eq!(made["info"], serde_json::json!({"privsep": 1}));
    let all = root.get("/access/users/root@pam/token").await.ok();
    assert_eq!(all[0], serde_json::json!({"tokenid": "a1", "privsep": 0, "expire": 0, "comment": "t"}));
    assert_eq!(root.get("/cluster/nextid").await.ok(), "100");
}

/// F19, rec 363, 364: the extjs format always answers 200.
#[tokio::test]
async fn f19_extjs_answers_200() {
    let server = Server::start();
    let root = server.root().await;
    assert_eq!(root.get("/api2/extjs/version").await.json["success"], 1);
    let answer = root.get("/api2/extjs/nodes/pve/lxc/999/config").await;
    assert_eq!(
        (answer.status, &answer.json["success"], &answer.json["status"]),
        (200, &0.into(), &500.into())
    );
}

/// A ticket stands in for the password when it is renewed, and the root's password is the one in the file.
#[tokio::test]
async fn a_ticket_can_be_renewed() {
    let server = Server::start();
    let form = [("username", "root@pam"), ("password", PASSWORD)];
    let first = server.nobody().post("/access/ticket", &form).await.ok();
    let form = [("username", "root@pam"), ("password", first["ticket"].as_str().unwrap())];
    server.nobody().post("/access/ticket", &form).await.ok();
}
