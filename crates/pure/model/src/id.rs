//! Identities. Each is parsed once, at the edge, and is never a bare `String`, `Uuid` or number after that.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};
use ulid::Ulid;
use uuid::Uuid;

/// Why a text is not the identity it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}")]
pub struct IdError {
    /// The text as it was given.
    pub text: String,
    /// The kind of identity, with its article, e.g. "a guest name".
    pub what: &'static str,
    /// The rule that the text breaks.
    pub why: &'static str,
}

fn fail<T>(text: &str, what: &'static str, why: &'static str) -> Result<T, IdError> {
    Err(IdError { text: text.to_owned(), what, why })
}

/// Gives a newtype its `Display`, `FromStr` by way of `parse_text`, and `serde` as a string.
macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse_text(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse_text(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

/// The lasting identity of a guest, made by the executor; VMID and name may change, this does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid", pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", examples("0b4ef6a2-7d53-4f0e-9a3c-5b1c2d3e4f50")))]
#[serde(try_from = "String", into = "String")]
pub struct GuestUuid(Uuid);

/// The identity of a box (a Proxmox VE host in a customer's home), made by the hub at enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid", pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", examples("6f9d3c1e-2a4b-4c8d-8e7f-0a1b2c3d4e5f")))]
#[serde(try_from = "String", into = "String")]
pub struct BoxId(Uuid);

/// An operation of the executor; a ULID, so that operations sort by the time they were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "ulid", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", examples("01JZQ4X2V6D3N9R7T5B8C1F0GH")))]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(Ulid);

/// A job that the hub hands to a box; the same id is the same job, however often it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "ulid", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", examples("01JZQ4X2V6KM4W8Y2P6S0E3A5D")))]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Ulid);

/// Identity of a message that the hub carries from a person to a box (ULID, upper case).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "ulid", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", examples("01JZQ4X2V6VB7F1H9K3N5Q8T0X")))]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Ulid);

macro_rules! uuid_id {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Makes a version 4 identity from 16 random bytes.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }
            fn parse_text(text: &str) -> Result<Self, IdError> {
                match Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(id)),
                    Ok(_) => fail(text, $what, "write it in lower case with hyphens"),
                    Err(_) => fail(text, $what, "it is no UUID"),
                }
            }
        }
        text_id!($name);
    };
}
uuid_id!(GuestUuid, "a guest's uuid");
uuid_id!(BoxId, "a box id");

macro_rules! ulid_id {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Makes an identity from the time in milliseconds since 1970 and 80 random bits.
            pub fn from_parts(unix_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(unix_ms, random))
            }
            /// Milliseconds since 1970 at which it was made.
            pub fn unix_ms(&self) -> u64 {
                self.0.timestamp_ms()
            }
            fn parse_text(text: &str) -> Result<Self, IdError> {
                match Ulid::from_string(text) {
                    Ok(id) if id.to_string() == text => Ok(Self(id)),
                    _ => fail(text, $what, "it is no ULID of 26 upper-case characters"),
                }
            }
        }
        text_id!($name);
    };
}
ulid_id!(OperationId, "an operation id");
ulid_id!(JobId, "a job id");
ulid_id!(MessageId, "a message id");

fn dns_label(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 63 {
        return Err("it must have 1 to 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("only a-z, 0-9 and - are allowed");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("it may not begin or end with -");
    }
    Ok(())
}

/// A guest's name: a DNS label, never reused on a box. Also its host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples("family")))]
#[serde(try_from = "String", into = "String")]
pub struct GuestName(String);

/// The name of an app in the catalogue, a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples("notes")))]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

macro_rules! label_id {
    ($name:ident, $what:literal) => {
        impl $name {
            fn parse_text(text: &str) -> Result<Self, IdError> {
                dns_label(text).or_else(|why| fail(text, $what, why))?;
                Ok(Self(text.to_owned()))
            }
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        text_id!($name);
    };
}
label_id!(GuestName, "a guest name");
label_id!(AppName, "an app name");

/// The id of a Proxmox storage, e.g. `local`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$", examples("local")))]
#[serde(try_from = "String", into = "String")]
pub struct StorageId(String);

impl StorageId {
    fn parse_text(text: &str) -> Result<Self, IdError> {
        let middle = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let ok = text.len() >= 2
            && text.bytes().all(middle)
            && text.as_bytes()[0].is_ascii_alphabetic()
            && text.as_bytes()[text.len() - 1].is_ascii_alphanumeric();
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            fail(text, "a storage id", "it must match [a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]")
        }
    }
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
text_id!(StorageId);

/// A volume id as Proxmox writes it, `STORAGE:PATH`, of a disk or of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = r"^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]:[^/,\x00-\x20\x7f][^,\x00-\x20\x7f]*$", examples("local:backup/vzdump-lxc-2000-2026_01_01-02_30_00.tar.zst")))]
#[serde(try_from = "String", into = "String")]
pub struct Volid(String);

impl Volid {
    fn parse_text(text: &str) -> Result<Self, IdError> {
        let Some((storage, path)) = text.split_once(':') else {
            return fail(text, "a volume id", "it has no `STORAGE:` in front");
        };
        StorageId::parse_text(storage).or_else(|e| fail(text, "a volume id", e.why))?;
        let bad = path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..");
        if bad || path.bytes().any(|b| b.is_ascii_control() || b == b' ' || b == b',') {
            return fail(text, "a volume id", "the part behind the storage is no relative path");
        }
        Ok(Self(text.to_owned()))
    }
    /// The storage in front of the colon.
    pub fn storage(&self) -> &str {
        self.0.split_once(':').map_or("", |(storage, _)| storage)
    }
    /// The part behind the colon, e.g. `backup/vzdump-lxc-2000-….tar.zst`.
    pub fn path(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, path)| path)
    }
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
text_id!(Volid);

/// What names a disk for good: its file system's UUID together with its hardware's identity, never its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurableId(String);

impl DurableId {
    fn parse_text(text: &str) -> Result<Self, IdError> {
        let ok = (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            fail(text, "a disk's id", "it must be 1 to 200 printable characters without spaces")
        }
    }
}
text_id!(DurableId);

/// A VMID, 100 to 999999999 (Proxmox's own limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u32, minimum = 100, maximum = 999_999_999, examples(2000)))]
#[serde(try_from = "u32", into = "u32")]
pub struct Vmid(u32);

impl TryFrom<u32> for Vmid {
    type Error = IdError;
    fn try_from(number: u32) -> Result<Self, IdError> {
        if (100..=999_999_999).contains(&number) {
            Ok(Self(number))
        } else {
            fail(&number.to_string(), "a VMID", "it must lie between 100 and 999999999")
        }
    }
}
impl From<Vmid> for u32 {
    fn from(id: Vmid) -> u32 {
        id.0
    }
}
impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl FromStr for Vmid {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse::<u32>().map_or_else(|_| fail(text, "a VMID", "it is no number"), Self::try_from)
    }
}

/// The number of a desired state; it only ever rises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(3)))]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$", examples("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")))]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
    /// A digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// The 64 hexadecimal digits without the prefix.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
    fn parse_text(text: &str) -> Result<Self, IdError> {
        const WHY: &str = "it must be `sha256:` and 64 lower-case hexadecimal digits";
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        let mut bytes = [0; 32];
        if digits.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(digits, &mut bytes).is_err()
        {
            return fail(text, "a digest", WHY);
        }
        Ok(Self(bytes))
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse_text(text)
    }
}
impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse_text(&text)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "family-1", "0x"] {
            assert_eq!(good.parse::<GuestName>().unwrap().to_string(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "á", &"a".repeat(64)] {
            assert!(bad.parse::<GuestName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn volids_do_not_climb() {
        assert!("local:backup/x.tar.zst".parse::<Volid>().is_ok());
        for bad in ["local", "local:", ":x", "local:/etc", "local:a/../b", "lo cal:x", "local:a,b"] {
            assert!(bad.parse::<Volid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn vmids_have_proxmox_limits() {
        assert!(Vmid::try_from(99).is_err());
        assert!(Vmid::try_from(100).is_ok());
        assert!("1000000000".parse::<Vmid>().is_err());
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!(digest.hex().parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    }

    proptest! {
        #[test]
        fn parse_never_panics_and_round_trips(text in ".{0,80}") {
            if let Ok(id) = text.parse::<Volid>() { prop_assert_eq!(id.to_string(), text.clone()); }
            if let Ok(id) = text.parse::<StorageId>() { prop_assert_eq!(id.to_string(), text.clone()); }
            if let Ok(id) = text.parse::<GuestUuid>() { prop_assert_eq!(id.to_string(), text.clone()); }
            if let Ok(id) = text.parse::<OperationId>() { prop_assert_eq!(id.to_string(), text); }
        }
    }
}
