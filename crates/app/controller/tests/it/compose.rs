//! Compose files are run exactly as written or refused by name.

use crate::guest::{COMPOSE, Guest, MANIFEST};
use felhom_controller::app::{Catalogue, Compose, service::Restart};
use std::time::Duration;

fn refusal(from: &str, to: &str) -> String {
    assert!(COMPOSE.contains(from));
    Compose::parse("/opt/felhom/apps/notes/compose.yaml", &COMPOSE.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn the_supported_part_is_read() {
    let compose = Compose::parse("c", COMPOSE).unwrap();
    let web = compose.service("web").unwrap();
    assert_eq!(web.command[0], "app");
    assert_eq!(web.environment["DATA_DIR"], "data");
    assert_eq!((web.ports[0].published, web.ports[0].target), (8081, 8090));
    assert_eq!((web.restart, web.stop_grace), (Restart::Always, Duration::from_secs(5)));
    assert_eq!((web.mounts[0].volume.as_str(), web.mounts[0].target.as_str()), ("data", "/data"));
    let curl =
        "restart: always\n    healthcheck: { test: [CMD, curl, -f, 'http://localhost:8090/h'], retries: 2 }";
    let compose = Compose::parse("c", &COMPOSE.replace("restart: always", curl)).unwrap();
    let health = compose.services[0].health.as_ref().unwrap();
    assert_eq!((health.port, health.path.as_str(), health.retries), (8090, "/h", 2));
}

#[test]
fn an_unsupported_key_is_refused_with_file_service_and_key() {
    for key in [
        "privileged: true",
        "network_mode: host",
        "user: root",
        "cap_add: [ALL]",
        "deploy: {}",
        "env_file: x",
    ] {
        let text = refusal("restart: always", &format!("restart: always\n    {key}"));
        let name = key.split(':').next().unwrap();
        assert!(text.contains("/opt/felhom/apps/notes/compose.yaml: service `web`: `"), "{text}");
        assert!(text.contains(&format!("`{name}` is not supported")), "{text}");
    }
    let top = refusal("volumes:\n  data:", "networks: {}\nvolumes:\n  data:");
    assert!(top.contains("`networks` is not supported"), "{top}");
    let nested = refusal("volumes:\n  data:\n", "volumes:\n  data: { driver: local }\n");
    assert!(nested.contains("`volumes.data.driver` is not supported"), "{nested}");
}

#[test]
fn values_that_would_mean_something_else_are_refused() {
    let cases = [
        (r#"["data:/data"]"#, r#"["/etc:/data"]"#, "binds"),
        (r#"["data:/data"]"#, r#"["data:/data:ro"]"#, "mode `ro`"),
        (r#"["data:/data"]"#, r#"["data:/a/../b"]"#, "no absolute path"),
        (r#"["8081:8090"]"#, r#"["127.0.0.1:8081:8090"]"#, "host address"),
        (r#"["8081:8090"]"#, r#"["8090"]"#, "no fixed port"),
        ("- DATA_DIR=data", "- DATA_DIR=${HOME}", "variable"),
        ("- DATA_DIR=data", "- DATA_DIR=/data/x", "relative to working_dir"),
        (r#""app", "#, r#""app", "--dir=/data", "#, "relative to working_dir"),
        ("restart: always", "restart: yes", "must be a text"),
        ("restart: always", "restart: sometimes", "no restart policy"),
        ("stop_grace_period: 5s", "stop_grace_period: 5", "must be a text"),
        ("restart: always", "restart: always\n    restart: always", "duplicate"),
        ("restart: always", "restart: always\n    healthcheck: { test: [CMD, pg_isready] }", "pg_isready"),
        ("restart: always", "restart: always\n    depends_on: [db]", "which is not there"),
    ];
    for (from, to, expected) in cases {
        let text = refusal(from, to);
        // YAML 1.2 knows no `yes`, so it is a text like any other and no restart policy.
        let fits = text.contains(expected) || (to == "restart: yes" && text.contains("no restart policy"));
        assert!(fits, "{to}: {text}");
    }
}

#[test]
fn both_files_must_fit_together() {
    let guest = Guest::empty();
    let load = |manifest: &str| {
        let _ = std::fs::remove_dir_all(guest.root.join("opt"));
        guest.install("notes", COMPOSE, manifest);
        Catalogue::new(guest.paths(), vec![8080]).load(&"notes".parse().unwrap()).map_err(|e| e.to_string())
    };
    assert!(load(MANIFEST).is_ok());
    let cases = [
        ("class: app", "class: bulk", "is `bulk`"),
        ("data: { class: app }", "other: { class: app }", "no volume here"),
        ("felhom.app/v1", "felhom.app/v2", "felhom.app/v1"),
        ("path: notes.db", "path: ../notes.db", "no path inside a volume"),
        ("ingress: { service: web", "ingress: { service: db", "not in the compose file"),
        ("consistency: frozen", "consistency: maybe", "maybe"),
        ("consistency: frozen", "consistency: frozen\ncolour: red", "colour"),
    ];
    for (from, to, expected) in cases {
        let text = load(&MANIFEST.replace(from, to)).unwrap_err();
        assert!(
            text.contains("/opt/felhom/apps/notes/felhom.yaml") && text.contains(expected),
            "{to}: {text}"
        );
    }
    let _ = std::fs::remove_dir_all(guest.root.join("opt"));
    guest.install("notes", &COMPOSE.replace("8081:8090", "8080:8090"), MANIFEST);
    let text =
        Catalogue::new(guest.paths(), vec![8080]).load(&"notes".parse().unwrap()).unwrap_err().to_string();
    assert!(text.contains("port 8080 is the controller's own"), "{text}");
}
