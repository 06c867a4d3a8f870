//! What else of a host can be read: options, DNS, hosts, subscription, lists of what is not there, rrddata without samples, and paths
//! of which only the rights are known.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::check::{Check, perm};
use super::{Answer, Call, Route, data, formats, plain, protected};
use crate::clock;
use crate::error::ApiError;
use crate::http::schema::{Field, Kind, opt, req};
use crate::state::guests;

const NODE: &[&[Field]] = &[&[formats::NODE]];
const NODE_AUDIT: Check = perm("/nodes/{node}", &["Sys.Audit"]);
const ROOT_AUDIT: Check = perm("/", &["Sys.Audit"]);
const SYSLOG: Check = perm("/nodes/{node}", &["Sys.Syslog"]);
const FRAMES: &[&str] = &["hour", "day", "week", "month", "year"];
const NODE_FRAMES: &[&str] = &["hour", "day", "week", "month", "year", "decade"];
const FUNCTION: Field = opt("cf", Kind::Enum(&["AVERAGE", "MAX"]));
const NODE_PROPERTIES: &[&str] = &[
    "acme",
    "acmedomain0",
    "acmedomain1",
    "acmedomain2",
    "acmedomain3",
    "acmedomain4",
    "acmedomain5",
    "ballooning-target",
    "description",
    "location",
    "startall-onboot-delay",
    "wakeonlan",
];

/// Paths of which only the rights are simulated.
pub(crate) const RIGHTS_ONLY: [&str; 5] = [
    "/nodes/{node}/apt/update",
    "/nodes/{node}/syslog",
    "/nodes/{node}/journal",
    "/nodes/{node}/scan/nfs",
    "/nodes/{node}/lxc/{vmid}/termproxy",
];

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[
    plain(("GET", "/cluster/options"), &[], Check::All, options),
    plain(
        ("GET", "/cluster/mapping/dir"),
        &[&[opt("check-node", Kind::Format(formats::node))]],
        Check::All,
        none,
    ),
    plain(("GET", "/cluster/metrics/server"), &[], ROOT_AUDIT, none),
    plain(("GET", "/nodes/{node}/firewall/rules"), NODE, NODE_AUDIT, none),
    plain(("GET", "/nodes/{node}/dns"), NODE, NODE_AUDIT, |call| data(dns(call))),
    protected(("GET", "/nodes/{node}/hosts"), NODE, ROOT_AUDIT, hosts),
    plain(("GET", "/nodes/{node}/subscription"), NODE, Check::All, |_| {
        data(json!({
            "status": "notfound", "message": "There is no subscription key", "serverid": null,
            "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
        }))
    }),
    protected(("GET", "/nodes/{node}/services"), NODE, NODE_AUDIT, none),
    plain(("GET", "/nodes/{node}/netstat"), NODE, NODE_AUDIT, none),
    plain(
        ("GET", "/nodes/{node}/config"),
        &[&[formats::NODE, opt("property", Kind::Enum(NODE_PROPERTIES))]],
        ROOT_AUDIT,
        |_| data(json!({})),
    ),
    protected(
        ("GET", "/nodes/{node}/rrddata"),
        &[&[formats::NODE, req("timeframe", Kind::Enum(NODE_FRAMES)), FUNCTION]],
        NODE_AUDIT,
        samples,
    ),
    protected(
        ("GET", "/nodes/{node}/lxc/{vmid}/rrddata"),
        &[formats::GUEST, &[req("timeframe", Kind::Enum(FRAMES)), FUNCTION]],
        perm("/vms/{vmid}", &["VM.Audit"]),
        samples,
    ),
    protected(("GET", "/nodes/{node}/apt/update"), NODE, perm("/nodes/{node}", &["Sys.Modify"]), |call| {
        rights_only(call, "apt/update")
    }),
    protected(("GET", "/nodes/{node}/syslog"), &[&[formats::NODE], LOG], SYSLOG, |call| {
        rights_only(call, "syslog")
    }),
    protected(("GET", "/nodes/{node}/journal"), &[&[formats::NODE], JOURNAL], SYSLOG, |call| {
        rights_only(call, "journal")
    }),
    protected(
        ("GET", "/nodes/{node}/scan/nfs"),
        &[&[formats::NODE, req("server", Kind::Format(formats::server))]],
        perm("/storage", &["Datastore.Allocate"]),
        |call| rights_only(call, "scan/nfs"),
    ),
    protected(
        ("POST", "/nodes/{node}/lxc/{vmid}/termproxy"),
        &[formats::GUEST],
        perm("/vms/{vmid}", &["VM.Console"]),
        |call| {
            let path = format!("/nodes/{}/lxc/{}/termproxy", call.host().node, call.params.vmid()?);
            Err(ApiError::not_implemented("POST", &path))
        },
    ),
    protected(("GET", "/access/tfa"), &[], Check::All, none),
    plain(
        ("GET", "/nodes/{node}/lxc/{vmid}/firewall/options"),
        &[formats::GUEST],
        perm("/vms/{vmid}", &["VM.Audit"]),
        firewall,
    ),
];

const LOG: &[Field] = &[
    opt("limit", Kind::Integer(0, i64::MAX)),
    opt("start", Kind::Integer(0, i64::MAX)),
    opt("service", Kind::Text(128)),
    opt("since", Kind::Pattern(is_time)),
    opt("until", Kind::Pattern(is_time)),
];
const JOURNAL: &[Field] = &[
    opt("since", Kind::Integer(0, i64::MAX)),
    opt("until", Kind::Integer(0, i64::MAX)),
    opt("lastentries", Kind::Integer(0, i64::MAX)),
    opt("startcursor", Kind::Text(usize::MAX)),
    opt("endcursor", Kind::Text(usize::MAX)),
    opt("service", Kind::Pattern(is_service)).length(0, 128),
    opt("unit", Kind::Pattern(is_unit)).length(0, 256),
    opt("priority", Kind::Pattern(is_priority)),
    opt("identifiers", Kind::Boolean),
    opt("kernel", Kind::Boolean),
    opt("structured", Kind::Boolean),
    opt("units", Kind::Boolean),
];

/// `2026-11-23`, also with ` 11:25` and ` 11:25:24`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_numeric() { '0' } else { c }).collect();
    ["0000-00-00", "0000-00-00 00:00", "0000-00-00 00:00:00"].contains(&shape.as_str())
}

fn is_made_of(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// `ssh*`.
fn is_service(text: &str) -> bool {
    is_made_of(text, "_.@:*?![]/-")
}

/// `ssh.service`.
fn is_unit(text: &str) -> bool {
    is_made_of(text, "_.@:-")
}

/// Nothing, `3`, or `0..4`.
fn is_priority(text: &str) -> bool {
    let level = |text: &str| text.len() == 1 && ("0"..="7").contains(&text);
    let range = text.split_once("..").is_some_and(|(low, high)| level(low) && level(high));
    text.is_empty() || level(text) || range
}

/// What cannot be set up here is not there.
fn none(_: &Call) -> Answer {
    data(json!([]))
}

/// A path of which only the rights are simulated (F98): who may not call it gets the real 403, who may gets a 501.
fn rights_only(call: &Call, name: &str) -> Answer {
    Err(ApiError::not_implemented("GET", &format!("/nodes/{}/{name}", call.host().node)))
}

/// rec 2/1005, 1031: who may not audit sees the tags in use only.
fn options(call: &Call) -> Answer {
    let mut tags = BTreeSet::new();
    for vmid in guests::list(call.host())? {
        if let Ok(config) = guests::load(call.host(), vmid)
            && let Some(own) = config.current.get("tags")
        {
            tags.extend(own.split(';').filter(|t| !t.is_empty()).map(str::to_owned));
        }
    }
    let mut shown = Map::new();
    shown.insert("allowed-tags".into(), json!(tags));
    if call.has("/", "Sys.Audit") {
        shown.insert("mac_prefix".into(), json!("BC:24:11"));
        shown.insert("description".into(), json!(""));
    }
    data(Json::Object(shown))
}

/// rec 670: the options of a guest without a firewall file; what such a file says is not read.
fn firewall(call: &Call) -> Answer {
    let vmid = call.params.vmid()?;
    if call.host().dir.guest_firewall(vmid).exists() {
        let path = format!("/nodes/{}/lxc/{vmid}/firewall/options", call.host().node);
        return Err(ApiError::not_implemented("GET", &path));
    }
    // SHA-1 of nothing.
    data(json!({"digest": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}))
}

/// The resolver of `etc/resolv.conf` in the state directory, or else this machine's (rec 2/985).
fn dns(call: &Call) -> Json {
    let own = fs::read_to_string(call.host().dir.root().join("etc/resolv.conf"));
    let text = own.or_else(|_| fs::read_to_string("/etc/resolv.conf")).unwrap_or_default();
    let mut shown = Map::new();
    let mut servers = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("search" | "domain"), Some(domain)) => {
                shown.insert("search".into(), json!(domain));
            }
            (Some("nameserver"), Some(address)) if servers < 3 => {
                servers += 1;
                shown.insert(format!("dns{servers}"), json!(address));
            }
            _ => {}
        }
    }
    Json::Object(shown)
}

/// `etc/hosts` of the state directory, or else what an installation writes; not this machine's (rec 2/986).
fn hosts(call: &Call) -> Answer {
    let node = &call.host().node;
    let own = fs::read_to_string(call.host().dir.root().join("etc/hosts"));
    let text = own.unwrap_or_else(|_| format!("127.0.0.1 localhost\n127.0.1.1 {node}.invalid {node}\n"));
    let digest = hex::encode(&Sha256::digest(text.as_bytes())[..20]);
    data(json!({"data": text, "digest": digest}))
}

/// Points in time without values: nothing is sampled here (rec 2/974: so does a host show the time before its first sample).
fn samples(call: &Call) -> Answer {
    let step = match call.params.get("timeframe").as_deref() {
        Some("hour") => 60,
        Some("day") => 1800,
        Some("week") => 10_800,
        Some("month") => 43_200,
        Some("year") => 604_800,
        _ => 6_048_000,
    };
    let now = clock::now(call.host());
    let last = now - now % step;
    let points = (1..60).rev().map(|back| json!({"time": last.saturating_sub(back * step)}));
    data(points.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unrecorded: the API's schema.
    #[test]
    fn patterns_of_logs() {
        let check = |fits: fn(&str) -> bool, good: &[&str], bad: &[&str]| {
            good.iter().for_each(|text| assert!(fits(text), "{text}"));
            bad.iter().for_each(|text| assert!(!fits(text), "{text}"));
        };
        let bad = ["", "now", "2026-11-23 11", "2026-11-23T11:25", "2026-11-23 11:25:24 "];
        check(is_time, &["2026-11-23", "2026-11-23 11:25", "2026-11-23 11:25:24"], &bad);
        check(is_service, &["ssh*", "a/b[0-9]?!.x"], &["", "a b", "a;b"]);
        check(is_unit, &["getty@tty1.service"], &["", "ssh*", "a/b"]);
        check(is_priority, &["", "0", "7", "0..4"], &["8", "0..", "0..8", "err", "01"]);
    }
}
