//! Pools.

use serde::Deserialize;

use crate::access::absent_is_none;
use crate::client::Pve;
use crate::decode::{opt_text, opt_u64, text};
use crate::error::Error;
use crate::form::Form;
use crate::ids::PoolId;

/// A member of a pool. Its status is not here: it would be up to ten seconds old.
#[derive(Debug, Clone, Deserialize)]
pub struct PoolMember {
    /// e.g. `lxc/110` or `storage/pve/local`.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// `lxc`, `qemu` or `storage`.
    #[serde(rename = "type", default, deserialize_with = "text")]
    pub kind: String,
    /// The guest's number, if it is a guest.
    #[serde(default, deserialize_with = "opt_u64")]
    pub vmid: Option<u64>,
}

/// A pool with its members; needs Pool.Audit.
#[derive(Debug, Clone, Deserialize)]
pub struct Pool {
    /// Its id.
    #[serde(default, deserialize_with = "text")]
    pub poolid: String,
    /// Free text.
    #[serde(default, deserialize_with = "opt_text")]
    pub comment: Option<String>,
    /// Its members.
    #[serde(default)]
    pub members: Vec<PoolMember>,
}

impl Pve {
    /// A pool, `None` if there is none of that name.
    ///
    /// # Errors
    /// Any [`Error`] of the call other than "not found".
    pub async fn pool(&self, pool: &PoolId) -> Result<Option<Pool>, Error> {
        let pools: Option<Vec<Pool>> =
            absent_is_none(self.get("/pools", &Form::new().with("poolid", pool)).await)?;
        Ok(pools.and_then(|pools| pools.into_iter().find(|p| p.poolid == pool.as_str())))
    }

    /// Makes an empty pool.
    ///
    /// # Errors
    /// [`Error::Exists`], else any [`Error`] of the call.
    pub async fn create_pool(&self, pool: &PoolId, comment: &str) -> Result<(), Error> {
        self.post_done("/pools", &Form::new().with("poolid", pool).with("comment", comment)).await
    }

    /// Removes a pool. One with members is refused.
    ///
    /// # Errors
    /// Any [`Error`] of the call.
    pub async fn delete_pool(&self, pool: &PoolId) -> Result<(), Error> {
        self.delete_done("/pools", &Form::new().with("poolid", pool)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_pool() {
        let pool: Pool = serde_json::from_str(
            r#"{"poolid":"tenants","members":[{"id":"lxc/110","node":"pve","status":"unknown","vmid":110,"type":"lxc"}],"comment":"x"}"#,
        )
        .unwrap();
        assert_eq!(pool.members[0].vmid, Some(110));
    }
}
