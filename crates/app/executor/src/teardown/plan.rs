//! What goes and what stays. Pure.

use felhom_pve::{AclEntry, Grant, Grantee, Pool, RoleId};

use super::observe::Observed;
use crate::setup::{Line, Outcome, SetupConfig, Wanted};

/// One removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Revoke(Grant),
    DeleteToken,
    DeleteUser,
    DeleteRole(RoleId),
    DeletePool,
    RemoveSecret,
}

/// One thing that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Going {
    pub(super) what: String,
    /// `None`: it stays.
    pub(super) step: Option<Step>,
    /// Why it stays.
    pub(super) detail: String,
}

impl Going {
    fn goes(what: impl Into<String>, step: Step) -> Self {
        Self { what: what.into(), step: Some(step), detail: String::new() }
    }

    fn stays(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), step: None, detail: why.into() }
    }

    fn line(&self, gone: Outcome) -> Line {
        let outcome = if self.step.is_some() { gone } else { Outcome::Kept };
        Line { outcome, what: self.what.clone(), detail: self.detail.clone(), command: None }
    }

    /// The line after it was done.
    pub(super) fn done(&self) -> Line {
        self.line(Outcome::Removed)
    }

    /// The line of a dry run.
    pub(super) fn would(&self) -> Line {
        self.line(Outcome::WouldRemove)
    }
}

/// In an order in which nothing is needed any more when it goes. What is not there is not named.
pub(super) fn plan(host: &SetupConfig, wanted: &Wanted, observed: &Observed) -> Vec<Going> {
    let mut all: Vec<Going> = observed.acl.iter().filter_map(|entry| grant(host, entry)).collect();
    if observed.tokens.iter().any(|name| name == host.token.name()) {
        all.push(Going::goes(format!("token {}", host.token), Step::DeleteToken));
    }
    all.extend(user(host, observed));
    all.extend(wanted.roles.iter().filter_map(|role| self::role(host, &role.id, observed)));
    all.extend(observed.pool.as_ref().map(pool));
    if observed.secret_file {
        let what = format!("the token's secret {}", host.token_file.display());
        all.push(Going::goes(what, Step::RemoveSecret));
    }
    all.extend(data(observed));
    all
}

fn is_ours(host: &SetupConfig, entry: &AclEntry) -> Option<Grantee> {
    let who = [Grantee::User(host.token.user.clone()), Grantee::Token(host.token.clone())];
    who.into_iter().find(|grantee| entry.is_for(grantee))
}

/// Whatever was granted to our user or token, by whomever.
fn grant(host: &SetupConfig, entry: &AclEntry) -> Option<Going> {
    let grantee = is_ours(host, entry)?;
    let what = format!("{} for {} on {}", entry.roleid, entry.ugid, entry.path);
    let role = match RoleId::new(entry.roleid.clone()) {
        Ok(role) => role,
        Err(why) => return Some(Going::stays(what, why.to_string())),
    };
    let propagate = entry.propagate.unwrap_or(true);
    Some(Going::goes(what, Step::Revoke(Grant { path: entry.path.clone(), role, grantee, propagate })))
}

fn user(host: &SetupConfig, observed: &Observed) -> Option<Going> {
    if !observed.user {
        return None;
    }
    let what = format!("user {}", host.token.user);
    let others: Vec<_> = observed.tokens.iter().filter(|name| *name != host.token.name()).cloned().collect();
    Some(if others.is_empty() {
        Going::goes(what, Step::DeleteUser)
    } else {
        Going::stays(what, format!("it has tokens that are not ours: {}", others.join(", ")))
    })
}

fn role(host: &SetupConfig, role: &RoleId, observed: &Observed) -> Option<Going> {
    observed.roles.get(role.as_str())?;
    let what = format!("role {role}");
    let others = observed.acl.iter().filter(|e| e.roleid == role.as_str() && is_ours(host, e).is_none());
    let others: Vec<_> = others.map(|e| format!("{} on {}", e.ugid, e.path)).collect();
    Some(if others.is_empty() {
        Going::goes(what, Step::DeleteRole(role.clone()))
    } else {
        Going::stays(what, format!("somebody else has it: {}", others.join(", ")))
    })
}

fn pool(pool: &Pool) -> Going {
    let what = format!("pool {}", pool.poolid);
    let members: Vec<_> = pool.members.iter().map(|member| member.id.clone()).collect();
    if members.is_empty() {
        Going::goes(what, Step::DeletePool)
    } else {
        Going::stays(what, format!("it holds {}; guests stay as they are", members.join(", ")))
    }
}

/// What holds data, and is never taken away here.
fn data(observed: &Observed) -> Vec<Going> {
    let mut all = Vec::new();
    if !observed.strays.is_empty() {
        let why = format!("{}, by their numbers; guests stay as they are", observed.strays.join(", "));
        all.push(Going::stays("guests outside the pool", why));
    }
    for (storage, found) in &observed.backups {
        let what = format!("backups on storage {storage}");
        match found {
            Ok(0) => {}
            Ok(n) => all.push(Going::stays(what, format!("{n}, by their guests' numbers"))),
            Err(why) => all.push(Going::stays(what, format!("whether there are any cannot be seen: {why}"))),
        }
    }
    match &observed.unfinished {
        Ok(unfinished) if unfinished.is_empty() => {}
        Ok(unfinished) => {
            let why = format!("{}; what they made so far stays", unfinished.join(", "));
            all.push(Going::stays("operations that are not over", why));
        }
        Err(why) => {
            let why = format!("whether there are any cannot be seen: {why}");
            all.push(Going::stays("operations that are not over", why));
        }
    }
    if observed.state {
        let why = "it holds the ledger, the journal and the box's key";
        all.push(Going::stays("the executor's own state", why));
    }
    all
}

#[cfg(test)]
mod tests {
    use felhom_pve::PoolMember;

    use super::*;

    fn host() -> SetupConfig {
        SetupConfig {
            url: "https://pve".into(),
            fingerprint: None,
            node: "pve".parse().unwrap(),
            pool: "felhom".parse().unwrap(),
            token: "felhom@pve!executor".parse().unwrap(),
            token_file: "/x".into(),
            storages: vec!["local".parse().unwrap()],
            bridge: "vmbr0".parse().unwrap(),
            golden_vmid: "1999".parse().unwrap(),
        }
    }

    fn entry(path: &str, kind: &str, ugid: &str, role: &str) -> AclEntry {
        AclEntry {
            path: path.into(),
            kind: kind.into(),
            ugid: ugid.into(),
            roleid: role.into(),
            propagate: Some(false),
        }
    }

    fn set_up() -> Observed {
        let roles = Wanted::of(&host()).unwrap().roles;
        Observed {
            pool: Some(Pool { poolid: "felhom".into(), comment: None, members: vec![] }),
            roles: roles.into_iter().map(|role| (role.id.to_string(), role.privileges)).collect(),
            user: true,
            tokens: vec!["executor".into()],
            acl: vec![
                entry("/pool/felhom", "user", "felhom@pve", "FelhomGuests"),
                entry("/pool/felhom", "token", "felhom@pve!executor", "FelhomGuests"),
                entry("/vms/2004", "token", "felhom@pve!executor", "FelhomArchive"),
            ],
            secret_file: true,
            strays: vec![],
            unfinished: Ok(vec![]),
            backups: vec![("local".into(), Ok(0))],
            state: false,
        }
    }

    fn lines(observed: &Observed) -> Vec<String> {
        let all = plan(&host(), &Wanted::of(&host()).unwrap(), observed);
        all.iter()
            .map(Going::done)
            .map(|l| format!("{} {}: {}", l.outcome.word(), l.what, l.detail))
            .collect()
    }

    #[test]
    fn all_that_set_up_made_goes_and_nothing_else_is_named() {
        let lines = lines(&set_up());
        assert_eq!(lines.len(), 3 + 1 + 1 + 5 + 1 + 1, "{lines:#?}");
        assert!(lines.iter().all(|line| line.starts_with("removed ")), "{lines:#?}");
        let nothing = Observed {
            pool: None,
            roles: [("PVEAdmin".to_owned(), [].into())].into(),
            user: false,
            tokens: vec![],
            acl: vec![entry("/", "user", "ada@pve", "PVEAdmin")],
            secret_file: false,
            strays: vec![],
            unfinished: Ok(vec![]),
            backups: vec![],
            state: false,
        };
        assert_eq!(self::lines(&nothing), [""; 0]);
    }

    #[test]
    fn what_holds_data_or_is_somebody_elses_stays_and_says_why() {
        let mut observed = set_up();
        let member = PoolMember { id: "lxc/2000".into(), kind: "lxc".into(), vmid: Some(2000) };
        observed.pool.as_mut().unwrap().members.push(member);
        observed.tokens.push("monitoring".into());
        observed.acl.push(entry("/pool/felhom", "user", "ada@pve", "FelhomGuests"));
        observed.backups[0].1 = Ok(3);
        observed.strays.push("lxc/2001 kovacs".into());
        observed.unfinished = Ok(vec!["backup_guest 1".into()]);
        observed.state = true;
        let all = lines(&observed);
        let kept: Vec<_> = all.iter().filter(|line| line.starts_with("kept ")).collect();
        assert_eq!(
            kept,
            [
                "kept user felhom@pve: it has tokens that are not ours: monitoring",
                "kept role FelhomGuests: somebody else has it: ada@pve on /pool/felhom",
                "kept pool felhom: it holds lxc/2000; guests stay as they are",
                "kept guests outside the pool: lxc/2001 kovacs, by their numbers; guests stay as they are",
                "kept backups on storage local: 3, by their guests' numbers",
                "kept operations that are not over: backup_guest 1; what they made so far stays",
                "kept the executor's own state: it holds the ledger, the journal and the box's key",
            ]
        );
        assert!(!all.iter().any(|line| line.contains("removed") && line.contains("ada@pve")), "{all:#?}");
    }
}
