//! Which places there are, so that a rule with a spelling error is refused and does not wait for ever. Pure.

use super::{Act, Rule};

/// Types of tasks.
const TYPES: [&str; 21] = [
    "imgcopy",
    "imgdel",
    "move_volume",
    "prunebackups",
    "resize",
    "startall",
    "vzclone",
    "vzcreate",
    "vzdelsnapshot",
    "vzdestroy",
    "vzdump",
    "vzreboot",
    "vzrestore",
    "vzresume",
    "vzrollback",
    "vzshutdown",
    "vzsnapshot",
    "vzstart",
    "vzstop",
    "vzsuspend",
    "vztemplate",
];

/// Phases of tasks, and the types of the tasks that have them; `*` is each phase of a type.
pub(crate) const PHASES: [(&str, &str); 26] = [
    ("archive", "vzdump"),
    ("begin", "all"),
    ("begun", "imgcopy"),
    ("config", "vzcreate, vzrestore, move_volume"),
    ("copied", "vzclone, move_volume"),
    ("disks", "vzcreate, vzrestore"),
    ("finish", "vzdump"),
    ("freed", "vzdestroy"),
    ("frozen", "vzsnapshot, vzdump"),
    ("hotplug", "move_volume"),
    ("lock", "vzdump"),
    ("locked", "vzcreate, vzrestore, vzstart, vzclone, move_volume"),
    ("pool", "vzcreate, vzrestore"),
    ("prepared", "vzsnapshot, vzdelsnapshot, vzrollback, vzdump"),
    ("removed", "imgdel, prunebackups, vzdelsnapshot, vzdump"),
    ("renamed", "vztemplate, move_volume"),
    ("resized", "resize"),
    ("snapshot", "vzdump"),
    ("snapshotted", "vzdump"),
    ("source-written", "move_volume"),
    ("started", "vzstart, vzdump, startall"),
    ("tar", "vzcreate, vzrestore"),
    ("unlocked", "vzdump, startall"),
    ("unpack", "vzcreate, vzrestore"),
    ("volume", "vzsnapshot, vzdelsnapshot, vzrollback, vzdump, vzdestroy, vzclone, vztemplate"),
    ("*", "all"),
];

/// Whether a rule can act at all; what is wrong with it, if not.
pub(super) fn check(rule: &Rule) -> Result<(), String> {
    if rule.nth == Some(0) {
        return Err("arrivals are counted from 1".to_owned());
    }
    if rule.probability.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        return Err("a probability is above 0 and at most 1".to_owned());
    }
    if let Some(method) = rule.method.as_deref().filter(|m| !["GET", "POST", "PUT", "DELETE"].contains(m)) {
        return Err(format!("there are no calls with the method `{method}`"));
    }
    if rule.at != "http" && (rule.method.is_some() || rule.path.is_some()) {
        return Err("only a rule at `http` has a method and a path".to_owned());
    }
    let fits = match rule.at.as_str() {
        "http" => matches!(
            rule.act,
            Act::Hold | Act::DelayMs(_) | Act::Fail(_) | Act::DropBefore | Act::DropAfter | Act::Timeout
        ),
        "storage" => rule.act == Act::Offline,
        "pvedaemon" => rule.act == Act::Dead,
        "clock" => matches!(rule.act, Act::ShiftS(_)),
        "pvestatd.round" => matches!(rule.act, Act::Hold | Act::DelayMs(_)),
        task => {
            known(task)?;
            matches!(rule.act, Act::Hold | Act::Kill | Act::DelayMs(_) | Act::Fail(_))
        }
    };
    if fits { Ok(()) } else { Err(format!("that cannot be done at `{}`", rule.at)) }
}

fn known(place: &str) -> Result<(), String> {
    let Some((kind, phase)) = place.split_once('.') else {
        return Err(format!("there is no place `{place}`; a task's is TYPE.PHASE"));
    };
    if kind != "*" && !TYPES.contains(&kind) {
        return Err(format!("there are no tasks of the type `{kind}`; there are: {}", TYPES.join(", ")));
    }
    let has = |of: &str| kind == "*" || of == "all" || of.split(", ").any(|one| one == kind);
    if PHASES.iter().any(|(name, of)| *name == phase && has(of)) {
        return Ok(());
    }
    let names: Vec<&str> = PHASES.iter().filter(|(_, of)| has(of)).map(|(name, _)| *name).collect();
    Err(format!("a task of the type `{kind}` has no phase `{phase}`; there are: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<(), String> {
        check(&serde_json::from_str(text).unwrap())
    }

    fn sources(dir: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => sources(&path, all),
                path => all.push_str(&std::fs::read_to_string(path).unwrap_or_default()),
            }
        }
    }

    #[test]
    fn every_phase_of_the_code_is_in_the_table_and_in_the_readme() {
        let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut code = String::new();
        sources(&home.join("src"), &mut code);
        let readme = std::fs::read_to_string(home.join("README.md")).unwrap();
        for rest in code.split("phase(\"").skip(1) {
            let name = rest.split('"').next().unwrap();
            let known = PHASES.iter().find(|(phase, _)| *phase == name);
            let (phase, of) = known.unwrap_or_else(|| panic!("`{name}` is not in PHASES"));
            assert!(readme.contains(&format!("| `{phase}` | {of} |")), "README: `{name}`");
        }
        for (phase, of) in PHASES {
            assert!(readme.contains(&format!("| `{phase}` | {of} |")), "README: `{phase}`");
        }
    }

    #[test]
    fn what_can_never_act_is_refused() {
        for bad in [
            r#"{"at": "vzdmp.archive", "do": "kill"}"#,
            r#"{"at": "vzdump.nosuch", "do": "kill"}"#,
            r#"{"at": "vzdump", "do": "kill"}"#,
            r#"{"at": "vzstart.archive", "do": "kill"}"#,
            r#"{"at": "vzdump.archive", "do": "offline"}"#,
            r#"{"at": "http", "do": "kill"}"#,
            r#"{"at": "http", "method": "get", "do": "hold"}"#,
            r#"{"at": "vzdump.begin", "path": "/x", "do": "hold"}"#,
            r#"{"at": "vzdump.begin", "nth": 0, "do": "hold"}"#,
            r#"{"at": "vzdump.begin", "probability": 7, "do": "hold"}"#,
            r#"{"at": "clock", "do": "hold"}"#,
        ] {
            assert!(rule(bad).is_err(), "{bad}");
        }
        for good in [
            r#"{"at": "vzdump.*", "do": "kill", "nth": 3}"#,
            r#"{"at": "move_volume.source-written", "do": {"fail": "x"}}"#,
            r#"{"at": "http", "method": "POST", "path": "/nodes/*", "do": "timeout", "probability": 0.5}"#,
            r#"{"at": "storage", "id": "tank", "do": "offline"}"#,
            r#"{"at": "pvestatd.round", "do": "hold"}"#,
        ] {
            assert_eq!(rule(good), Ok(()), "{good}");
        }
    }
}
