//! `jobs.cfg`: the host's backup jobs. They are kept and shown; nothing here runs them at their time.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::property::{decode_text, encode_text, has_newline};
use super::{Host, atomic, lock};
use crate::error::ApiError;

/// Options of one job, `schedule` and `enabled` among them.
pub(crate) type Job = BTreeMap<String, String>;

/// All jobs in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jobs(pub(crate) Vec<(String, Job)>);

impl Jobs {
    /// Reads the file.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        Ok(Self::parse(&atomic::read_optional(&host.dir.root().join(FILE))?.unwrap_or_default()))
    }

    /// Parses the file's text. `exclude-path` may be several lines; they are joined by NUL, as Proxmox VE's lists are.
    pub(crate) fn parse(text: &str) -> Self {
        let mut all: Vec<(String, Job)> = Vec::new();
        for line in text.lines() {
            if let Some(option) = line.strip_prefix(['\t', ' ']) {
                let (key, value) =
                    option.trim().split_once(char::is_whitespace).unwrap_or((option.trim(), ""));
                if let Some((_, job)) = all.last_mut() {
                    let value = value.trim();
                    let more =
                        job.get(key).filter(|_| key == "exclude-path").map(|old| format!("{old}\0{value}"));
                    let value = if key == "comment" { decode_text(value) } else { value.to_owned() };
                    job.insert(key.to_owned(), more.unwrap_or(value));
                }
            } else if let Some(id) = line.strip_prefix("vzdump:") {
                all.push((id.trim().to_owned(), Job::new()));
            }
        }
        Self(all)
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (id, job) in &self.0 {
            let _ = writeln!(text, "vzdump: {id}");
            for (key, value) in job {
                let value = if key == "comment" { encode_text(value) } else { value.clone() };
                for part in value.split('\0') {
                    let _ = writeln!(text, "\t{key} {part}");
                }
            }
            text.push('\n');
        }
        text
    }

    /// A job by id.
    pub(crate) fn get(&self, id: &str) -> Option<&Job> {
        self.0.iter().find(|(name, _)| name == id).map(|(_, job)| job)
    }

    /// Takes a guest out of every job; a job that names no guest any more goes (F45, rec 926).
    pub(crate) fn forget(&mut self, vmid: u32) {
        let without = |list: &str| {
            let kept = list.split(',').filter(|v| v.trim() != vmid.to_string());
            kept.collect::<Vec<_>>().join(",")
        };
        self.0.retain_mut(|(_, job)| {
            for key in ["vmid", "exclude"] {
                if let Some(list) = job.get(key).map(|l| without(l)) {
                    if !list.is_empty() {
                        job.insert(key.to_owned(), list);
                    } else if key == "vmid" {
                        return false;
                    } else {
                        job.remove(key);
                    }
                    break;
                }
            }
            true
        });
    }
}

const FILE: &str = "etc/pve/jobs.cfg";

/// Changes the file under its lock.
///
/// # Errors
/// As `change`.
pub(crate) fn update<T>(
    host: &Host,
    change: impl FnOnce(&mut Jobs) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let _held = host.lock("jobs.cfg", lock::GUEST_TIMEOUT, &mut || ())?;
    let mut jobs = Jobs::load(host)?;
    let answer = change(&mut jobs)?;
    let mut options = jobs.0.iter().flat_map(|(_, job)| job);
    if let Some((key, _)) = options.find(|(key, value)| *key != "comment" && has_newline(value)) {
        return Err(ApiError::die(format!("detected invalid newline inside property '{key}'")));
    }
    atomic::write(&host.dir.root().join(FILE), jobs.to_text().as_bytes())?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_written_back_and_forgets_guests() {
        let text = "vzdump: a\n\tenabled 0\n\texclude-path /x y\n\texclude-path *.log\n\tschedule daily\n\tvmid 100,101\n\n\
                    vzdump: b\n\tall 1\n\texclude 100\n\tschedule daily\n\n";
        let mut jobs = Jobs::parse(text);
        assert_eq!(jobs.to_text(), text);
        jobs.forget(100);
        assert_eq!(jobs.get("a").unwrap()["vmid"], "101");
        assert!(!jobs.get("b").unwrap().contains_key("exclude"));
        jobs.forget(101);
        assert_eq!(jobs.0.len(), 1);
    }
}
