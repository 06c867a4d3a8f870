//! F66: uploads of templates and ISO images, the only bodies in several parts.

use std::fs;

use serde_json::json;

use crate::server::{Caller, Server};

const PATH: &str = "/nodes/pve/storage/local/upload";
const KIND: &str = "multipart/form-data; boundary=b0undary";

fn part(name: &str, file: Option<&str>, text: &str) -> String {
    let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
    format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
}

fn body(content: &str, file: &str, text: &str, more: &[(&str, &str)]) -> String {
    let more = more.iter().map(|(name, value)| part(name, None, value)).collect::<String>();
    format!("{}{more}{}--b0undary--\r\n", part("content", None, content), part("filename", Some(file), text))
}

fn left(server: &Server) -> usize {
    fs::read_dir(server.state().join("var/tmp")).map_or(0, |all| {
        all.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("pveupload-")).count()
    })
}

async fn sent(caller: &Caller, body: String) -> crate::server::Answer {
    caller.send("POST", PATH, Some((KIND, body))).await
}

/// rec 824–827, 830: a template of any size comes in, and its task copies it.
#[tokio::test]
async fn f66_a_template_is_uploaded() {
    let server = Server::start();
    let root = server.root().await;
    let text = "x".repeat(2 << 20);
    let sum = "b7e0d1bd8d0bb8a1ee5d4a6c1bff4a37";
    let upid = sent(&root, body("vztmpl", "up_1.0_amd64.tar.zst", &text, &[])).await.upid();
    assert!(upid.contains(":imgcopy::root@pam:"), "{upid}");
    assert_eq!(root.wait(&upid).await, "OK");
    let log = root.log(&upid).await;
    assert!(log[0].starts_with("starting file import from: /var/tmp/pveupload-"), "{log:#?}");
    let target = "/var/lib/vz/template/cache/up_1.0_amd64.tar.zst";
    assert_eq!(log[1..4], ["target node: pve", &format!("target file: {target}"), "file size is: 2097152"]);
    assert!(log[4].starts_with("command: cp -- ") && log[4].ends_with(target), "{log:#?}");
    assert_eq!(log[5..], ["finished file import successfully", "TASK OK"]);
    let volumes = root.get("/nodes/pve/storage/local/content?content=vztmpl").await.ok();
    assert_eq!(
        (&volumes[0]["volid"], &volumes[0]["size"], &volumes[0]["format"]),
        (&json!("local:vztmpl/up_1.0_amd64.tar.zst"), &json!(2 << 20), &json!("tzst"))
    );
    // Unrecorded: PVE/API2/Storage/Status.pm:620–634 of pve-storage 9.
    let wrong = [("checksum-algorithm", "sha256"), ("checksum", sum)];
    let upid = sent(&root, body("iso", "a.iso", "text", &wrong)).await.upid();
    let status = root.wait(&upid).await;
    assert!(
        status.starts_with("checksum mismatch: got '982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a"),
        "{status}"
    );
    assert_eq!(left(&server), 0);
}

/// rec 829: backups cannot be uploaded; a name stays in its folder.
#[tokio::test]
async fn f66_what_cannot_be_uploaded() {
    let server = Server::start();
    let root = server.root().await;
    let text = "value 'backup' does not have a value in the enumeration 'iso, vztmpl, import'";
    let name = "vzdump-lxc-999-2026_01_01-00_00_00.tar.zst";
    sent(&root, body("backup", name, "x", &[])).await.bad_parameter("content", text);
    sent(&root, body("iso", "x.txt", "x", &[])).await.bad_parameter("filename", "wrong file extension");
    let upid = sent(&root, body("iso", "../../../../etc/x.iso", "x", &[])).await.upid();
    assert_eq!(root.wait(&upid).await, "OK");
    assert!(server.state().join("var/lib/vz/template/iso/x.iso").exists());
    root.post(PATH, &[("content", "iso"), ("filename", "a.iso")])
        .await
        .failed(500, "missing temporary file name");
    assert_eq!(left(&server), 0, "what was sent and refused is gone");
}

/// rec 828: without Datastore.AllocateTemplate the connection ends without a word; so it does for a body that breaks off.
#[tokio::test]
async fn f66_who_may_not_upload_is_dropped() {
    let server = Server::start();
    let root = server.root().await;
    let tenant = server.tenant(&root, "Datastore.AllocateSpace", &["/storage/local"]).await;
    let whole = body("iso", "a.iso", "x", &[]);
    assert!(tenant.try_send("POST", PATH, Some((KIND, whole.clone()))).await.is_err());
    let broken = whole.replace("--b0undary--", "--b0und");
    assert!(root.try_send("POST", PATH, Some((KIND, broken))).await.is_err());
    assert_eq!(left(&server), 0);
}
