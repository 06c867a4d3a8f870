//! The ballast on a disk that is really full: a file system of two megabytes in a name space of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use felhom_journal::{Journal, JournalError, SqliteStore, State};
use jiff::Timestamp;
use serde_json::json;

use crate::people::nth;
use crate::toy::body;

const BALLAST: u64 = 256 << 10;
const FOLDER: &str = "FELHOM_TEST_FULL_DISK";

fn beside(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.ballast", path.display()))
}

#[test]
fn the_ballast_is_there_private_and_as_big_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    for bytes in [100_001, 0, 300_000, 1] {
        drop(SqliteStore::open_with(&path, bytes).unwrap());
        let found = fs::metadata(beside(&path)).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (bytes, 0o600));
    }
    drop(SqliteStore::open(&path).unwrap());
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(beside(&path)).unwrap();
    assert_eq!(found.len(), felhom_journal::BALLAST);
    assert!(found.blocks() * 512 >= found.len(), "its room is taken, not only named");
}

fn refuse(journal: &Journal, n: u64) -> Result<State, JournalError> {
    let long = "x".repeat(2_000);
    journal.refuse(nth(n), body(0, &[]), "no".to_owned(), json!({ "long": long })).map(|op| op.state)
}

/// Takes all room that is left.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    for size in [4096, 512, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

/// Runs inside the small file system; elsewhere it has nothing to do.
#[test]
fn inside_a_small_file_system() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let path = folder.join("journal.db");
    let open = || {
        let store = Arc::new(SqliteStore::open_with(&path, BALLAST).unwrap());
        Journal::open(store, || Timestamp::UNIX_EPOCH).unwrap()
    };
    let size = || fs::metadata(beside(&path)).unwrap().len();
    let journal = open();
    refuse(&journal, 1).unwrap();
    assert_eq!(size(), BALLAST);

    // Full: the write goes through in the room of the ballast.
    fill(&folder);
    let mut written = 1;
    while size() == BALLAST {
        written += 1;
        refuse(&journal, written).unwrap();
        assert!(written < 1_000);
    }
    assert_eq!(size(), 0);
    refuse(&journal, written + 1).unwrap();
    written += 1;

    // Full again, and there is no second ballast: the journal breaks, and keeps what it acknowledged.
    fill(&folder.join("."));
    let error = loop {
        match refuse(&journal, written + 1) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(&error, JournalError::Store(e) if e.why.contains("full")), "{error}");
    assert!(matches!(refuse(&journal, written + 2), Err(JournalError::Broken(_))));
    drop(journal);

    // It opens without room, too; with room again, the ballast is back.
    let journal = open();
    assert_eq!(journal.list(felhom_journal::Which::Newest, 10_000).unwrap().len() as u64, written);
    assert_eq!(size(), 0);
    drop(journal);
    fs::remove_file(folder.join("filler")).unwrap();
    drop(open());
    assert_eq!(size(), BALLAST);
    fs::write(folder.join("passed"), written.to_string()).unwrap();
    println!("{written} written");
}

#[test]
fn a_full_disk_uses_the_ballast_once_and_then_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=2m none '{0}' && {FOLDER}='{0}' '{1}' --exact full::inside_a_small_file_system \
         --nocapture && cat '{0}/passed'",
        folder.path().display(),
        std::env::current_exe().unwrap().display(),
    );
    let ran =
        Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-ec", &script]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{text}");
    assert!(text.contains(" written"), "{text}");
}
