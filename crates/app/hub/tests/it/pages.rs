//! The pages as a browser meets them: login, forms, what is shown, what is never shown.

use reqwest::{Response, StatusCode, header};
use serde_json::json;

use crate::sample;
use crate::support::{Hub, PASSWORD, eventually};

/// A browser with one cookie jar.
pub(crate) struct Browser<'a> {
    hub: &'a Hub,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        Self { hub, cookies: Vec::new() }
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let line: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        request.header(header::COOKIE, line.join("; "))
    }

    fn keep(&mut self, response: &Response) {
        for line in response.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            for part in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
                assert!(line.contains(part), "{line}");
            }
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{name}");
            self.cookies.retain(|(kept, _)| kept != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response =
            self.request(self.hub.http.get(format!("{}{path}", self.hub.url))).send().await.unwrap();
        self.keep(&response);
        (response.status(), response.text().await.unwrap())
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = self.request(self.hub.http.post(format!("{}{path}", self.hub.url)));
        let response = request.header(header::ORIGIN, &self.hub.url).form(fields).send().await.unwrap();
        self.keep(&response);
        response
    }

    async fn login(&mut self, name: &str, secret: &str) -> Response {
        let (_, page) = self.get("/login?next=/boxes/kovacs").await;
        let form = field(&page, "form");
        self.post("/login", &[("form", &form), ("name", name), ("secret", secret), ("next", "/boxes/kovacs")])
            .await
    }

    pub(crate) async fn logged_in(hub: &'a Hub) -> Self {
        let mut browser = Self::new(hub);
        let response = browser.login("ada", PASSWORD).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        browser
    }
}

/// The value of a hidden field.
fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let from = page.find(&start).expect(name) + start.len();
    page[from..].split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_is_shown_before_the_login() {
    let hub = Hub::new();
    let mut browser = Browser::new(&hub);
    for (path, to) in [("/", "/login"), ("/boxes/home", "/login?next=/boxes/home")] {
        let response = hub.http.get(format!("{}{path}", hub.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(response.headers()[header::LOCATION], to);
    }
    let live = hub.http.get(format!("{}/boxes/home/live", hub.url)).header("hx-request", "true");
    let response = live.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["hx-redirect"], "/login");
    let response = browser.post("/boxes/home/jobs", &[("kind", "backup_guest")]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let (status, page) = browser.get("/login").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<label for=\"secret\">"));
}

#[tokio::test]
async fn password_and_token_log_in_and_logout_ends_the_session() {
    let hub = Hub::new();
    for secret in [PASSWORD, &hub.token] {
        let mut browser = Browser::new(&hub);
        let response = browser.login("ada", secret).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[header::LOCATION], "/boxes/kovacs");
        let (status, page) = browser.get("/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("No boxes yet"), "{page}");
        let stolen = browser.cookies.clone();
        let response = browser.post("/logout", &[("csrf", &field(&page, "csrf"))]).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        browser.cookies = stolen;
        assert_eq!(browser.get("/").await.0, StatusCode::SEE_OTHER, "the old cookie is void");
    }
}

#[tokio::test]
async fn wrong_logins_are_refused_alike_and_slowed_down() {
    let hub = Hub::new();
    let mut browser = Browser::new(&hub);
    let mut pages = Vec::new();
    for name in ["ada", "bob"] {
        let response = browser.login(name, "wrong horse battery").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let page = response.text().await.unwrap();
        assert!(!page.contains("wrong horse"), "a secret is never sent back");
        pages.push(page.replace(name, "NAME").replace(&field(&page, "form"), "FORM"));
    }
    assert_eq!(pages[0], pages[1], "a known and an unknown name look the same");
    let mut last = StatusCode::OK;
    for _ in 0..9 {
        last = browser.login("ada", "wrong horse battery").await.status();
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(browser.login("ada", PASSWORD).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        browser.login("ada", &hub.token).await.status(),
        StatusCode::SEE_OTHER,
        "a token cannot be guessed"
    );
}

#[tokio::test]
async fn forms_of_other_sites_and_sessions_are_refused() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    drop(home);
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/kovacs").await;
    let csrf = field(&page, "csrf");
    let guest = "00000000-0000-4000-8000-000000000001";
    let fields =
        |csrf: &str| [("csrf", csrf.to_owned()), ("kind", "backup_guest".into()), ("guest", guest.into())];
    let url = format!("{}/boxes/kovacs/jobs", hub.url);
    let request = browser.request(hub.http.post(&url)).header(header::ORIGIN, "https://evil.example");
    let response = request.form(&fields(&csrf)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let request = browser.request(hub.http.post(&url)).header("sec-fetch-site", "cross-site");
    assert_eq!(request.form(&fields(&csrf)).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let request = browser.request(hub.http.post(&url));
    assert_eq!(request.form(&fields("0000")).send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(hub.get("/boxes/kovacs/jobs").await, json!([]), "nothing was asked of the box");
    let request = browser.request(hub.http.post(&url)).header(header::ORIGIN, &hub.url);
    let response = request.form(&fields(&csrf)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let jobs = hub.get("/boxes/kovacs/jobs").await;
    assert_eq!((&jobs[0]["kind"], &jobs[0]["author"]), (&json!("backup_guest"), &json!("ada")));
    // A login form without its cookie is somebody else's.
    let (_, page) = Browser::new(&hub).get("/login").await;
    let form = field(&page, "form");
    let response =
        Browser::new(&hub).post("/login", &[("form", &form), ("name", "ada"), ("secret", PASSWORD)]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_answer_to_people_carries_the_security_headers() {
    let hub = Hub::new();
    for path in ["/login", "/", "/nowhere", "/assets/felhom.css", "/assets/nothing.css", "/api/v1/boxes"] {
        let response = hub.http.get(format!("{}{path}", hub.url)).send().await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let page = response.text().await.unwrap();
        assert!(
            !page.contains("<script>") && !page.contains("style=\"") && !page.contains("onclick"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_fleet_is_sorted_by_risk() {
    let hub = Hub::new();
    sample::fleet(&hub).await;
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/").await;
    let place = |name: &str| page.find(&format!("/boxes/{name}\"")).expect(name);
    assert!(place("toth") < place("nagy") && place("nagy") < place("varga"), "danger, attention, waiting");
    assert!(place("varga") < place("kovacs"), "fine is last");
    assert!(page.contains("5 boxes: 1 in danger, 2 to look at, 1 waiting, 1 fine"), "{page}");
    assert!(page.contains("waits for enrolment") && page.contains("<caption"));
}

#[tokio::test]
async fn a_box_shows_refusals_with_their_evidence_and_what_proves_its_backups() {
    let hub = Hub::new();
    sample::fleet(&hub).await;
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/szabo").await;
    for words in [
        "Refused by the box",
        "not a tombstone",
        "reclaim_guest",
        "2000",
        "there is no operation <code>destroy_guest</code>",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let (_, page) = browser.get("/boxes/kovacs").await;
    for words in
        ["proven L4", "212 ms", "64 of 64 files equal", "Signed with the attestation key", "quiesced"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("Refused by the box"));
    let (_, page) = browser.get("/boxes/toth").await;
    for words in
        ["proves nothing", "differs from its digest", "needs operator", "database is locked", "differs"]
    {
        assert!(page.contains(words), "{words}");
    }
    let (_, page) = browser.get("/boxes/nagy").await;
    assert!(page.contains("126.0 MiB of 400.0 MiB (31 %)"), "{page}");
    let (_, page) = browser.get("/boxes/varga").await;
    assert!(page.contains("felhom-agent enroll -"), "{page}");
    let (status, page) = browser.get("/boxes/nobody").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("no box of this name"));
}

#[tokio::test]
async fn an_operation_that_the_box_forgot_does_not_run_for_ever() {
    let hub = Hub::new();
    let home = sample::at_work(&hub).await;
    home.tell(&hub, crate::support::empty_report()).await;
    let (_, page) = Browser::logged_in(&hub).await.get("/boxes/nagy").await;
    assert!(page.contains("no longer reported") && !page.contains("<progress"), "{page}");
}

#[tokio::test]
async fn only_sections_that_changed_are_sent() {
    let hub = Hub::new();
    let home = sample::at_work(&hub).await;
    let mut browser = Browser::logged_in(&hub).await;
    let (_, page) = browser.get("/boxes/nagy").await;
    let seen: Vec<String> = page
        .split("class=\"seen\" name=\"")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"").unwrap();
            format!("{name}={}", rest.split('"').next().unwrap())
        })
        .collect();
    assert!(seen.len() > 8, "{seen:?}");
    let live = format!("/boxes/nagy/live?{}", seen.join("&"));
    // The head shows when the box was seen last, which nothing changed since.
    assert_eq!(browser.get(&live).await.0, StatusCode::NO_CONTENT);
    home.tell(&hub, sample::at_work_report(200)).await;
    let (status, fragment) = browser.get(&live).await;
    assert_eq!(status, StatusCode::OK);
    assert!(fragment.contains("200.0 MiB of 400.0 MiB (50 %)"), "{fragment}");
    assert!(fragment.contains("hx-swap-oob=\"true\"") && !fragment.contains("id=\"storages\""), "{fragment}");
}

#[tokio::test]
async fn what_a_box_says_is_never_markup() {
    let hub = Hub::new();
    let home = hub.enrolled("kovacs", 1).await;
    let evil = "<img src=x onerror=alert(1)>";
    let mut report = crate::support::empty_report();
    report.agent_version = evil.into();
    report.conditions = serde_json::from_value(json!([
        {"type": evil, "status": "false", "reason": evil, "message": evil, "since": "2026-01-01T00:00:00Z"}
    ]))
    .unwrap();
    report.guests = serde_json::from_value(json!([{
        "uuid": null, "vmid": 2000, "name": "family", "purpose": evil, "provenance": evil, "power": evil,
        "cores": 1, "memory_mib": 1, "swap_mib": 0, "addresses": [evil],
        "heartbeat": {"version": evil, "slot": evil, "url": "javascript:alert(1)",
            "apps": [{"app": "notes", "state": evil, "url": "javascript:alert(2)", "message": evil}]}
    }]))
    .unwrap();
    home.tell(&hub, report).await;
    let mut browser = Browser::logged_in(&hub).await;
    for path in ["/", "/boxes/kovacs"] {
        let (_, page) = browser.get(path).await;
        assert!(!page.contains("<img") && !page.contains("javascript:"), "{path}");
    }
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let hub = Hub::with(&[("FELHOM_HUB_SESSION_S", "1")]);
    let mut browser = Browser::logged_in(&hub).await;
    eventually("the session ends", async || browser.get("/").await.0 == StatusCode::SEE_OTHER).await;
}

/// `cargo nextest run -p felhom-hub --run-ignored only -E 'test(look)' --no-capture` and a browser.
#[tokio::test]
#[ignore = "serves sample data until it is ended, for looking at the pages"]
async fn look() {
    let hub = Hub::new();
    let at_work = sample::fleet(&hub).await;
    let session = Browser::logged_in(&hub).await.cookies;
    let empty = Hub::new();
    let other = Browser::logged_in(&empty).await.cookies;
    println!("empty {} {:?}", empty.url, other[0].1);
    println!("{} operator ada, password {PASSWORD}, cookies {session:?}", hub.url);
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    for mib in (0..400).step_by(4).cycle() {
        tokio::select! {
            _ = ticks.tick() => { at_work.tell(&hub, sample::at_work_report(mib)).await; }
            _ = tokio::signal::ctrl_c() => return,
        }
    }
}

#[tokio::test]
async fn a_refusal_stays_a_reason_when_the_box_no_longer_repeats_it() {
    let hub = Hub::new();
    let home = sample::refused(&hub).await;
    let reasons = async || hub.get("/boxes/szabo").await["reasons"].to_string();
    assert!(reasons().await.contains("reclaim_guest"), "{}", reasons().await);
    // An agent that was started again reports what runs, and nothing of what was.
    home.tell(&hub, crate::support::empty_report()).await;
    assert!(reasons().await.contains("reclaim_guest"), "{}", reasons().await);
}
