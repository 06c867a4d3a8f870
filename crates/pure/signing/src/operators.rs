//! The operators' file: whose signatures count on a box, and how one version follows another.
//!
//! It is installed from local media at enrolment. Version N+1 replaces N only if enough distinct names of N *and* enough of
//! N+1 signed its exact bytes (SSHSIG, [`Namespace::Operators`]), strictly one step at a time.
//!
//! **Architecture invariant:** a version is only ever reached by [`rotate`] or by local root; there is no "newest wins".

use crate::sshsig::{self, Namespace, SshPublicKey};
use crate::{SignatureError, Verified, base64_bytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The version of the document's form.
pub const FORM: u32 = 1;
/// The longest file that is read, bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most keys in a file; a bundle has at most as many signatures as two files have keys.
pub const MAX_KEYS: usize = 64;

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Challenges and rotations.
    Operator,
    /// Rotations only; kept away from daily use.
    Recovery,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Recovery => "recovery",
        })
    }
}

/// A key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKey {
    name: String,
    role: Role,
    key: SshPublicKey,
    line: String,
}

impl OperatorKey {
    /// Reads a key's line as it stands in a `.pub` file; `name` is whose key it is.
    ///
    /// # Errors
    /// If the name or the key does not fit.
    pub fn new(name: &str, role: Role, line: &str) -> Result<Self, OperatorsError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@-".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(OperatorsError::Name(name.to_owned()));
        }
        let line = line.trim();
        let bad = |source| OperatorsError::Key { name: name.to_owned(), source };
        if line.contains(char::is_control) {
            let why = "it is more than one line".to_owned();
            return Err(bad(SignatureError::Malformed { what: "the OpenSSH public key", why }));
        }
        let key = SshPublicKey::from_openssh(line).map_err(bad)?;
        key.check_type().map_err(bad)?;
        Ok(Self { name: name.to_owned(), role, key, line: line.to_owned() })
    }

    /// Whose it is; several keys may have the same name, and count once.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may sign.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The key.
    pub fn key(&self) -> &SshPublicKey {
        &self.key
    }
}

/// One version of the operators' file; what breaks a rule of it cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorsFile {
    version: u64,
    rotation: u8,
    keys: Vec<OperatorKey>,
}

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u32,
    version: u64,
    thresholds: Thresholds,
    keys: Vec<KeyEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thresholds {
    rotation: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    role: Role,
    key: String,
}

/// Why a text is no operators' file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorsError {
    /// Longer than [`MAX_BYTES`].
    #[error("the operators' file has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// Not the JSON that it should be.
    #[error("this is no operators' file: {0}")]
    Malformed(String),
    /// Another form of the document.
    #[error("the operators' file has the form {0}, this program reads the form {FORM}")]
    OtherForm(u32),
    /// Versions begin at 1 and end where they cannot be counted on.
    #[error("the operators' file cannot have the version {0}")]
    Version(u64),
    /// A name that cannot be told apart on every screen.
    #[error("`{0}` is no operator's name: 1 to 64 of a-z, 0-9, `.`, `_`, `@` and `-`")]
    Name(String),
    /// A key that cannot be read, or whose type is not accepted.
    #[error("the key of {name}: {source}")]
    Key {
        /// Whose.
        name: String,
        /// What is wrong.
        source: SignatureError,
    },
    /// The same key material twice.
    #[error("the key {fingerprint} stands there twice, as {first}'s and as {second}'s")]
    TwiceTheKey {
        /// Which.
        fingerprint: String,
        /// The first entry's name.
        first: String,
        /// The second entry's name.
        second: String,
    },
    /// More than [`MAX_KEYS`].
    #[error("{0} keys are more than {MAX_KEYS}")]
    TooManyKeys(usize),
    /// Nobody could consent to anything.
    #[error("no key has the role operator")]
    NoOperator,
    /// A threshold that nobody or everybody meets.
    #[error(
        "the rotation threshold is {threshold}, it must be between 1 and the number of distinct names, {names}"
    )]
    Threshold {
        /// As written.
        threshold: u8,
        /// Distinct names in the file.
        names: usize,
    },
}

impl OperatorsFile {
    /// Puts a version together.
    ///
    /// # Errors
    /// [`OperatorsError`], for every rule of the file.
    pub fn new(version: u64, rotation: u8, keys: Vec<OperatorKey>) -> Result<Self, OperatorsError> {
        if version == 0 || version == u64::MAX {
            return Err(OperatorsError::Version(version));
        }
        if keys.len() > MAX_KEYS {
            return Err(OperatorsError::TooManyKeys(keys.len()));
        }
        for (n, key) in keys.iter().enumerate() {
            if let Some(first) = keys[..n].iter().find(|other| other.key == key.key) {
                return Err(OperatorsError::TwiceTheKey {
                    fingerprint: key.key.fingerprint(),
                    first: first.name.clone(),
                    second: key.name.clone(),
                });
            }
        }
        if !keys.iter().any(|key| key.role == Role::Operator) {
            return Err(OperatorsError::NoOperator);
        }
        let names = keys.iter().map(|key| &key.name).collect::<BTreeSet<_>>().len();
        if rotation == 0 || usize::from(rotation) > names {
            return Err(OperatorsError::Threshold { threshold: rotation, names });
        }
        Ok(Self { version, rotation, keys })
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`OperatorsError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OperatorsError> {
        if bytes.len() > MAX_BYTES {
            return Err(OperatorsError::TooLong(bytes.len()));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| OperatorsError::Malformed(e.to_string()))?;
        if document.v != FORM {
            return Err(OperatorsError::OtherForm(document.v));
        }
        let keys = document.keys.iter().map(|entry| OperatorKey::new(&entry.name, entry.role, &entry.key));
        Self::new(document.version, document.thresholds.rotation, keys.collect::<Result<_, _>>()?)
    }

    /// The file's text, to be written and then signed as it is.
    ///
    /// # Errors
    /// [`OperatorsError`] if it would be too long to be read again.
    pub fn to_text(&self) -> Result<String, OperatorsError> {
        let entry =
            |key: &OperatorKey| KeyEntry { name: key.name.clone(), role: key.role, key: key.line.clone() };
        let thresholds = Thresholds { rotation: self.rotation };
        let keys = self.keys.iter().map(entry).collect();
        let document = Document { v: FORM, version: self.version, thresholds, keys };
        let text = serde_json::to_string_pretty(&document);
        let text = text.map_err(|e| OperatorsError::Malformed(e.to_string()))? + "\n";
        if text.len() > MAX_BYTES { Err(OperatorsError::TooLong(text.len())) } else { Ok(text) }
    }

    /// Its number; each accepted file has the next one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many distinct names of it a rotation needs.
    pub fn rotation(&self) -> u8 {
        self.rotation
    }

    /// All keys.
    pub fn keys(&self) -> &[OperatorKey] {
        &self.keys
    }

    /// The entry of a key, by its material.
    pub fn find(&self, key: &SshPublicKey) -> Option<&OperatorKey> {
        self.keys.iter().find(|entry| entry.key == *key)
    }

    fn tally(&self, signers: &[SshPublicKey]) -> Tally {
        let entries = signers.iter().filter_map(|key| self.find(key));
        let signed: BTreeSet<String> = entries.map(|entry| entry.name.clone()).collect();
        Tally { version: self.version, signed: signed.into_iter().collect(), needed: self.rotation }
    }
}

/// Who of one version signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The version whose names these are.
    pub version: u64,
    /// Distinct names that signed, sorted.
    pub signed: Vec<String>,
    /// So many are needed.
    pub needed: u8,
}

impl Tally {
    /// How many names are missing.
    pub fn missing(&self) -> usize {
        usize::from(self.needed).saturating_sub(self.signed.len())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = if self.signed.is_empty() { "nobody".to_owned() } else { self.signed.join(", ") };
        write!(f, "of version {} signed {signed}, needed are {} names", self.version, self.needed)
    }
}

/// A next version whose signatures are all good, whether or not they are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    next: OperatorsFile,
    /// Of the version in force.
    pub of_current: Tally,
    /// Of the proposed one.
    pub of_next: Tally,
}

impl Proposal {
    /// What it proposes; not in force, and not to be used for anything but showing it.
    pub fn proposed(&self) -> &OperatorsFile {
        &self.next
    }
}

/// Why a version does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// It is no operators' file.
    #[error("the proposed version: {0}")]
    Operators(#[from] OperatorsError),
    /// The base64 of the bundle.
    #[error("this is no signed operators' file: {0}")]
    Malformed(String),
    /// More than both versions can have keys.
    #[error("{0} signatures are more than {most}", most = 2 * MAX_KEYS)]
    TooManySignatures(usize),
    /// Not the one after.
    #[error("version {current} is in force, so only version {} can follow, not {proposed}", current + 1)]
    NotNext {
        /// In force.
        current: u64,
        /// Proposed.
        proposed: u64,
    },
    /// A signature that does not count in either version. It is named rather than passed over.
    #[error("signature {number}: {source}")]
    Signature {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        source: SignatureError,
    },
    /// Too few names.
    #[error("signatures are missing: {of_current}; {of_next}")]
    Missing {
        /// Of the version in force.
        of_current: Tally,
        /// Of the proposed one.
        of_next: Tally,
    },
}

impl RotationError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Operators(_) => "operators_malformed",
            Self::Malformed(_) => "bundle_malformed",
            Self::TooManySignatures(_) => "too_many_signatures",
            Self::NotNext { .. } => "not_next_version",
            Self::Signature { .. } => "bad_signature",
            Self::Missing { .. } => "signatures_missing",
        }
    }
}

/// Checks the proposed bytes and every signature over them, and counts the names.
///
/// # Errors
/// [`RotationError`], never [`RotationError::Missing`].
pub fn examine(
    current: &OperatorsFile,
    next_bytes: &[u8],
    signatures: &[String],
) -> Result<Proposal, RotationError> {
    let next = OperatorsFile::parse(next_bytes)?;
    if current.version.checked_add(1) != Some(next.version) {
        return Err(RotationError::NotNext { current: current.version, proposed: next.version });
    }
    if signatures.len() > 2 * MAX_KEYS {
        return Err(RotationError::TooManySignatures(signatures.len()));
    }
    let accepted: Vec<_> = current.keys.iter().chain(&next.keys).map(|entry| entry.key.clone()).collect();
    let mut signers = Vec::new();
    for (n, armored) in signatures.iter().enumerate() {
        let key = sshsig::verify(armored, Namespace::Operators, next_bytes.to_vec(), &accepted)
            .and_then(|_| sshsig::claimed_key(armored))
            .map_err(|source| RotationError::Signature { number: n + 1, source })?;
        signers.push(key);
    }
    let (of_current, of_next) = (current.tally(&signers), next.tally(&signers));
    Ok(Proposal { next, of_current, of_next })
}

/// The version that follows `current`, if enough names of both signed exactly these bytes.
///
/// Keys of both roles count. The result is in force only after the grace that the box gives; until then `current` is.
///
/// # Errors
/// [`RotationError`], which names what is missing.
pub fn rotate(
    current: &OperatorsFile,
    next_bytes: &[u8],
    signatures: &[String],
) -> Result<Verified<OperatorsFile>, RotationError> {
    let Proposal { next, of_current, of_next } = examine(current, next_bytes, signatures)?;
    if of_current.missing() + of_next.missing() > 0 {
        return Err(RotationError::Missing { of_current, of_next });
    }
    Ok(Verified(next))
}

/// A proposed version with the signatures over it: on disk, and as the hub's job `rotate_operators` carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedOperators {
    /// Exactly the bytes that are signed, base64.
    #[serde(with = "base64_bytes")]
    pub document: Vec<u8>,
    /// Armored signatures.
    pub signatures: Vec<String>,
}

impl SignedOperators {
    /// Reads the bundle's bytes.
    ///
    /// # Errors
    /// [`RotationError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RotationError> {
        serde_json::from_slice(bytes).map_err(|e| RotationError::Malformed(e.to_string()))
    }

    /// As [`rotate`].
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn rotate(&self, current: &OperatorsFile) -> Result<Verified<OperatorsFile>, RotationError> {
        rotate(current, &self.document, &self.signatures)
    }
}
