//! `known_boxes`: the attestation keys that this machine pinned itself, as ssh does with `known_hosts`.
//!
//! One line a box, `NAME SHA256:…`; blank lines and lines that begin with `#` are left as they are.

use crate::escape::escaped;
use crate::exit::Failure;
use crate::files;
use felhom_signing::PublicKey;
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

    /// The pin of a box, if it is of the key that came with `what` from the hub.
    pub(crate) fn pinned(&self, name: &str, key: &PublicKey, what: &str) -> Result<String, Failure> {
        let (shown, told) = (escaped(name), key.fingerprint());
        let Some(pin) = self.pin_of(name)? else {
            return Err(Failure::Unverified(format!(
                "no key is pinned for {shown}, so nothing says that {what} is from it. Read the key on the box itself: \
                 `felhom box pin {shown} SHA256:…`"
            )));
        };
        if pin != told {
            return Err(Failure::Unverified(format!(
                "ALARM: {what} comes with the key {told}, this machine has pinned {pin} for {shown}. Either the box was \
                 installed anew, or somebody stands in its place. Nothing was signed."
            )));
        }
        Ok(pin)
    }

    /// All pins, name and fingerprint.
    pub(crate) fn pins(&self) -> Result<Vec<(String, String)>, Failure> {
        let text = self.read()?;
        Ok(entries(&text).map(|(name, pin)| (name.to_owned(), pin.to_owned())).collect())
    }

    /// Pins a key; another pin is only replaced by who names it.
    pub(crate) fn pin(
        &self,
        name: &str,
        fingerprint: &str,
        replace: Option<&str>,
    ) -> Result<Pinned, Failure> {
        check_name(name)?;
        check(fingerprint)?;
        let text = self.read()?;
        let outcome = match find(&text, name) {
            Some(old) if old == fingerprint => return Ok(Pinned::Unchanged),
            Some(old) if replace == Some(old) => Pinned::Replaced(old.to_owned()),
            Some(old) => {
                return Err(Failure::Unverified(format!(
                    "ALARM: {name} is pinned to {old}, not to {fingerprint}. Either the box was installed anew, or somebody \
                     stands in its place. If you know that it was installed anew, repeat with --replace {old}"
                )));
            }
            None if replace.is_some() => {
                return Err(Failure::Failed(format!("{name} is not pinned; there is nothing to replace")));
            }
            None => Pinned::New,
        };
        self.write(others(&text, name).chain([format!("{name} {fingerprint}")]))?;
        Ok(outcome)
    }

    /// Forgets a pin; the fingerprint has to be the one that is pinned.
    pub(crate) fn unpin(&self, name: &str, fingerprint: &str) -> Result<(), Failure> {
        let text = self.read()?;
        match find(&text, name) {
            Some(old) if old == fingerprint => self.write(others(&text, name)),
            Some(old) => Err(Failure::Unverified(format!("{name} is pinned to {old}, not to {fingerprint}"))),
            None => Err(Failure::Failed(format!("{name} is not pinned; see `felhom box pins`"))),
        }
    }

    fn read(&self) -> Result<String, Failure> {
        let bytes = files::read_if_there(&self.path)?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|e| files::failed("read", &self.path, &e))
    }

    fn write(&self, lines: impl Iterator<Item = String>) -> Result<(), Failure> {
        files::replace(&self.path, &lines.map(|line| line + "\n").collect::<String>())
    }
}

/// Lines of a file that are not this box's.
fn others<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines().filter(move |line| line.split_whitespace().next() != Some(name)).map(str::to_owned)
}

fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().zip(words.next())
    })
}

fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    entries(text).find_map(|(other, pin)| (other == name).then_some(pin))
}

/// A name that can stand in front of a line.
fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Failure::Failed(format!("`{}` is no name of a box", escaped(name))))
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
        assert_eq!(known.pin("a", ONE, None).unwrap(), Pinned::New);
        assert_eq!(known.pin("ab", TWO, None).unwrap(), Pinned::New);
        assert_eq!(known.pin("a", ONE, None).unwrap(), Pinned::Unchanged);
        assert_eq!(known.pin("a", TWO, None).unwrap_err().code(), 5);
        assert_eq!(known.pin("a", TWO, Some(TWO)).unwrap_err().code(), 5);
        assert_eq!(known.pin_of("a").unwrap().as_deref(), Some(ONE));
        assert_eq!(known.pin("a", TWO, Some(ONE)).unwrap(), Pinned::Replaced(ONE.to_owned()));
        assert_eq!(known.pin_of("a").unwrap().as_deref(), Some(TWO));
        assert_eq!(known.pin_of("ab").unwrap().as_deref(), Some(TWO));
        assert!(known.pin("b", "SHA256:short", None).is_err());
        for name in ["", "#b", "b c", "b\nab"] {
            assert_eq!(known.pin(name, ONE, None).unwrap_err().code(), 1, "{name:?}");
        }
        assert_eq!(known.pin("b", ONE, Some(TWO)).unwrap_err().code(), 1);
    }

    #[test]
    fn a_pin_is_forgotten_by_who_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownBoxes::at(dir.path().join("known_boxes"));
        std::fs::write(dir.path().join("known_boxes"), format!("# ours\na {ONE}\n\nab {TWO}\n")).unwrap();
        assert_eq!(known.unpin("a", TWO).unwrap_err().code(), 5);
        assert_eq!(known.unpin("c", TWO).unwrap_err().code(), 1);
        known.unpin("a", ONE).unwrap();
        assert_eq!(known.pins().unwrap(), [("ab".to_owned(), TWO.to_owned())]);
        let text = std::fs::read_to_string(dir.path().join("known_boxes")).unwrap();
        assert_eq!(text, format!("# ours\n\nab {TWO}\n"));
    }
}
