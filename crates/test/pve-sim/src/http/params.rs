//! A call's parameters, from path, query and body. Pure.

use std::collections::BTreeMap;

use crate::error::ApiError;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text, a number or a boolean; JSON `true` is `1`.
    Text(String),
    /// A JSON array, or a form key that came several times.
    List(Vec<String>),
    /// JSON null: accepted, and stored as a blank (F15).
    Null,
}

/// Parameters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(pub(crate) BTreeMap<String, Value>);

impl Params {
    /// A value as text: several values are joined as Proxmox VE joins a list; null is a blank.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        Some(match self.0.get(name)? {
            Value::Text(text) => text.clone(),
            Value::List(all) => all.join(","),
            Value::Null => " ".to_owned(),
        })
    }

    /// A value that the schema promises.
    ///
    /// # Errors
    /// 400, as if the schema had noticed.
    pub(crate) fn need(&self, name: &str) -> Result<String, ApiError> {
        self.get(name).ok_or_else(|| ApiError::param(name, "property is missing and it is not optional"))
    }

    /// A boolean that is set to 1.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).as_deref() == Some("1")
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// The VMID of the path.
    ///
    /// # Errors
    /// 400 if it is missing.
    pub(crate) fn vmid(&self) -> Result<u32, ApiError> {
        let text = self.need("vmid")?;
        text.parse()
            .map_err(|_| ApiError::param("vmid", "invalid format - value does not look like a valid VM ID\n"))
    }

    /// A list, whatever separators were used.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        split_list(&self.get(name).unwrap_or_default())
    }
}

/// Splits at blanks, commas and semicolons, or at NUL alone if there is one, as `PVE::ParseUtils::split_list` does.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    let separator =
        |c: char| if text.contains('\0') { c == '\0' } else { c.is_whitespace() || ",;".contains(c) };
    text.split(separator).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}
