//! `var/log/destroyed.log`: what this host destroyed or overwrote, one line of JSON each, appended before it happens.
//!
//! A genuine host has no such file. It is for whoever wants to judge a program that gives orders to the host, without asking
//! that program.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use crate::clock;
use crate::state::Host;

/// What kind of thing is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A guest's volume, with its snapshots. `id` is its volid.
    Volume,
    /// What a volume held, taken over by one of its snapshots (a rollback).
    Contents,
    /// A snapshot of a volume: `VOLID@NAME`.
    Snapshot,
    /// A file of a storage, an archive mostly: its path on the node.
    File,
    /// A guest's configuration: its VMID.
    Guest,
    /// A file inside a guest: `VMID:PATH`.
    GuestFile,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    /// UPID of the task, or the command, or `pveproxy`.
    by: &'a str,
    what: Kind,
    id: &'a str,
    /// Made by the same task, whose failure takes it away again.
    own: bool,
}

static ACTOR: OnceLock<String> = OnceLock::new();

/// Says what this process does, once: a task or a command.
pub(crate) fn acting_as(actor: &str) {
    // A second word would be a program's mistake, and the first one stays true.
    let _ = ACTOR.set(actor.to_owned());
}

/// Notes that something which was there before is about to go.
///
/// # Errors
/// If the line cannot be written: then nothing may be destroyed either.
pub(crate) fn note(host: &Host, what: Kind, id: &str) -> io::Result<()> {
    append(host, what, id, false)
}

/// The same of what the task at work made itself.
///
/// # Errors
/// As [`note`].
pub(crate) fn note_own(host: &Host, what: Kind, id: &str) -> io::Result<()> {
    append(host, what, id, true)
}

/// Notes a file of the node, if there is one at this place.
///
/// # Errors
/// As [`note`].
pub(crate) fn note_file(host: &Host, path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let shown = path.strip_prefix(host.dir.root()).unwrap_or(path);
    append(host, Kind::File, &Path::new("/").join(shown).to_string_lossy(), false)
}

fn append(host: &Host, what: Kind, id: &str, own: bool) -> io::Result<()> {
    let at = clock::local(host).strftime("%FT%T%:z").to_string();
    let by = ACTOR.get().map_or("pveproxy", String::as_str);
    let mut line = serde_json::to_vec(&Line { at, by, what, id, own }).map_err(io::Error::other)?;
    line.push(b'\n');
    let path = host.dir.destroyed_log();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // One write of a whole line: processes that append at once do not mix.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(&line)
}
