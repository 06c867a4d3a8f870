//! `/etc/vzdump.conf`: what the host's owner set for every backup, tokens' included (F68).

use std::collections::BTreeMap;

use super::{Host, atomic};
use crate::error::ApiError;

/// Settings by name; `exclude-path` may be several, one a line in PVE's list syntax or separated by blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults(BTreeMap<String, String>);

impl Defaults {
    /// Reads the file; a missing one sets nothing.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        Ok(Self::parse(&atomic::read_optional(&host.dir.vzdump_config())?.unwrap_or_default()))
    }

    /// Parses `key: value` lines.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let pairs = lines.filter_map(|l| l.split_once(':'));
        Self(pairs.map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned())).collect())
    }

    /// A setting.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// All settings.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Patterns that are added to every backup's own.
    pub(crate) fn exclude_path(&self) -> Vec<String> {
        self.0
            .get("exclude-path")
            .map(|t| t.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    }
}
