//! Configuration: one TOML file, every key also settable by `FELHOM_AGENT_<KEY>`.
//!
//! Steps: read the file (unknown keys and wrong types are errors with line and column) → lay the environment over it, each
//! value as TOML, else as text → check ranges.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the file is looked for if no `--config` was given.
pub(crate) const DEFAULT_FILE: &str = "/etc/felhom/agent.toml";
const PREFIX: &str = "FELHOM_AGENT_";

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
    /// A value that cannot be.
    #[error("configuration key `{key}`: {why}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
}

/// The effective configuration; its keys are those of the file. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Holds device key, enrolment, certificate of the local API and the database.
    pub(crate) state_dir: PathBuf,
    /// The executor's unix socket.
    pub(crate) executor_socket: PathBuf,
    /// Address and port of the local API, on the bridge of the guests; port 0 takes a free one.
    pub(crate) local_api_listen: SocketAddr,
    /// How guests reach it, e.g. `https://10.0.0.1:8443`; absent: the address that it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) local_api_url: Option<String>,
    /// Time zone of the schedules, e.g. `Europe/Budapest`; absent: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_zone: Option<String>,
    /// The longest time between two observations, seconds. What happens in between is told by the executor's events.
    pub(crate) observe_s: u32,
    /// How often guests are asked to send a heartbeat, seconds.
    pub(crate) heartbeat_s: u32,
    /// How long a due backup waits for the guest's controller before it is made without one, seconds.
    pub(crate) quiesce_wait_s: u32,
    /// Backups at the same time.
    pub(crate) backup_slots: u32,
    /// How long the hub may hold its answer back (long poll), seconds; 0: not at all.
    pub(crate) sync_wait_s: u32,
    /// Filter of the log on standard error, as in `RUST_LOG`.
    pub(crate) log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/felhom/agent"),
            executor_socket: PathBuf::from("/run/felhom/executor.sock"),
            local_api_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8443)),
            local_api_url: None,
            time_zone: None,
            observe_s: 15,
            heartbeat_s: 10,
            quiesce_wait_s: 120,
            backup_slots: 1,
            sync_wait_s: 0,
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
            Err(e) if file.is_none() && e.kind() == ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { file: path.to_owned(), source }),
        };
        let parse = |why: toml::de::Error| ConfigError::Parse { file: path.to_owned(), why: why.to_string() };
        toml::from_str::<Self>(&text).map_err(parse)?;
        let mut table: toml::Table = text.parse().map_err(parse)?;
        let mut config: Self = table.clone().try_into().map_err(parse)?;
        for (variable, value) in variables {
            let Some(key) = variable.strip_prefix(PREFIX) else { continue };
            table.insert(key.to_ascii_lowercase(), as_toml(&value));
            config = table.clone().try_into().map_err(|e: toml::de::Error| ConfigError::Variable {
                variable,
                why: e.message().to_owned(),
            })?;
        }
        config.checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let ranges = [
            ("observe_s", self.observe_s, 1, 600),
            ("heartbeat_s", self.heartbeat_s, 1, 600),
            ("quiesce_wait_s", self.quiesce_wait_s, 1, 3600),
            ("backup_slots", self.backup_slots, 1, 16),
            ("sync_wait_s", self.sync_wait_s, 0, 60),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                let why = format!("{value} does not lie between {low} and {high}");
                return Err(ConfigError::Value { key, why });
            }
        }
        if let Some(url) = self.local_api_url.as_ref().filter(|url| !url.starts_with("https://")) {
            let why = format!("`{url}` does not begin with https://");
            return Err(ConfigError::Value { key: "local_api_url", why });
        }
        self.zone()?;
        Ok(self)
    }

    /// The time zone of the schedules.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if there is none of this name.
    pub(crate) fn zone(&self) -> Result<TimeZone, ConfigError> {
        match &self.time_zone {
            None => Ok(TimeZone::system()),
            Some(name) => TimeZone::get(name)
                .map_err(|e| ConfigError::Value { key: "time_zone", why: format!("`{name}`: {e}") }),
        }
    }

    /// A file of the state directory.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join(name)
    }
}

/// `5` is a number, `"x"` and `x` are text.
fn as_toml(value: &str) -> toml::Value {
    let table = format!("value = {value}").parse::<toml::Table>();
    let parsed = table.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Config::load(Some(&file), variables)
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let config = load("observe_s = 3", &[("FELHOM_AGENT_OBSERVE_S", "7"), ("PATH", "/")]).unwrap();
        assert_eq!(config, Config { observe_s: 7, ..Config::default() });
        let config = load("", &[("FELHOM_AGENT_STATE_DIR", "/x/y")]).unwrap();
        assert_eq!(config.state("device.key"), Path::new("/x/y/device.key"));
    }

    #[test]
    fn mistakes_are_named() {
        let typo = load("observe_s = 3\nobserv = 1", &[]).unwrap_err().to_string();
        assert!(typo.contains("line 2") && typo.contains("observ"), "{typo}");
        let range = load("observe_s = 0", &[]).unwrap_err().to_string();
        assert!(range.contains("observe_s") && range.contains("600"), "{range}");
        let variable = load("", &[("FELHOM_AGENT_NOPE", "1")]).unwrap_err().to_string();
        assert!(variable.contains("FELHOM_AGENT_NOPE"), "{variable}");
        assert!(load("time_zone = \"Europe/Nowhere\"", &[]).unwrap_err().to_string().contains("Nowhere"));
        assert!(load("local_api_url = \"http://x\"", &[]).unwrap_err().to_string().contains("https"));
    }
}
