//! A task's id: `UPID:node:PID:PSTART:START:type:id:user[!token]:`.
//!
//! Numbers are upper-case hexadecimal (PID and START of eight digits, PSTART of at least eight); the id may be empty and
//! may hold `@` or `>`; the trailing colon is part of it.

use std::fmt;
use std::str::FromStr;

use crate::ids::{InvalidId, NodeName};

/// A parsed task id. It renders to exactly the text that it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upid {
    text: String,
    node: NodeName,
    pid: u64,
    pstart: u64,
    starttime: u64,
    kind: String,
    id: String,
    user: String,
    token: Option<String>,
}

impl Upid {
    /// The node that runs the task.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The worker's process id.
    #[must_use]
    pub fn pid(&self) -> u64 {
        self.pid
    }

    /// The worker's start in clock ticks since the host's boot.
    #[must_use]
    pub fn pstart(&self) -> u64 {
        self.pstart
    }

    /// The task's start in seconds since 1970.
    #[must_use]
    pub fn starttime(&self) -> u64 {
        self.starttime
    }

    /// The task's type, e.g. `vzrestore`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it works on, e.g. `110`, `110@local`, `220-mp1>221-mp5`; may be empty.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user without token, e.g. `felhom@pve`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The token's name, e.g. `executor`, if a token started it.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The text as PVE wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn hex_field(field: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let digits = field.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    (digits && lengths.contains(&field.len())).then(|| u64::from_str_radix(field, 16).ok()).flatten()
}

fn parse(text: &str) -> Option<Upid> {
    let fields: Vec<&str> = text.split(':').collect();
    let [head, node, pid, pstart, start, kind, id, who, ""] = fields[..] else {
        return None;
    };
    let word = |t: &str| !t.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    if head != "UPID" || kind.is_empty() || who.is_empty() || ![kind, id, who].into_iter().all(word) {
        return None;
    }
    let (user, token) = match who.split_once('!') {
        Some((user, token)) => (user.to_owned(), Some(token.to_owned())),
        None => (who.to_owned(), None),
    };
    Some(Upid {
        text: text.to_owned(),
        node: NodeName::new(node).ok()?,
        pid: hex_field(pid, 8..=8)?,
        pstart: hex_field(pstart, 8..=9)?,
        starttime: hex_field(start, 8..=8)?,
        kind: kind.to_owned(),
        id: id.to_owned(),
        user,
        token,
    })
}

impl FromStr for Upid {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text).ok_or_else(|| InvalidId {
            kind: "UPID",
            text: text.to_owned(),
            rule: "UPID:node:PID:PSTART:START:type:id:user[!token]:",
        })
    }
}

impl<'de> serde::Deserialize<'de> for Upid {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        crate::decode::text(input)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_of_recorded_ids() {
        let upid: Upid = "UPID:pve:000001EC:00077C46:6B0422A5:vzcreate:101:ctl@pve!full:".parse().unwrap();
        assert_eq!(upid.node().as_str(), "pve");
        assert_eq!((upid.pid(), upid.pstart(), upid.starttime()), (492, 490_566, 1_795_433_125));
        assert_eq!(
            (upid.kind(), upid.id(), upid.user(), upid.token()),
            ("vzcreate", "101", "ctl@pve", Some("full"))
        );
        let image: Upid = "UPID:pve:00000544:0007CC0B:6B042371:imgdel:110@local:root@pam:".parse().unwrap();
        assert_eq!((image.id(), image.token()), ("110@local", None));
        let many: Upid = "UPID:pve:00000544:0007CC0B:6B042371:vzdump::ctl@pve!full:".parse().unwrap();
        assert_eq!(many.id(), "");
        let moved = "UPID:pve:00000974:0002E878:6B046826:move_volume:220-mp1>221-mp5:felhom@pve!executor:";
        assert_eq!(moved.parse::<Upid>().unwrap().to_string(), moved);
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "UPID:pve:000001EC:00077C46:6B0422A5:vzcreate:101:ctl@pve!full",
            "UPID:pve:000001ec:00077C46:6B0422A5:vzcreate:101:ctl@pve:",
            "UPID:pve:1EC:00077C46:6B0422A5:vzcreate:101:ctl@pve:",
            "UPID:p/ve:000001EC:00077C46:6B0422A5:vzcreate:101:ctl@pve:",
            "UPID:pve:000001EC:00077C46:6B0422A5::101:ctl@pve:",
            "UPID:pve:000001EC:00077C46:6B0422A5:vzcreate:../1:ctl@pve:",
        ] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }
}
