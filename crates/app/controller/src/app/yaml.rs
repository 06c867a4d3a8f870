//! YAML as a tree whose values know where they stand.
//!
//! Parsing is strict: one document, YAML 1.2 booleans only, duplicate keys are errors. [`Node`] then hands out values by
//! key and, at the end, refuses every key that nobody asked for.

use serde_json::{Map, Value};
use std::{fmt, path::Path};

/// Why an app's files cannot be used. Each says file and place, what is wrong, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// A key that has no meaning here; it would be ignored silently otherwise.
    #[error("{place}: `{key}` is not supported by the process engine; remove it or run this app with Docker")]
    Unsupported {
        /// File and service.
        place: Place,
        /// The key, dotted.
        key: String,
    },
    /// A value that cannot be used.
    #[error("{place}: `{key}`: {why}")]
    Invalid {
        /// File and service.
        place: Place,
        /// The key, dotted.
        key: String,
        /// What is wrong and what is expected.
        why: String,
    },
    /// The file is no YAML, or lacks a value, or has one of a wrong type.
    #[error("{file}: {why}")]
    File {
        /// The file, as the guest sees it.
        file: String,
        /// The parser's reason with line and column, or the operating system's.
        why: String,
    },
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the guest sees it.
    pub file: String,
    /// The service, if the value belongs to one.
    pub service: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{}: service `{service}`", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Options of the parser, for both kinds of files.
pub fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

/// Reads the text of `real`, which messages call `shown`.
///
/// # Errors
/// [`AppError::File`] when it cannot be read.
pub fn read(real: &Path, shown: &str) -> Result<String, AppError> {
    std::fs::read_to_string(real)
        .map_err(|e| AppError::File { file: shown.to_owned(), why: format!("cannot be read: {e}") })
}

/// A mapping whose keys are taken out one by one.
#[derive(Debug)]
pub struct Node {
    place: Place,
    prefix: String,
    map: Map<String, Value>,
}

impl Node {
    /// Parses `text` as one YAML mapping.
    ///
    /// # Errors
    /// [`AppError::File`] with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, AppError> {
        let value: Value = serde_saphyr::from_str_with_options(text, options())
            .map_err(|e| AppError::File { file: file.to_owned(), why: e.to_string() })?;
        let place = Place { file: file.to_owned(), service: None };
        match value {
            Value::Object(map) => Ok(Self::of(place, String::new(), map)),
            _ => Err(AppError::File { file: file.to_owned(), why: "is no mapping of keys to values".into() }),
        }
    }

    fn of(place: Place, prefix: String, map: Map<String, Value>) -> Self {
        Self { place, prefix, map }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The names of its keys, in the order of the file.
    pub fn keys(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// Takes the value of `key` out.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.map.remove(key)
    }

    /// The string of `key`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] when it is something else.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, AppError> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => self.plain(key, text).map(Some),
            Some(other) => Err(self.invalid(key, format!("must be a text, not {other}"))),
        }
    }

    /// The mapping of `key`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] when it is something else.
    pub fn child(&mut self, key: &'static str) -> Result<Option<Self>, AppError> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.nested(key, value).map(Some),
        }
    }

    /// `value`, which stood under `key`, as a mapping of its own.
    ///
    /// # Errors
    /// [`AppError::Invalid`] when it is something else.
    pub fn nested(&self, key: &str, value: Value) -> Result<Self, AppError> {
        match value {
            Value::Object(map) => Ok(Self::of(self.place.clone(), format!("{}{key}.", self.prefix), map)),
            other => Err(self.invalid(key, format!("must be a mapping, not {other}"))),
        }
    }

    /// The mappings of the services, each with its name as its place.
    ///
    /// # Errors
    /// [`AppError::Invalid`] when one is no mapping.
    pub fn into_services(self) -> Result<Vec<(String, Self)>, AppError> {
        let mut services = Vec::new();
        for (name, value) in self.map {
            let place = Place { file: self.place.file.clone(), service: Some(name.clone()) };
            match value {
                Value::Object(map) => services.push((name, Self::of(place, String::new(), map))),
                _ => {
                    let why = "must be a mapping of keys to values".into();
                    return Err(AppError::Invalid { place, key: "services".into(), why });
                }
            }
        }
        Ok(services)
    }

    /// The rest of it as a value.
    pub fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// A text without interpolation: `$$` is a dollar sign, a variable is refused.
    ///
    /// # Errors
    /// [`AppError::Invalid`] naming the variable's place.
    pub fn plain(&self, key: &str, text: String) -> Result<String, AppError> {
        if text.replace("$$", "").contains('$') {
            let why = format!("`{text}` has a variable; the process engine replaces none (write $$ for a $)");
            return Err(self.invalid(key, why));
        }
        Ok(text.replace("$$", "$"))
    }

    /// An error about the value of `key`.
    pub fn invalid(&self, key: &str, why: impl Into<String>) -> AppError {
        AppError::Invalid { place: self.place.clone(), key: format!("{}{key}", self.prefix), why: why.into() }
    }

    /// Refuses the first key that nobody took. Extensions (`x-…`) are nobody's business.
    ///
    /// # Errors
    /// [`AppError::Unsupported`] naming file, service and key.
    pub fn finish(self) -> Result<(), AppError> {
        match self.map.keys().find(|key| !key.starts_with("x-")) {
            None => Ok(()),
            Some(key) => {
                Err(AppError::Unsupported { place: self.place, key: format!("{}{key}", self.prefix) })
            }
        }
    }
}
