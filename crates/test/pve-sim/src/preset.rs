//! What a new state directory holds: storages `local` (dir, archives and templates) and `tank` (btrfs, guests).

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::state::storage::{Storage, StorageKind, Storages};
use crate::state::{Host, access_file};

/// Fills what is missing; what is there stays.
pub(crate) fn apply(host: &Host) -> Result<(), ApiError> {
    if !host.dir.storage_config().exists() {
        let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let storage = |id: &str, kind, at: &str, pairs| Storage::new(id, kind, at, options(pairs));
        let local = storage(
            "local",
            StorageKind::Dir,
            "/var/lib/vz",
            &[("content", "backup,vztmpl,iso"), ("prune-backups", "keep-all=1")],
        );
        let tank = storage("tank", StorageKind::Btrfs, "/mnt/tank", &[("content", "rootdir,images")]);
        Storages(vec![local, tank]).save(host)?;
    }
    for storage in &Storages::load(host)?.0 {
        // One that cannot be used now may be later; whoever needs it is told.
        drop(storage.activate(host));
    }
    if !host.dir.user_config().exists() {
        access_file::update(host, |_| Ok(()))?;
    }
    Ok(())
}
