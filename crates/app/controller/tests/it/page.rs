//! The page and its JSON.

use crate::guest::Guest;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_app_in_both_languages() {
    let mut guest = Guest::new();
    guest.link_up();
    guest.start();
    guest.healthy();
    let url = format!("http://{}:8080", guest.net0);
    let http = reqwest::Client::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let hu = loop {
        let page = http.get(&url).send().await.unwrap().text().await.unwrap();
        if page.contains("</span> Fut</p>") {
            break page;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(hu.contains("<html lang=\"hu\">") && hu.contains("Jegyzetek"));
    assert!(hu.contains(&format!("href=\"http://{}:8081\"", guest.net0)));
    let english = http.get(&url).header("accept-language", "en-US,hu;q=0.1").send().await.unwrap();
    assert!(english.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let english = english.text().await.unwrap();
    assert!(english.contains("Notes") && english.contains("has not given this machine its access yet"));
    let status: serde_json::Value =
        http.get(format!("{url}/api/status")).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["apps"][0]["state"], "running");
    assert_eq!(status["apps"][0]["name"]["hu"], "Jegyzetek");
    assert!(status["backup"].is_null() && status["proofs"]["proven"].is_null());
    for file in ["/style.css", "/refresh.js"] {
        assert!(http.get(format!("{url}{file}")).send().await.unwrap().status().is_success());
    }
    guest.stop();
}
