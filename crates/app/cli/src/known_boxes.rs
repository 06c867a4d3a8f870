//! `known_boxes`: the attestation keys that this machine pinned itself, as ssh does with `known_hosts`.
//!
//! One line a box, `NAME SHA256:…`; blank lines and lines that begin with `#` are left as they are.

use crate::exit::Failure;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// The file.
#[derive(Debug)]
pub(crate) struct KnownBoxes {
    path: PathBuf,
}

/// What pinning did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pinned {
    /// It was not there.
    New,
    /// It was there.
    Unchanged,
    /// It replaced this one.
    Replaced(String),
}

impl KnownBoxes {
    /// The file at this path; it need not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The pinned fingerprint of a box.
    pub(crate) fn pin_of(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(find(&self.read()?, name).map(str::to_owned))
    }

    /// Pins a key; another pin is only replaced if asked to.
    pub(crate) fn pin(&self, name: &str, fingerprint: &str, replace: bool) -> Result<Pinned, Failure> {
        check(fingerprint)?;
        let text = self.read()?;
        let outcome = match find(&text, name) {
            Some(old) if old == fingerprint => return Ok(Pinned::Unchanged),
            Some(old) if !replace => {
                return Err(Failure::Unverified(format!(
                    "{name} is pinned to {old}, not to {fingerprint}. Either the box was installed anew, or somebody \
                     stands in its place. If you know that it was installed anew, repeat with --replace."
                )));
            }
            Some(old) => Pinned::Replaced(old.to_owned()),
            None => Pinned::New,
        };
        let others = text.lines().filter(|line| line.split_whitespace().next() != Some(name));
        let lines: Vec<String> = others.map(str::to_owned).chain([format!("{name} {fingerprint}")]).collect();
        self.write(&(lines.join("\n") + "\n"))?;
        Ok(outcome)
    }

    fn read(&self) -> Result<String, Failure> {
        match fs::read_to_string(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|e| self.failed("read", &e)),
        }
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let temporary = self.path.with_extension("new");
        let attempt = || {
            fs::create_dir_all(self.path.parent().unwrap_or(&self.path))?;
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        attempt().map_err(|e: std::io::Error| self.failed("write", &e))
    }

    fn failed(&self, what: &str, why: &std::io::Error) -> Failure {
        Failure::Failed(format!("cannot {what} {}: {why}", self.path.display()))
    }
}

fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next())?
    })
}

fn check(fingerprint: &str) -> Result<(), Failure> {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let digest = fingerprint.strip_prefix("SHA256:").unwrap_or_default();
    if digest.len() == 43 && digest.bytes().all(base64) {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "`{fingerprint}` is no key fingerprint; it begins with SHA256: and has 43 characters behind it, as \
         `felhom-agent enroll` prints it on the box"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE";
    const TWO: &str = "SHA256:aVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE";

    #[test]
    fn a_pin_is_kept_and_never_changed_silently() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownBoxes::at(dir.path().join("deep/known_boxes"));
        assert_eq!(known.pin_of("a").unwrap(), None);
        assert_eq!(known.pin("a", ONE, false).unwrap(), Pinned::New);
        assert_eq!(known.pin("ab", TWO, false).unwrap(), Pinned::New);
        assert_eq!(known.pin("a", ONE, false).unwrap(), Pinned::Unchanged);
        assert_eq!(known.pin("a", TWO, false).unwrap_err().code(), 5);
        assert_eq!(known.pin_of("a").unwrap().as_deref(), Some(ONE));
        assert_eq!(known.pin("a", TWO, true).unwrap(), Pinned::Replaced(ONE.to_owned()));
        assert_eq!(known.pin_of("a").unwrap().as_deref(), Some(TWO));
        assert_eq!(known.pin_of("ab").unwrap().as_deref(), Some(TWO));
        assert!(known.pin("b", "SHA256:short", false).is_err());
    }
}
