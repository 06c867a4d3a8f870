//! Argument vectors of what repairs a guest, and what is refused before anything is run.

use std::fs;
use std::path::Path;

use felhom_host::{AclGrant, AclPlace, BindMount, Changed, Host, HostError, RootAct, Unlocked};

use crate::programs::{host, vmid};

/// A host whose programs note their arguments, and whose `pct config` prints `dir/config`.
fn noting(dir: &Path) -> Host {
    let script = format!(
        "if [ \"$1\" = config ]; then cat {0}/config; else echo \"$*\" >> {0}/calls; fi\n",
        dir.display()
    );
    fs::write(dir.join("config"), "arch: amd64\nlock: create\nmp1: tank:200/vm-200-disk-1.raw,mp=/data\n")
        .unwrap();
    host(dir, &script)
}

fn calls(dir: &Path) -> String {
    fs::read_to_string(dir.join("calls")).unwrap_or_default()
}

#[tokio::test]
async fn a_lock_goes_only_if_it_is_the_expected_one() {
    let dir = tempfile::tempdir().unwrap();
    let host = noting(dir.path());
    let refused = host.unlock(vmid(), "backup").await.unwrap_err();
    assert_eq!(refused.to_string(), "pct unlock on guest 200 is refused: its lock is `create`, not `backup`");
    assert_eq!(calls(dir.path()), "");
    assert_eq!(host.unlock(vmid(), "create").await.unwrap(), Unlocked::Taken);
    fs::write(dir.path().join("config"), "").unwrap();
    assert_eq!(host.unlock(vmid(), "create").await.unwrap(), Unlocked::NotLocked);
    host.rescan(vmid()).await.unwrap();
    host.unfreeze(vmid()).await.unwrap();
    assert_eq!(calls(dir.path()), "unlock 200\nrescan --vmid 200\n-n 200\n");
}

/// F96.
#[tokio::test]
async fn bind_mounts_replace_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = noting(dir.path());
    let mut bind = BindMount { host: "/srv/x".into(), guest: "/x".into(), read_only: false };
    let volume = host.set_bind_mount(vmid(), 1, &bind).await.unwrap_err();
    assert!(matches!(volume, HostError::Refused { act: RootAct::BindMount, .. }), "{volume}");
    assert!(host.remove_bind_mount(vmid(), 1, Path::new("/srv/x")).await.is_err(), "a volume stays");
    assert_eq!(host.set_bind_mount(vmid(), 7, &bind).await.unwrap(), Changed::Now);
    fs::write(dir.path().join("config"), "mp7: /srv/x,mp=/x\nmp70: /srv/y,mp=/y\n").unwrap();
    assert_eq!(host.set_bind_mount(vmid(), 7, &bind).await.unwrap(), Changed::Already);
    bind.read_only = true;
    assert!(host.set_bind_mount(vmid(), 7, &bind).await.is_err(), "another one is there");
    assert_eq!(host.set_bind_mount(vmid(), 8, &bind).await.unwrap(), Changed::Now);
    assert!(host.remove_bind_mount(vmid(), 7, Path::new("/srv/other")).await.is_err());
    assert_eq!(host.remove_bind_mount(vmid(), 9, Path::new("/srv/x")).await.unwrap(), Changed::Already);
    assert_eq!(host.remove_bind_mount(vmid(), 7, Path::new("/srv/x")).await.unwrap(), Changed::Now);
    let expected = "set 200 --mp7 /srv/x,mp=/x\nset 200 --mp8 /srv/x,mp=/x,ro=1\nset 200 --delete mp7\n";
    assert_eq!(calls(dir.path()), expected);
    for (outer, inner) in [
        ("srv/x", "/x"),
        ("/srv/../etc", "/x"),
        ("/srv/x,mp=/", "/x"),
        ("/srv/x", "/x,ro=0"),
        ("tank:1", "/x"),
    ] {
        let bind = BindMount { host: outer.into(), guest: inner.into(), read_only: false };
        assert!(host.set_bind_mount(vmid(), 9, &bind).await.is_err(), "{outer} {inner}");
    }
    assert_eq!(calls(dir.path()), expected);
}

#[tokio::test]
async fn roles_are_given_to_user_and_token_at_places_of_ours_only() {
    let dir = tempfile::tempdir().unwrap();
    let host = noting(dir.path());
    let of = |place, role: &str, token: &str| AclGrant { place, role: role.into(), token: token.into() };
    let token = "felhom@pve!executor";
    let guest = of(AclPlace::Guest(vmid()), "FelhomArchive", token);
    host.grant(&guest).await.unwrap();
    host.revoke(&guest).await.unwrap();
    let storage = |id: &str| AclPlace::Storage(id.parse().unwrap());
    host.grant(&of(storage("felhom-usb1"), "FelhomStore", token)).await.unwrap();
    let rest = "--users felhom@pve --tokens felhom@pve!executor --propagate 0";
    let expected = format!(
        "acl modify /vms/200 --roles FelhomArchive {rest}\nacl modify /vms/200 --roles FelhomArchive {rest} --delete 1\n\
         acl modify /storage/felhom-usb1 --roles FelhomStore {rest}\n"
    );
    assert_eq!(calls(dir.path()), expected);
    for grant in [
        of(storage("tank"), "FelhomStore", token),
        of(storage("felhom-usb1"), "Administrator", token),
        of(storage("felhom-usb1"), "FelhomStore,Administrator", token),
        of(storage("felhom-usb1"), "FelhomStore", "felhom@pve"),
        of(storage("felhom-usb1"), "FelhomStore", "felhom@pve!a,root@pam!b"),
        of(storage("felhom-usb1"), "FelhomStore", "!executor"),
    ] {
        let refused = host.grant(&grant).await.unwrap_err();
        assert!(matches!(refused, HostError::Refused { act: RootAct::GrantRole, .. }), "{refused}");
    }
    assert_eq!(calls(dir.path()), expected);
}
