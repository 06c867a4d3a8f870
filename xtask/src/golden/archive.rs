//! A `vzdump-lxc-*.tar.zst` whose bytes depend on nothing but its entries: fixed times, owner 0, one thread.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::tree::{Content, Entry};

/// VMID and time are part of the name, as Proxmox VE wants it; both are fixed.
pub(crate) const NAME: &str = "vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst";
/// 2026-01-01T00:00:00Z.
const TIME: u64 = 1_767_225_600;
const LEVEL: i32 = 3;

/// Write the archive; returns its SHA-256 and size.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<(String, u64)> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let sink = Hashed { inner: BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    let mut tar = tar::Builder::new(zstd::Encoder::new(sink, LEVEL)?);
    for entry in entries {
        append(&mut tar, entry).with_context(|| format!("{}: entry `{}`", path.display(), entry.path))?;
    }
    let sink = tar.into_inner()?.finish()?;
    let Hashed { inner, hash, bytes } = sink;
    let file = inner.into_inner().context("cannot write out the archive")?;
    file.sync_all()?;
    Ok((hex::encode(hash.finalize()), bytes))
}

fn append(tar: &mut tar::Builder<impl Write>, entry: &Entry) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(0);
    let name = format!("./{}", entry.path);
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            let name = if entry.path.is_empty() { name } else { format!("{name}/") };
            set_name(&mut header, &name)?;
            header.set_cksum();
            tar.append(&header, io::empty())?;
        }
        Content::Link(to) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name_literal(to)?;
            set_name(&mut header, &name)?;
            header.set_cksum();
            tar.append(&header, io::empty())?;
        }
        Content::Bytes(bytes) => append_file(tar, header, &name, bytes.len() as u64, bytes.as_slice())?,
        Content::File(from) => {
            let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
            let size = file.metadata()?.len();
            append_file(tar, header, &name, size, file)?;
        }
    }
    Ok(())
}

fn append_file(
    tar: &mut tar::Builder<impl Write>,
    mut header: tar::Header,
    name: &str,
    size: u64,
    bytes: impl io::Read,
) -> Result<()> {
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    set_name(&mut header, name)?;
    header.set_cksum();
    tar.append(&header, bytes)?;
    Ok(())
}

/// The name as it is: `tar::Builder` would take the leading `./` away.
fn set_name(header: &mut tar::Header, name: &str) -> Result<()> {
    let field = &mut header.as_old_mut().name;
    anyhow::ensure!(name.len() < field.len(), "a name of {} bytes needs an extension header", name.len());
    field[..name.len()].copy_from_slice(name.as_bytes());
    Ok(())
}

/// Hashes what passes.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use super::*;
    use crate::golden::tree;

    #[test]
    fn the_same_entries_give_the_same_bytes_with_owner_zero() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("p");
        fs::write(&program, b"program").unwrap();
        let entries = tree::entries(&program, &program, &program);
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        let first = write(&one, &entries).unwrap();
        assert_eq!(first, write(&two, &entries).unwrap());
        let bytes = fs::read(&one).unwrap();
        assert_eq!(first, (hex::encode(Sha256::digest(&bytes)), bytes.len() as u64));

        let mut tar = tar::Archive::new(zstd::Decoder::new(bytes.as_slice()).unwrap());
        let mut names = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, TIME));
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            if name == "./opt/felhom/slots/A/felhom-controller" {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                assert_eq!(text, "program");
            }
            names.push(name);
        }
        assert_eq!(names[0], "./etc/vzdump/pct.conf");
        assert_eq!(names[1], "./");
        assert!(names.contains(&"./opt/felhom/current".to_owned()), "{names:?}");
    }
}
