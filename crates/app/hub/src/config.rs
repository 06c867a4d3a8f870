//! Configuration: one TOML file, every key also settable by `FELHOM_HUB_<KEY>`.
//!
//! Steps: read the file (unknown keys and wrong types are errors with line and column), lay the environment over it, fill
//! in defaults, check ranges.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the file is looked for if no `--config` was given.
pub(crate) const DEFAULT_FILE: &str = "/etc/felhom/hub.toml";
const PREFIX: &str = "FELHOM_HUB_";
/// Variables with the prefix that are no keys: where the file is, and what the CLI reads to find a hub.
const NOT_KEYS: [&str; 3] = ["CONFIG", "URL", "FINGERPRINT"];

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}")]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; `why` holds line and column.
    #[error("the configuration {file} is not valid:\n{why}")]
    Parse {
        /// Which file.
        file: PathBuf,
        /// Line, column and reason.
        why: String,
    },
    /// A variable is not what it should be.
    #[error("environment variable {variable}: {why}")]
    Variable {
        /// Which variable.
        variable: String,
        /// What is wrong.
        why: String,
    },
    /// A value outside its range.
    #[error("configuration key `{key}` = {value}: {why}")]
    Range {
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        why: &'static str,
    },
}

/// The effective configuration; its keys are those of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Holds TLS certificate, keys and, by default, the database.
    pub(crate) state_dir: PathBuf,
    /// Address and port; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// How boxes and browsers reach the hub, e.g. `https://hub.example:7443`; it is written into tickets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// SQLite file; absent: `hub.sqlite` in `state_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<PathBuf>,
    /// How often boxes are asked to come, seconds.
    pub(crate) next_sync_s: u32,
    /// How far a box's clock may differ, seconds.
    pub(crate) clock_tolerance_s: u32,
    /// A box unseen for longer is late, seconds.
    pub(crate) late_after_s: u32,
    /// A box unseen for longer is silent, seconds.
    pub(crate) silent_after_s: u32,
    /// A guest whose newest backup is older is in danger, seconds.
    pub(crate) backup_max_age_s: u32,
    /// A guest whose newest proven backup is older is shown as not proven, seconds.
    pub(crate) proof_max_age_s: u32,
    /// How long an operator stays logged in at the pages, seconds.
    pub(crate) session_s: u32,
    /// Filter of the log on standard error, as in `RUST_LOG`.
    pub(crate) log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/felhom/hub"),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7443)),
            public_url: None,
            database: None,
            next_sync_s: 60,
            clock_tolerance_s: 300,
            late_after_s: 180,
            silent_after_s: 900,
            backup_max_age_s: 36 * 3600,
            proof_max_age_s: 35 * 86_400,
            session_s: 12 * 3600,
            log: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads the file (a missing default file is an empty one) and the variables.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column where the file is at fault.
    pub fn load(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { file: path.to_owned(), source }),
        };
        let config: Self = toml::from_str(&text)
            .map_err(|e| ConfigError::Parse { file: path.to_owned(), why: e.to_string() })?;
        config.overlaid(variables)?.checked()
    }

    fn overlaid(self, variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut config = self;
        for (variable, value) in variables {
            let Some(key) = variable.strip_prefix(PREFIX) else { continue };
            if NOT_KEYS.contains(&key) {
                continue;
            }
            config
                .set(&key.to_ascii_lowercase(), value)
                .map_err(|why| ConfigError::Variable { variable, why })?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let number = |value: &str| value.parse::<u32>().map_err(|e| format!("`{value}` is no number: {e}"));
        match key {
            "state_dir" => self.state_dir = value.into(),
            "listen" => self.listen = value.parse().map_err(|e| format!("`{value}`: {e}"))?,
            "public_url" => self.public_url = Some(value),
            "database" => self.database = Some(value.into()),
            "next_sync_s" => self.next_sync_s = number(&value)?,
            "clock_tolerance_s" => self.clock_tolerance_s = number(&value)?,
            "late_after_s" => self.late_after_s = number(&value)?,
            "silent_after_s" => self.silent_after_s = number(&value)?,
            "backup_max_age_s" => self.backup_max_age_s = number(&value)?,
            "proof_max_age_s" => self.proof_max_age_s = number(&value)?,
            "session_s" => self.session_s = number(&value)?,
            "log" => self.log = value,
            _ => return Err(format!("there is no configuration key `{key}`")),
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let fail =
            |key, value: &dyn ToString, why| Err(ConfigError::Range { key, value: value.to_string(), why });
        if !(1..=900).contains(&self.next_sync_s) {
            return fail("next_sync_s", &self.next_sync_s, "it must lie between 1 and 900 seconds");
        }
        if !(10..=3600).contains(&self.clock_tolerance_s) {
            return fail("clock_tolerance_s", &self.clock_tolerance_s, "it must lie between 10 and 3600");
        }
        if self.silent_after_s < self.late_after_s {
            return fail("silent_after_s", &self.silent_after_s, "it must not be below late_after_s");
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("https://") && url.len() > "https://".len() && !url.ends_with('/'))
        {
            return fail("public_url", url, "write it as https://HOST:PORT, without a slash at the end");
        }
        Ok(self)
    }

    /// Path of the SQLite file.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.database.clone().unwrap_or_else(|| self.state_dir.join("hub.sqlite"))
    }

    /// How far a box's clock may differ.
    pub(crate) fn clock_tolerance(&self) -> Duration {
        Duration::from_secs(self.clock_tolerance_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hub.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(&file), variables)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config =
            load("next_sync_s = 5", &[("FELHOM_HUB_NEXT_SYNC_S", "7"), ("FELHOM_HUB_URL", "/")]).unwrap();
        assert_eq!(config, Config { next_sync_s: 7, ..Config::default() });
    }

    #[test]
    fn mistakes_say_where() {
        let error = load("\n\nlisten_to = \"x\"", &[]).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("listen_to"), "{error}");
        let error = load("", &[("FELHOM_HUB_LISTNE", "x")]).unwrap_err().to_string();
        assert!(error.contains("FELHOM_HUB_LISTNE"), "{error}");
        let error = load("next_sync_s = 0", &[]).unwrap_err().to_string();
        assert!(error.contains("next_sync_s") && error.contains("900"), "{error}");
        assert!(load("public_url = \"http://x\"", &[]).is_err());
    }
}
