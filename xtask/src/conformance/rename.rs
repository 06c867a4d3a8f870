//! The renamed replay: other VMIDs, names and passwords go out, and come back as the recorded ones, so that nothing can
//! depend on a literal. Renaming keeps the order of sorted lists.

use std::collections::{BTreeMap, BTreeSet};

/// Words of a path after which a name or a VMID stands.
const BEFORE_NAMES: [&str; 13] = [
    "nodes", "lxc", "qemu", "storage", "snapshot", "pools", "users", "token", "roles", "groups", "tasks",
    "vms", "pool",
];
/// Parameters that are VMIDs.
const VMID_KEYS: [&str; 6] = ["vmid", "newid", "target-vmid", "vms", "vm", "exclude"];
/// Words of a shell line after which a VMID stands.
const BEFORE_VMIDS: [&str; 17] = [
    "exec",
    "mount",
    "unmount",
    "config",
    "unlock",
    "set",
    "rescan",
    "vmid",
    "delsnapshot",
    "status",
    "lxc",
    "images",
    "CT",
    "VM",
    "vms",
    "start",
    "stop",
];

/// How names of a recording are replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rename {
    words: BTreeMap<String, String>,
    vmids: BTreeMap<String, String>,
    back: Vec<(String, String)>,
}

/// A word of a text: where, and what stands before and after it.
struct Token<'a> {
    text: &'a str,
    before: &'a str,
    previous: &'a str,
    after: &'a str,
}

impl Rename {
    /// Nothing is renamed.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// All of these are.
    pub(crate) fn new(names: &BTreeSet<String>, vmids: &BTreeSet<u32>) -> Self {
        let names = names.iter().enumerate();
        let words: BTreeMap<_, _> =
            names.map(|(rank, name)| (name.clone(), format!("nq{:03}zkwx", rank * 7 + 11))).collect();
        let vmids: BTreeMap<_, _> = vmids
            .iter()
            .map(|id| (id.to_string(), (731_000_000 + u64::from(*id) * 13).to_string()))
            .collect();
        let mut back: Vec<_> =
            words.iter().chain(vmids.iter()).map(|(old, new)| (new.clone(), old.clone())).collect();
        back.sort_by_key(|(new, _)| std::cmp::Reverse(new.len()));
        Self { words, vmids, back }
    }

    /// Whether anything is renamed.
    pub(crate) fn is_plain(&self) -> bool {
        self.back.is_empty()
    }

    /// One name or VMID.
    pub(crate) fn word(&self, word: &str) -> String {
        self.words.get(word).or_else(|| self.vmids.get(word)).cloned().unwrap_or_else(|| word.to_owned())
    }

    /// `@NAME@` in the text of a stage file.
    pub(crate) fn template(&self, text: &str) -> String {
        let mut parts = text.split('@').peekable();
        let mut out = parts.next().unwrap_or_default().to_owned();
        while let Some(part) = parts.next() {
            let is_name = !part.is_empty() && part.chars().all(is_word);
            match parts.peek() {
                Some(_) if is_name => {
                    out.push_str(&self.word(part));
                    out.push_str(parts.next().unwrap_or_default());
                }
                _ => {
                    out.push('@');
                    out.push_str(part);
                }
            }
        }
        out
    }

    /// A request's path with its query.
    pub(crate) fn path(&self, path: &str) -> String {
        if self.is_plain() {
            return path.to_owned();
        }
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let (path, volume) = path.split_once("/content/").map_or((path, None), |(p, v)| (p, Some(v)));
        let mut previous = "";
        let mut segments = Vec::new();
        for segment in path.split('/') {
            let names = BEFORE_NAMES.contains(&previous);
            segments.push(if names { self.value("vmid", segment) } else { segment.to_owned() });
            previous = segment;
        }
        let mut path = segments.join("/");
        if let Some(volume) = volume {
            path = format!("{path}/content/{}", self.value("volume", volume));
        }
        match query {
            Some(query) => format!("{path}?{}", self.form(query)),
            None => path,
        }
    }

    /// A task's id: `101`, `101@local`, `230-mp0>231-mp0`.
    pub(crate) fn id(&self, id: &str) -> String {
        self.value("vmid", id)
    }

    /// A form.
    pub(crate) fn form(&self, form: &str) -> String {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) => format!("{key}={}", self.value(key, value)),
            None => pair.to_owned(),
        };
        form.split('&').map(pair).collect::<Vec<_>>().join("&")
    }

    /// A JSON body: keys stay.
    pub(crate) fn json(&self, body: &str) -> String {
        let mut key = String::new();
        self.replace(body, |token| {
            if token.after.starts_with("\":") || token.after.starts_with("\" :") {
                key = token.text.to_owned();
                return None;
            }
            self.token(&key, token)
        })
    }

    /// A header's value.
    pub(crate) fn header(&self, value: &str) -> String {
        self.replace(value, |token| self.words.get(token.text).cloned())
    }

    /// A shell line.
    pub(crate) fn shell(&self, line: &str) -> String {
        self.replace(line, |token| {
            let is_id = BEFORE_VMIDS.contains(&token.previous.trim_start_matches('-'))
                || [".conf", ".fw"].iter().any(|end| token.after.starts_with(end));
            match self.vmids.get(token.text) {
                Some(new) if is_id => Some(new.clone()),
                _ => self.token("", token),
            }
        })
    }

    /// The simulator's text, with the recorded names again.
    pub(crate) fn back(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (new, old) in &self.back {
            if text.contains(new.as_str()) {
                text = text.replace(new, old);
            }
        }
        text
    }

    fn value(&self, key: &str, value: &str) -> String {
        self.replace(value, |token| self.token(key, token))
    }

    fn token(&self, key: &str, token: &Token) -> Option<String> {
        if let Some(new) = self.vmids.get(token.text) {
            let volume = (token.before == ":" && token.after.starts_with('/'))
                || (token.before == "%3A" && token.after.starts_with("%2F"));
            let place = VMID_KEYS.contains(&key) || volume || ["vms", "lxc"].contains(&token.previous);
            return place.then(|| new.clone());
        }
        // Where a storage lies is not its name.
        let folder = ["mnt", "srv"].contains(&token.previous) && ["/", "%2F"].contains(&token.before);
        if let Some(new) = self.words.get(token.text).filter(|_| !folder) {
            return Some(new.clone());
        }
        self.volume_name(token.text)
    }

    /// `vm-101-disk-0`, `vzdump-lxc-101-2026…`.
    fn volume_name(&self, text: &str) -> Option<String> {
        let mut parts: Vec<&str> = text.split('-').collect();
        let at = match parts.first() {
            Some(&("vm" | "base" | "subvol" | "basevol")) => 1,
            Some(&"vzdump") => 2,
            Some(_)
                if ["mp", "rootfs", "unused"]
                    .iter()
                    .any(|key| parts.get(1).is_some_and(|p| p.starts_with(key))) =>
            {
                0
            }
            _ => return None,
        };
        let new = self.vmids.get(*parts.get(at)?)?;
        *parts.get_mut(at)? = new;
        Some(parts.join("-"))
    }

    fn replace(&self, text: &str, mut with: impl FnMut(&Token) -> Option<String>) -> String {
        if self.is_plain() {
            return text.to_owned();
        }
        let mut out = String::new();
        let (mut rest, mut before, mut previous) = (text, 0..0, "");
        let mut offset = 0;
        while !rest.is_empty() {
            let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            if length > 0 {
                let (word, after) = rest.split_at(length);
                let token = Token { text: word, before: &text[before.clone()], previous, after };
                out.push_str(&with(&token).unwrap_or_else(|| word.to_owned()));
                previous = word;
                rest = after;
                offset += length;
                continue;
            }
            let escaped = rest.len() >= 3 && rest.starts_with('%') && rest.as_bytes()[1].is_ascii_hexdigit();
            let length = if escaped { 3 } else { rest.chars().next().map_or(1, char::len_utf8) };
            before = offset..offset + length;
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            offset += length;
        }
        out
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename() -> Rename {
        let names = ["btr", "ctl", "full", "s1"].map(str::to_owned).into();
        Rename::new(&names, &[101, 200].into())
    }

    #[test]
    fn vmids_and_names_are_replaced_where_they_stand_for_themselves_and_come_back() {
        let rename = rename();
        let path = "/api2/json/nodes/pve/lxc/101/snapshot/s1/config?vmid=101&full=200";
        let new = rename.path(path);
        assert!(!new.contains("101") && !new.contains("/s1/") && new.contains("full=200"), "{new}");
        assert_eq!(rename.back(&new), path);
        let path = "/nodes/pve/storage/btr/content/btr:101/vm-101-disk-7.raw?x=1";
        assert!(!rename.path(path).contains("101"));
        assert_eq!(rename.back(&rename.path(path)), path);
        assert_eq!(rename.shell("ls /mnt/btr"), "ls /mnt/btr");
        let form = "vmid=101&memory=200&rootfs=btr%3A101%2Fvm-101-disk-0.raw%2Csize%3D1G&users=ctl%40pve%21full&path=%2Fvms%2F101";
        let new = rename.form(form);
        assert!(new.contains("memory=200") && !new.contains("101") && !new.contains("ctl"), "{new}");
        assert_eq!(rename.back(&new), form);
        let json = r#"{"vmid":101,"full":"full","memory":200}"#;
        let new = rename.json(json);
        assert!(new.contains(r#""memory":200"#) && new.starts_with(r#"{"vmid":731"#), "{new}");
        assert!(new.contains(r#","full":"nq"#), "{new}");
        assert_eq!(rename.back(&new), json);
        assert_eq!(rename.back(&rename.id("101-mp0>200-mp0")), "101-mp0>200-mp0");
        assert!(!rename.id("101-mp0>200-mp0").contains("101") && !rename.id("101@btr").contains("btr"));
        let shell = "pct unlock 101; cat /etc/pve/lxc/101.conf; ls /mnt/btr/images/101; dd count=200";
        let new = rename.shell(shell);
        assert!(!new.contains("101") && new.ends_with("count=200"), "{new}");
        assert_eq!(rename.back(&new), shell);
    }

    #[test]
    fn a_template_names_what_is_replaced() {
        assert_eq!(Rename::plain().template("a @101@ b@c @btr@"), "a 101 b@c btr");
        let new = rename().template("@101@ root@pam @ctl@@pve");
        assert_eq!(rename().back(&new), "101 root@pam ctl@pve");
    }
}
