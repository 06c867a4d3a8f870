//! What Proxmox VE says is missing: in a 403, in a task's exit status, in a line of its log. Pure.
//!
//! PVE checks privileges one path at a time and names the first that fails, `Permission check failed (/vms/101,
//! VM.PowerMgmt)`; where one of several would do it names all, `(/storage/x, Datastore.Audit|Datastore.AllocateSpace)`.
//! What no privilege opens has words instead of a path, `(changing the hookscript is only allowed for root@pam)`.

const WORDS: &str = "Permission check failed";

/// What PVE refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// One of these privileges on this path would have been enough.
    Privilege {
        /// As in the access list, e.g. `/vms/101`.
        path: String,
        /// One, or several of which each would do.
        any_of: Vec<String>,
    },
    /// No privilege helps; PVE's words.
    NeverForTokens(String),
    /// PVE names nothing.
    Unsaid,
}

impl Denied {
    /// Finds the refusal in a message, an exit status or a log line; `None` if it holds none.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(WORDS)?;
        let Some(inside) = rest.trim_start_matches(' ').strip_prefix('(') else { return Some(Self::Unsaid) };
        let words = &inside[..closing(inside)];
        Some(privilege(words).unwrap_or_else(|| Self::NeverForTokens(words.trim().to_owned())))
    }

    /// The privileges as PVE writes them, `A|B` where one of them is enough.
    #[must_use]
    pub fn privileges(&self) -> Option<String> {
        match self {
            Self::Privilege { any_of, .. } => Some(any_of.join("|")),
            Self::NeverForTokens(_) | Self::Unsaid => None,
        }
    }
}

/// Where the parenthesis that is open closes, or the line ends.
fn closing(inside: &str) -> usize {
    let mut depth = 1;
    for (at, c) in inside.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\n' => return at,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    inside.len()
}

fn privilege(words: &str) -> Option<Denied> {
    let (path, privileges) = words.split_once(", ")?;
    let any_of: Vec<String> = privileges.split('|').map(|p| p.trim().to_owned()).collect();
    let plain = |p: &String| {
        p.contains('.') && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') && !p.starts_with('.')
    };
    let fine = path.starts_with('/') && !path.contains(' ') && any_of.iter().all(plain);
    fine.then(|| Denied::Privilege { path: path.to_owned(), any_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, any_of: &[&str]) -> Option<Denied> {
        let any_of = any_of.iter().map(|p| (*p).to_owned()).collect();
        Some(Denied::Privilege { path: path.to_owned(), any_of })
    }

    #[test]
    fn recorded_refusals_name_path_and_privileges() {
        for (text, path, any_of) in [
            ("Permission check failed (/vms/101, VM.PowerMgmt)\n", "/vms/101", &["VM.PowerMgmt"][..]),
            ("403 Permission check failed (/vms/163, VM.Backup)", "/vms/163", &["VM.Backup"]),
            ("TASK ERROR: 403 Permission check failed (/vms/163, VM.Backup)", "/vms/163", &["VM.Backup"]),
            ("Permission check failed (/, Sys.Modify)", "/", &["Sys.Modify"]),
            (
                "unable to restore CT 211 - Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)",
                "/sdn/zones/localnetwork/vmbr0",
                &["SDN.Use"],
            ),
            (
                "Permission check failed (/storage/btr, Datastore.Audit|Datastore.AllocateSpace)",
                "/storage/btr",
                &["Datastore.Audit", "Datastore.AllocateSpace"],
            ),
        ] {
            assert_eq!(Denied::find(text), one(path, any_of), "{text}");
        }
        let both =
            Denied::find("Permission check failed (/storage/btr, Datastore.Audit|Datastore.AllocateSpace)");
        assert_eq!(both.unwrap().privileges().as_deref(), Some("Datastore.Audit|Datastore.AllocateSpace"));
    }

    #[test]
    fn what_no_privilege_opens_keeps_its_words() {
        for words in [
            "mount point type bind is only allowed for root@pam",
            "changing feature flags (except nesting) is only allowed for root@pam",
            "URI '/access/password' not available with API token, need proper ticket.",
        ] {
            let text = format!("403 Permission check failed ({words})\n");
            assert_eq!(Denied::find(&text), Some(Denied::NeverForTokens(words.to_owned())));
        }
    }

    #[test]
    fn a_refusal_without_words_and_no_refusal_at_all() {
        assert_eq!(Denied::find("Permission check failed\n"), Some(Denied::Unsaid));
        assert_eq!(Denied::find("Permission check failed (/vms/1, VM.Audit"), one("/vms/1", &["VM.Audit"]));
        for text in ["", "OK", "CT is locked (backup)", "job errors", "can't lock file"] {
            assert_eq!(Denied::find(text), None, "{text}");
        }
    }
}
