//! Who waits at a held place: a file in `run/held` while it does, so that a test need not guess when it got there.

use std::fs;
use std::path::PathBuf;

use crate::state::Host;

/// Held at a place, until dropped. A killed one leaves its file.
#[derive(Debug)]
pub(super) struct Held(PathBuf);

impl Held {
    /// Says so. A place without a file is held all the same.
    pub(super) fn new(host: &Host, at: &str, id: &str) -> Self {
        let dir = host.dir.held();
        let path = dir.join(format!("{at}.{id}"));
        let _ = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, std::process::id().to_string()));
        Self(path)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
