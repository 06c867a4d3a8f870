//! The guest configuration inside an archive, read the way Proxmox reads it: the first `etc/vzdump/pct.conf`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use felhom_gate::archive_config::forbidden_lines;

use super::GoldenError;

const CONFIG: [&[u8]; 2] = [b"./etc/vzdump/pct.conf", b"etc/vzdump/pct.conf"];
/// No configuration comes near it.
const LIMIT: u64 = 64 << 10;

/// Reads the configuration's text. Blocks; call it off the runtime.
pub(super) fn config_text(path: &Path) -> Result<String, GoldenError> {
    let wrong = |why: String| GoldenError::NotAnArchive { path: path.to_owned(), why };
    let file = File::open(path).map_err(|source| GoldenError::Read { path: path.to_owned(), source })?;
    let unpacked = zstd::Decoder::new(file).map_err(|e| wrong(e.to_string()))?;
    match find_config(unpacked) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(wrong("it has no regular file ./etc/vzdump/pct.conf".to_owned())),
        Err(e) => Err(wrong(format!("it is no tar packed with zstd ({e})"))),
    }
}

fn find_config(unpacked: impl io::Read) -> io::Result<Option<String>> {
    let mut archive = tar::Archive::new(unpacked);
    for entry in archive.entries()? {
        let entry = entry?;
        if !CONFIG.contains(&entry.path_bytes().as_ref()) {
            continue;
        }
        if !entry.header().entry_type().is_file() || entry.size() > LIMIT {
            return Ok(None);
        }
        let mut text = String::new();
        entry.take(LIMIT).read_to_string(&mut text)?;
        return Ok(Some(text));
    }
    Ok(None)
}

/// Refuses a configuration that may not reach the host.
pub(super) fn check_config(path: &Path, text: &str) -> Result<(), GoldenError> {
    let mut lines = forbidden_lines(text);
    if !text.lines().any(|line| line.trim_end() == "unprivileged: 1") {
        lines.push("no line `unprivileged: 1`".to_owned());
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(GoldenError::Forbidden { path: path.to_owned(), lines })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive with these files, in order.
    pub(crate) fn archive_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<String, GoldenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        config_text(&path)
    }

    #[test]
    fn the_first_configuration_counts() {
        let name = "./etc/vzdump/pct.conf";
        let bytes =
            archive_of(&[("./etc/hostname", "x"), (name, "unprivileged: 1\n"), (name, "second: 1\n")]);
        assert_eq!(read(&bytes).unwrap(), "unprivileged: 1\n");
        let none = archive_of(&[("./home/etc/vzdump/pct.conf", "x")]);
        assert_eq!(read(&none).unwrap_err().reason(), Some("not_an_archive"));
        assert_eq!(read(b"no archive").unwrap_err().reason(), Some("not_an_archive"));
    }

    #[test]
    fn what_reaches_the_host_is_refused_with_its_line() {
        let check = |text: &str| check_config(Path::new("x"), text);
        assert!(check("arch: amd64\nunprivileged: 1\nfeatures: nesting=1,keyctl=1\n").is_ok());
        let error = check("unprivileged: 1\nhookscript: local:snippets/x\n").unwrap_err();
        assert!(error.to_string().contains("hookscript: local:snippets/x"), "{error}");
        assert_eq!(check("arch: amd64\n").unwrap_err().reason(), Some("forbidden_config"));
        assert_eq!(check("unprivileged: 0\n").unwrap_err().reason(), Some("forbidden_config"));
    }
}
