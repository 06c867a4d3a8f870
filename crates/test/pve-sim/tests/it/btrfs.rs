//! Volumes on a real btrfs: only root can make and mount one, so elsewhere there is nothing to test.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pve_sim::volume::{ImageStore, Layout};

/// A mounted btrfs, unmounted at the end.
struct Btrfs {
    dir: tempfile::TempDir,
}

impl Btrfs {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let place = dir.path().join("mnt");
        fs::create_dir(&place).unwrap();
        let made =
            call("mkfs.btrfs", &["-q"], &[&image]) && call("mount", &["-o", "loop"], &[&image, &place]);
        made.then_some(Self { dir })
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        call("umount", &[], &[&self.path()]);
    }
}

fn call(program: &str, options: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(options).args(paths).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Every volume is a subvolume, every snapshot one of its own; both go with their volume.
#[test]
fn on_btrfs_a_snapshot_is_a_real_one() {
    let Some(btrfs) = Btrfs::mount() else {
        eprintln!("skipped: no root, no btrfs, or no loop device");
        return;
    };
    let store = ImageStore::new(&btrfs.path(), Layout::Btrfs);
    let name = store.allocate(100, 1 << 30).unwrap();
    let place = btrfs.path().join("images/100");
    let top = |entry: &str| fs::metadata(place.join(entry)).unwrap().ino() == 256;
    assert!(top("vm-100-disk-0"), "its directory is a subvolume");
    fs::write(store.tree(&name).join("file"), "v1").unwrap();
    store.snapshot(&name, "first").unwrap();
    assert!(top("vm-100-disk-0@first"));
    fs::write(store.tree(&name).join("file"), "v2").unwrap();
    assert_eq!(fs::read_to_string(store.snapshot_tree(&name, "first").join("file")).unwrap(), "v1");
    store.rollback(&name, "first").unwrap();
    assert_eq!(fs::read_to_string(store.tree(&name).join("file")).unwrap(), "v1");
    assert!(top("vm-100-disk-0"));
    assert_eq!(store.snapshots(&name).unwrap(), ["first"]);
    assert_eq!(store.size(&name).unwrap(), 1 << 30);
    store.free(&name).unwrap();
    assert!(!place.exists());
}
