//! The app as a process, spoken to over HTTP.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dir: &Path) -> Running {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(env!("CARGO_BIN_EXE_sample-app"))
        .current_dir(dir)
        .envs([("HOST", "127.0.0.1"), ("HEALTH_NONCE", "abc123")])
        .env("PORT", port.to_string())
        .spawn()
        .unwrap();
    Running { child, url: format!("http://127.0.0.1:{port}") }
}

async fn healthy(app: &Running) -> reqwest::Response {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match reqwest::get(format!("{}/health", app.url)).await {
            Ok(answer) => return answer,
            Err(e) => assert!(Instant::now() < deadline, "never healthy: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn data_survives_a_restart_and_sigterm_ends_it_with_status_0() {
    let dir = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let photo = vec![7_u8; 3_000_000];

    let mut app = start(dir.path());
    assert_eq!(healthy(&app).await.headers()["x-health-nonce"], "abc123");
    let made =
        http.post(format!("{}/notes", app.url)).json(&serde_json::json!({ "text": "tej" })).send().await;
    assert_eq!(made.unwrap().status(), 201);
    let put = http.put(format!("{}/files/nyar.jpg", app.url)).body(photo.clone()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let bad = http.put(format!("{}/files/.hidden", app.url)).body("x").send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let ended = Command::new("kill").args(["-TERM", &app.child.id().to_string()]).status().unwrap();
    assert!(ended.success());
    assert!(app.child.wait().unwrap().success());
    drop(app);

    let app = start(dir.path());
    healthy(&app).await;
    let notes = reqwest::get(format!("{}/notes", app.url)).await.unwrap().text().await.unwrap();
    assert_eq!(notes, r#"[{"id":1,"text":"tej"}]"#);
    let list: serde_json::Value =
        reqwest::get(format!("{}/files", app.url)).await.unwrap().json().await.unwrap();
    assert_eq!(list[0]["name"], "nyar.jpg");
    assert_eq!(list[0]["bytes"], photo.len());
    let back = reqwest::get(format!("{}/files/nyar.jpg", app.url)).await.unwrap().bytes().await.unwrap();
    assert_eq!(back, photo);
    assert_eq!(reqwest::get(format!("{}/files/none", app.url)).await.unwrap().status(), 404);
}
