//! Whether a file of ours is made, replaced or left alone. Pure.

use felhom_model::Digest;

/// What becomes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not there.
    Make,
    /// It is as it should be.
    Leave,
    /// It is as it was written, and should be otherwise now.
    Replace,
    /// It is not as it was written: somebody edited it.
    Edited,
}

/// For a file whose content is ours until somebody edits it.
pub(super) fn judge(there: Option<Digest>, written: Option<Digest>, wanted: Digest) -> Verdict {
    match there {
        None => Verdict::Make,
        Some(there) if there == wanted => Verdict::Leave,
        Some(there) if Some(there) == written => Verdict::Replace,
        Some(_) => Verdict::Edited,
    }
}

/// Whether a file may be taken away: it is as it was written.
pub(super) fn is_as_written(there: Digest, written: Option<Digest>) -> bool {
    written == Some(there)
}

/// The first number of people, as Debian gives them; below it are the system's own users.
const PEOPLE: u32 = 1000;

/// Whether a user looks like a person's: by its number, or because it may log in.
pub(super) fn is_somebodys(uid: u32, shell: &str) -> bool {
    let none = matches!(shell.rsplit('/').next(), Some("nologin" | "false"));
    uid >= PEOPLE || !none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_it_was_written_is_replaced_or_taken_away() {
        let [old, new, edited] = ["old", "new", "edited"].map(|text| Digest::of(text.as_bytes()));
        for (there, written, expected) in [
            (None, None, Verdict::Make),
            (None, Some(old), Verdict::Make),
            (Some(new), None, Verdict::Leave),
            (Some(new), Some(old), Verdict::Leave),
            (Some(old), Some(old), Verdict::Replace),
            (Some(edited), Some(old), Verdict::Edited),
            (Some(old), None, Verdict::Edited),
        ] {
            assert_eq!(judge(there, written, new), expected);
        }
        for (uid, shell, expected) in [
            (998, "/usr/sbin/nologin", false),
            (998, "/bin/false", false),
            (998, "/bin/bash", true),
            (998, "", true),
            (1000, "/usr/sbin/nologin", true),
        ] {
            assert_eq!(is_somebodys(uid, shell), expected, "{uid} {shell}");
        }
        assert!(
            is_as_written(old, Some(old)) && !is_as_written(edited, Some(old)) && !is_as_written(old, None)
        );
    }
}
