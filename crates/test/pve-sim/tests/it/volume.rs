//! Volumes on disk: names, snapshots, copies.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use pve_sim::volume::owners::{Owner, Owners};
use pve_sim::volume::{
    CopyMethod, ImageStore, Layout, VolumeError, VolumeName, copy_tree, hidden_name, hidden_path, remove_tree,
};

use crate::support::put;

fn stores(dir: &Path) -> [ImageStore; 2] {
    [ImageStore::new(&dir.join("dir"), Layout::Dir), ImageStore::new(&dir.join("btr"), Layout::Btrfs)]
}

#[test]
fn volumes_lie_at_the_paths_that_proxmox_prints() {
    let [dir, btrfs] = stores(Path::new("/s"));
    let name = VolumeName::new(260, 1);
    assert_eq!(dir.tree(&name), Path::new("/s/dir/images/260/vm-260-disk-1.raw"));
    assert_eq!(btrfs.tree(&name), Path::new("/s/btr/images/260/vm-260-disk-1/disk.raw"));
    assert_eq!(
        btrfs.snapshot_tree(&name, "vzdump"),
        Path::new("/s/btr/images/260/vm-260-disk-1@vzdump/disk.raw")
    );
}

#[test]
fn volumes_are_allocated_listed_and_freed_on_each_storage_type() {
    let dir = tempfile::tempdir().unwrap();
    for store in stores(dir.path()) {
        let first = store.allocate(100, 4 << 30).unwrap();
        let second = store.allocate(100, 1 << 30).unwrap();
        let other = store.allocate(1000, 5).unwrap();
        assert_eq!((first.disk, second.disk, other.disk), (0, 1, 0));
        put(&store.tree(&first).join("file"), "x", 0o644);
        let mut owners = Owners::default();
        owners.set(Path::new("file"), Owner { uid: 1, gid: 1, mode: 0o644 }, false);
        owners.save(&store.tree(&first)).unwrap();
        let listed: Vec<_> = store.list(Some(100)).unwrap().iter().map(|v| (v.name, v.size)).collect();
        assert_eq!(listed, [(first, 4 << 30), (second, 1 << 30)]);
        assert_eq!(store.list(None).unwrap().len(), 3);
        store.free(&first).unwrap();
        assert!(matches!(store.free(&first), Err(VolumeError::Missing(_))));
        assert_eq!(
            store.allocate(100, 1).unwrap(),
            first,
            "the freed number is used again, without old owners"
        );
        assert_eq!(Owners::load(&store.tree(&first)).unwrap(), Owners::default());
        for name in [first, second, other] {
            store.free(&name).unwrap();
        }
        assert_eq!(store.list(None).unwrap(), []);
        assert_eq!(
            fs::read_dir(store.tree(&first).ancestors().find(|p| p.ends_with("images")).unwrap())
                .unwrap()
                .count(),
            0
        );
    }
}

/// A file system that was destroyed (F69) is so in copies of its volume too, and whole again in what was copied before.
#[test]
fn a_destroyed_file_system_is_destroyed_in_its_copies() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, store] = stores(dir.path());
    let destroyed = |tree: &Path| tree.with_extension("raw.destroyed").exists();
    let name = store.allocate(100, 5).unwrap();
    store.snapshot(&name, "whole").unwrap();
    fs::write(store.tree(&name).with_extension("raw.destroyed"), "").unwrap();
    store.snapshot(&name, "broken").unwrap();
    assert!(destroyed(&store.snapshot_tree(&name, "broken")));
    let copy = |snapshot: Option<&str>| store.tree(&store.duplicate(&name, snapshot, 200).unwrap());
    assert!(destroyed(&copy(None)) && destroyed(&copy(Some("broken"))) && !destroyed(&copy(Some("whole"))));
    store.rollback(&name, "whole").unwrap();
    assert!(!destroyed(&store.tree(&name)));
    store.rollback(&name, "broken").unwrap();
    assert!(destroyed(&store.tree(&name)));
    let base = store.make_base(&name).unwrap();
    assert!(destroyed(&store.tree(&base)));
    let name = plain.allocate(100, 5).unwrap();
    fs::write(plain.tree(&name).with_extension("raw.destroyed"), "").unwrap();
    let moved = plain.rename(&name, 200).unwrap();
    assert!(destroyed(&plain.tree(&moved)));
    plain.free(&moved).unwrap();
    assert!(!destroyed(&plain.tree(&moved)), "nothing of it is left for the next volume of this name");
}

/// While a guest runs a link stands at each mount path, and what the mount hides waits beside the tree: a snapshot has that and not the
/// link.
#[test]
fn what_a_mount_hides_is_in_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let [_, store] = stores(dir.path());
    let name = store.allocate(100, 5).unwrap();
    let tree = store.tree(&name);
    put(&hidden_path(&tree).join(hidden_name("/srv/100%")).join("below"), "x", 0o644);
    fs::create_dir(tree.join("srv")).unwrap();
    symlink(dir.path(), tree.join("srv/100%")).unwrap();
    store.snapshot(&name, "running").unwrap();
    let copy = store.snapshot_tree(&name, "running");
    assert!(!copy.join("srv/100%").is_symlink() && !hidden_path(&copy).exists());
    assert_eq!(fs::read_to_string(copy.join("srv/100%/below")).unwrap(), "x");
    assert!(tree.join("srv/100%").is_symlink() && hidden_path(&tree).exists(), "the guest goes on");
}

#[test]
fn a_volume_that_moves_to_another_guest_keeps_its_data_owners_and_size() {
    let dir = tempfile::tempdir().unwrap();
    for store in stores(dir.path()) {
        let name = store.allocate(100, 77).unwrap();
        put(&store.tree(&name).join("file"), "x", 0o644);
        let mut owners = Owners::default();
        owners.set(Path::new("file"), Owner { uid: 1, gid: 1, mode: 0o644 }, false);
        owners.save(&store.tree(&name)).unwrap();
        store.allocate(200, 1).unwrap();
        let moved = store.rename(&name, 200).unwrap();
        assert_eq!(moved, VolumeName::new(200, 1));
        assert!(!store.exists(&name));
        assert_eq!(store.size(&moved).unwrap(), 77);
        assert_eq!(fs::read_to_string(store.tree(&moved).join("file")).unwrap(), "x");
        assert_eq!(Owners::load(&store.tree(&moved)).unwrap(), owners);
    }
}

#[test]
fn a_snapshot_keeps_what_was_there_and_dir_storage_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, store] = stores(dir.path());
    let name = plain.allocate(100, 1).unwrap();
    assert!(matches!(plain.snapshot(&name, "vzdump"), Err(VolumeError::NoSnapshots)));

    let name = store.allocate(100, 1).unwrap();
    let file = store.tree(&name).join("file");
    put(&file, "before", 0o644);
    store.snapshot(&name, "vzdump").unwrap();
    fs::write(&file, "after").unwrap();
    assert_eq!(fs::read_to_string(store.snapshot_tree(&name, "vzdump").join("file")).unwrap(), "before");
    assert_eq!(store.snapshots(&name).unwrap(), ["vzdump"]);
    assert!(matches!(store.snapshot(&name, "vzdump"), Err(VolumeError::Exists(_))));
    store.remove_snapshot(&name, "vzdump").unwrap();
    store.remove_snapshot(&name, "vzdump").unwrap();
    assert_eq!(store.snapshots(&name).unwrap(), [] as [String; 0]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    store.snapshot(&name, "keep").unwrap();
    store.free(&name).unwrap();
    assert!(!store.snapshot_tree(&name, "keep").exists());
}

#[test]
fn a_copy_keeps_modes_times_links_and_owners() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a"), dir.path().join("b"));
    put(&from.join("sub/file"), "text", 0o640);
    put(&from.join("empty"), "", 0o600);
    fs::hard_link(from.join("sub/file"), from.join("hard")).unwrap();
    symlink("/sub/file", from.join("soft")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o550)).unwrap();
    let mut owners = Owners::default();
    owners.set(Path::new("hard"), Owner { uid: 9, gid: 9, mode: 0o640 }, false);
    owners.save(&from).unwrap();

    let report = copy_tree(&from, &to).unwrap();
    assert_eq!((report.files, report.bytes), (2, 4));
    assert!(matches!(report.method, CopyMethod::Reflink | CopyMethod::Plain));
    let stat = |tree: &Path, path: &str| {
        let found = fs::symlink_metadata(tree.join(path)).unwrap();
        (found.mode(), found.mtime(), found.mtime_nsec(), found.nlink())
    };
    for path in ["", "sub", "sub/file", "hard", "soft", "empty"] {
        assert_eq!(stat(&from, path), stat(&to, path), "{path}");
    }
    let inode = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    assert_eq!(inode("hard"), inode("sub/file"));
    assert_eq!(fs::read_to_string(to.join("hard")).unwrap(), "text");
    assert!(!to.join("socket").exists());
    assert_eq!(Owners::load(&to).unwrap(), owners);
    assert!(copy_tree(&from, &to).is_err(), "an existing target is never mixed with the copy");
    for tree in [from, to] {
        remove_tree(&tree).unwrap();
        assert!(!tree.exists(), "also with directories that their owner cannot write");
    }
}

/// F51, F84: a rollback brings data and size of the snapshot back; the snapshot stays. Templates' volumes keep their number.
#[test]
fn a_volume_is_rolled_back_duplicated_and_made_a_base() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, btrfs] = stores(dir.path());
    let name = btrfs.allocate(100, 5).unwrap();
    let file = btrfs.tree(&name).join("file");
    put(&file, "old", 0o644);
    btrfs.snapshot(&name, "s1").unwrap();
    put(&file, "new", 0o644);
    btrfs.set_size(&name, 7).unwrap();
    for _ in 0..2 {
        btrfs.rollback(&name, "s1").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), btrfs.size(&name).unwrap()), ("old", 5));
        put(&file, "newer", 0o644);
    }
    assert!(matches!(btrfs.rollback(&name, "s2"), Err(VolumeError::Missing(_))));
    let copy = btrfs.duplicate(&name, Some("s1"), 101).unwrap();
    assert_eq!(copy, VolumeName::new(101, 0));
    assert_eq!(fs::read_to_string(btrfs.tree(&copy).join("file")).unwrap(), "old");
    for store in [plain, btrfs] {
        let volume = store.allocate(200, 9).unwrap();
        let base = store.make_base(&volume).unwrap();
        assert_eq!((base, store.size(&base).unwrap()), (volume.as_base(), 9));
        assert_eq!(store.allocate(200, 1).unwrap().disk, 1, "the number stays taken");
        let listed: Vec<_> = store.list(Some(200)).unwrap().iter().map(|v| v.name).collect();
        assert_eq!(listed, [base, VolumeName::new(200, 1)]);
        store.free(&base).unwrap();
    }
}
