//! Compares what is there with what is wanted. Pure.

use std::collections::BTreeSet;

use felhom_pve::{AclEntry, Grant, Grantee};

use super::observe::{Observed, Secret};
use super::wanted::{Role, Wanted};
use super::{Line, Outcome};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    CreatePool,
    CreateRole(Role),
    SetRole(Role),
    CreateUser,
    EnableUser,
    CreateToken,
    RestrictToken,
    ReplaceToken,
    Grant(Grant),
}

/// One thing with what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) what: String,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    /// `None`: nothing to do, or nothing that may be done.
    pub(super) step: Option<Step>,
    /// What does it, where set-up does not.
    pub(super) command: Option<String>,
}

impl Planned {
    fn unchanged(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            outcome: Outcome::Unchanged,
            detail: String::new(),
            step: None,
            command: None,
        }
    }

    fn create(what: impl Into<String>, step: Step) -> Self {
        Self {
            what: what.into(),
            outcome: Outcome::Created,
            detail: String::new(),
            step: Some(step),
            command: None,
        }
    }

    fn change(what: impl Into<String>, step: Step) -> Self {
        Self {
            what: what.into(),
            outcome: Outcome::Changed,
            detail: String::new(),
            step: Some(step),
            command: None,
        }
    }

    fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The line after it was done.
    pub(super) fn done(&self) -> Line {
        Line {
            outcome: self.outcome,
            what: self.what.clone(),
            detail: self.detail.clone(),
            command: self.command.clone(),
        }
    }

    /// The line of a dry run.
    pub(super) fn would(&self) -> Line {
        let outcome = match self.outcome {
            Outcome::Created => Outcome::WouldCreate,
            Outcome::Changed => Outcome::WouldChange,
            other => other,
        };
        Line { outcome, ..self.done() }
    }
}

/// What to do, in an order in which each finds what it needs.
pub(super) fn plan(wanted: &Wanted, observed: &Observed, new_token: bool) -> Vec<Planned> {
    let pool = format!("pool {}", wanted.pool);
    let mut all =
        vec![if observed.pool { Planned::unchanged(pool) } else { Planned::create(pool, Step::CreatePool) }];
    all.extend(wanted.roles.iter().map(|role| plan_role(role, observed)));
    all.push(plan_user(wanted, observed));
    all.push(plan_token(wanted, observed, new_token));
    // A new token has no grants, whatever the list says of the one before it.
    let token_is_new =
        all.last().is_some_and(|p| matches!(p.step, Some(Step::CreateToken | Step::ReplaceToken)));
    all.extend(wanted.grants.iter().map(|grant| plan_grant(grant, observed, token_is_new)));
    all.extend(extras(wanted, observed));
    all
}

fn plan_role(role: &Role, observed: &Observed) -> Planned {
    let what = format!("role {}", role.id);
    let Some(there) = observed.roles.get(role.id.as_str()) else {
        return Planned::create(what, Step::CreateRole(role.clone()));
    };
    if *there == role.privileges {
        return Planned::unchanged(what);
    }
    let list =
        |sign: char, set: BTreeSet<&String>| set.iter().map(|p| format!("{sign}{p}")).collect::<Vec<_>>();
    let mut difference = list('+', role.privileges.difference(there).collect());
    difference.extend(list('-', there.difference(&role.privileges).collect()));
    Planned::change(what, Step::SetRole(role.clone())).because(difference.join(" "))
}

fn plan_user(wanted: &Wanted, observed: &Observed) -> Planned {
    let what = format!("user {}", wanted.token.user);
    match &observed.user {
        None => Planned::create(what, Step::CreateUser),
        Some(user) if user.enable == Some(false) => {
            Planned::change(what, Step::EnableUser).because("it was disabled")
        }
        Some(user) if user.expire != 0 => {
            Planned::change(what, Step::EnableUser).because("it had an expiry date")
        }
        Some(_) => Planned::unchanged(what),
    }
}

fn plan_token(wanted: &Wanted, observed: &Observed, new_token: bool) -> Planned {
    let what = format!("token {}", wanted.token);
    let Some(token) = &observed.token else {
        return Planned::create(what, Step::CreateToken);
    };
    let lost = match &observed.secret {
        Secret::Works if new_token => "replaced as asked for".to_owned(),
        Secret::Works => return plan_restriction(what, token),
        Secret::Missing => {
            "the token exists, but its secret's file is lost; PVE tells a secret only once".to_owned()
        }
        Secret::Useless(why) => why.clone(),
    };
    if new_token {
        return Planned::change(what, Step::ReplaceToken).because(lost);
    }
    let detail = format!("{lost}; run setup with --new-token to replace it");
    let command = Some("felhom-executor setup --new-token".to_owned());
    Planned { what, outcome: Outcome::Blocked, detail, step: None, command }
}

fn plan_restriction(what: String, token: &felhom_pve::Token) -> Planned {
    if token.privsep == Some(false) {
        return Planned::change(what, Step::RestrictToken).because("it was not privilege-separated");
    }
    if token.expire != 0 {
        return Planned::change(what, Step::RestrictToken).because("it had an expiry date");
    }
    Planned::unchanged(what)
}

fn plan_grant(grant: &Grant, observed: &Observed, token_is_new: bool) -> Planned {
    let what = format!("{} for {} on {}", grant.role, grant.grantee, grant.path);
    let step = Step::Grant(grant.clone());
    let there = observed.acl.iter().find(|entry| is_entry_of(entry, grant));
    match there {
        _ if token_is_new && matches!(grant.grantee, Grantee::Token(_)) => Planned::create(what, step),
        None => Planned::create(what, step),
        Some(entry) if entry.propagate == Some(false) => Planned::unchanged(what),
        Some(_) => Planned::change(what, step).because("it reached deeper paths"),
    }
}

fn is_entry_of(entry: &AclEntry, grant: &Grant) -> bool {
    entry.path == grant.path && entry.roleid == grant.role.as_str() && entry.is_for(&grant.grantee)
}

/// Grants of our user or token that setup does not make. Those that other parts of ours make are no extras.
fn extras<'a>(wanted: &'a Wanted, observed: &'a Observed) -> impl Iterator<Item = Planned> + 'a {
    let who = [Grantee::User(wanted.token.user.clone()), Grantee::Token(wanted.token.clone())];
    let ours = move |entry: &&AclEntry| who.iter().any(|grantee| entry.is_for(grantee));
    let wanted_here = |entry: &&AclEntry| wanted.grants.iter().any(|grant| is_entry_of(entry, grant));
    observed.acl.iter().filter(ours).filter(move |e| !wanted_here(e) && !is_of_other_parts(e)).map(|entry| {
        let what = format!("{} for {} on {}", entry.roleid, entry.ugid, entry.path);
        let option = if entry.kind == "token" { "--tokens" } else { "--users" };
        let command =
            format!("pveum acl delete {} {option} '{}' --roles {}", entry.path, entry.ugid, entry.roleid);
        let detail = format!("more than is needed; take it away with `{command}`");
        Planned { what, outcome: Outcome::Extra, detail, step: None, command: Some(command) }
    })
}

fn is_of_other_parts(entry: &AclEntry) -> bool {
    let below = |prefix: &str| entry.path.strip_prefix(prefix);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match entry.roleid.as_str() {
        "FelhomArchive" | "FelhomGuests" => below("/vms/").is_some_and(is_number),
        "FelhomStore" => below("/storage/felhom-").is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use felhom_pve::{Token, User};

    use super::*;
    use crate::setup::SetupConfig;

    fn wanted() -> Wanted {
        Wanted::of(&SetupConfig {
            url: "https://pve".into(),
            fingerprint: None,
            node: "pve".parse().unwrap(),
            pool: "felhom".parse().unwrap(),
            token: "felhom@pve!executor".parse().unwrap(),
            token_file: "/x".into(),
            storages: vec!["btr".parse().unwrap(), "local".parse().unwrap()],
            bridge: "vmbr0".parse().unwrap(),
            golden_vmid: "1999".parse().unwrap(),
        })
        .unwrap()
    }

    fn nothing() -> Observed {
        Observed {
            pool: false,
            roles: [("PVEAdmin".to_owned(), BTreeSet::from(["VM.Allocate".to_owned()]))].into(),
            user: None,
            token: None,
            secret: Secret::Missing,
            acl: vec![],
        }
    }

    fn entry(grant: &Grant) -> AclEntry {
        let kind = match &grant.grantee {
            Grantee::User(_) => "user",
            Grantee::Token(_) => "token",
        };
        AclEntry {
            path: grant.path.clone(),
            kind: kind.into(),
            ugid: grant.grantee.to_string(),
            roleid: grant.role.to_string(),
            propagate: Some(false),
        }
    }

    fn complete() -> Observed {
        let wanted = wanted();
        let roles = wanted.roles.iter().map(|role| (role.id.to_string(), role.privileges.clone()));
        Observed {
            pool: true,
            roles: roles.collect(),
            user: Some(User { enable: Some(true), expire: 0, comment: None }),
            token: Some(Token { privsep: Some(true), expire: 0 }),
            secret: Secret::Works,
            acl: wanted.grants.iter().map(entry).collect(),
        }
    }

    fn steps(observed: &Observed, new_token: bool) -> Vec<Step> {
        plan(&wanted(), observed, new_token).into_iter().filter_map(|planned| planned.step).collect()
    }

    fn changes(observed: &Observed) -> Vec<String> {
        let all = plan(&wanted(), observed, false);
        let line = |p: &Planned| format!("{} {}: {}", p.would().outcome.word(), p.what, p.detail);
        all.iter().filter(|p| p.outcome != Outcome::Unchanged).map(line).collect()
    }

    #[test]
    fn on_an_empty_host_everything_is_made_in_an_order_that_works() {
        let steps = steps(&nothing(), false);
        // pool, five roles, user, token, two grants on each of six places
        assert_eq!(steps.len(), 1 + 5 + 1 + 1 + 12);
        let token = steps.iter().position(|s| *s == Step::CreateToken).unwrap();
        assert!(steps[..token].iter().all(|s| !matches!(s, Step::Grant(_))));
        assert!(
            steps[token + 1..].iter().all(|s| matches!(s, Step::Grant(g) if !g.propagate && g.path != "/"))
        );
    }

    #[test]
    fn on_a_complete_host_nothing_is_done() {
        assert!(steps(&complete(), false).is_empty());
        assert!(changes(&complete()).is_empty());
    }

    #[test]
    fn a_role_with_other_privileges_is_set_and_the_difference_shown() {
        let mut observed = complete();
        let store = observed.roles.get_mut("FelhomStore").unwrap();
        store.remove("Datastore.AllocateSpace");
        store.insert("Datastore.Allocate".into());
        assert_eq!(
            changes(&observed),
            ["would change role FelhomStore: +Datastore.AllocateSpace -Datastore.Allocate"]
        );
    }

    #[test]
    fn a_lost_secret_waits_for_a_decision_and_a_new_token_is_granted_anew() {
        let mut observed = complete();
        observed.secret = Secret::Missing;
        assert!(steps(&observed, false).is_empty());
        assert!(changes(&observed)[0].contains("--new-token"), "{:?}", changes(&observed));
        let replaced = steps(&observed, true);
        assert_eq!(replaced[0], Step::ReplaceToken);
        assert_eq!(replaced.len(), 1 + 6, "the token's six grants follow");
    }

    #[test]
    fn too_much_is_taken_back_or_said() {
        let mut observed = complete();
        observed.token = Some(Token { privsep: Some(false), expire: 0 });
        observed.acl[0].propagate = None;
        let mut extra = observed.acl[1].clone();
        extra.path = "/".into();
        extra.roleid = "Administrator".into();
        observed.acl.push(extra);
        let mut dead_guest = observed.acl[11].clone();
        dead_guest.path = "/vms/2004".into();
        observed.acl.push(dead_guest);
        let changes = changes(&observed);
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert!(changes[0].contains("not privilege-separated"));
        assert!(changes[1].contains("reached deeper paths"));
        let command = "pveum acl delete / --tokens 'felhom@pve!executor' --roles Administrator";
        assert!(changes[2].starts_with("extra") && changes[2].contains(command), "{}", changes[2]);
    }

    #[test]
    fn a_disabled_user_is_enabled() {
        let mut observed = complete();
        observed.user = Some(User { enable: Some(false), expire: 0, comment: None });
        assert_eq!(steps(&observed, false), [Step::EnableUser]);
    }
}
