//! Which privilege is missing, and who grants it. Pure.
//!
//! Three ways in which Proxmox shows a missing privilege:
//! 1. a 403 that names it ([`Denied`]);
//! 2. a task that ends with the same words;
//! 3. nothing at all: a list is shorter, a setting is not shown. [`Rights::blind`] finds these by the token's own
//!    permissions before anything is concluded from what is not there.
//!
//! Whatever a person reads of it is a sentence of [`Rights::explain`]: privilege, path, and the command that grants it.

use felhom_model::{OperationKind, StorageId};
use felhom_pve::{Denied, Permissions};

use crate::config::Config;
use crate::setup::{SetupConfig, SetupError, Wanted};

/// What the token should have, as `setup` grants it.
#[derive(Debug, Clone)]
pub struct Rights {
    wanted: Wanted,
    config: SetupConfig,
}

/// What Proxmox leaves out of its answers, without a word, when a privilege is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hidden {
    /// Guests of the pool.
    Guests,
    /// Backups of the pool's guests.
    Archives,
    /// A storage, with everything on it.
    Storage(StorageId),
    /// `script` and `tmpdir` of the host's backup settings.
    HostSettings,
}

/// Something that is hidden, and the privilege that would show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    /// What.
    pub hidden: Hidden,
    /// The privilege.
    pub denied: Denied,
}

impl Hidden {
    /// Whether an operation of this kind concludes something from it. What is not listed does.
    #[must_use]
    pub fn matters_to(&self, kind: OperationKind) -> bool {
        use OperationKind as Kind;
        let power = matches!(kind, Kind::StartGuest | Kind::StopGuest | Kind::RebootGuest);
        let without_archives =
            matches!(kind, Kind::ConfigureGuest | Kind::DestroyScratch | Kind::ProvisionGuest);
        match self {
            Self::Guests => true,
            Self::Storage(_) => !power,
            Self::Archives => !power && !without_archives,
            Self::HostSettings => kind == Kind::BackupGuest,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Guests => "Proxmox would hide guests".to_owned(),
            Self::Archives => "Proxmox would hide backups".to_owned(),
            Self::Storage(id) => format!("Proxmox would hide storage `{id}`"),
            Self::HostSettings => {
                "Proxmox would hide `script` and `tmpdir` of its backup settings".to_owned()
            }
        }
    }
}

impl Rights {
    /// As `setup` would grant them with this configuration.
    ///
    /// # Errors
    /// [`SetupError::Config`] with the key that cannot be used.
    pub fn of(config: &Config) -> Result<Self, SetupError> {
        let config = SetupConfig::from_config(config)?;
        Ok(Self { wanted: Wanted::of(&config)?, config })
    }

    /// What is hidden from a token with these permissions.
    #[must_use]
    pub fn blind(&self, have: &Permissions) -> Vec<Blind> {
        let pool = format!("/pool/{}", self.config.pool);
        let mut checks = vec![
            (Hidden::Guests, pool.clone(), vec!["VM.Audit"]),
            (Hidden::Archives, pool, vec!["VM.Backup"]),
            (Hidden::HostSettings, format!("/nodes/{}", self.config.node), vec!["Sys.Audit"]),
        ];
        checks.extend(self.config.storages.iter().map(|id| {
            let any_of = vec!["Datastore.AllocateSpace", "Datastore.Audit"];
            (Hidden::Storage(id.clone()), format!("/storage/{id}"), any_of)
        }));
        let shown = |path: &str, any_of: &[&str]| {
            have.get(path).is_some_and(|privileges| any_of.iter().any(|p| privileges.contains_key(*p)))
        };
        let hidden = checks.into_iter().filter(|(_, path, any_of)| !shown(path, any_of));
        let blind = |(hidden, path, any_of): (Hidden, String, Vec<&str>)| Blind {
            hidden,
            denied: Denied::Privilege { path, any_of: any_of.into_iter().map(str::to_owned).collect() },
        };
        hidden.map(blind).collect()
    }

    /// What to say instead of concluding from an answer that is cut short.
    #[must_use]
    pub fn refusal(&self, blind: &Blind) -> String {
        format!("{}: {}", blind.hidden.words(), self.sentence(&blind.denied))
    }

    /// The sentence for a text that holds a refusal for want of rights, and does not explain it yet.
    #[must_use]
    pub fn explain(&self, text: &str) -> Option<String> {
        if text.contains(SETUP) {
            return None;
        }
        match Denied::find(text)? {
            // Whoever may make the guest neither on its VMID nor in the pool is told no more than that.
            Denied::Unsaid if text.contains(&format!("POST /nodes/{}/lxc on ", self.config.node)) => {
                let path = format!("/pool/{}", self.config.pool);
                Some(self.sentence(&Denied::Privilege { path, any_of: vec!["VM.Allocate".to_owned()] }))
            }
            denied => Some(self.sentence(&denied)),
        }
    }

    /// The text, with what is missing and who grants it where it speaks of that.
    #[must_use]
    pub fn explained(&self, text: String) -> String {
        match self.explain(&text) {
            Some(sentence) => format!("{text}; {sentence}"),
            None => text,
        }
    }

    fn sentence(&self, denied: &Denied) -> String {
        let (path, any_of) = match denied {
            Denied::Privilege { path, any_of } => (path, any_of),
            Denied::NeverForTokens(words) => {
                return format!(
                    "no privilege gives it to a token: {words}; {SETUP} cannot help, please report it"
                );
            }
            Denied::Unsaid => {
                return format!(
                    "Proxmox does not say which privilege is missing; {SETUP} grants all that are needed"
                );
            }
        };
        let missing = format!("the token lacks {} on {path}", any_of.join(" or "));
        let Some((privilege, place, role)) = self.carrier(path, any_of) else {
            return format!(
                "{missing}, which no operation should need: {SETUP} does not grant it, please report it"
            );
        };
        let token = &self.config.token;
        let gone = match place.strip_prefix("/pool/") {
            Some(pool) if place != path => format!(
                "the entry is gone, `pveum pool modify {pool} --vms {}` if the guest has left the pool",
                path.rsplit('/').next().unwrap_or_default()
            ),
            _ => "the entry is gone".to_owned(),
        };
        format!(
            "{missing}: {SETUP} grants it; by hand, as root: `pveum role modify {role} --append 1 --privs {privilege}` if \
             the role lost it, `pveum acl modify {place} --roles {role} --users {} --tokens '{token}' --propagate 0` if \
             {gone}",
            token.user
        )
    }

    /// The privilege, the place where it is granted, and the role that carries it.
    fn carrier<'a>(&'a self, path: &'a str, any_of: &'a [String]) -> Option<(&'a str, &'a str, &'a str)> {
        let carries = |grant: &&felhom_pve::Grant, privilege: &String| {
            let roles = &self.wanted.roles;
            roles.iter().any(|role| role.id == grant.role && role.privileges.contains(privilege))
        };
        // What stands on the path itself goes before what comes by the pool.
        let exact = |grant: &&felhom_pve::Grant| grant.path == path;
        let by_pool =
            |grant: &&felhom_pve::Grant| path.starts_with("/vms/") && grant.path.starts_with("/pool/");
        let grants = || self.wanted.grants.iter();
        let all = grants().filter(exact).chain(grants().filter(by_pool));
        let mut found = all.filter_map(|grant| {
            let privilege = any_of.iter().find(|p| carries(&grant, p))?;
            Some((privilege.as_str(), grant.path.as_str(), grant.role.as_str()))
        });
        found.next()
    }
}

const SETUP: &str = "`felhom-executor setup`";

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        let text = "[pve]\nurl = \"https://127.0.0.1:8006\"\nfingerprint = \"\"\nnode = \"pve\"\ntoken_file = \"/x\"\n\
                    [storages]\nguest = \"tank\"\nbackup = [\"local\"]\ngolden = \"local\"\n";
        Rights::of(&toml::from_str(text).unwrap()).unwrap()
    }

    fn complete(rights: &Rights) -> Permissions {
        let mut have = Permissions::new();
        for grant in &rights.wanted.grants {
            let role = rights.wanted.roles.iter().find(|role| role.id == grant.role).unwrap();
            let here = have.entry(grant.path.clone()).or_default();
            here.extend(role.privileges.iter().map(|p| (p.clone(), false)));
        }
        have
    }

    #[test]
    fn a_refusal_is_explained_by_privilege_path_and_command() {
        let text = "POST /nodes/pve/lxc/2000/status/start on pve:8006: 403 Permission check failed (/vms/2000, VM.PowerMgmt)";
        assert_eq!(
            rights().explain(text).unwrap(),
            "the token lacks VM.PowerMgmt on /vms/2000: `felhom-executor setup` grants it; by hand, as root: `pveum role \
             modify FelhomGuests --append 1 --privs VM.PowerMgmt` if the role lost it, `pveum acl modify /pool/felhom --roles \
             FelhomGuests --users felhom@pve --tokens 'felhom@pve!executor' --propagate 0` if the entry is gone, `pveum \
             pool modify felhom --vms 2000` if the guest has left the pool"
        );
        let golden = rights().explain("403 Permission check failed (/vms/1999, VM.Backup)").unwrap();
        assert!(golden.contains("pveum acl modify /vms/1999 --roles FelhomArchive "), "{golden}");
        let bridge =
            rights().explain("403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)").unwrap();
        assert!(bridge.contains("pveum role modify FelhomNet --append 1 --privs SDN.Use"), "{bridge}");
        let either = "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)";
        let either = rights().explain(either).unwrap();
        assert!(
            either
                .starts_with("the token lacks Datastore.Audit or Datastore.AllocateSpace on /storage/local:")
        );
        assert!(either.contains("pveum acl modify /storage/local --roles FelhomStore "), "{either}");
    }

    #[test]
    fn what_setup_does_not_grant_is_not_promised() {
        let modify = rights().explain("403 Permission check failed (/, Sys.Modify)").unwrap();
        assert!(
            modify.contains("the token lacks Sys.Modify on /") && modify.contains("does not grant it"),
            "{modify}"
        );
        let hook = "403 Permission check failed (changing the hookscript is only allowed for root@pam)";
        assert!(
            rights()
                .explain(hook)
                .unwrap()
                .starts_with("no privilege gives it to a token: changing the hookscript")
        );
        assert!(rights().explain("403 Permission check failed").unwrap().contains("does not say which"));
        let make =
            rights().explain("POST /nodes/pve/lxc on pve:8006: 403 Permission check failed; more").unwrap();
        assert!(make.starts_with("the token lacks VM.Allocate on /pool/felhom: "), "{make}");
        assert_eq!(rights().explain("CT is locked (backup)"), None);
    }

    #[test]
    fn an_explained_text_is_not_explained_again() {
        let once = rights().explained("403 Permission check failed (/vms/2000, VM.Audit)".to_owned());
        assert_eq!(rights().explained(once.clone()), once);
    }

    #[test]
    fn what_proxmox_hides_without_a_word_is_found_by_the_permissions() {
        let rights = rights();
        assert_eq!(rights.blind(&complete(&rights)), []);
        let without = |path: &str, gone: &[&str]| {
            let mut have = complete(&rights);
            have.get_mut(path).unwrap().retain(|p, _| !gone.contains(&p.as_str()));
            rights
                .blind(&have)
                .into_iter()
                .map(|b| (b.hidden.clone(), rights.refusal(&b)))
                .collect::<Vec<_>>()
        };
        for (path, gone, hidden) in [
            ("/pool/felhom", &["VM.Audit"][..], Hidden::Guests),
            ("/pool/felhom", &["VM.Backup"], Hidden::Archives),
            ("/nodes/pve", &["Sys.Audit"], Hidden::HostSettings),
            (
                "/storage/tank",
                &["Datastore.Audit", "Datastore.AllocateSpace"],
                Hidden::Storage("tank".parse().unwrap()),
            ),
        ] {
            let found = without(path, gone);
            assert_eq!(found.len(), 1, "{path}");
            assert_eq!(found[0].0, hidden);
            let expected = [path, gone[0], "would hide", "`felhom-executor setup` grants it"];
            assert!(expected.iter().all(|part| found[0].1.contains(part)), "{}", found[0].1);
        }
        assert!(
            without("/storage/tank", &["Datastore.Audit"]).is_empty(),
            "either of the two shows a storage"
        );
        assert_eq!(rights.blind(&Permissions::new()).len(), 5, "a token without rights sees nothing");
    }

    #[test]
    fn a_guest_can_be_stopped_while_backups_are_hidden() {
        assert!(!Hidden::Archives.matters_to(OperationKind::StopGuest));
        assert!(Hidden::Archives.matters_to(OperationKind::RestoreTest));
        assert!(Hidden::Guests.matters_to(OperationKind::StopGuest));
        assert!(Hidden::HostSettings.matters_to(OperationKind::BackupGuest));
        let tank = Hidden::Storage("tank".parse().unwrap());
        assert!(
            tank.matters_to(OperationKind::ProvisionGuest) && !tank.matters_to(OperationKind::StartGuest)
        );
    }
}
