//! Things that every node names by itself (tasks, archives, MAC addresses, secrets, digests): which one of the simulator's
//! stands for which recorded one. Learnt from the answers, as the replay goes.

use std::collections::{BTreeMap, BTreeSet};

/// A kind of such names and how one is found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `UPID:node:…:`.
    Upid,
    /// `vzdump-lxc-101-2026_11_23-11_28_42`, also with `.tar`, `.tar.zst` …: two backups of a second differ by that only.
    Archive,
    /// `BC:24:11:…`.
    Mac,
    /// Token secrets, file system ids.
    Uuid,
    /// 40 hexadecimal digits.
    Digest,
}

const KINDS: [Kind; 5] = [Kind::Upid, Kind::Archive, Kind::Mac, Kind::Uuid, Kind::Digest];

/// What stands for what.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    to_ours: BTreeMap<String, String>,
    to_recorded: BTreeMap<String, String>,
}

/// A name found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Byte offset.
    pub(crate) start: usize,
    /// Byte offset of its end.
    pub(crate) end: usize,
}

impl Ids {
    /// Ours for a recorded one.
    pub(crate) fn ours(&self, recorded: &str) -> Option<&str> {
        self.to_ours.get(recorded).map(String::as_str)
    }

    /// Whether one of ours stands for something already.
    pub(crate) fn is_ours(&self, ours: &str) -> bool {
        self.to_recorded.contains_key(ours)
    }

    /// From now on.
    pub(crate) fn learn(&mut self, recorded: &str, ours: &str) {
        if let Some(old) = self.to_ours.insert(recorded.to_owned(), ours.to_owned())
            && self.to_recorded.get(&old).is_some_and(|it| it == recorded)
        {
            self.to_recorded.remove(&old);
        }
        self.to_recorded.insert(ours.to_owned(), recorded.to_owned());
        let ((recorded, suffix), (ours, _)) = (split_archive(recorded), split_archive(ours));
        if !suffix.is_empty() {
            self.learn(recorded, ours);
        }
    }

    /// Pairs names of two answers to the same request that stand at the same place: kind by kind, new ones in order.
    pub(crate) fn learn_from(&mut self, recorded: &str, ours: &str) {
        for kind in [Kind::Upid, Kind::Archive, Kind::Mac, Kind::Uuid] {
            let new_recorded = unique(recorded, kind, |name| self.to_ours.contains_key(name));
            let new_ours = unique(ours, kind, |name| self.to_recorded.contains_key(name));
            for (group, ours) in &new_ours {
                let Some(recorded) = new_recorded.get(group) else { continue };
                if recorded.len() == ours.len() {
                    recorded.iter().zip(ours).for_each(|(r, o)| self.learn(r, o));
                }
            }
        }
    }

    /// A text to send: recorded names become ours, in UPIDs also where they are percent-encoded.
    pub(crate) fn outgoing(&self, text: &str) -> String {
        let mut text = self.replace(text, &self.to_ours);
        if text.contains("UPID%3A") {
            for (recorded, ours) in self.to_ours.iter().filter(|(name, _)| name.starts_with("UPID:")) {
                for escape in [escape_all, escape_some] {
                    text = text.replace(&escape(recorded), &escape(ours));
                }
            }
        }
        text
    }

    /// The simulator's text: ours become the recorded ones.
    pub(crate) fn incoming(&self, text: &str) -> String {
        self.replace(text, &self.to_recorded)
    }

    fn replace(&self, text: &str, map: &BTreeMap<String, String>) -> String {
        rewrite(text, |_, name| {
            let (stem, suffix) = split_archive(name);
            map.get(name).cloned().or_else(|| map.get(stem).map(|stem| format!("{stem}{suffix}")))
        })
    }

    /// Names that stand for nothing become placeholders that say their kind only.
    pub(crate) fn blank_unknown(&self, text: &str) -> String {
        rewrite(text, |kind, name| match kind {
            _ if self.to_ours.contains_key(split_archive(name).0) => None,
            Kind::Upid => {
                let parts: Vec<&str> = name.split(':').collect();
                Some(format!("UPID:{}:*:{}", parts[1], parts[5..].join(":")))
            }
            Kind::Archive => {
                let (stem, suffix) = split_archive(name);
                let guest = stem.rsplit_once('-').and_then(|(rest, _)| rest.rsplit_once('-'));
                guest.map(|(guest, _)| format!("{guest}-*{suffix}"))
            }
            Kind::Mac => Some("<mac>".to_owned()),
            Kind::Uuid => Some("<uuid>".to_owned()),
            Kind::Digest => Some("<digest>".to_owned()),
        })
    }
}

/// Each name once, by group (what of the name is not made up), sorted: names carry their time.
fn unique(text: &str, kind: Kind, known: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for found in find(text).into_iter().filter(|found| found.kind == kind) {
        let name = &text[found.start..found.end];
        if known(name) || !seen.insert(name.to_owned()) {
            continue;
        }
        let group = match kind {
            Kind::Upid => name.split(':').skip(5).collect::<Vec<_>>().join(":"),
            Kind::Archive => {
                let guest = name.split('-').take(3).collect::<Vec<_>>().join("-");
                guest + split_archive(name).1
            }
            Kind::Mac | Kind::Uuid | Kind::Digest => String::new(),
        };
        groups.entry(group).or_default().push(name.to_owned());
    }
    if kind == Kind::Archive {
        groups.values_mut().for_each(|names| names.sort());
    }
    if kind == Kind::Upid {
        let start = |name: &String| name.split(':').nth(4).map(str::to_owned);
        groups.values_mut().for_each(|names| names.sort_by_key(start));
    }
    groups
}

fn rewrite(text: &str, with: impl Fn(Kind, &str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut done = 0;
    for found in find(text) {
        let name = &text[found.start..found.end];
        out.push_str(&text[done..found.start]);
        out.push_str(&with(found.kind, name).unwrap_or_else(|| name.to_owned()));
        done = found.end;
    }
    out.push_str(&text[done..]);
    out
}

/// All names in a text, left to right.
pub(crate) fn find(text: &str) -> Vec<Found> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let boundary = is_boundary(&text[..at]);
        let hit = KINDS.into_iter().find_map(|kind| {
            let length = if boundary { measure(kind, rest) } else { None }?;
            Some(Found { kind, start: at, end: at + length })
        });
        match hit {
            Some(found) => {
                at = found.end;
                all.push(found);
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    all
}

/// Not in the middle of a word; `%2F` is no word.
fn is_boundary(before: &str) -> bool {
    let escaped = before
        .len()
        .checked_sub(3)
        .and_then(|at| before.get(at..))
        .is_some_and(|end| end.starts_with('%') && end.bytes().skip(1).all(|c| c.is_ascii_hexdigit()));
    escaped || !before.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn measure(kind: Kind, rest: &str) -> Option<usize> {
    let hex = |c: u8| c.is_ascii_hexdigit();
    match kind {
        Kind::Upid => {
            rest.strip_prefix("UPID:")?;
            let length = rest.find(['"', ' ', '\n', '/', '?', '\\']).unwrap_or(rest.len());
            let end = rest[..length].match_indices(':').map(|(at, _)| at).nth(7)?;
            Some(end + 1)
        }
        Kind::Archive => {
            let after = rest.strip_prefix("vzdump-lxc-").or_else(|| rest.strip_prefix("vzdump-qemu-"))?;
            let digits = after.find(|c: char| !c.is_ascii_digit())?;
            let date = after[digits..].strip_prefix('-')?.get(..19)?;
            let shape = |(at, c): (usize, char)| match at {
                4 | 7 | 13 | 16 => c == '_',
                10 => c == '-',
                _ => c.is_ascii_digit(),
            };
            let end = rest.len() - after.len() + digits + 1 + date.len();
            (digits > 0 && date.char_indices().all(shape)).then(|| end + suffix(&rest[end..]))
        }
        Kind::Mac => shaped(rest, 17, |at, c| if at % 3 == 2 { c == b':' } else { hex(c) }),
        Kind::Uuid => {
            shaped(rest, 36, |at, c| if [8, 13, 18, 23].contains(&at) { c == b'-' } else { hex(c) })
        }
        Kind::Digest => shaped(rest, 40, |_, c| hex(c)),
    }
}

/// Length of `.tar`, `.tar.zst` …; a file that is still being written (`.tar.dat`) has its final name later.
fn suffix(rest: &str) -> usize {
    let Some(after) = rest.strip_prefix(".tar").filter(|after| !after.starts_with(".dat")) else { return 0 };
    let compression = [".zst", ".gz", ".lzo"].into_iter().find(|end| after.starts_with(end));
    let length = ".tar".len() + compression.map_or(0, str::len);
    if rest[length..].starts_with(".dat") { 0 } else { length }
}

/// An archive's name and its suffix; any other name and nothing.
pub(crate) fn split_archive(name: &str) -> (&str, &str) {
    name.split_at(name.find(".tar").filter(|_| name.starts_with("vzdump-")).unwrap_or(name.len()))
}

fn shaped(rest: &str, length: usize, fits: impl Fn(usize, u8) -> bool) -> Option<usize> {
    let bytes = rest.as_bytes().get(..length)?;
    let whole = !rest.as_bytes().get(length).is_some_and(|c| c.is_ascii_alphanumeric() || *c == b':');
    (whole && bytes.iter().enumerate().all(|(at, c)| fits(at, *c))).then_some(length)
}

fn escape_all(upid: &str) -> String {
    let mut out = String::new();
    for c in upid.bytes() {
        if c.is_ascii_alphanumeric() || b"-_.~".contains(&c) {
            out.push(char::from(c));
        } else {
            out.push_str(&format!("%{c:02X}"));
        }
    }
    out
}

fn escape_some(upid: &str) -> String {
    upid.replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "UPID:pve:000001F1:00077C4C:6B0422A5:vzstart:101:ctl@pve!full:";
    const B: &str = "UPID:pve:0000AAAA:00000001:6B0422FF:vzstart:101:ctl@pve!full:";

    #[test]
    fn names_are_learnt_and_replaced_both_ways() {
        let mut ids = Ids::default();
        ids.learn_from(&format!("{{\"data\":\"{A}\"}}"), &format!("{{\"data\":\"{B}\"}}"));
        assert_eq!(ids.outgoing(&escape_all(A)), escape_all(B));
        assert_eq!(ids.incoming(&format!("x {B} y")), format!("x {A} y"));
        let (old, new) = ("vzdump-lxc-110-2026_11_23-11_28_42", "vzdump-lxc-110-2027_01_01-00_00_00");
        ids.learn_from(&format!("local:backup/{old}.tar.zst"), &format!("local:backup/{new}.tar.zst"));
        assert_eq!(ids.outgoing(&format!("{old}.log")), format!("{new}.log"));
        assert_eq!(ids.outgoing(&format!("backup%2F{old}.log")), format!("backup%2F{new}.log"));
    }

    #[test]
    fn two_archives_of_one_second_stand_for_two_of_ours() {
        let (one, two) = ("vzdump-lxc-1-2026_11_23-11_28_43.tar", "vzdump-lxc-1-2026_11_23-11_28_43.tar.gz");
        let (first, second) =
            ("vzdump-lxc-1-2027_01_01-00_00_01.tar", "vzdump-lxc-1-2027_01_01-00_00_02.tar.gz");
        let mut ids = Ids::default();
        ids.learn(one, first);
        ids.learn(two, second);
        assert_eq!((ids.outgoing(one), ids.outgoing(two)), (first.to_owned(), second.to_owned()));
        assert_eq!((ids.incoming(first), ids.incoming(second)), (one.to_owned(), two.to_owned()));
        assert_eq!(
            ids.incoming("vzdump-lxc-1-2027_01_01-00_00_02.log"),
            "vzdump-lxc-1-2026_11_23-11_28_43.log"
        );
        assert_eq!(ids.incoming("vzdump-lxc-1-2027_01_01-00_00_02.tar.gz.dat").find(".tar.gz.dat"), Some(32));
    }

    #[test]
    fn what_is_unknown_becomes_a_placeholder_and_what_is_known_stays() {
        let mut ids = Ids::default();
        assert_eq!(ids.blank_unknown(A), "UPID:pve:*:vzstart:101:ctl@pve!full:");
        ids.learn(A, B);
        assert_eq!(ids.blank_unknown(A), A);
        assert_eq!(ids.blank_unknown("vzdump-lxc-110-2026_11_23-11_28_42.log"), "vzdump-lxc-110-*.log");
        let archive = "vzdump-lxc-110-2026_11_23-11_28_42.tar.gz.notes";
        assert_eq!(ids.blank_unknown(archive), "vzdump-lxc-110-*.tar.gz.notes");
        assert_eq!(ids.blank_unknown("hwaddr=BC:24:11:8B:EE:3C,type=veth"), "hwaddr=<mac>,type=veth");
        assert_eq!(ids.blank_unknown("601d4287-f505-4340-8158-b6bac831fb14"), "<uuid>");
    }
}
