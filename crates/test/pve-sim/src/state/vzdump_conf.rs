//! `/etc/vzdump.conf`: what the host's owner set for every backup, tokens' included (F68), over Proxmox VE's own defaults.

use std::collections::BTreeMap;

use super::{Host, atomic};
use crate::error::ApiError;
use crate::state::property::parse_boolean;

/// Proxmox VE's own defaults that are plain values; `true` in the last place are numbers.
pub(crate) const BUILT_IN: &[(&str, &str, bool)] = &[
    ("all", "0", true),
    ("bwlimit", "0", true),
    ("compress", "0", false),
    ("ionice", "7", true),
    ("lockwait", "180", true),
    ("mailnotification", "always", false),
    ("mode", "snapshot", false),
    ("notification-mode", "auto", false),
    ("pigz", "0", true),
    ("prune-backups", "keep-all=1", false),
    ("quiet", "0", true),
    ("remove", "1", true),
    ("stdexcludes", "1", true),
    ("stop", "0", true),
    ("stopwait", "10", true),
    ("zstd", "1", true),
];
const BOOLEANS: [&str; 6] = ["all", "protected", "quiet", "remove", "stdexcludes", "stop"];
const NUMBERS: [&str; 6] = ["bwlimit", "ionice", "lockwait", "pigz", "stopwait", "zstd"];

/// The file's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    values: BTreeMap<String, String>,
    exclude_path: Vec<String>,
}

impl Defaults {
    /// Reads the file; a missing one sets nothing.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        Ok(Self::parse(&atomic::read_optional(&host.dir.vzdump_config())?.unwrap_or_default()))
    }

    /// Parses `key: value` lines. A value that makes no sense is as if it were not there.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all = Self::default();
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        for (key, value) in lines.filter_map(|l| l.split_once(':')) {
            let (key, value) = (key.trim(), value.trim());
            if key == "exclude-path" {
                // Unrecorded: PVE/VZDump.pm:313-326 of pve-manager: several lines, each of several patterns.
                all.exclude_path.extend(split_args(value));
            } else if let Some(value) = checked(key, value) {
                all.values.insert(key.to_owned(), value);
            }
        }
        // Unrecorded: PVE/VZDump.pm:345 of pve-manager.
        if all.values.contains_key("storage") {
            all.values.remove("dumpdir");
        }
        all
    }

    /// What the file says.
    pub(crate) fn set(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// What the file says, else Proxmox VE's own default.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let built_in = || BUILT_IN.iter().find(|(n, ..)| *n == name).map(|(_, value, _)| (*value).to_owned());
        self.values.get(name).cloned().or_else(built_in)
    }

    /// Everything that the file says but `exclude-path`.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        self.values.iter()
    }

    /// Patterns that are added to every backup's own.
    pub(crate) fn exclude_path(&self) -> &[String] {
        &self.exclude_path
    }
}

fn checked(key: &str, value: &str) -> Option<String> {
    let one_of = |all: &[&str]| all.contains(&value).then(|| value.to_owned());
    match key {
        "mode" => one_of(&["snapshot", "suspend", "stop"]),
        "compress" => one_of(&["0", "1", "gzip", "lzo", "zstd"]),
        key if BOOLEANS.contains(&key) => parse_boolean(value).map(|b| u8::from(b).to_string()),
        key if NUMBERS.contains(&key) => value.parse::<i64>().ok().map(|_| value.to_owned()),
        _ => Some(value.to_owned()),
    }
}

/// Splits at blanks; quotes hold words together.
fn split_args(text: &str) -> Vec<String> {
    let (mut all, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, any) = (Some(c), true),
            None if c.is_whitespace() => {
                if any || !word.is_empty() {
                    all.push(std::mem::take(&mut word));
                }
                any = false;
            }
            None => word.push(c),
        }
    }
    if any || !word.is_empty() {
        all.push(word);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_over_the_built_in_ones() {
        let conf = Defaults::parse(
            "# tmpdir: DIR\nexclude-path: /root/* '/a b'\nexclude-path: *.log\nmode: stop\nstdexcludes: no\nremove: x\n",
        );
        assert_eq!(conf.exclude_path(), ["/root/*", "/a b", "*.log"]);
        assert_eq!(
            (conf.get("mode").as_deref(), conf.get("stdexcludes").as_deref()),
            (Some("stop"), Some("0"))
        );
        assert_eq!((conf.set("remove"), conf.get("remove").as_deref()), (None, Some("1")));
        assert_eq!(Defaults::parse("storage: a\ndumpdir: /b\n").set("dumpdir"), None);
    }
}
