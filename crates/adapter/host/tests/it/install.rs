//! Our own files at the places that are ours, and the host's tools with exact arguments.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use felhom_host::{Host, Roots, UserIds};
use felhom_model::Digest;

use crate::programs::host;

fn at(dir: &Path, script: &str) -> Host {
    host(dir, script).with_roots(Roots::below(&dir.join("root")))
}

#[test]
fn files_are_written_at_our_places_only() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path(), "");
    let unit = Path::new("/etc/systemd/system/felhom-agent.service");
    assert_eq!(host.own_digest(unit).unwrap(), None);
    host.place_own(unit, b"one", 0o644).unwrap();
    host.place_own(unit, b"two", 0o640).unwrap();
    assert_eq!(host.own_digest(unit).unwrap(), Some(Digest::of(b"two")));
    let there = dir.path().join("root/etc/systemd/system/felhom-agent.service");
    assert_eq!(fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(there.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    host.remove_own(unit).unwrap();
    host.remove_own(unit).unwrap();
    assert!(!there.exists());
    for other in [
        "/etc/passwd",
        "/etc/felhom",
        "/etc/felhom/../passwd",
        "/etc/systemd/system/ssh.service",
        "/etc/systemd/system/felhom-x/y",
        "/usr/local/bin/other",
        "/var/lib/felhom/executor/executor.db",
    ] {
        let refused = host.place_own(Path::new(other), b"x", 0o644).unwrap_err().to_string();
        assert!(refused.contains("not on the list"), "{other}: {refused}");
        assert!(host.remove_own(Path::new(other)).is_err(), "{other}");
    }
}

#[test]
fn a_link_is_replaced_and_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path(), "");
    let link = Path::new("/usr/local/bin/felhom-agent");
    host.link_own(link, Path::new("/opt/felhom/a")).unwrap();
    host.link_own(link, Path::new("/opt/felhom/b")).unwrap();
    assert_eq!(host.own_link(link).unwrap().as_deref(), Some(Path::new("/opt/felhom/b")));
    host.remove_own(link).unwrap();
    let place = dir.path().join("root/usr/local/bin/felhom-agent");
    fs::write(&place, "somebody's").unwrap();
    assert!(host.link_own(link, Path::new("/opt/felhom/b")).is_err());
    assert_eq!(fs::read_to_string(&place).unwrap(), "somebody's");
    // A link in a file's place is replaced, and what it points to stays as it is.
    let secret = dir.path().join("elsewhere");
    fs::write(&secret, "theirs").unwrap();
    let config = dir.path().join("root/etc/felhom/agent.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    symlink(&secret, &config).unwrap();
    host.place_own(Path::new("/etc/felhom/agent.toml"), b"ours", 0o644).unwrap();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "theirs");
    assert!(!fs::symlink_metadata(&config).unwrap().is_symlink());
}

#[test]
fn directories_go_only_when_they_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path(), "");
    let program = Path::new("/opt/felhom/slots/A/felhom-agent");
    host.place_own(program, b"x", 0o755).unwrap();
    assert!(!host.remove_if_empty(Path::new("/opt/felhom")).unwrap());
    host.remove_own(program).unwrap();
    assert!(host.remove_if_empty(Path::new("/opt/felhom")).unwrap());
    assert!(host.remove_if_empty(Path::new("/opt/felhom")).unwrap(), "twice is once");
    assert!(host.remove_if_empty(Path::new("/etc")).is_err());
    assert!(dir.path().join("root/opt").exists());
}

#[tokio::test]
async fn the_hosts_tools_get_the_root_and_our_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let script = format!("echo \"$@\" >> {}\n", calls.display());
    let (elsewhere, here) = (at(dir.path(), &script), host(dir.path(), &script));
    let (users, directories) =
        (Path::new("/etc/sysusers.d/felhom-box.conf"), Path::new("/etc/tmpfiles.d/felhom-box.conf"));
    for host in [&elsewhere, &here] {
        host.make_users(users).await.unwrap();
        host.make_directories(directories).await.unwrap();
        host.reload_units().await.unwrap();
        host.disable_unit("felhom-agent.service").await.unwrap();
        host.remove_user("felhom").await.unwrap();
    }
    let root = dir.path().join("root");
    let root = root.display();
    let expected = format!(
        "--root={root} felhom-box.conf\n--root={root} --create felhom-box.conf\n\
         --root={root} disable felhom-agent.service\n--prefix {root} felhom\n\
         felhom-box.conf\n--create felhom-box.conf\ndaemon-reload\n\
         disable --now felhom-agent.service\nfelhom\n"
    );
    assert_eq!(fs::read_to_string(&calls).unwrap(), expected);
    assert!(here.disable_unit("ssh.service").await.is_err());
    assert!(here.remove_user("root").await.is_err());
    assert!(here.make_users(Path::new("/etc/sysusers.d/basic.conf")).await.is_err());
    assert_eq!(fs::read_to_string(&calls).unwrap(), expected);
}

#[test]
fn users_are_read_from_the_hosts_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let host = at(dir.path(), "");
    assert_eq!(host.user_ids("felhom"), None);
    fs::create_dir_all(dir.path().join("root/etc")).unwrap();
    let text = "root:x:0:0:root:/root:/bin/bash\nfelhom:x:998:997:Felhom:/:/usr/sbin/nologin\nbroken\n";
    fs::write(dir.path().join("root/etc/passwd"), text).unwrap();
    assert_eq!(host.user_ids("felhom"), Some(UserIds { uid: 998, gid: 997 }));
    assert_eq!(host.user_ids("broken"), None);
}
