//! Whether the token may do what operations need, and nothing else.
//!
//! The token's own effective permissions tell that without anybody's password: they are what its user and itself both have.
//! With root@pam's password it is told more exactly, by what set-up would change.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Should;
use super::finding::id;
use super::{Answers, Facts, Finding};
use crate::setup::{Line, Outcome};

type ByPath = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(facts: &Facts, answers: &Answers) -> Vec<Finding> {
    let should = &facts.should;
    let have = match &answers.permissions {
        Ok(have) => have,
        Err(why) => return vec![super::unseen("the token's permissions", why)],
    };
    let wanted = wanted(should);
    let mut findings = Vec::new();
    for (path, privileges) in &wanted {
        let none = BTreeMap::new();
        let here = have.get(path).unwrap_or(&none);
        let missing: Vec<_> = privileges.iter().filter(|p| !here.contains_key(*p)).cloned().collect();
        if !missing.is_empty() {
            findings.push(lacks(should, path, &missing));
        }
    }
    for (path, here) in have {
        let allowed = allowed(should, &wanted, path);
        let more: Vec<_> = here.keys().filter(|p| !allowed.contains(*p)).cloned().collect();
        if !more.is_empty() {
            findings.push(too_much(facts, path, &more));
        }
        let deeper = wanted.contains_key(path) && here.values().any(|propagates| *propagates);
        if deeper && more.is_empty() {
            findings.push(too_much(facts, path, &["propagation to deeper paths".to_owned()]));
        }
    }
    findings
}

fn lacks(should: &Should, path: &str, missing: &[String]) -> Finding {
    Finding::danger(id!("rights.missing"), path)
        .seen(format!("{} lacks {}", should.host.token, missing.join(", ")))
        .why("operations that need it fail, and Proxmox leaves out of its lists what may not be seen")
        .repair("felhom-executor setup")
}

fn too_much(facts: &Facts, path: &str, more: &[String]) -> Finding {
    Finding::warning(id!("rights.too_many"), path)
        .seen(format!("{} has {}", facts.should.host.token, more.join(", ")))
        .why(
            "no operation needs it, and whoever took the executor over would have it; an entry on this path or above it \
             grants it, or a role of ours that was widened, which `felhom-executor setup` takes back",
        )
        .repair(taken_back(facts, path))
}

/// Permissions do not say which entry grants them. What set-up would do does, for entries on the path itself.
fn taken_back(facts: &Facts, path: &str) -> String {
    let lines = facts.setup.iter().flatten().flatten();
    let extra = |line: &&Line| line.outcome == Outcome::Extra && line.what.ends_with(&format!(" on {path}"));
    let command = lines.filter(extra).find_map(|line| line.command.clone());
    command.unwrap_or_else(|| "pveum acl list".to_owned())
}

/// Privileges by path, as set-up grants them.
fn wanted(should: &Should) -> ByPath {
    let mut wanted = ByPath::new();
    for grant in &should.rights.grants {
        let role = should.rights.roles.iter().find(|role| role.id == grant.role);
        let privileges = role.iter().flat_map(|role| role.privileges.iter().cloned());
        wanted.entry(grant.path.clone()).or_default().extend(privileges);
    }
    wanted
}

/// What may stand on a path: what is wanted there; a pool's rights also on its members; what a dead guest's backups need; our
/// own storages.
fn allowed(should: &Should, wanted: &ByPath, path: &str) -> BTreeSet<String> {
    let of_role = |name: &str| {
        let role = should.rights.roles.iter().find(|role| role.id.as_str() == name);
        role.map(|role| role.privileges.clone()).unwrap_or_default()
    };
    let mut allowed = wanted.get(path).cloned().unwrap_or_default();
    if path.starts_with("/vms/") {
        allowed.extend(of_role("FelhomGuests"));
        allowed.extend(of_role("FelhomArchive"));
    }
    if path.starts_with("/storage/") {
        allowed.extend(of_role("FelhomGuests"));
    }
    if path.starts_with("/storage/felhom-") {
        allowed.extend(of_role("FelhomStore"));
    }
    allowed
}

/// What set-up would still do.
pub(super) fn setup(facts: &Facts) -> Vec<Finding> {
    let lines = match &facts.setup {
        None => return Vec::new(),
        Some(Err(why)) => return vec![super::unseen("what set-up would do", why)],
        Some(Ok(lines)) => lines,
    };
    lines.iter().filter_map(line).collect()
}

fn line(line: &Line) -> Option<Finding> {
    let finding = match line.outcome {
        Outcome::Unchanged => return None,
        Outcome::Created | Outcome::WouldCreate => Finding::danger(id!("setup.missing"), &line.what)
            .seen("it is not there")
            .why("set-up makes it; operations need it"),
        Outcome::Changed | Outcome::WouldChange => Finding::danger(id!("setup.differs"), &line.what)
            .seen(&line.detail)
            .why("it is not as set-up makes it: too little, or too much"),
        Outcome::Removed | Outcome::WouldRemove | Outcome::Kept | Outcome::Blocked => {
            Finding::danger(id!("setup.blocked"), &line.what)
                .seen(&line.detail)
                .why("only a decision of yours lets set-up go on")
        }
        Outcome::Extra => Finding::warning(id!("setup.extra"), &line.what)
            .seen("granted, and not by set-up")
            .why("no operation needs it, and whoever took the executor over would have it"),
    };
    Some(finding.repair(line.command.clone().unwrap_or_else(|| "felhom-executor setup".to_owned())))
}
