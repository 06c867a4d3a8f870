//! Parameters of a call, percent-encoded.
//!
//! PVE splits form pairs on `&` **and** `;` and cuts a value at an unencoded `=`, so everything but the unreserved
//! characters is encoded. Booleans are `1` or `0`. An absent option is not sent: a null would be stored and corrupt the
//! configuration.

use std::fmt::{Display, Write as _};

/// Parameters in the order they were added; there is no way to add a null.
#[derive(Debug, Clone, Default)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value by its text.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.pairs.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a value if there is one.
    #[must_use]
    pub fn with_opt(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a boolean as `1` or `0`.
    #[must_use]
    pub fn with_flag(self, key: &str, value: bool) -> Self {
        self.with(key, u8::from(value))
    }

    /// Adds a boolean if there is one.
    #[must_use]
    pub fn with_opt_flag(self, key: &str, value: Option<bool>) -> Self {
        self.with_opt(key, value.map(u8::from))
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The values as they will be sent, before encoding.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// `key=value&…`, for a query or a body.
    #[must_use]
    pub fn encode(&self) -> String {
        let pairs: Vec<_> = self.pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        pairs.join("&")
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters; also right for one path segment.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_pve_would_split_on() {
        let form = Form::new().with("net0", "name=eth0,bridge=vmbr0").with("description", "a;b&c=ü\n");
        assert_eq!(form.encode(), "net0=name%3Deth0%2Cbridge%3Dvmbr0&description=a%3Bb%26c%3D%C3%BC%0A");
    }

    #[test]
    fn booleans_are_digits_and_absent_is_absent() {
        let form = Form::new()
            .with_flag("onboot", false)
            .with_opt_flag("protection", Some(true))
            .with_opt_flag("unsent", None)
            .with_opt("memory", None::<u32>);
        assert_eq!(form.encode(), "onboot=0&protection=1");
    }
}
