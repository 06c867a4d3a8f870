//! Archives: what is in them, what comes out, and what is refused.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use pve_sim::archive::{ArchiveError, Compression, Tree, WriteRequest, read_config, unpack, write};
use pve_sim::volume::owners::{Owner, Owners};

use crate::support::{put, request, stock};

const CONFIG: &str = "arch: amd64\nhostname: a\nrootfs: tank:100/vm-100-disk-0.raw,size=4G\n";

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        put(&fixture.root().join("etc/hostname"), "a\n", 0o644);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn tree(&self, mount: &str, name: &str) -> Tree {
        fs::create_dir_all(self.path(name)).unwrap();
        Tree { mount: mount.to_owned(), path: self.path(name) }
    }

    fn archive(&self) -> PathBuf {
        self.path("vzdump-lxc-100-2026_11_23-11_28_42.tar.zst")
    }

    fn write(&self, request: &WriteRequest<'_>) -> PathBuf {
        let name = match request.compression {
            Compression::None => self.path("vzdump-lxc-100-2026_11_23-11_28_42.tar"),
            Compression::Zstd { .. } => self.archive(),
        };
        write(request, File::create(&name).unwrap(), &mut |_| ()).unwrap();
        name
    }

    fn write_root(&self) -> PathBuf {
        self.write(&request(CONFIG, &[self.tree("/", "root")], &[]))
    }

    fn unpack_root(&self, archive: &Path, into: &str) -> Result<PathBuf, ArchiveError> {
        unpack(archive, &[self.tree("/", into)], &mut |_| ())?;
        Ok(self.path(into))
    }
}

fn members(archive: &Path) -> Vec<String> {
    stock("zstd -dc \"$1\" | tar t", archive).lines().map(str::to_owned).collect()
}

#[test]
fn stock_tools_read_an_archive_and_the_configuration_comes_first() {
    let f = Fixture::new();
    let archive = f.write_root();
    assert_eq!(
        members(&archive),
        ["./etc/vzdump/pct.conf", "./etc/vzdump/pct.fw", "./", "./etc/", "./etc/hostname"]
    );
    assert_eq!(stock("zstd -dc \"$1\" | tar xO ./etc/vzdump/pct.conf", &archive), CONFIG);
    stock("zstd -tq \"$1\"", &archive);
}

#[test]
fn an_uncompressed_archive_is_plain_tar_in_whole_records() {
    let f = Fixture::new();
    let trees = [f.tree("/", "root")];
    let plain = WriteRequest { compression: Compression::None, ..request(CONFIG, &trees, &[]) };
    let archive = f.write(&plain);
    assert_eq!(fs::metadata(&archive).unwrap().len() % 10240, 0);
    assert!(stock("tar tf \"$1\"", &archive).starts_with("./etc/vzdump/pct.conf\n"));
    assert_eq!(
        fs::read_to_string(f.unpack_root(&archive, "new").unwrap().join("etc/hostname")).unwrap(),
        "a\n"
    );
}

#[test]
fn only_backed_up_mount_points_are_in_an_archive() {
    let f = Fixture::new();
    for (volume, file) in [("data", "kept"), ("bulk", "lost"), ("bind", "lost")] {
        put(&f.path(volume).join(file), volume, 0o644);
        // As the runtime leaves it while the guest runs: a link to where the volume is on this machine.
        symlink(f.path(volume), f.root().join(volume)).unwrap();
    }
    put(&f.path("sub/deep"), "sub", 0o644);
    fs::create_dir(f.path("data").join("sub")).unwrap();
    let trees = [f.tree("/data/sub", "sub"), f.tree("/data", "data"), f.tree("/", "root")];
    let archive = f.write(&request(CONFIG, &trees, &["/bulk".to_owned(), "/bind".to_owned()]));
    let names = members(&archive);
    for there in ["./data/kept", "./data/sub/deep", "./bulk/", "./bind/"] {
        assert!(names.iter().any(|name| name == there), "{there}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("lost")), "{names:?}");
    assert!(!stock("zstd -dc \"$1\" | tar tv", &archive).contains(" -> "));
    assert_eq!(names.iter().filter(|name| *name == "./data/sub/deep").count(), 1);
}

#[test]
fn run_tmp_lost_found_and_sockets_are_left_out() {
    let f = Fixture::new();
    for file in ["run/secret", "run/a/b", "tmp/x", "var/tmp/y", "lost+found/z", "srv/tmp/kept"] {
        put(&f.root().join(file), "x", 0o644);
    }
    let _socket = UnixListener::bind(f.root().join("srv/socket")).unwrap();
    let names = members(&f.write_root());
    for there in ["./run/", "./tmp/", "./var/tmp/", "./srv/tmp/kept"] {
        assert!(names.iter().any(|name| name == there), "{there}: {names:?}");
    }
    for gone in ["secret", "run/a", "tmp/x", "tmp/y", "lost+found", "socket"] {
        assert!(!names.iter().any(|name| name.contains(gone)), "{gone}: {names:?}");
    }
}

#[test]
fn without_stdexcludes_tmp_is_kept_and_run_still_is_not() {
    let f = Fixture::new();
    put(&f.root().join("tmp/x"), "x", 0o644);
    put(&f.root().join("run/x"), "x", 0o644);
    put(&f.root().join("excl/y"), "x", 0o644);
    let trees = [f.tree("/", "root")];
    let patterns = ["/excl/*".to_owned()];
    let archive = f.write(&WriteRequest {
        stdexcludes: false,
        exclude_path: &patterns,
        ..request(CONFIG, &trees, &[])
    });
    let names = members(&archive);
    assert!(names.contains(&"./tmp/x".to_owned()) && names.contains(&"./excl/".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name == "./run/x" || name == "./excl/y"), "{names:?}");
}

#[test]
fn owners_and_modes_survive_a_round_trip_and_stock_tar_shows_them() {
    let f = Fixture::new();
    put(&f.root().join("srv/db"), "data", 0o640);
    put(&f.root().join("usr/bin/su"), "su", 0o755);
    put(&f.root().join("etc/shadow"), "x", 0o600);
    symlink("db", f.root().join("srv/link")).unwrap();
    let mut owners = Owners::default();
    let owner = |uid, gid, mode| Owner { uid, gid, mode };
    owners.set(Path::new("srv"), owner(1000, 1000, 0o2750), true);
    fs::set_permissions(f.root().join("srv"), fs::Permissions::from_mode(0o750)).unwrap();
    owners.set(Path::new("srv/db"), owner(1000, 33, 0o640), false);
    owners.set(Path::new("srv/link"), owner(4_000_000, 5, 0o777), false);
    owners.set(Path::new("usr/bin/su"), owner(0, 0, 0o4755), false);
    owners.set(Path::new("etc/shadow"), owner(0, 42, 0o000), false);
    owners.save(&f.root()).unwrap();

    let archive = f.write_root();
    let listing = stock("zstd -dc \"$1\" | tar tv --numeric-owner | tr -s ' '", &archive);
    for line in [
        "drwxr-s--- 1000/1000",
        "-rw-r----- 1000/33",
        "lrwxrwxrwx 4000000/5",
        "-rwsr-xr-x 0/0",
        "---------- 0/42",
        "drwxr-xr-x 0/0",
    ] {
        assert!(listing.contains(line), "{line}:\n{listing}");
    }

    let new = f.unpack_root(&archive, "new").unwrap();
    assert_eq!(Owners::load(&new).unwrap(), owners);
    let mode = |path: &str| fs::metadata(new.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("srv"), mode("srv/db"), mode("usr/bin/su"), mode("etc/shadow")),
        (0o750, 0o640, 0o755, 0o600)
    );
    let again = f.path("again.tar.zst");
    let trees = [f.tree("/", "new")];
    write(&request(CONFIG, &trees, &[]), File::create(&again).unwrap(), &mut |_| ()).unwrap();
    assert_eq!(stock("zstd -dc \"$1\" | tar tv --numeric-owner | tr -s ' '", &again), listing);
}

#[test]
fn links_times_empty_files_long_and_odd_names_survive_a_round_trip() {
    let f = Fixture::new();
    let root = f.root();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    put(&root.join(&long), "long", 0o600);
    put(&root.join("empty"), "", 0o644);
    put(&root.join("a b\nc/ä"), "odd", 0o644);
    fs::hard_link(root.join(&long), root.join("zz-hard")).unwrap();
    symlink(format!("/{long}"), root.join("soft")).unwrap();
    symlink("/nowhere", root.join("dangling")).unwrap();
    let archive = f.write_root();
    stock("zstd -dc \"$1\" | tar t > /dev/null", &archive);
    let new = f.unpack_root(&archive, "new").unwrap();
    assert_eq!(fs::read_to_string(new.join(&long)).unwrap(), "long");
    assert_eq!(fs::read_to_string(new.join("a b\nc/ä")).unwrap(), "odd");
    assert_eq!(fs::metadata(new.join("empty")).unwrap().len(), 0);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&new.join(&long)), inode(&new.join("zz-hard")));
    assert_eq!(fs::read_link(new.join("soft")).unwrap(), Path::new(&format!("/{long}")));
    assert_eq!(fs::read_link(new.join("dangling")).unwrap(), Path::new("/nowhere"));
    for path in ["", "etc", "etc/hostname", "dangling"] {
        let time = |tree: &Path| fs::symlink_metadata(tree.join(path)).unwrap().mtime();
        assert_eq!(time(&root), time(&new), "{path}");
    }
}

#[test]
fn the_configuration_is_not_left_in_the_rootfs_and_is_read_without_the_rest() {
    let f = Fixture::new();
    let trees = [f.tree("/", "root")];
    let archive = f.write(&WriteRequest { firewall: Some(b"[OPTIONS]\n"), ..request(CONFIG, &trees, &[]) });
    let found = read_config(&archive).unwrap();
    assert_eq!((found.config.as_str(), found.firewall.as_deref()), (CONFIG, Some(&b"[OPTIONS]\n"[..])));
    let new = f.unpack_root(&archive, "new").unwrap();
    assert!(!new.join("etc/vzdump/pct.conf").exists() && !new.join("etc/vzdump/pct.fw").exists());
}

#[test]
fn mount_points_are_unpacked_into_their_own_volumes() {
    let f = Fixture::new();
    put(&f.path("data").join("kept"), "data", 0o644);
    let mut owners = Owners::default();
    owners.set(Path::new("kept"), Owner { uid: 7, gid: 7, mode: 0o644 }, false);
    owners.save(&f.path("data")).unwrap();
    let archive = f.write(&request(CONFIG, &[f.tree("/", "root"), f.tree("/data", "data")], &[]));
    unpack(&archive, &[f.tree("/", "new"), f.tree("/data", "new-data")], &mut |_| ()).unwrap();
    assert_eq!(fs::read_to_string(f.path("new-data/kept")).unwrap(), "data");
    assert!(!f.path("new/data/kept").exists());
    assert_eq!(Owners::load(&f.path("new-data")).unwrap(), owners);
    assert_eq!(Owners::load(&f.path("new")).unwrap(), Owners::default());
}

/// F57.
#[test]
fn with_only_the_rootfs_given_everything_lands_inside_it() {
    let f = Fixture::new();
    put(&f.path("data").join("kept"), "data", 0o644);
    let archive = f.write(&request(CONFIG, &[f.tree("/", "root"), f.tree("/data", "data")], &[]));
    let new = f.unpack_root(&archive, "new").unwrap();
    assert_eq!(fs::read_to_string(new.join("data/kept")).unwrap(), "data");
}

#[test]
fn progress_counts_up_to_the_length_of_the_tar_stream() {
    let f = Fixture::new();
    put(&f.root().join("big"), &"x".repeat(5 << 20), 0o644);
    let mut seen = Vec::new();
    let trees = [f.tree("/", "root")];
    let out = File::create(f.archive()).unwrap();
    let written = write(&request(CONFIG, &trees, &[]), out, &mut |bytes| seen.push(bytes)).unwrap();
    assert!(seen.len() > 5 && seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&written.tar_bytes));
    let plain = stock("zstd -dc \"$1\" | wc -c", &f.archive());
    assert_eq!(plain.trim().parse::<u64>().unwrap(), written.tar_bytes);
    let mut back = Vec::new();
    let read = unpack(&f.archive(), &[f.tree("/", "new")], &mut |bytes| back.push(bytes)).unwrap();
    assert!(back.is_sorted(), "{back:?}");
    assert_eq!((read.tar_bytes, read.entries), (written.tar_bytes, written.entries));
}

#[test]
fn a_truncated_archive_is_an_error_wherever_it_ends() {
    let f = Fixture::new();
    put(&f.root().join("zero"), &"\0".repeat(3000), 0o644);
    put(&f.root().join("text"), &"some text\n".repeat(300), 0o644);
    let trees = [f.tree("/", "root")];
    let plain = f.write(&WriteRequest { compression: Compression::None, ..request(CONFIG, &trees, &[]) });
    let packed = f.write_root();
    for (archive, cut) in [(packed, f.path("cut.tar.zst")), (plain, f.path("cut.tar"))] {
        let bytes = fs::read(&archive).unwrap();
        // Of plain tar only the padding behind its end mark may be missing.
        let end = if cut.extension().unwrap() == "tar" {
            bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512)
        } else {
            bytes.len()
        };
        for length in (0..end).step_by(97).chain([end - 1]) {
            fs::write(&cut, &bytes[..length]).unwrap();
            let new = tempfile::tempdir().unwrap();
            let tree = Tree { mount: "/".to_owned(), path: new.path().to_path_buf() };
            let error = unpack(&cut, &[tree], &mut |_| ()).unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged { .. }), "{length}: {error}");
            assert!(error.to_string().contains("truncated or damaged"), "{error}");
        }
        fs::write(&cut, &bytes[..200]).unwrap();
        assert!(matches!(read_config(&cut), Err(ArchiveError::Damaged { .. })));
    }
}

#[test]
fn a_changed_byte_in_a_compressed_archive_is_an_error_or_changes_nothing() {
    let f = Fixture::new();
    put(&f.root().join("text"), &"some text\n".repeat(3000), 0o644);
    let archive = f.write_root();
    let bytes = fs::read(&archive).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let path = f.path("altered.tar.zst");
        fs::write(&path, altered).unwrap();
        let new = tempfile::tempdir().unwrap();
        let tree = Tree { mount: "/".to_owned(), path: new.path().to_path_buf() };
        let result = unpack(&path, &[tree], &mut |_| ());
        // A few bits of a zstd frame mean nothing.
        let same = || fs::read(new.path().join("text")).ok() == fs::read(f.root().join("text")).ok();
        assert!(result.is_err() || same(), "byte {at} of {} went unnoticed", bytes.len());
    }
}

#[test]
fn no_archive_at_all_and_an_archive_without_configuration_have_clear_errors() {
    let f = Fixture::new();
    let other = f.path("x.tar.zst");
    stock("cd \"$(dirname \"$1\")\" && tar c ./root | zstd -q > x.tar.zst", &other);
    assert!(read_config(&other).unwrap_err().to_string().contains("archive contains no configuration file"));
    let text = f.path("y.tar.zst");
    fs::write(&text, "this is no archive").unwrap();
    assert!(read_config(&text).is_err());
    let name = read_config(&f.path("root/etc/hostname")).unwrap_err();
    assert!(name.to_string().contains("unknown archive format"), "{name}");
    assert!(read_config(&f.path("no.tar")).unwrap_err().to_string().contains("no.tar"));
}

/// Makes an archive of hand-written entries: kind, name, link target, contents.
fn crafted(path: &Path, entries: &[(tar::EntryType, &str, &str, &str)]) {
    let mut out = File::create(path).unwrap();
    for (kind, name, target, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        out.write_all(header.as_bytes()).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        out.write_all(&vec![0; text.len().next_multiple_of(512) - text.len()]).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
}

#[test]
fn entries_that_would_leave_the_guest_are_refused_and_nothing_is_written() {
    use tar::EntryType::{Block, Directory, Link, Regular, Symlink};
    let f = Fixture::new();
    let outside = f.path("outside");
    fs::create_dir(&outside).unwrap();
    put(&outside.join("file"), "safe", 0o644);
    let absolute = format!("{}/evil", outside.display());
    let out = outside.to_str().unwrap();
    let file = format!("{out}/file");
    let cases: [&[(tar::EntryType, &str, &str, &str)]; 10] = [
        &[(Regular, "../evil", "", "x")],
        &[(Regular, "./a/../../evil", "", "x")],
        &[(Regular, &absolute, "", "x")],
        &[(Symlink, "./a", out, ""), (Regular, "./a/evil", "", "x")],
        &[(Symlink, "./a", "../outside", ""), (Regular, "./a/evil", "", "x")],
        &[(Symlink, "./a", out, ""), (Directory, "./a", "", "")],
        &[(Symlink, "./a", out, ""), (Directory, "./a/evil/", "", "")],
        &[(Symlink, "./a", out, ""), (Link, "./evil", "./a/file", "")],
        &[(Link, "./evil", &file, "")],
        &[(Block, "./srv/sda", "", "")],
    ];
    for (number, entries) in cases.iter().enumerate() {
        let archive = f.path("evil.tar");
        crafted(&archive, entries);
        let new = f.path(&format!("new{number}"));
        let error = f.unpack_root(&archive, &format!("new{number}")).unwrap_err();
        assert!(matches!(error, ArchiveError::Refused { .. }), "{number}: {error}");
        assert!(!outside.join("evil").exists() && !f.path("evil").exists(), "{number}");
        assert!(fs::symlink_metadata(new.join("evil")).is_err(), "{number}");
    }
    // A second entry of the same name is skipped and never written through the link.
    let archive = f.path("twice.tar");
    crafted(&archive, &[(Symlink, "./a", &file, ""), (Regular, "./a", "", "overwritten")]);
    f.unpack_root(&archive, "twice").unwrap();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "safe");
}

#[test]
fn device_nodes_below_dev_are_skipped_as_in_a_real_restore() {
    let f = Fixture::new();
    let archive = f.path("dev.tar");
    crafted(
        &archive,
        &[(tar::EntryType::Directory, "./dev/", "", ""), (tar::EntryType::Char, "./dev/null", "", "")],
    );
    let new = f.unpack_root(&archive, "new").unwrap();
    assert_eq!(fs::read_dir(new.join("dev")).unwrap().count(), 0);
}

#[test]
fn an_archive_made_by_gnu_tar_with_sparse_files_is_unpacked() {
    let f = Fixture::new();
    put(&f.root().join("etc/vzdump/pct.conf"), CONFIG, 0o644);
    let sparse = File::create(f.root().join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    fs::write(f.root().join("tail"), "end").unwrap();
    let archive = f.path("gnu.tar.zst");
    let line = "cd \"$(dirname \"$1\")/root\" && tar cpf - --sparse --numeric-owner ./etc/vzdump/pct.conf ./ | zstd -q > \"$1\"";
    assert!(Command::new("bash").args(["-c", line, "bash"]).arg(&archive).status().unwrap().success());
    assert_eq!(read_config(&archive).unwrap().config, CONFIG);
    let new = f.unpack_root(&archive, "new").unwrap();
    assert_eq!(fs::metadata(new.join("sparse")).unwrap().len(), 3 << 20);
    assert_eq!(fs::read_to_string(new.join("tail")).unwrap(), "end");
}

#[test]
fn a_read_only_directory_is_unpacked_with_its_contents() {
    let f = Fixture::new();
    put(&f.root().join("ro/file"), "x", 0o400);
    let mut owners = Owners::default();
    owners.set(Path::new("ro"), Owner { uid: 0, gid: 0, mode: 0o500 }, true);
    owners.save(&f.root()).unwrap();
    fs::set_permissions(f.root().join("ro"), fs::Permissions::from_mode(0o700)).unwrap();
    let new = f.unpack_root(&f.write_root(), "new").unwrap();
    assert_eq!(fs::read_to_string(new.join("ro/file")).unwrap(), "x");
    assert_eq!(Owners::load(&new).unwrap().get(Path::new("ro"), 0o700).mode, 0o500);
}
