//! `/nodes/{node}/disks` (rec 2/977–981, 1022; F98): the node's disk, and one for each limited file system; nothing is made of disks.

use serde_json::json;

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, protected};
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt};
use crate::state::disk::Disks;

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    protected(
        ("GET", "/nodes/{node}/disks/list"),
        &[&[
            formats::NODE,
            opt("include-partitions", Kind::Boolean),
            opt("skipsmart", Kind::Boolean),
            opt("type", Kind::Enum(&["unused", "journal_disks"])),
        ]],
        Check::Or(&[perm("/", &["Sys.Audit"]), perm("/nodes/{node}", &["Sys.Audit"])]),
        list,
    ),
    protected(("GET", "/nodes/{node}/disks/directory"), NODE, AUDIT, |_| data(json!([]))),
    protected(("GET", "/nodes/{node}/disks/lvmthin"), NODE, AUDIT, |_| data(json!([]))),
    protected(("GET", "/nodes/{node}/disks/zfs"), NODE, AUDIT, |_| {
        Err(ApiError::die("zfsutils-linux not installed"))
    }),
];

const NODE: &[&[Field]] = &[&[formats::NODE]];
const AUDIT: Check = perm("/", &["Sys.Audit"]);

/// None is unused, and none is a journal's.
fn list(call: &Call) -> Answer {
    if call.params.get("type").is_some() {
        return data(json!([]));
    }
    let disks = Disks::load(call.host())?;
    let all = disks.sizes(call.host()).into_iter().zip('a'..='z').map(|((mounted, size), letter)| {
        let mut disk = json!({
            "devpath": format!("/dev/vd{letter}"), "size": size, "mounted": u8::from(mounted), "used": "mounted", "gpt": 0,
            "health": "UNKNOWN", "model": "unknown", "osdid": -1, "osdid-list": null, "rpm": -1, "serial": "unknown",
            "type": "unknown", "vendor": "0x1af4", "wearout": "N/A", "wwn": "unknown",
        });
        if let (false, Some(disk)) = (mounted, disk.as_object_mut()) {
            disk.remove("used");
            disk.remove("mounted");
        }
        disk
    });
    data(json!(all.collect::<Vec<_>>()))
}
