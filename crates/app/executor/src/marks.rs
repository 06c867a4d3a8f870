//! The marks that we put on real things, and the two forms of an operation's id.

use felhom_model::{GuestUuid, OperationId};

/// The journal's form of an operation id.
#[must_use]
pub fn to_journal(id: OperationId) -> felhom_journal::OperationId {
    // Both are ULIDs in their one spelling.
    id.to_string().parse().unwrap_or(felhom_journal::OperationId(ulid::Ulid::nil()))
}

/// Our form of the journal's operation id.
#[must_use]
pub fn from_journal(id: felhom_journal::OperationId) -> OperationId {
    OperationId::from_parts(id.0.timestamp_ms(), id.0.random())
}

/// The line that ends our guests' descriptions.
#[must_use]
pub fn guest_mark(guest: GuestUuid, operation: OperationId) -> String {
    format!("felhom:1 guest={guest} op={operation}")
}

/// Reads the mark out of a description: its last line that is not empty.
#[must_use]
pub fn read_guest_mark(description: &str) -> felhom_gate::Mark {
    use felhom_gate::Mark;
    let ours: Vec<&str> = description.lines().map(str::trim).filter(|l| l.starts_with("felhom:")).collect();
    match ours[..] {
        [] => Mark::None,
        [line] => {
            parse_mark(line).map_or(Mark::Unreadable, |(guest, operation)| Mark::Names(guest, operation))
        }
        _ => Mark::Unreadable,
    }
}

fn parse_mark(line: &str) -> Option<(GuestUuid, OperationId)> {
    let rest = line.strip_prefix("felhom:1 guest=")?;
    let (guest, operation) = rest.split_once(" op=")?;
    Some((guest.parse().ok()?, operation.parse().ok()?))
}

/// What an archive's notes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveMark {
    /// Whose it is.
    pub guest: GuestUuid,
    /// The operation that made it.
    pub operation: OperationId,
    /// SHA-256 of the guest configuration inside it, as hexadecimal digits.
    pub config: String,
}

impl std::fmt::Display for ArchiveMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "felhom:1 guest={} op={} config={} key=none", self.guest, self.operation, self.config)
    }
}

/// Reads an archive's notes; `None` if they are not ours.
#[must_use]
pub fn read_archive_mark(notes: &str) -> Option<ArchiveMark> {
    let rest = notes.lines().next()?.trim().strip_prefix("felhom:1 guest=")?;
    let (guest, rest) = rest.split_once(" op=")?;
    let (operation, rest) = rest.split_once(" config=")?;
    let config = rest.strip_suffix(" key=none")?;
    Some(ArchiveMark {
        guest: guest.parse().ok()?,
        operation: operation.parse().ok()?,
        config: config.to_owned(),
    })
}

/// What an archive's notes say, for the gate: text without our mark is nobody's claim, a broken mark is somebody's.
#[must_use]
pub fn read_archive_notes(notes: &str) -> felhom_gate::ArchiveNotes {
    use felhom_gate::ArchiveNotes;
    if !notes.lines().any(|line| line.trim().starts_with("felhom:")) {
        return ArchiveNotes::None;
    }
    read_archive_mark(notes)
        .map_or(ArchiveNotes::Unreadable, |mark| ArchiveNotes::Names(mark.guest, mark.operation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_gate::Mark;

    #[test]
    fn marks_are_read_back_and_nothing_else_is() {
        let (guest, operation) = (GuestUuid::from_random([1; 16]), OperationId::from_parts(1, 2));
        let mark = guest_mark(guest, operation);
        assert_eq!(read_guest_mark(&format!("text\n\n{mark}\n")), Mark::Names(guest, operation));
        assert_eq!(read_guest_mark("text"), Mark::None);
        assert_eq!(read_guest_mark("felhom:1 guest=x op=y"), Mark::Unreadable);
        assert_eq!(read_guest_mark(&format!("{mark}\n{mark}")), Mark::Unreadable);
        let archive = ArchiveMark { guest, operation, config: "ab".repeat(32) };
        assert_eq!(read_archive_mark(&archive.to_string()), Some(archive));
        assert_eq!(read_archive_mark("other notes"), None);
        use felhom_gate::ArchiveNotes;
        assert_eq!(read_archive_notes("other notes"), ArchiveNotes::None);
        assert_eq!(read_archive_notes(&format!("mine\n{guest}\nfelhom:1 x")), ArchiveNotes::Unreadable);
    }

    #[test]
    fn operation_ids_convert_both_ways() {
        let id = OperationId::from_parts(1_700_000_000_000, 0x00ab_cdef_0123_4567_89ab);
        assert_eq!(from_journal(to_journal(id)), id);
        assert_eq!(to_journal(id).to_string(), id.to_string());
    }
}
