//! The control file's form, and which arrivals a rule chooses. Pure but for reading the file.

use std::fs;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::state::Host;

/// The control file.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Faults {
    /// Chooses the arrivals of rules with a probability.
    #[serde(default)]
    pub(crate) seed: u64,
    /// In order: of several that act at one place the first one does.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

impl Faults {
    /// The rules there are now; none if there is no file.
    ///
    /// # Errors
    /// A file that is no such JSON.
    pub(crate) fn load(host: &Host) -> Result<Self, ApiError> {
        let Ok(bytes) = fs::read(host.dir.faults()) else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|e| ApiError::die(format!("control/faults.json: {e}")))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The place.
    pub(crate) at: String,
    /// A task's or a storage's id; any if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// A call's method; any if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// A call's path below the format, as a pattern; any if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Only the arrival with this number, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nth: Option<u64>,
    /// The share of arrivals, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f64>,
    /// What happens.
    #[serde(rename = "do")]
    pub(crate) act: Act,
}

/// What happens at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Waits until the rule is gone.
    Hold,
    /// SIGKILL.
    Kill,
    /// Waits so many milliseconds.
    DelayMs(u64),
    /// Fails with a text.
    Fail(String),
    /// The connection ends before the call is done.
    DropBefore,
    /// The connection ends after the call was done.
    DropAfter,
    /// 596 after the call was done.
    Timeout,
    /// The storage is out of reach.
    Offline,
    /// The daemon is dead.
    Dead,
    /// Seconds added to the clock.
    ShiftS(i64),
}

impl Rule {
    /// Whether the rule is about this id.
    pub(crate) fn is_for(&self, id: &str) -> bool {
        self.id.as_deref().is_none_or(|wanted| wanted == id)
    }

    /// Whether the rule is about this call.
    pub(crate) fn is_call(&self, method: &str, path: &str) -> bool {
        self.at == "http"
            && self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|pattern| fits(pattern, path))
    }

    /// Whether the rule is about this place. A `*` is any type, or any phase, of a task, and nothing that is no task's.
    pub(crate) fn is_at(&self, place: &str) -> bool {
        let fits = |pattern: &str, here: &str| pattern == here || pattern == "*" && here != "pvestatd";
        let ((kind, phase), here) = match (self.at.split_once('.'), place.split_once('.')) {
            (Some(rule), Some(here)) => (rule, here),
            _ => return self.at == place,
        };
        fits(kind, here.0) && fits(phase, here.1)
    }

    /// The rule's name for counting.
    pub(crate) fn key(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        hex::encode(&Sha256::digest(text.as_bytes())[..8])
    }

    /// Whether the rule acts on the arrival with this number.
    pub(crate) fn chooses(&self, seed: u64, number: u64) -> bool {
        self.nth.is_none_or(|wanted| wanted == number)
            && self.probability.is_none_or(|share| draw(seed, &self.key(), number) < share)
    }
}

/// A number from 0 to 1 (exclusive) that depends on nothing else.
fn draw(seed: u64, key: &str, number: u64) -> f64 {
    let digest = Sha256::digest(format!("{seed} {key} {number}").as_bytes());
    let high = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

/// `*` is one segment, a last `**` the rest.
fn fits(pattern: &str, path: &str) -> bool {
    let mut path = path.split('/');
    for part in pattern.split('/') {
        if part == "**" {
            return true;
        }
        match path.next() {
            Some(here) if part == "*" || part == here => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_path_pattern_is_matched_by_segment() {
        assert!(fits("/nodes/*/lxc", "/nodes/pve/lxc"));
        assert!(fits("/nodes/*/lxc/**", "/nodes/pve/lxc/101/status/start"));
        assert!(!fits("/nodes/*/lxc", "/nodes/pve/lxc/101"));
        assert!(!fits("/nodes/*/lxc/**", "/nodes/pve/qemu/1"));
        assert!(rule(r#"{"at":"http","do":"timeout"}"#).is_call("GET", "/version"));
        assert!(!rule(r#"{"at":"http","method":"POST","do":"timeout"}"#).is_call("GET", "/version"));
    }

    #[test]
    fn a_star_is_any_type_or_any_phase_of_a_task() {
        let is_at = |at: &str, place: &str| rule(&format!(r#"{{"at":"{at}","do":"kill"}}"#)).is_at(place);
        assert!(is_at("vzdump.archive", "vzdump.archive"));
        assert!(!is_at("vzdump.archive", "vzdump.finish"));
        assert!(is_at("vzdump.*", "vzdump.finish"));
        assert!(!is_at("vzdump.*", "vzrestore.begin"));
        assert!(is_at("*.begin", "vzrestore.begin"));
        assert!(is_at("*.*", "vzrestore.begin"));
        assert!(!is_at("*.*", "pvestatd.round"));
        assert!(!is_at("*.*", "http"));
    }

    #[test]
    fn the_same_seed_chooses_the_same_arrivals() {
        let rule = rule(r#"{"at":"vzdump.begin","do":"kill","probability":0.3}"#);
        let chosen = |seed| (1..=1000).filter(|n| rule.chooses(seed, *n)).collect::<Vec<u64>>();
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        assert!((250..350).contains(&chosen(1).len()), "{}", chosen(1).len());
    }

    #[test]
    fn a_typing_error_is_not_taken_for_no_fault() {
        assert!(serde_json::from_str::<Faults>(r#"{"rules":[{"at":"x","do":"hold","nht":1}]}"#).is_err());
        assert!(serde_json::from_str::<Faults>(r#"{"rules":[{"at":"x","do":"explode"}]}"#).is_err());
    }
}
