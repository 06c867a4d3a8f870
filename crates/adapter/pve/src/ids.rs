//! Identities of Proxmox objects, parsed at the edge. VMID, storage and volume ids are the model's.
//!
//! Each accepts what PVE's own schema accepts and nothing that would change the meaning of a path or a property string.

use std::fmt;
use std::str::FromStr;

pub use felhom_model::{StorageId, Vmid, Volid};

/// A text is not the identity that it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: {rule}")]
pub struct InvalidId {
    /// What it should have been, in Proxmox's words.
    pub kind: &'static str,
    /// The text that was given.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

/// Declares a string identity with its rule.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Parses and checks.
            ///
            /// # Errors
            /// [`InvalidId`] with the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    return Ok(Self(text));
                }
                Err(InvalidId { kind: $kind, text, rule: $rule })
            }

            /// The text as PVE writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

fn word(text: &str, extra: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

text_id!(
    /// A node's name, e.g. `pve`.
    NodeName, "node name", "letters, digits and inner hyphens",
    |t| word(t, "-") && !t.ends_with('-')
);
text_id!(
    /// A pool's id, e.g. `felhom`.
    PoolId, "pool id", "letters, digits, `-`, `_`, `.`, `/` between parts",
    |t| t.split('/').all(|part| word(part, "-_."))
);
text_id!(
    /// A role's id.
    RoleId, "role id", "letters, digits, `-`, `_`, `.`",
    |t| word(t, "-_.")
);
text_id!(
    /// A user with realm, e.g. `felhom@pve`.
    UserId, "user id", "USER@REALM without spaces, `:` and `/`",
    |t| t.rsplit_once('@').is_some_and(|(user, realm)| {
        !user.is_empty() && word(realm, "-_.") && !user.contains([' ', ':', '/', '!', '\n'])
    })
);
text_id!(
    /// A snapshot's name, e.g. `vzdump`.
    SnapshotName, "snapshot name", "letter first; letters, digits, `-`, `_`; 2 to 40",
    |t| (2..=40).contains(&t.len()) && t.starts_with(|c: char| c.is_ascii_alphabetic()) && word(t, "-_")
);
text_id!(
    /// A Linux bridge, e.g. `vmbr0`.
    BridgeName, "bridge name", "letters, digits, `-`, `_`, `.`; at most 15",
    |t| t.len() <= 15 && word(t, "-_.")
);

/// A token of a user, written `USER@REALM!TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId {
    /// The user that owns the token.
    pub user: UserId,
    name: String,
}

impl TokenId {
    /// A token by owner and name.
    ///
    /// # Errors
    /// [`InvalidId`] if the name does not start with a letter or holds other than letters, digits, `-`, `_`, `.`.
    pub fn new(user: UserId, name: impl Into<String>) -> Result<Self, InvalidId> {
        let name = name.into();
        if name.len() >= 2 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && word(&name, "-_.") {
            return Ok(Self { user, name });
        }
        Err(InvalidId {
            kind: "token name",
            text: name,
            rule: "letter first; letters, digits, `-`, `_`, `.`",
        })
    }

    /// The token's own name, without the user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.user, self.name)
    }
}

impl FromStr for TokenId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId { kind: "token id", text: text.to_owned(), rule: "USER@REALM!TOKEN" };
        let (user, name) = text.rsplit_once('!').ok_or(wrong)?;
        Self::new(UserId::new(user)?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_pve_writes() {
        assert_eq!("felhom@pve!executor".parse::<TokenId>().unwrap().to_string(), "felhom@pve!executor");
        assert_eq!(UserId::new("root@pam").unwrap().as_str(), "root@pam");
        assert!(BridgeName::new("vmbr0").is_ok() && SnapshotName::new("vzdump").is_ok());
    }

    #[test]
    fn refuses_what_would_change_a_path_or_property() {
        assert!(NodeName::new("a/b").is_err());
        assert!(SnapshotName::new("a").is_err());
        assert!(BridgeName::new("vmbr0,x=y").is_err());
        assert!(PoolId::new("a//b").is_err());
        assert!(UserId::new("felhom").is_err());
        assert!("felhom@pve".parse::<TokenId>().is_err());
    }
}
