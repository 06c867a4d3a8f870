//! The tar stream: headers in GNU format, written by hand because names must start with `./` as in Proxmox's archives.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use crate::volume::owners::Owner;
use crate::volume::xattr::Xattr;

/// What an extended attribute's name follows in a pax header.
pub(super) const XATTR: &str = "SCHILY.xattr.";

/// GNU tar fills its output to whole records of this many bytes.
const RECORD: u64 = 10240;

/// What the header of one entry says besides name, kind and size.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// Container ids and permission bits.
    pub(super) owner: Owner,
    /// Modification time in seconds since 1970; earlier times become 0.
    pub(super) mtime: i64,
    /// Extended attributes.
    pub(super) xattrs: Vec<Xattr>,
}

/// One entry: its kind, name relative to the guest's root, target if it is a link.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    pub(super) kind: EntryType,
    pub(super) name: &'a Path,
    pub(super) target: Option<&'a Path>,
    pub(super) meta: Meta,
}

/// A tar stream on its way to `out`.
pub(super) struct Emitter<'p, W> {
    out: W,
    written: u64,
    buffer: Vec<u8>,
    progress: &'p mut dyn FnMut(u64),
}

impl<'p, W: Write> Emitter<'p, W> {
    pub(super) fn new(out: W, progress: &'p mut dyn FnMut(u64)) -> Self {
        Self { out, written: 0, buffer: vec![0; 1 << 20], progress }
    }

    /// An entry without data: directory, link, pipe.
    pub(super) fn bare(&mut self, item: &Item<'_>) -> io::Result<()> {
        self.header(item, 0)?;
        (self.progress)(self.written);
        Ok(())
    }

    /// A file of exactly `size` bytes. Returns how many bytes `data` was short of that (they became zeros).
    pub(super) fn file(
        &mut self,
        name: &Path,
        meta: Meta,
        size: u64,
        data: &mut dyn Read,
    ) -> io::Result<u64> {
        self.header(&Item { kind: EntryType::Regular, name, target: None, meta }, size)?;
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match data.read(&mut self.buffer[..want]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if count == 0 {
                break;
            }
            self.out.write_all(&self.buffer[..count])?;
            self.written += count as u64;
            left -= count as u64;
            (self.progress)(self.written);
        }
        self.zeros(left)?;
        self.pad(512)?;
        (self.progress)(self.written);
        Ok(left)
    }

    /// Ends the stream. Returns its length and the output.
    pub(super) fn finish(mut self) -> io::Result<(u64, W)> {
        self.zeros(1024)?;
        self.pad(RECORD)?;
        (self.progress)(self.written);
        Ok((self.written, self.out))
    }

    fn header(&mut self, item: &Item<'_>, size: u64) -> io::Result<()> {
        let Item { kind, name, target, ref meta } = *item;
        self.attributes(&meta.xattrs)?;
        let name = member_name(name, kind == EntryType::Directory);
        // The target of a hard link is an entry of this archive; that of a symbolic link is any text.
        let target = target.map(|target| match kind {
            EntryType::Link => member_name(target, false),
            _ => target.as_os_str().as_bytes().to_vec(),
        });
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(meta.owner.mode);
        header.set_uid(u64::from(meta.owner.uid));
        header.set_gid(u64::from(meta.owner.gid));
        header.set_mtime(u64::try_from(meta.mtime).unwrap_or(0));
        header.set_size(size);
        if kind == EntryType::Char {
            header.set_device_major(0)?;
            header.set_device_minor(0)?;
        }
        if let Some(gnu) = header.as_gnu_mut() {
            self.short_or_long(EntryType::GNULongName, &name, &mut gnu.name)?;
            if let Some(target) = &target {
                self.short_or_long(EntryType::GNULongLink, target, &mut gnu.linkname)?;
            }
        }
        header.set_cksum();
        self.put(header.as_bytes())
    }

    /// Puts `text` into its field of 100 bytes; a longer one goes into an entry of its own in front.
    fn short_or_long(&mut self, kind: EntryType, text: &[u8], field: &mut [u8; 100]) -> io::Result<()> {
        let short = text.len().min(field.len());
        field[..short].copy_from_slice(&text[..short]);
        if text.len() <= field.len() {
            return Ok(());
        }
        self.about_the_next(kind, b"././@LongLink", &[text, &[0]].concat())
    }

    /// Extended attributes go into a pax header in front.
    fn attributes(&mut self, all: &[Xattr]) -> io::Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let records: Vec<u8> = all.iter().flat_map(|(name, value)| pax_record(name, value)).collect();
        self.about_the_next(EntryType::XHeader, b"././@PaxHeader", &records)
    }

    /// An entry that tells about the one after it.
    fn about_the_next(&mut self, kind: EntryType, name: &[u8], text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.name[..name.len()].copy_from_slice(name);
        }
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(text)?;
        self.pad(512)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, block: u64) -> io::Result<()> {
        self.zeros(self.written.next_multiple_of(block) - self.written)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.written += io::copy(&mut io::repeat(0).take(count), &mut self.out)?;
        Ok(())
    }
}

/// `data/x` as `./data/x`, the root as `./`; a directory ends in a slash.
fn member_name(path: &Path, directory: bool) -> Vec<u8> {
    let mut name = b"./".to_vec();
    name.extend_from_slice(path.as_os_str().as_bytes());
    if directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    name
}

/// `LENGTH SCHILY.xattr.NAME=VALUE\n`, where the length counts itself.
fn pax_record(name: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = [b" ", XATTR.as_bytes(), name, b"=", value, b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for size in 60..120 {
            let record = pax_record(b"user.x", &vec![b'v'; size]);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
        }
    }
}
