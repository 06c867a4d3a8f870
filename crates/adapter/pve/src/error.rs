//! What can go wrong with a call, each with what was tried on what.
//!
//! PVE answers most "not found", "exists" and "locked" with status 500 and says what it means in the message only, so the
//! classes here are made from status *and* message; both stay readable in [`Answer`].

use std::collections::BTreeMap;
use std::fmt;

use crate::tls::Fingerprint;

/// What was tried on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// The path below `/api2/json`, without query: parameters may be private.
    pub path: String,
    /// `host:port` of the server.
    pub server: String,
}

impl Call {
    /// Whether it can change anything at the server.
    #[must_use]
    pub fn is_mutation(&self) -> bool {
        self.method != "GET"
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.method, self.path, self.server)
    }
}

/// An error answer as the server gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 595 and 596 are PVE's own.
    pub status: u16,
    /// The status line's reason phrase: the message's first line, also where the body is empty.
    pub reason: String,
    /// The body's message, trimmed; the reason phrase where there is none.
    pub message: String,
    /// Errors by parameter.
    pub errors: BTreeMap<String, String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.message)?;
        for (parameter, error) in &self.errors {
            write!(f, "; {parameter}: {}", error.trim())?;
        }
        Ok(())
    }
}

/// A call that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried on what.
    pub call: Call,
    /// What the server said.
    pub answer: Answer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.answer)
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No connection, so nothing happened at the server.
    #[error("{call}: cannot reach the server ({reason}); check that it runs and that the address is right")]
    Unreachable {
        /// What was tried on what.
        call: Box<Call>,
        /// The network's reason.
        reason: String,
    },
    /// The connection broke or the answer took too long: **the call may have been carried out**.
    #[error("{call}: no complete answer ({reason}); it may have been carried out")]
    NoAnswer {
        /// What was tried on what.
        call: Box<Call>,
        /// What broke.
        reason: String,
    },
    /// The server shows another certificate than the pinned one. Nothing was sent.
    #[error(
        "{server} shows a certificate with SHA-256 fingerprint {seen}, pinned is {expected}; if the certificate was \
         renewed, compare with `pvenode cert info` on the host and pin the new one"
    )]
    PinMismatch {
        /// `host:port`.
        server: String,
        /// The pinned fingerprint.
        expected: Fingerprint,
        /// The fingerprint of the certificate that was shown.
        seen: Fingerprint,
    },
    /// 401: wrong password, unknown, expired or disabled token or user; PVE does not say which.
    #[error("{0}; user, token or secret is wrong, expired or disabled")]
    Unauthorized(Box<Refusal>),
    /// 403: a privilege is missing; PVE's message names path and privilege where it can.
    #[error("{0}; a privilege is missing")]
    Forbidden(Box<Refusal>),
    /// The guest is locked, or its configuration file is.
    #[error("{refusal}; it is locked{}", lock.as_ref().map(|l| format!(" by `{l}`")).unwrap_or_default())]
    Locked {
        /// The call and the answer.
        refusal: Box<Refusal>,
        /// The lock's name (`backup`, `create`, `snapshot`, …), none if it is the file lock.
        lock: Option<String>,
    },
    /// The object does not exist.
    #[error("{0}")]
    NotFound(Box<Refusal>),
    /// An object of that name exists already.
    #[error("{0}")]
    Exists(Box<Refusal>),
    /// 400: PVE refused parameters, all bad ones at once.
    #[error("{0}")]
    Invalid(Box<Refusal>),
    /// 501: the server has no such call.
    #[error("{0}")]
    NotImplemented(Box<Refusal>),
    /// 595, 596: the proxy lost the daemon behind it; **the work may go on**.
    #[error("{0}; the daemon behind the proxy did not answer, the work may go on")]
    Overloaded(Box<Refusal>),
    /// Any other refusal.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The answer is not what the call promises.
    #[error("{call}: the answer cannot be read: {reason}")]
    Unreadable {
        /// What was tried on what.
        call: Box<Call>,
        /// What is wrong with it.
        reason: String,
    },
    /// The client could not be made from what was given.
    #[error("cannot use {what}: {reason}")]
    Configuration {
        /// The setting.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A task did not end within the time that the caller gave it; it still runs.
    #[error("task {upid} still runs after {seconds} s")]
    StillRunning {
        /// The task.
        upid: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// The refusal behind it, if the server answered.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Unauthorized(refusal)
            | Self::Forbidden(refusal)
            | Self::Locked { refusal, .. }
            | Self::NotFound(refusal)
            | Self::Exists(refusal)
            | Self::Invalid(refusal)
            | Self::NotImplemented(refusal)
            | Self::Overloaded(refusal)
            | Self::Refused(refusal) => Some(refusal),
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::PinMismatch { .. }
            | Self::Unreadable { .. }
            | Self::Configuration { .. }
            | Self::StillRunning { .. } => None,
        }
    }

    /// Whether the same *reading* call may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::Overloaded(_))
    }

    /// Whether a mutating call may have been carried out although it failed: probe before repeating.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Overloaded(_) | Self::Unreadable { .. })
    }

    /// Puts a refusal into its class.
    pub(crate) fn from_refusal(refusal: Refusal) -> Self {
        let message = refusal.answer.message.clone();
        let parameters: String = refusal.answer.errors.values().map(String::as_str).collect();
        let says = |text: &str| message.contains(text) || parameters.contains(text);
        let refusal = Box::new(refusal);
        match refusal.answer.status {
            401 => Self::Unauthorized(refusal),
            403 => Self::Forbidden(refusal),
            501 => Self::NotImplemented(refusal),
            595 | 596 => Self::Overloaded(refusal),
            404 => Self::NotFound(refusal),
            _ if says(" is locked (") => Self::Locked { lock: lock_name(&message), refusal },
            _ if says("can't lock file") => Self::Locked { lock: None, refusal },
            _ if says("already exists") => Self::Exists(refusal),
            _ if ["does not exist", "no such user", "no such token", "no such task"]
                .into_iter()
                .any(says) =>
            {
                Self::NotFound(refusal)
            }
            400 => Self::Invalid(refusal),
            _ => Self::Refused(refusal),
        }
    }
}

/// `backup` from `CT is locked (backup)`; also right for a task's exit text.
#[must_use]
pub fn lock_name(message: &str) -> Option<String> {
    let (_, rest) = message.split_once(" is locked (")?;
    rest.split_once(')').map(|(lock, _)| lock.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, message: &str, errors: &[(&str, &str)]) -> Error {
        Error::from_refusal(Refusal {
            call: Call { method: "PUT", path: "/nodes/pve/lxc/101/config".into(), server: "pve:8006".into() },
            answer: Answer {
                status,
                reason: message.into(),
                message: message.into(),
                errors: errors.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            },
        })
    }

    #[test]
    fn recorded_messages_fall_into_their_class() {
        assert!(matches!(class(401, "Authentication failed!", &[]), Error::Unauthorized(_)));
        assert!(matches!(
            class(403, "Permission check failed (/vms/101, VM.PowerMgmt)", &[]),
            Error::Forbidden(_)
        ));
        assert!(
            matches!(class(500, "CT is locked (backup)", &[]), Error::Locked { lock: Some(l), .. } if l == "backup")
        );
        let busy = "can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout";
        assert!(matches!(class(500, busy, &[]), Error::Locked { lock: None, .. }));
        assert!(matches!(class(500, "CT 171 already exists on node 'pve'", &[]), Error::Exists(_)));
        let duplicate = class(400, "Parameter verification failed.", &[("tokenid", "Token already exists.")]);
        assert!(matches!(duplicate, Error::Exists(_)));
        let unknown = class(400, "Parameter verification failed.", &[("upid", "no such task")]);
        assert!(matches!(unknown, Error::NotFound(_)));
        let missing = "Configuration file 'nodes/pve/lxc/100.conf' does not exist";
        assert!(matches!(class(500, missing, &[]), Error::NotFound(_)));
        assert!(matches!(class(596, "Connection timed out", &[]), Error::Overloaded(_)));
        assert!(matches!(class(501, "Method 'GET /nosuch' not implemented", &[]), Error::NotImplemented(_)));
        assert!(matches!(class(500, "detected modified configuration", &[]), Error::Refused(_)));
    }

    #[test]
    fn the_text_says_what_was_tried_on_what_and_every_bad_parameter() {
        let error = class(
            400,
            "Parameter verification failed.",
            &[("memory", "value must be >= 16"), ("tags", "bad\n")],
        );
        assert_eq!(
            error.to_string(),
            "PUT /nodes/pve/lxc/101/config on pve:8006: 400 Parameter verification failed.; memory: value must be >= 16; \
             tags: bad"
        );
    }
}
