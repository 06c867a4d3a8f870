//! The API: one module an area, each with its `ROUTES`. A route carries method, path, parameters, Proxmox VE's own permission
//! expression and the handler; [`find`] is the only dispatcher, so what is not in a table is answered 501.

pub(crate) mod access;
pub(crate) mod acl;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod content;
pub(crate) mod describe;
pub(crate) mod disks;
pub(crate) mod formats;
pub(crate) mod index;
pub(crate) mod lxc;
pub(crate) mod nodes;
pub(crate) mod pools;
pub(crate) mod properties;
pub(crate) mod reads;
pub(crate) mod roles;
pub(crate) mod storage;
pub(crate) mod storage_config;
mod storage_fields;
pub(crate) mod storage_node;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod upload;
pub(crate) mod volumes;
pub(crate) mod vzdump;
pub(crate) mod vzdump_defaults;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use check::Check;

use crate::daemon::Daemon;
use crate::error::ApiError;
use crate::http::params::Params;
use crate::http::schema::{self, Field};
use crate::perm;
use crate::state::Host;
use crate::state::access::Access;
use crate::task::{Upid, spawn};
use crate::work::Job;

/// What a handler answers with.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The `data` of the answer.
    Data(Json),
    /// The same with a `total` beside it: a page of a longer list.
    Counted(Json, usize),
    /// A file.
    File(Download),
}

/// A file to be saved.
#[derive(Debug)]
pub(crate) struct Download {
    /// Its name.
    pub(crate) name: String,
    /// Its content.
    pub(crate) body: Vec<u8>,
    /// Whether it goes compressed, whatever the caller takes.
    pub(crate) compress: bool,
}

/// A handler's result.
pub(crate) type Answer = Result<Reply, ApiError>;

/// One route.
#[derive(Debug)]
pub(crate) struct Route {
    /// GET, POST, PUT or DELETE.
    pub(crate) method: &'static str,
    /// `/nodes/{node}/lxc/{vmid}`; a last `{volume}` takes the rest of the path.
    pub(crate) path: &'static str,
    /// Its parameters, those of the path included.
    pub(crate) fields: &'static [&'static [Field]],
    /// Who may call it.
    pub(crate) check: Check,
    /// Whether the privileged daemon answers it.
    pub(crate) protected: bool,
    /// Whether a token may call it.
    pub(crate) allow_token: bool,
    /// What it does.
    pub(crate) run: fn(&Call) -> Answer,
}

impl Route {
    /// Whether it needs no caller.
    pub(crate) fn is_world(&self) -> bool {
        matches!(self.check, Check::World)
    }
}

/// A route answered by pveproxy itself.
pub(crate) const fn plain(
    (method, path): (&'static str, &'static str),
    fields: &'static [&'static [Field]],
    check: Check,
    run: fn(&Call) -> Answer,
) -> Route {
    Route { method, path, fields, check, protected: false, allow_token: true, run }
}

/// A route answered by pvedaemon.
pub(crate) const fn protected(
    (method, path): (&'static str, &'static str),
    fields: &'static [&'static [Field]],
    check: Check,
    run: fn(&Call) -> Answer,
) -> Route {
    Route { method, path, fields, check, protected: true, allow_token: true, run }
}

/// `allowtoken => 0`: a token cannot call it, whatever its rights.
pub(crate) const fn ticket_only(route: Route) -> Route {
    Route { allow_token: false, ..route }
}

/// Every table.
pub(crate) const TABLES: &[&[Route]] = &[
    access::ROUTES,
    tokens::ROUTES,
    roles::ROUTES,
    acl::ROUTES,
    pools::ROUTES,
    cluster::ROUTES,
    nodes::ROUTES,
    tasks::ROUTES,
    storage::ROUTES,
    storage_config::ROUTES,
    storage_node::ROUTES,
    disks::ROUTES,
    content::ROUTES,
    upload::ROUTES,
    vzdump::ROUTES,
    vzdump_defaults::ROUTES,
    backup::ROUTES,
    lxc::ROUTES,
    lxc::clone::ROUTES,
    lxc::create::ROUTES,
    lxc::config::ROUTES,
    lxc::move_volume::ROUTES,
    lxc::power::ROUTES,
    lxc::snapshot::ROUTES,
    index::ROUTES,
    reads::ROUTES,
];

/// A route and what its path holds.
#[derive(Debug)]
pub(crate) struct Matched {
    /// The route.
    pub(crate) route: &'static Route,
    /// Parameters of the path.
    pub(crate) path: BTreeMap<String, String>,
}

/// The route for a method and a decoded path without trailing slash.
pub(crate) fn find(method: &str, path: &str) -> Option<Matched> {
    let all = TABLES.iter().copied().flatten().filter(|r| r.method == method);
    all.filter_map(|route| match_path(route.path, path).map(|path| Matched { route, path })).next()
}

fn match_path(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut rest = path;
    for part in pattern.split('/').skip(1) {
        rest = rest.strip_prefix('/')?;
        if part == "{volume}" {
            found.insert("volume".to_owned(), rest.to_owned());
            return (!rest.is_empty()).then_some(found);
        }
        let (here, next) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) if !here.is_empty() => {
                found.insert(name.to_owned(), here.to_owned());
            }
            None if here == part => {}
            _ => return None,
        }
        rest = next;
    }
    rest.is_empty().then_some(found)
}

/// One call: who, with what, on which host.
#[derive(Debug)]
pub(crate) struct Call {
    /// The serving process.
    pub(crate) daemon: Arc<Daemon>,
    /// `user@realm[!token]`; empty for a call that needs nobody.
    pub(crate) authid: String,
    /// Access control as it was when the call came.
    pub(crate) access: Access,
    /// Parameters.
    pub(crate) params: Params,
}

impl Call {
    /// Checks rights, node and parameters, then runs the handler.
    pub(crate) fn run(&self, route: &Route) -> Answer {
        if !route.allow_token && self.authid.contains('!') {
            let path = route.path;
            let text = format!("URI '{path}' not available with API token, need proper ticket.\n");
            return Err(ApiError::forbidden(&text));
        }
        check::verify(&route.check, self)?;
        self.check_node()?;
        schema::verify(route.fields, &self.params)?;
        (route.run)(self)
    }

    /// The host.
    pub(crate) fn host(&self) -> &Host {
        &self.daemon.host
    }

    /// root@pam by ticket: the only one who is root (F20).
    pub(crate) fn is_root(&self) -> bool {
        self.authid == "root@pam"
    }

    /// Whether the caller has a privilege on a path.
    pub(crate) fn has(&self, path: &str, privilege: &str) -> bool {
        perm::has(&self.access, &self.authid, path, privilege)
    }

    /// Needs all of these privileges.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn need(&self, path: &str, privileges: &[&str]) -> Result<(), ApiError> {
        perm::check(&self.access, &self.authid, path, privileges)
    }

    /// Starts a task in the caller's name and answers with its UPID.
    pub(crate) fn task(&self, kind: &str, id: &str, job: Job) -> Answer {
        self.start(kind, id, job).map(|upid| Reply::Data(Json::String(upid.to_string())))
    }

    /// Starts a task in the caller's name.
    pub(crate) fn start(&self, kind: &str, id: &str, job: Job) -> Result<Upid, ApiError> {
        spawn::start(self.host(), kind, id, &self.authid, job)
    }

    fn check_node(&self) -> Result<(), ApiError> {
        match self.params.get("node") {
            Some(node) if node != self.host().node && node != "localhost" => Err(ApiError::die(format!(
                "hostname lookup '{node}' failed - failed to get address info for: {node}: Temporary failure in name resolution"
            ))),
            _ => Ok(()),
        }
    }
}

/// An answer without data.
#[expect(clippy::unnecessary_wraps)]
pub(crate) fn nothing() -> Answer {
    Ok(Reply::Data(Json::Null))
}

/// An answer with data.
#[expect(clippy::unnecessary_wraps)]
pub(crate) fn data(json: Json) -> Answer {
    Ok(Reply::Data(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_by_segment_and_a_volume_takes_the_rest() {
        let found = find("GET", "/nodes/pve/lxc/101/config").unwrap();
        assert_eq!(found.path["vmid"], "101");
        let found = find("GET", "/nodes/pve/storage/local/content/local:backup/x.tar.zst").unwrap();
        assert_eq!(found.path["volume"], "local:backup/x.tar.zst");
        assert!(find("GET", "/nosuch").is_none());
        assert!(find("POST", "/version").is_none());
    }

    /// Two routes with one method and path would hide each other.
    #[test]
    fn no_route_is_there_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for route in TABLES.iter().copied().flatten() {
            assert!(seen.insert((route.method, route.path)), "{} {}", route.method, route.path);
        }
    }
}
