//! The probe believes nobody.

use crate::guest::Guest;
use felhom_protocol::probe::{ProbeRequest, SampleId};
use std::fs;

fn sample(path: &str) -> SampleId {
    SampleId {
        app: "notes".parse().unwrap(),
        volume: "data".into(),
        path: path.into(),
        offset: None,
        length: None,
    }
}

fn ask(samples: Vec<SampleId>) -> ProbeRequest {
    ProbeRequest { nonce: "q".into(), wait_ms: 30_000, samples }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_and_a_damaged_database_are_found() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    guest.add_data("tej", "a.bin", &[1; 100_000]).await;
    let before = guest.probe(&ask(vec![sample("files/a.bin"), sample("files/none"), sample("../../x")]));
    assert_eq!(before.nonce, "q");
    assert!(before.apps[0].databases[0].ok && before.apps[0].databases[0].detail == "ok");
    assert_eq!(before.apps[0].databases[0].name, "data/notes.db");
    assert!(before.samples[0].digest.is_some());
    assert!(before.samples[1].digest.is_none() && before.samples[1].message.is_some());
    assert!(before.samples[2].message.as_ref().unwrap().contains("leaves its volume"));
    guest.stop();

    let mut bytes = fs::read(guest.data().join("files/a.bin")).unwrap();
    bytes[50_000] ^= 1;
    fs::write(guest.data().join("files/a.bin"), bytes).unwrap();
    let mut db = fs::read(guest.data().join("notes.db")).unwrap();
    let page = db.len() - 4096;
    db[page..page + 200].fill(0xff);
    fs::write(guest.data().join("notes.db"), db).unwrap();
    guest.start();
    let after = guest.probe(&ask(vec![sample("files/a.bin")]));
    assert_ne!(after.samples[0].digest, before.samples[0].digest);
    assert!(!after.apps[0].databases[0].ok, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_another_instance_is_not_accepted() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    // A copy whose own app listens elsewhere, asked at the live twin's address.
    let mut copy = guest.restored_copy();
    copy.lo = guest.lo;
    copy.start();
    let answer = copy.probe(&ProbeRequest { nonce: "q".into(), wait_ms: 1500, samples: vec![] });
    assert!(!answer.apps[0].healthy);
    let why = answer.apps[0].message.clone().unwrap();
    assert!(why.contains("answered by another instance") || why.contains("does not run"), "{why}");
    assert!(guest.healthy().apps[0].healthy);
}

#[test]
fn without_a_controller_there_is_no_answer() {
    let guest = Guest::new();
    let output = guest.call(&["probe", "--json"], r#"{"nonce":"q"}"#);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the controller does not run in this guest"));
    let output = guest.call(&["probe", "--json"], "nonsense");
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input"));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_read_without_a_network_and_never_outside_a_volume() {
    let mut guest = Guest::new();
    guest.start();
    guest.healthy();
    guest.add_data("kenyér", "a.bin", b"abc").await;
    assert_eq!(guest.call(&["read", "notes/data/files/a.bin"], "").stdout, b"abc");
    let absolute = guest.call(&["read", "/var/lib/felhom/volumes/notes_data/files/a.bin"], "");
    assert_eq!(absolute.stdout, b"abc");
    let rows = guest.call(&["read", "--rows", "notes/data/notes.db"], "").stdout;
    assert_eq!(String::from_utf8(rows).unwrap(), "{\"note\":[{\"id\":1,\"text\":\"kenyér\"}]}\n");
    let digest = guest.call(&["read", "--digest", "notes/data/files/a.bin"], "").stdout;
    assert!(String::from_utf8(digest).unwrap().contains("sha256:ba7816bf"));
    std::os::unix::fs::symlink("/etc/passwd", guest.data().join("files/link")).unwrap();
    for bad in ["notes/data/files/link", "notes/data/../x", "/etc/passwd", "notes/data/none"] {
        let output = guest.call(&["read", bad], "");
        assert!(!output.status.success() && output.stdout.is_empty(), "{bad}");
    }
}
