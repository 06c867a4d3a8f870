//! Index pages: the children of a path, as the real handlers list them (which is not always what there is).

use serde_json::{Value as Json, json};

use super::check::Check;
use super::{Answer, Route, data, formats, plain};
use crate::state::guests;

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/"), &[], Check::All, |_| of("subdir", ROOT)),
    plain(("GET", "/cluster"), &[], Check::All, |_| of("name", CLUSTER)),
    plain(("GET", "/access"), &[], Check::All, |_| of("subdir", ACCESS)),
    plain(("GET", "/nodes/{node}"), &[&[formats::NODE]], Check::All, |_| of("name", NODE)),
    plain(("GET", "/nodes/{node}/lxc/{vmid}/status"), &[formats::GUEST], Check::All, |call| {
        guests::load(call.host(), call.params.vmid()?)?;
        of("subdir", STATUS)
    }),
];

/// rec 388, 389.
const ROOT: &[&str] = &["version", "cluster", "nodes", "storage", "access", "pools"];
/// Unrecorded: PVE/API2/Cluster.pm:160 of pve-manager; a host with the SDN package has `sdn`, too.
const CLUSTER: &[&str] = &[
    "acme",
    "backup",
    "backup-info",
    "bulk-action",
    "ceph",
    "config",
    "firewall",
    "ha",
    "jobs",
    "log",
    "mapping",
    "metrics",
    "notifications",
    "nextid",
    "options",
    "qemu",
    "replication",
    "resources",
    "status",
    "tasks",
    "sdn",
];
/// Unrecorded: src/PVE/API2/AccessControl.pm:93 of pve-access-control.
const ACCESS: &[&str] =
    &["users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password"];
/// rec 676.
const NODE: &[&str] = &[
    "aplinfo",
    "apt",
    "capabilities",
    "ceph",
    "certificates",
    "config",
    "disks",
    "dns",
    "firewall",
    "hardware",
    "hosts",
    "journal",
    "lxc",
    "migrateall",
    "netstat",
    "network",
    "qemu",
    "query-oci-repo-tags",
    "query-url-metadata",
    "replication",
    "report",
    "rrd",
    "rrddata",
    "scan",
    "sdn",
    "services",
    "spiceshell",
    "startall",
    "status",
    "stopall",
    "storage",
    "subscription",
    "suspendall",
    "syslog",
    "tasks",
    "termproxy",
    "time",
    "version",
    "vncshell",
    "vzdump",
    "wakeonlan",
];
/// rec 677.
const STATUS: &[&str] = &["current", "start", "stop", "shutdown", "reboot", "migrate"];
fn of(key: &str, names: &[&str]) -> Answer {
    data(names.iter().map(|name| json!({ key: name })).collect::<Json>())
}
