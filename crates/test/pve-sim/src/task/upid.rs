//! `UPID:node:PID8:PSTART8:START8:type:id:user:` (F31). Pure.

use std::fmt;
use std::str::FromStr;

/// A task's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Upid {
    /// Node.
    pub(crate) node: String,
    /// Process id.
    pub(crate) pid: u32,
    /// The process's start time in clock ticks since boot.
    pub(crate) pstart: u64,
    /// Seconds since 1970.
    pub(crate) starttime: u64,
    /// `vzrestore`, `vzdump`, …
    pub(crate) kind: String,
    /// Mostly a VMID; may be empty.
    pub(crate) id: String,
    /// `user@realm` or `user@realm!token`.
    pub(crate) authid: String,
}

impl Upid {
    /// The user without token.
    pub(crate) fn user(&self) -> &str {
        crate::perm::user_of(&self.authid)
    }

    /// The token's id, if a token started it.
    pub(crate) fn tokenid(&self) -> Option<&str> {
        self.authid.split_once('!').map(|(_, token)| token)
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, starttime, kind, id, authid } = self;
        write!(f, "UPID:{node}:{pid:08X}:{pstart:08X}:{starttime:08X}:{kind}:{id}:{authid}:")
    }
}

impl FromStr for Upid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let &["UPID", node, pid, pstart, starttime, kind, id, authid, ""] = parts.as_slice() else {
            return Err(());
        };
        let name =
            |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !name(node) || !name(kind) || pid.len() != 8 || authid.contains(['/', ' ']) || id.contains('/') {
            return Err(());
        }
        Ok(Self {
            node: node.to_owned(),
            pid: u32::from_str_radix(pid, 16).map_err(drop)?,
            pstart: u64::from_str_radix(pstart, 16).map_err(drop)?,
            starttime: u64::from_str_radix(starttime, 16).map_err(drop)?,
            kind: kind.to_owned(),
            id: id.to_owned(),
            authid: authid.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F31: trailing colon, hexadecimal in capitals; the id may be empty or contain `@`.
    #[test]
    fn recorded_upids_are_read_and_written_back() {
        for text in [
            "UPID:pve:000001EC:00077C46:6B0422A5:vzcreate:101:ctl@pve!full:",
            "UPID:pve:00000580:0007CD52:6B042375:vzrestore:111:root@pam:",
            "UPID:pve:00000544:0007CC0B:6B042371:imgdel:110@local:ctl@pve!full:",
            "UPID:pve:00000544:0007CC0B:6B042371:vzdump::ctl@pve!full:",
        ] {
            assert_eq!(text.parse::<Upid>().unwrap().to_string(), text);
        }
        for bad in [
            "UPID:bogus",
            "",
            "UPID:pve:1:2:3:a:b:c:",
            "UPID:../x:000001EC:00077C46:6B0422A5:vzcreate:101:a@b:",
        ] {
            assert!(bad.parse::<Upid>().is_err(), "{bad}");
        }
    }
}
