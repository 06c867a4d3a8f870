//! Who may set which option: `PVE::LXC::check_ct_modify_config_perm` (F20–F22).

use std::collections::BTreeMap;

use super::bridge_path;
use super::fields::is_mount_point;
use crate::api::volumes;
use crate::error::ApiError;
use crate::perm;
use crate::state::access::Access;
use crate::state::guest_config::Section;
use crate::state::property::{MountPoint, Properties, parse_boolean};

/// Whose change of which guest.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    /// Access control.
    pub(crate) access: &'a Access,
    /// The caller.
    pub(crate) authid: &'a str,
    /// The guest.
    pub(crate) vmid: u32,
    /// The pool it is being created in.
    pub(crate) pool: Option<&'a str>,
    /// Its configuration so far.
    pub(crate) old: Option<&'a Section>,
    /// Whether it is (going to be) unprivileged.
    pub(crate) unprivileged: bool,
}

/// `netN`.
pub(crate) fn is_net(name: &str) -> bool {
    name.strip_prefix("net").is_some_and(|n| n.parse::<u32>().is_ok())
}

/// `STORE:SIZE`, which asks for a new volume.
pub(crate) fn new_disk(volume: &str) -> Option<(&str, f64)> {
    let (storage, size) = volume.split_once(':')?;
    let plain = !size.is_empty() && size.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| size.parse().ok()).flatten().map(|size| (storage, size))
}

impl Change<'_> {
    /// Checks new values and removals.
    ///
    /// # Errors
    /// 403 of the first option that may not be changed.
    pub(crate) fn check(&self, new: &BTreeMap<String, String>, delete: &[String]) -> Result<(), ApiError> {
        if self.authid == "root@pam" {
            return Ok(());
        }
        for (option, value) in new {
            self.option(option, Some(value))?;
        }
        delete.iter().try_for_each(|option| self.option(option, None))
    }

    fn option(&self, option: &str, value: Option<&str>) -> Result<(), ApiError> {
        match option {
            "cores" | "cpuunits" | "cpulimit" => self.need("VM.Config.CPU"),
            "memory" | "swap" => self.need("VM.Config.Memory"),
            "nameserver" | "searchdomain" | "hostname" => self.need("VM.Config.Network"),
            "features" => self.features(value),
            "hookscript" => Err(ApiError::forbidden("changing the hookscript is only allowed for root@pam")),
            "tags" => {
                perm::check(self.access, self.authid, &format!("/vms/{}", self.vmid), &["VM.Config.Options"])
            }
            _ if is_mount_point(option) => self.mount_point(option, value),
            _ if is_net(option) => {
                self.need("VM.Config.Network")?;
                let old = self.old.and_then(|o| o.get(option));
                [old, value]
                    .into_iter()
                    .flatten()
                    .try_for_each(|net| check_bridge(self.access, self.authid, net))
            }
            _ if option.strip_prefix("dev").is_some_and(|n| n.parse::<u32>().is_ok()) => {
                Err(ApiError::forbidden("configuring device passthrough is only allowed for root@pam"))
            }
            _ => self.need("VM.Config.Options"),
        }
    }

    fn need(&self, privilege: &str) -> Result<(), ApiError> {
        perm::check_guest(self.access, self.authid, self.vmid, self.pool, privilege)
    }

    fn mount_point(&self, option: &str, value: Option<&str>) -> Result<(), ApiError> {
        self.need("VM.Config.Disk")?;
        // F22: removing a bind mount needs no more than that.
        let Some(value) = value else { return Ok(()) };
        let Ok(mount) = MountPoint::parse(option, value) else { return Ok(()) };
        if !mount.is_volume() {
            let kind = mount.kind();
            return Err(ApiError::forbidden(&format!(
                "mount point type {kind} is only allowed for root@pam"
            )));
        }
        match new_disk(&mount.volume) {
            Some((storage, _)) => perm::check(
                self.access,
                self.authid,
                &format!("/storage/{storage}"),
                &["Datastore.AllocateSpace"],
            ),
            None if !mount.volume.contains(':') => Ok(()),
            None => volumes::check_access(
                self.access,
                self.authid,
                &mount.volume,
                Some(self.vmid),
                Some("rootdir"),
            ),
        }
    }

    fn features(&self, value: Option<&str>) -> Result<(), ApiError> {
        if !self.unprivileged {
            return Err(ApiError::forbidden(
                "changing feature flags for privileged container is only allowed for root@pam",
            ));
        }
        let parse = |text: &str| -> BTreeMap<String, bool> {
            let pairs = Properties::parse(text, None).unwrap_or_default().pairs;
            pairs.into_iter().map(|(k, v)| (k, parse_boolean(&v).unwrap_or(true))).collect()
        };
        let old = self.old.and_then(|o| o.get("features")).map(parse).unwrap_or_default();
        let new = value.map(parse).unwrap_or_default();
        let changed: Vec<&String> =
            old.keys().chain(new.keys()).filter(|k| old.get(*k) != new.get(*k)).collect();
        if changed.iter().any(|k| *k != "nesting") {
            return Err(ApiError::forbidden(
                "changing feature flags (except nesting) is only allowed for root@pam",
            ));
        }
        if changed.is_empty() { Ok(()) } else { self.need("VM.Allocate") }
    }
}

/// Using a bridge needs SDN.Use on it.
///
/// # Errors
/// 403.
pub(crate) fn check_bridge(access: &Access, authid: &str, net: &str) -> Result<(), ApiError> {
    match Properties::parse(net, None).ok().as_ref().and_then(bridge_path) {
        Some(path) => perm::check(access, authid, &path, &["SDN.Use"]),
        None => Ok(()),
    }
}
