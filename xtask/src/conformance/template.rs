//! A small template archive: the directories of a Debian system, and more of them, a shell script as init.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

const FOLDERS: [&str; 20] = [
    "bin",
    "boot",
    "dev",
    "etc",
    "etc/network",
    "home",
    "lib",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "var",
];

/// Writes it; the file's name says how it is packed.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn make(path: &Path, version: &str, more: &[String]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = fs::File::create(path).with_context(|| path.display().to_string())?;
    if path.extension().is_some_and(|end| end == "zst") {
        let encoder = zstd::Encoder::new(file, 1)?;
        fill(encoder, version, more)?.finish()?;
    } else {
        fill(file, version, more)?;
    }
    Ok(())
}

fn fill<W: std::io::Write>(out: W, version: &str, more: &[String]) -> Result<W> {
    let mut builder = Builder::new(out);
    for folder in FOLDERS.into_iter().chain(more.iter().map(String::as_str)) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        own(&mut header);
        header.set_size(0);
        builder.append_data(&mut header, format!("./{folder}/"), std::io::empty())?;
    }
    // Bytes that no packer makes small, as a program's.
    let mut payload = vec![0; 256 * 1024];
    getrandom::fill(&mut payload).map_err(|e| anyhow::anyhow!("{e}"))?;
    let debian = format!("{version}\n");
    let init = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 100 & wait $!; done\n";
    let files: [(&str, &[u8], u32); 5] = [
        ("etc/debian_version", debian.as_bytes(), 0o644),
        ("etc/hostname", b"debian\n", 0o644),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644),
        ("sbin/init", init.as_bytes(), 0o755),
        ("root/payload", &payload, 0o644),
    ];
    for (name, bytes, mode) in files {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        own(&mut header);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, format!("./{name}"), bytes)?;
    }
    builder.into_inner().context("template")
}

fn own(header: &mut Header) {
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
}
