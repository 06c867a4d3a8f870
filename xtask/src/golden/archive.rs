//! A `vzdump-lxc-*.tar.zst` whose bytes depend on nothing but its entries: fixed times, owner 0, one thread.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::entry::{Content, Entry};

/// 2026-01-01T00:00:00Z: the time of what we put in, and the latest of anything in an archive.
pub(crate) const TIME: u64 = 1_767_225_600;
const LEVEL: i32 = 3;

/// The name of an archive: VMID and time are part of it, as Proxmox VE wants it.
pub(crate) fn name(time: jiff::Timestamp) -> String {
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    format!("vzdump-lxc-1999-{}.tar.zst", time.strftime("%Y_%m_%d-%H_%M_%S"))
}

/// Write an archive of these entries; returns its SHA-256 and size.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<(String, u64)> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Hashed::create(path)?, LEVEL)?);
    put_all(&mut tar, entries)?;
    tar.into_inner()?.finish()?.end()
}

/// Write an archive of a configuration and of a whole system that is a tar stream already.
pub(crate) fn compose(path: &Path, config: &Entry, system: &mut dyn io::Read) -> Result<(String, u64)> {
    let mut zstd = zstd::Encoder::new(Hashed::create(path)?, LEVEL)?;
    let mut first = tar::Builder::new(Vec::new());
    append(&mut first, config)?;
    // Not `into_inner`: that would end the stream here.
    zstd.write_all(first.get_ref())?;
    io::copy(system, &mut zstd).with_context(|| format!("cannot write {}", path.display()))?;
    zstd.finish()?.end()
}

/// A plain tar of these entries.
pub(crate) fn plain(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    put_all(&mut tar, entries)?;
    Ok(tar.into_inner()?)
}

fn put_all(tar: &mut tar::Builder<impl Write>, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        append(tar, entry).with_context(|| format!("entry `{}` of an archive", entry.path))?;
    }
    Ok(())
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

/// A file that is hashed while it is written.
struct Hashed {
    inner: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { inner: BufWriter::new(file), hash: Sha256::new(), bytes: 0 })
    }

    /// On the disk; its SHA-256 and size.
    fn end(self) -> Result<(String, u64)> {
        let file = self.inner.into_inner().context("cannot write out the archive")?;
        file.sync_all()?;
        Ok((hex::encode(self.hash.finalize()), self.bytes))
    }
}

impl Write for Hashed {
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
    use crate::golden::{entry, process};

    #[test]
    fn the_same_entries_give_the_same_bytes_with_owner_zero() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("p");
        fs::write(&program, b"program").unwrap();
        let entries = process::entries(&program, &program, &program);
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

    #[test]
    fn a_system_is_put_behind_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let system = plain(&[entry::folder("", 0o755), entry::text("etc/x", 0o644, "x")]).unwrap();
        let config = entry::text(entry::CONFIG, 0o644, "arch: amd64\n");
        let first = compose(&path, &config, &mut system.as_slice()).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(first, (hex::encode(Sha256::digest(&bytes)), bytes.len() as u64));
        let mut tar = tar::Archive::new(zstd::Decoder::new(bytes.as_slice()).unwrap());
        let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["./etc/vzdump/pct.conf", "./", "./etc/x"]);
    }

    #[test]
    fn a_name_tells_when() {
        let time = jiff::Timestamp::from_second(i64::try_from(TIME).unwrap()).unwrap();
        assert_eq!(name(time), "vzdump-lxc-1999-2026_01_01-00_00_00.tar.zst");
    }
}
