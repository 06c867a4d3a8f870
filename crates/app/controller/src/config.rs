//! Configuration: defaults, then `controller.toml`, then `FELHOM_CONTROLLER_<KEY>`, then options of the command line.

use serde::{Deserialize, Serialize};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The guest's `/`. Default: the directory above the `opt/felhom` that this program lies in, else `/`.
    pub root: PathBuf,
    /// The guest's loopback address.
    pub lo: Ipv4Addr,
    /// A file that holds the guest's address on its network, and is empty while the link is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net0_file: Option<PathBuf>,
    /// The guest's network interface, whose address is used while its link is up. Without this and `net0_file` the page listens
    /// on every address, and nobody is told where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Port of the page on the guest's network.
    pub ui_port: u16,
    /// The longest freeze, in seconds, from 1 to 600: after it the apps run again whatever happens.
    pub freeze_max_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: own_root(std::env::current_exe().ok().as_deref()),
            lo: Ipv4Addr::LOCALHOST,
            net0_file: None,
            interface: None,
            ui_port: 8080,
            freeze_max_s: 30,
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is not understood; with line and column.
    #[error("configuration {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A value that cannot be used.
    #[error("{name}: `{value}` {why}")]
    Value {
        /// The key or environment variable.
        name: String,
        /// Its value.
        value: String,
        /// What is expected.
        why: &'static str,
    },
}

/// The guest whose `opt/felhom` holds this program.
fn own_root(program: Option<&Path>) -> PathBuf {
    let felhom = program.and_then(|program| program.ancestors().find(|dir| dir.ends_with("opt/felhom")));
    felhom.and_then(|dir| dir.parent()?.parent()).unwrap_or(Path::new("/")).to_owned()
}

impl Config {
    /// Reads `file`, or the default file below the default root if it is there, and the environment through `var`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: Option<&Path>, var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let default = Self::default().root.join("etc/felhom/controller.toml");
        let mut config = match file.or_else(|| default.is_file().then_some(&default)) {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                toml::from_str(&text)
                    .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?
            }
        };
        let key = |key: &str| {
            let name = format!("FELHOM_CONTROLLER_{key}");
            var(&name).map(|value| (name, value))
        };
        if let Some((_, value)) = key("ROOT") {
            config.root = value.into();
        }
        if let Some(found) = key("LO") {
            config.lo = parse(found, "is no IPv4 address")?;
        }
        if let Some((_, value)) = key("NET0_FILE") {
            config.net0_file = Some(value.into());
        }
        if let Some((_, value)) = key("INTERFACE") {
            config.interface = Some(value);
        }
        if let Some(found) = key("UI_PORT") {
            config.ui_port = parse(found, "is no port from 0 to 65535")?;
        }
        if let Some(found) = key("FREEZE_MAX_S") {
            config.freeze_max_s = parse(found, "is no number of seconds")?;
        }
        config.check()
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(self) -> Result<Self, ConfigError> {
        let fail = |name: &str, value: String, why| Err(ConfigError::Value { name: name.into(), value, why });
        if !(1..=600).contains(&self.freeze_max_s) {
            return fail("freeze_max_s", self.freeze_max_s.to_string(), "is not from 1 to 600 seconds");
        }
        if let Some(name) = self.interface.as_ref().filter(|name| name.is_empty() || name.contains('/')) {
            return fail("interface", name.clone(), "is no name of a network interface");
        }
        if !self.root.is_absolute() {
            return fail("root", self.root.display().to_string(), "is no absolute path");
        }
        Ok(self)
    }
}

fn parse<T: std::str::FromStr>((name, value): (String, String), why: &'static str) -> Result<T, ConfigError> {
    value.parse().map_err(|_| ConfigError::Value { name, value, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_that_of_the_program() {
        let at = |path: &str| own_root(Some(Path::new(path)));
        assert_eq!(at("/srv/101/opt/felhom/slots/A/felhom-controller"), Path::new("/srv/101"));
        assert_eq!(at("/opt/felhom/slots/A/felhom-controller"), Path::new("/"));
        assert_eq!(at("/usr/bin/felhom-controller"), Path::new("/"));
    }

    #[test]
    fn later_sources_win_and_unknown_keys_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "root = \"/a\"\nui_port = 81\n").unwrap();
        let var = |name: &str| (name == "FELHOM_CONTROLLER_UI_PORT").then(|| "82".to_owned());
        let config = Config::load(Some(&file), var).unwrap();
        assert_eq!((config.root.as_path(), config.ui_port), (Path::new("/a"), 82));
        std::fs::write(&file, "ui_prot = 81\n").unwrap();
        assert!(Config::load(Some(&file), |_| None).unwrap_err().to_string().contains("ui_prot"));
        std::fs::write(&file, "interface = \"../eth0\"\n").unwrap();
        assert!(Config::load(Some(&file), |_| None).unwrap_err().to_string().contains("../eth0"));
        let bad = |name: &str| (name == "FELHOM_CONTROLLER_LO").then(|| "x".to_owned());
        std::fs::write(&file, "").unwrap();
        assert!(Config::load(Some(&file), bad).unwrap_err().to_string().contains("FELHOM_CONTROLLER_LO"));
    }
}
