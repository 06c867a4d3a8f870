//! How many KiB a second the host's owner allows for a kind of work: `bwlimit` of storages, and of `etc/pve/datacenter.cfg` for storages
//! that have none.
//!
//! Unrecorded: `get_bandwidth_limit`, PVE/Storage.pm of pve-storage. Who names a limit in the call may go above these here; a real node
//! asks for rights on the storages first.

use super::storage::Storages;
use super::{Host, atomic};
use crate::error::ApiError;

/// The limit of one kind of work that touches these storages; the smallest counts.
///
/// # Errors
/// `datacenter.cfg` cannot be read.
pub(crate) fn limit(
    host: &Host,
    storages: &Storages,
    (kind, ids): (&str, &[String]),
) -> Result<Option<f64>, ApiError> {
    let text = atomic::read_optional(&host.dir.datacenter_config())?.unwrap_or_default();
    let global = text.lines().find_map(|line| line.strip_prefix("bwlimit:")).and_then(|l| of(l.trim(), kind));
    let own: Vec<Option<f64>> =
        ids.iter().map(|id| of(storages.get(id).ok()?.options.get("bwlimit")?, kind)).collect();
    Ok(smallest(&own, global))
}

/// Its own limit for the kind, or its default.
fn of(property: &str, kind: &str) -> Option<f64> {
    let value = |key: &str| property.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    value(kind).or_else(|| value("default"))?.parse().ok()
}

/// The global one counts if a storage has none. Zero is no limit.
fn smallest(own: &[Option<f64>], global: Option<f64>) -> Option<f64> {
    let global = global.filter(|_| own.iter().any(Option::is_none));
    own.iter().copied().flatten().chain(global).filter(|limit| *limit > 0.0).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storages_own_limit_goes_before_the_global_one() {
        assert_eq!(of("default=5,restore=2", "restore"), Some(2.0));
        assert_eq!((of("default=5", "restore"), of("move=5", "restore")), (Some(5.0), None));
        assert_eq!(smallest(&[Some(9.0)], Some(3.0)), Some(9.0));
        assert_eq!(smallest(&[Some(9.0), None], Some(3.0)), Some(3.0));
        assert_eq!(smallest(&[Some(2.0), None], Some(3.0)), Some(2.0));
        assert_eq!(smallest(&[Some(0.0)], Some(3.0)), None);
        assert_eq!(smallest(&[None], None), None);
    }
}
