//! The verdict of a restore test: evidence in, checks and level out. Pure.

use felhom_model::backup::Level;
use felhom_model::{AppName, Digest, GuestUuid};
use felhom_protocol::probe::{ProbeAnswer, Sample};
use felhom_protocol::receipt::Check;

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// How far to test.
    pub asked: Level,
    /// Whose backup it is.
    pub guest: GuestUuid,
    /// The archive's digest as recorded when it was made.
    pub recorded_digest: Digest,
    /// Its digest now; `None` if it could not be read.
    pub seen_digest: Option<Digest>,
    /// Why it was not restored.
    pub restore_problem: Option<String>,
    /// Why the guest does not run.
    pub start_problem: Option<String>,
    /// The question's nonce.
    pub nonce: String,
    /// The controller's answer.
    pub answer: Option<ProbeAnswer>,
    /// Why there is none.
    pub probe_problem: Option<String>,
    /// Apps that the guest was told to run.
    pub expected_apps: Vec<AppName>,
    /// Samples recorded at the freeze; `None` if nobody froze.
    pub frozen: Option<Vec<Sample>>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// All checks, in order.
    pub checks: Vec<Check>,
    /// The highest level of which, and below which, every check passed.
    pub level: Option<Level>,
    /// Whether every check that was made passed.
    pub passed: bool,
    /// What nothing was said about.
    pub not_tested: Vec<String>,
}

/// Judges level by level; a level with a failed check ends it.
#[must_use]
pub fn judge_levels(e: &Evidence) -> Judged {
    let mut judged = Judged {
        checks: Vec::new(),
        level: None,
        passed: true,
        not_tested: vec!["bulk: not tested".to_owned()],
    };
    for level in [Level::L1, Level::L2, Level::L3, Level::L4].into_iter().filter(|l| *l <= e.asked) {
        let checks = match level {
            Level::L1 => l1(e),
            Level::L2 => l2(e),
            Level::L3 => l3(e),
            Level::L4 => l4(e),
        };
        if checks.is_empty() {
            judged.not_tested.push("content: no digests were recorded when the backup was made".to_owned());
            return judged;
        }
        let passed = checks.iter().all(|c| c.passed);
        judged.checks.extend(checks);
        if !passed {
            judged.passed = false;
            return judged;
        }
        judged.level = Some(level);
    }
    judged
}

fn check(level: Level, name: impl Into<String>, passed: bool, detail: impl Into<String>) -> Check {
    Check { level, name: name.into(), passed, detail: detail.into() }
}

fn l1(e: &Evidence) -> Vec<Check> {
    let seen = e.seen_digest.map_or_else(|| "not readable".to_owned(), |d| d.to_string());
    let equal = e.seen_digest == Some(e.recorded_digest);
    let detail = if equal { seen } else { format!("recorded {}, now {seen}", e.recorded_digest) };
    let mut checks = vec![check(Level::L1, "archive digest", equal, detail)];
    if equal {
        let detail = e.restore_problem.clone().unwrap_or_else(|| "restored completely".to_owned());
        checks.push(check(Level::L1, "restore", e.restore_problem.is_none(), detail));
    }
    checks
}

fn l2(e: &Evidence) -> Vec<Check> {
    let started = e.start_problem.clone();
    let mut checks =
        vec![check(Level::L2, "boot", started.is_none(), started.unwrap_or_else(|| "running".to_owned()))];
    if !checks[0].passed {
        return checks;
    }
    let Some(answer) = &e.answer else {
        let why = e.probe_problem.clone().unwrap_or_else(|| "no answer".to_owned());
        checks.push(check(Level::L2, "controller answers", false, why));
        return checks;
    };
    let this = answer.nonce == e.nonce && !e.nonce.is_empty();
    let detail = if this { "to this very question" } else { "the answer belongs to another question" };
    checks.push(check(Level::L2, "controller answers", this, detail));
    let named = answer.guest.map_or_else(|| "nobody".to_owned(), |g| g.to_string());
    checks.push(check(
        Level::L2,
        "identity",
        answer.guest == Some(e.guest),
        format!("expected {}, it says {named}", e.guest),
    ));
    checks
}

fn l3(e: &Evidence) -> Vec<Check> {
    let Some(answer) = &e.answer else { return vec![check(Level::L3, "apps", false, "no answer")] };
    let mut checks = Vec::new();
    for app in &e.expected_apps {
        let found = answer.apps.iter().find(|a| a.app == *app);
        let detail = match found {
            None => "the controller does not know it".to_owned(),
            Some(a) => a.message.clone().unwrap_or_else(|| a.state.clone()),
        };
        let up = found.is_some_and(|a| a.healthy && a.state == "running");
        checks.push(check(Level::L3, format!("app {app}"), up, detail));
    }
    for app in &answer.apps {
        for database in &app.databases {
            let name = format!("database {}", database.name);
            checks.push(check(Level::L3, name, database.ok, database.detail.clone()));
        }
    }
    if checks.is_empty() {
        checks.push(check(Level::L3, "apps", true, "the guest has no apps"));
    }
    checks
}

fn l4(e: &Evidence) -> Vec<Check> {
    let Some(frozen) = &e.frozen else { return Vec::new() };
    let answered = e.answer.as_ref().map(|a| a.samples.as_slice()).unwrap_or_default();
    frozen
        .iter()
        .map(|sample| {
            let id = &sample.id;
            let range = match (id.offset, id.length) {
                (Some(offset), Some(length)) => format!(" [{offset}+{length}]"),
                _ => String::new(),
            };
            let name = format!("sample: {} {}/{}/{}{range}", sample.kind, id.app, id.volume, id.path);
            let now = answered.iter().find(|a| a.id == *id).and_then(|a| a.digest);
            let equal = sample.digest.is_some() && now == sample.digest;
            let text = |d: Option<Digest>| d.map_or_else(|| "not readable".to_owned(), |d| d.to_string());
            let detail = if equal {
                text(now)
            } else {
                format!("frozen {}, restored {}", text(sample.digest), text(now))
            };
            check(Level::L4, name, equal, detail)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_protocol::probe::{AppProbe, DatabaseCheck, SampleId};

    fn sample(byte: u8) -> Sample {
        let id = SampleId {
            app: "sample".parse().unwrap(),
            volume: "data".to_owned(),
            path: "notes.db".to_owned(),
            offset: None,
            length: None,
        };
        Sample { id, kind: "database".to_owned(), digest: Some(Digest::of(&[byte])), message: None }
    }

    fn good() -> Evidence {
        let guest = GuestUuid::from_random([1; 16]);
        let app = AppProbe {
            app: "sample".parse().unwrap(),
            state: "running".to_owned(),
            healthy: true,
            message: None,
            databases: vec![DatabaseCheck { name: "notes.db".to_owned(), ok: true, detail: "ok".to_owned() }],
        };
        Evidence {
            asked: Level::L4,
            guest,
            recorded_digest: Digest::of(b"archive"),
            seen_digest: Some(Digest::of(b"archive")),
            restore_problem: None,
            start_problem: None,
            nonce: "n".to_owned(),
            answer: Some(ProbeAnswer {
                nonce: "n".to_owned(),
                guest: Some(guest),
                version: "1".to_owned(),
                apps: vec![app],
                samples: vec![sample(1)],
            }),
            probe_problem: None,
            expected_apps: vec!["sample".parse().unwrap()],
            frozen: Some(vec![sample(1)]),
        }
    }

    fn verdict(change: impl FnOnce(&mut Evidence)) -> (bool, Option<Level>, Option<String>) {
        let mut evidence = good();
        change(&mut evidence);
        let judged = judge_levels(&evidence);
        let failed = judged.checks.iter().find(|c| !c.passed).map(|c| c.name.clone());
        (judged.passed, judged.level, failed)
    }

    #[test]
    fn each_damage_fails_at_its_level_and_names_the_check() {
        assert_eq!(verdict(|_| ()), (true, Some(Level::L4), None));
        let failed = |level, name: &str| (false, level, Some(name.to_owned()));
        assert_eq!(verdict(|e| e.seen_digest = Some(Digest::of(b"other"))), failed(None, "archive digest"));
        assert_eq!(verdict(|e| e.seen_digest = None), failed(None, "archive digest"));
        assert_eq!(verdict(|e| e.restore_problem = Some("tar".into())), failed(None, "restore"));
        assert_eq!(verdict(|e| e.start_problem = Some("no".into())), failed(Some(Level::L1), "boot"));
        assert_eq!(verdict(|e| e.answer = None), failed(Some(Level::L1), "controller answers"));
        assert_eq!(verdict(|e| e.nonce = "other".into()), failed(Some(Level::L1), "controller answers"));
        let stranger = GuestUuid::from_random([2; 16]);
        assert_eq!(verdict(|e| e.guest = stranger), failed(Some(Level::L1), "identity"));
        let apps = |e: &mut Evidence| e.answer.as_mut().unwrap().apps[0].healthy = false;
        assert_eq!(verdict(apps), failed(Some(Level::L2), "app sample"));
        let database = |e: &mut Evidence| e.answer.as_mut().unwrap().apps[0].databases[0].ok = false;
        assert_eq!(verdict(database), failed(Some(Level::L2), "database notes.db"));
        let changed = |e: &mut Evidence| e.answer.as_mut().unwrap().samples = vec![sample(2)];
        assert_eq!(verdict(changed), failed(Some(Level::L3), "sample: database sample/data/notes.db"));
        let unread = |e: &mut Evidence| e.answer.as_mut().unwrap().samples.clear();
        assert_eq!(verdict(unread), failed(Some(Level::L3), "sample: database sample/data/notes.db"));
    }

    #[test]
    fn a_backup_that_nobody_froze_proves_up_to_l3_and_says_so() {
        assert_eq!(verdict(|e| e.frozen = None), (true, Some(Level::L3), None));
        let judged = judge_levels(&Evidence { frozen: None, ..good() });
        assert!(judged.not_tested.iter().any(|t| t.starts_with("content:")));
        assert_eq!(verdict(|e| e.asked = Level::L1), (true, Some(Level::L1), None));
    }
}
