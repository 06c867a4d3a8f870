//! The host as it is, from files that stand in for its own.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use felhom_host::{IdRange, Roots};

use crate::programs::host;

/// A host with these files, each with its text.
fn roots(dir: &Path, files: &[(&str, &str)]) -> Roots {
    for (name, text) in [("proc/self/mountinfo", "")].iter().chain(files) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let at = |name: &str| dir.join(name);
    Roots { root: dir.to_owned(), sys: at("sys"), proc: at("proc"), lxc: at("lxc"), tmp: at("tmp") }
}

#[test]
fn a_proxmox_host_has_what_guests_need() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ("sys/module/apparmor/parameters/enabled", "Y\n"),
        ("proc/sys/user/max_user_namespaces", "127000\n"),
        ("proc/sys/kernel/osrelease", "6.14.8-2-pve\n"),
        ("proc/filesystems", "nodev\tsysfs\n\text4\n"),
        (
            "proc/self/mountinfo",
            "28 1 8:1 / / rw - ext4 /dev/sda1 rw\n90 28 8:17 / /mnt/b rw - ext4 /dev/sdb1 rw\n",
        ),
        ("lib/modules/6.14.8-2-pve/modules.dep", "kernel/fs/overlayfs/overlay.ko:\n"),
        ("etc/subuid", "# ranges\nroot:100000:65536\nada:165536:65536\n"),
        ("etc/subgid", "0:200000:1000\n"),
        ("etc/pve/local/pve-ssl.pem", "the host's own"),
        ("etc/pve/local/pveproxy-ssl.pem", "the owner's"),
        (
            "etc/fstab",
            "# x\nUUID=1 / ext4 defaults 0 1\nUUID=2 /mnt/my\\040disk ext4 nofail 0 2\nUUID=3 none swap sw 0 0\n",
        ),
    ];
    let roots = roots(dir.path(), &files);
    symlink("/usr/share/zoneinfo/Europe/Budapest", dir.path().join("etc/localtime")).unwrap();
    let survey = host(dir.path(), "").with_roots(roots).survey().unwrap();
    assert!(survey.cgroup2 && survey.overlay && survey.apparmor);
    assert_eq!(survey.user_namespaces, Some(127_000));
    assert_eq!(survey.subuids, [IdRange { first: 100_000, count: 65_536 }]);
    assert_eq!(survey.subgids, [IdRange { first: 200_000, count: 1000 }]);
    assert_eq!(survey.time_zone.as_deref(), Some("Europe/Budapest"));
    assert_eq!(survey.certificate.as_deref(), Some("the owner's"), "pveproxy prefers it");
    assert_eq!(survey.mounts[1].source, "/dev/sdb1");
    assert_eq!(survey.fstab, [Path::new("/"), Path::new("/mnt/my disk")]);
}

#[test]
fn what_is_not_there_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let survey = host(dir.path(), "").with_roots(roots(dir.path(), &[])).survey().unwrap();
    assert_eq!(survey, felhom_host::Survey::default());
}

#[test]
fn a_sparse_image_is_a_promise_and_a_full_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let host =
        host(dir.path(), "").with_roots(roots(dir.path(), &[("mnt/tank/images/9/full.raw", "twelve bytes")]));
    let before = host.space(Path::new("/mnt/tank")).unwrap();
    assert_eq!(before.promised, 0);
    let images = dir.path().join("mnt/tank/images");
    fs::create_dir_all(images.join("100/vm-100-disk-0")).unwrap();
    for name in ["100/vm-100-disk-1.raw", "100/vm-100-disk-0/disk.raw"] {
        File::create(images.join(name)).unwrap().set_len(1 << 30).unwrap();
    }
    symlink(&images, images.join("loop")).unwrap();
    let space = host.space(Path::new("/mnt/tank")).unwrap();
    assert_eq!(space.promised, 2 << 30, "a btrfs storage has its images one level deeper");
    assert!(space.total >= space.available && space.available > 0);
    assert!(host.space(Path::new("/mnt/none")).unwrap_err().to_string().contains("mnt/none"));
}

#[tokio::test]
async fn the_clock_is_right_wrong_or_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let says = async |script: &str| {
        let asked = "[ \"$*\" = 'show --property=NTPSynchronized --value' ] || exit 9\n";
        host(dir.path(), &format!("{asked}{script}")).clock_is_synchronised().await
    };
    assert!(says("echo yes").await.unwrap());
    assert!(!says("echo no").await.unwrap());
    assert!(says("echo").await.unwrap_err().to_string().contains("instead of yes or no"));
    let failed = says("echo 'Failed to connect to bus' >&2; exit 1").await.unwrap_err().to_string();
    assert!(failed.contains("Failed to connect to bus"), "{failed}");
}
