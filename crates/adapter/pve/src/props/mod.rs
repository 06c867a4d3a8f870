//! Property strings: PVE's `key=value,key=value` inside one configuration value.
//!
//! Parsing keeps what it does not know, so that a value read, changed in one place and written back loses nothing.

mod mount;
mod net;

use std::fmt;

pub use mount::{Mount, MountPoint, NewVolume, Source};
pub use net::NetInterface;

/// A value does not follow the form of its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: {reason}")]
pub struct InvalidProperty {
    /// Which value it should have been, e.g. `network interface`.
    pub kind: &'static str,
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidProperty {
    pub(crate) fn new(kind: &'static str, text: &str, reason: impl fmt::Display) -> Self {
        Self { kind, text: text.to_owned(), reason: reason.to_string() }
    }
}

/// A split property string in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// The leading value without a key.
    pub(crate) head: Option<String>,
    pub(crate) pairs: Vec<(String, String)>,
}

impl Pairs {
    pub(crate) fn parse(kind: &'static str, text: &str) -> Result<Self, InvalidProperty> {
        let mut parsed = Self::default();
        for (n, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    if parsed.pairs.iter().any(|(k, _)| k == key) {
                        return Err(InvalidProperty::new(kind, text, format_args!("`{key}` twice")));
                    }
                    parsed.pairs.push((key.to_owned(), value.to_owned()));
                }
                None if n == 0 && !part.is_empty() => parsed.head = Some(part.to_owned()),
                Some(_) | None => {
                    return Err(InvalidProperty::new(kind, text, format_args!("`{part}` is no KEY=VALUE")));
                }
            }
        }
        Ok(parsed)
    }

    /// Takes a key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(k, _)| k == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// Takes a flag out.
    pub(crate) fn take_flag(
        &mut self,
        kind: &'static str,
        text: &str,
        key: &str,
    ) -> Result<Option<bool>, InvalidProperty> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match crate::decode::flag_from_text(&value) {
            Some(flag) => Ok(Some(flag)),
            None => Err(InvalidProperty::new(kind, text, format_args!("`{key}={value}` is no flag"))),
        }
    }
}

/// Writes `,key=value` for each.
pub(crate) fn write_pairs<'a>(
    f: &mut fmt::Formatter<'_>,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    pairs.into_iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
}

/// `1` or `0`.
pub(crate) fn digit(flag: bool) -> &'static str {
    if flag { "1" } else { "0" }
}
