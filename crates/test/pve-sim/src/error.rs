//! Errors as the API answers them: a status, a message, and for bad parameters one text for each.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// An error answer. In a task its [`fmt::Display`] is what follows `TASK ERROR: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: u16,
    /// The message without its trailing newline.
    pub(crate) message: String,
    /// Text by parameter.
    pub(crate) errors: BTreeMap<String, String>,
    /// Most messages end in a newline; the 501 ones do not.
    pub(crate) newline: bool,
}

impl ApiError {
    /// 500, Perl's plain `die`: not found, exists, locked, running… all come so (F6).
    pub(crate) fn die(message: impl Into<String>) -> Self {
        Self { status: 500, message: message.into(), errors: BTreeMap::new(), newline: true }
    }

    /// 400 `Parameter verification failed.` for one parameter.
    pub(crate) fn param(name: &str, text: impl Into<String>) -> Self {
        Self::params(BTreeMap::from([(name.to_owned(), text.into())]))
    }

    /// 400 `Parameter verification failed.` (F8).
    pub(crate) fn params(errors: BTreeMap<String, String>) -> Self {
        Self { status: 400, message: "Parameter verification failed.".into(), errors, newline: true }
    }

    /// 403 `Permission check failed (what)` (F21).
    pub(crate) fn forbidden(what: &str) -> Self {
        let message = if what.is_empty() {
            "Permission check failed".into()
        } else {
            format!("Permission check failed ({what})")
        };
        Self { status: 403, message, errors: BTreeMap::new(), newline: true }
    }

    /// 501 `Method 'GET /nosuch' not implemented` (F7).
    pub(crate) fn not_implemented(method: &str, path: &str) -> Self {
        Self {
            status: 501,
            message: format!("Method '{method} {path}' not implemented"),
            errors: BTreeMap::new(),
            newline: false,
        }
    }

    /// The same error with `prefix` before its text, as a plain `die`.
    #[must_use]
    pub(crate) fn prefixed(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}{self}");
        self.status = 500;
        self.errors.clear();
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a worker prints: Perl's exception text starts with the status unless it is a plain die.
        if self.status == 500 {
            write!(f, "{}", self.message)?
        } else {
            write!(f, "{} {}", self.status, self.message)?
        }
        for (name, text) in &self.errors {
            write!(f, " {name}: {}", text.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self::die(error.to_string())
    }
}
