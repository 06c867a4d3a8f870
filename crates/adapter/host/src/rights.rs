//! Roles for our own user and token, on single guests and on storages of ours.

use felhom_model::{StorageId, Vmid};

use crate::act::RootAct;
use crate::error::HostError;
use crate::guest::Host;

/// Where a role is given. Pools, nodes, `/` and other storages have no expression here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclPlace {
    /// `/vms/ID`.
    Guest(Vmid),
    /// `/storage/ID`; only ids that begin with `felhom-`.
    Storage(StorageId),
}

/// A role for a token and its user, without propagation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclGrant {
    /// Where.
    pub place: AclPlace,
    /// The role, e.g. `FelhomArchive`; only roles whose name begins with `Felhom`.
    pub role: String,
    /// `USER@REALM!TOKEN`; the user before the `!` gets it too, for a privilege-separated token has the rights of both.
    pub token: String,
}

impl AclGrant {
    fn path(&self) -> String {
        match &self.place {
            AclPlace::Guest(vmid) => format!("/vms/{vmid}"),
            AclPlace::Storage(storage) => format!("/storage/{storage}"),
        }
    }

    fn arguments(&self) -> Result<Vec<String>, HostError> {
        let refused = |reason: &str| HostError::Refused {
            act: RootAct::GrantRole,
            target: format!("{} for {}", self.path(), self.token),
            reason: reason.to_owned(),
        };
        let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        match &self.place {
            AclPlace::Guest(_) => {}
            AclPlace::Storage(id) if id.as_str().starts_with("felhom-") => {}
            AclPlace::Storage(_) => return Err(refused("the storage's id does not begin with `felhom-`")),
        }
        if !self.role.starts_with("Felhom") || !word(&self.role) {
            return Err(refused("the role's name does not begin with `Felhom`"));
        }
        let user = self.token.split_once('!').and_then(|(user, token)| {
            let (name, realm) = user.split_once('@')?;
            [name, realm, token].iter().all(|part| !part.is_empty() && word(part)).then_some(user)
        });
        let user = user.ok_or_else(|| refused("the token is no USER@REALM!TOKEN"))?;
        let path = self.path();
        let words = ["acl", "modify", &path, "--roles", &self.role, "--users", user, "--tokens", &self.token];
        Ok(words.into_iter().chain(["--propagate", "0"]).map(str::to_owned).collect())
    }
}

impl Host {
    /// Gives a role. Giving it twice is giving it once. Destroying a guest drops what was given on it.
    ///
    /// # Errors
    /// [`HostError::Refused`] for a place, role or token that is not ours, [`HostError::Failed`] if `pveum` failed.
    pub async fn grant(&self, grant: &AclGrant) -> Result<(), HostError> {
        self.acl(grant, &[]).await
    }

    /// Takes a role away again; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub async fn revoke(&self, grant: &AclGrant) -> Result<(), HostError> {
        self.acl(grant, &["--delete", "1"]).await
    }

    async fn acl(&self, grant: &AclGrant, more: &[&str]) -> Result<(), HostError> {
        let mut argv = self.programs.pveum.clone();
        argv.extend(grant.arguments()?);
        argv.extend(more.iter().map(|word| (*word).to_owned()));
        self.run_own(RootAct::GrantRole, grant.path(), argv).await.map(drop)
    }
}
