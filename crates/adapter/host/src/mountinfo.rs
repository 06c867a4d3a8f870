//! The kernel's list of mounts, `/proc/self/mountinfo` (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub point: PathBuf,
    /// e.g. `ext4`, `zfs`.
    pub kind: String,
    /// What: a device, or for zfs a data set as `POOL/NAME`.
    pub source: String,
}

/// The mounts in the order of mounting. Lines that cannot be read are left out.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Mounted> {
    bytes.split(|b| *b == b'\n').filter_map(line).collect()
}

/// Fields: id, parent, device, root, **mount point**, options, any number of tags, `-`, **kind**, **source**, options.
fn line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|b| *b == b' ');
    let point = decoded(fields.nth(4)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let mut text = || Some(String::from_utf8_lossy(decoded(rest.next()?).as_bytes()).into_owned());
    let (kind, source) = (text()?, text()?);
    let point = PathBuf::from(point);
    point.is_absolute().then_some(Mounted { point, kind, source })
}

/// With `\040` and the like for what would end a field.
fn decoded(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, tail.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_decoded() {
        let one = |line: &str| parse(line.as_bytes()).pop();
        let loop4 =
            r"97 28 7:4 / /var/lib/lxc/211/rootfs/my\040data rw,relatime shared:53 - ext4 /dev/loop4 rw";
        let expected = Mounted {
            point: "/var/lib/lxc/211/rootfs/my data".into(),
            kind: "ext4".into(),
            source: "/dev/loop4".into(),
        };
        assert_eq!(one(loop4), Some(expected));
        assert_eq!(one(r"1 2 0:3 / /a\134b rw - zfs rpool/data rw").unwrap().point, PathBuf::from(r"/a\b"));
        assert_eq!(one("1 2 0:3"), None);
        assert_eq!(one("1 2 0:3 / relative rw - x y z"), None);
        assert_eq!(one(""), None);
    }
}
