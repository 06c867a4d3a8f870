//! What an archive holds, and the entries that every golden archive of ours has.

use std::path::{Path, PathBuf};

/// The configuration that vzdump puts first.
pub(crate) const CONFIG: &str = "etc/vzdump/pct.conf";

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path from the guest's root, without a leading slash; empty for the root itself.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// What it is.
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A folder.
    Folder,
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with that file's bytes.
    File(PathBuf),
    /// A symbolic link to that path.
    Link(String),
}

/// A folder.
pub(crate) fn folder(path: &str, mode: u32) -> Entry {
    Entry { path: path.to_owned(), mode, content: Content::Folder }
}

/// A file with this text.
pub(crate) fn text(path: &str, mode: u32, text: &str) -> Entry {
    Entry { path: path.to_owned(), mode, content: Content::Bytes(text.as_bytes().to_vec()) }
}

/// A file with that file's bytes.
pub(crate) fn file(path: &str, mode: u32, from: &Path) -> Entry {
    Entry { path: path.to_owned(), mode, content: Content::File(from.to_owned()) }
}

/// A symbolic link.
pub(crate) fn link(path: &str, to: &str) -> Entry {
    Entry { path: path.to_owned(), mode: 0o777, content: Content::Link(to.to_owned()) }
}

/// Sorted by path, folders before what is in them.
pub(crate) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The controller in slot A.
pub(crate) fn slot(controller: &Path) -> Vec<Entry> {
    vec![
        folder("opt/felhom", 0o755),
        folder("opt/felhom/apps", 0o755),
        folder("opt/felhom/slots", 0o755),
        folder("opt/felhom/slots/A", 0o755),
        file("opt/felhom/slots/A/felhom-controller", 0o755, controller),
        folder("opt/felhom/slots/B", 0o755),
        link("opt/felhom/current", "slots/A"),
        link("usr/bin/felhom-controller", "../../opt/felhom/current/felhom-controller"),
        folder("var/lib/felhom", 0o755),
        folder("var/log/felhom", 0o755),
    ]
}

/// The demo's app.
pub(crate) fn sample_app(program: &Path) -> Vec<Entry> {
    vec![
        folder("opt/felhom/apps/sample", 0o755),
        folder("opt/felhom/apps/sample/bin", 0o755),
        file("opt/felhom/apps/sample/bin/sample-app", 0o755, program),
        text("opt/felhom/apps/sample/compose.yaml", 0o644, include_str!("../../golden/compose.yaml")),
        text("opt/felhom/apps/sample/felhom.yaml", 0o644, include_str!("../../golden/felhom.yaml")),
    ]
}
