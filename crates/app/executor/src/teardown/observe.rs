//! What is there of ours, read with root's ticket.

use felhom_pve::{AclEntry, Pool, Pve, Roles};

use crate::config::Config;
use crate::setup::{SetupConfig, SetupError};

/// What is there.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) pool: Option<Pool>,
    pub(super) roles: Roles,
    pub(super) user: bool,
    /// Names of all tokens of our user.
    pub(super) tokens: Vec<String>,
    pub(super) acl: Vec<AclEntry>,
    pub(super) secret_file: bool,
    /// By storage: how many backups are ours by their number, or why that cannot be seen.
    pub(super) backups: Vec<(String, Result<usize, String>)>,
    /// Containers with a number of ours that are not in the pool.
    pub(super) strays: Vec<String>,
    /// Operations that are not over, or why that cannot be seen.
    pub(super) unfinished: Result<Vec<String>, String>,
    /// Whether the executor's own data is there.
    pub(super) state: bool,
}

pub(super) async fn observe(pve: &Pve, config: &Config, host: &SetupConfig) -> Result<Observed, SetupError> {
    let user = pve.user(&host.token.user).await?.is_some();
    let tokens = if user { pve.token_names(&host.token.user).await? } else { Vec::new() };
    let pool = pve.pool(&host.pool).await?;
    Ok(Observed {
        strays: strays(pve, config, host, pool.as_ref()).await?,
        pool,
        unfinished: Ok(Vec::new()),
        roles: pve.roles().await?,
        acl: pve.acl().await?,
        user,
        tokens,
        secret_file: host.token_file.exists(),
        backups: backups(pve, config, host).await,
        state: config.database().exists(),
    })
}

async fn strays(
    pve: &Pve,
    config: &Config,
    host: &SetupConfig,
    pool: Option<&Pool>,
) -> Result<Vec<String>, SetupError> {
    let members: Vec<u64> = pool.into_iter().flat_map(|pool| &pool.members).filter_map(|m| m.vmid).collect();
    let guests = pve.node(&host.node).guests().await?;
    let mut found: Vec<_> = guests
        .iter()
        .filter_map(|guest| Some((guest.vmid()?, &guest.name)))
        .map(|(vmid, name)| (u64::from(u32::from(vmid)), name))
        .filter(|(vmid, _)| is_ours(config, *vmid) && !members.contains(vmid))
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(vmid, name)| format!("lxc/{vmid} {name}")).collect())
}

/// By its number.
fn is_ours(config: &Config, vmid: u64) -> bool {
    let ranges = [config.vmids.tenants, config.vmids.copies, config.vmids.scratch];
    let inside = |[first, last]: [u32; 2]| (u64::from(first)..=u64::from(last)).contains(&vmid);
    vmid == u64::from(config.golden_vmid) || ranges.into_iter().any(inside)
}

async fn backups(pve: &Pve, config: &Config, host: &SetupConfig) -> Vec<(String, Result<usize, String>)> {
    let ours = |vmid: u64| is_ours(config, vmid);
    let mut all = Vec::new();
    for id in config.storages.backup.iter().chain([&config.storages.golden]) {
        if all.iter().any(|(known, _)| known == id.as_str()) {
            continue;
        }
        let listed = pve.node(&host.node).storage(id).backups(None).await;
        let count = listed.map(|list| list.iter().filter(|b| b.vmid.is_some_and(ours)).count());
        all.push((id.to_string(), count.map_err(|e| e.to_string())));
    }
    all
}
