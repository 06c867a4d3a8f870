//! Digests and placing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use felhom_host::{HostError, Placed, digest_file, place_archive};
use felhom_model::Digest;

const NAME: &str = "vzdump-lxc-1999-2026_11_24-10_00_00.tar.zst";

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn digest_of_a_file_is_streamed_with_progress() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let bytes = vec![7_u8; (3 << 20) + 5];
    fs::write(&path, &bytes).unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let read = digest_file(&path, move |n| count.store(n, Ordering::Relaxed)).await.unwrap();
    assert_eq!((read.digest, read.bytes), (Digest::of(&bytes), bytes.len() as u64));
    assert_eq!(seen.load(Ordering::Relaxed), bytes.len() as u64);
    let missing = digest_file(&dir.path().join("none"), |_| ()).await.unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
    let directory = digest_file(dir.path(), |_| ()).await.unwrap_err();
    assert!(matches!(directory, HostError::Refused { .. }), "{directory}");
}

#[tokio::test]
async fn placing_twice_is_placing_once() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dump) = (dir.path().join("golden"), dir.path().join("dump"));
    fs::create_dir(&dump).unwrap();
    fs::write(&source, b"archive").unwrap();
    fs::write(dump.join(format!(".{NAME}.partial")), b"left by a crash, longer than the archive").unwrap();
    let digest = Digest::of(b"archive");
    let first = place_archive(&source, &dump, NAME, digest).await.unwrap();
    assert_eq!(first, Placed::New(dump.join(NAME)));
    assert_eq!(fs::read(first.path()).unwrap(), b"archive");
    assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o644);
    let again = place_archive(&source, &dump, NAME, digest).await.unwrap();
    assert_eq!(again, Placed::AlreadyThere(dump.join(NAME)));
    assert_eq!(names(&dump), [NAME]);
}

#[tokio::test]
async fn other_bytes_and_other_files_are_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dump) = (dir.path().join("golden"), dir.path().join("dump"));
    fs::create_dir(&dump).unwrap();
    fs::write(&source, b"archivf").unwrap();
    let refused = place_archive(&source, &dump, NAME, Digest::of(b"archive")).await.unwrap_err();
    assert!(matches!(refused, HostError::OtherBytes { .. }), "{refused}");
    assert!(names(&dump).is_empty());
    fs::write(dump.join(NAME), b"somebody's").unwrap();
    let taken = place_archive(&source, &dump, NAME, Digest::of(b"archivf")).await.unwrap_err();
    assert!(matches!(taken, HostError::Refused { .. }), "{taken}");
    assert_eq!(fs::read(dump.join(NAME)).unwrap(), b"somebody's");
    for bad in ["../vzdump-x", "golden.tar.zst", "vzdump-a/b"] {
        let refused = place_archive(&source, &dump, bad, Digest::of(b"archivf")).await.unwrap_err();
        assert!(matches!(refused, HostError::Refused { .. }), "{refused}");
    }
}
