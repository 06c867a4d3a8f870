//! One request: transport rules (F10–F11), format, caller, route, parameters, rights, handler, answer.
//!
//! The order is Proxmox VE's: method and transfer coding, the caller, the announced body, the route, contradictions of the path,
//! rights, parameters (`authenticate_and_handle_request` in src/PVE/APIServer/AnyEvent.pm of pve-http-server, `rest_handler` in
//! PVE/HTTPServer.pm of pve-manager).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{self, Format, Response};
use super::params::{Params, Value};
use super::wire::Head;
use super::{auth, decode};
use crate::api::{self, Call, Matched, Reply};
use crate::clock;
use crate::daemon::Daemon;
use crate::error::ApiError;
use crate::fault;
use crate::state::access::Access;
use crate::state::access_file;

/// A request whose caller is known.
#[derive(Debug)]
pub(crate) struct Admitted {
    format: Format,
    path: String,
    matched: Option<Matched>,
    access: Access,
    /// `user@realm[!token]`; nobody for a call that needs nobody.
    pub(crate) authid: Option<String>,
}

/// Whether a request gets in.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Yes.
    In(Admitted),
    /// No, and this is the answer.
    Refused(Response),
}

/// Refusals by method and transfer coding (F7, F11).
pub(crate) fn refuse_transport(head: &Head) -> Option<Response> {
    if !["GET", "POST", "PUT", "DELETE"].contains(&head.method.as_str()) {
        return Some(answer::refusal(501, &format!("method '{}' not available", head.method), ""));
    }
    let coding = head.headers.get("transfer-encoding").filter(|c| !c.is_empty())?;
    let text = if coding.eq_ignore_ascii_case("chunked") {
        "chunked transfer encoding not supported".to_owned()
    } else {
        format!("Unknown transfer encoding '{coding}'")
    };
    Some(answer::refusal(501, &text, &text))
}

/// The boundary of a body in several parts, if the route takes one.
pub(crate) fn parts(admitted: &Admitted, head: &Head) -> Option<String> {
    let route = admitted.matched.as_ref().map(|matched| matched.route.path);
    let kind = head.headers.get("content-type").filter(|_| route == Some(api::upload::PATH))?;
    multer::parse_boundary(kind).ok()
}

/// Whether a caller may do what he wants to send a file for: else the connection is dropped before it is read (F66, rec 828).
pub(crate) async fn may_send(daemon: &Arc<Daemon>, admitted: &Admitted) -> bool {
    let Some(matched) = &admitted.matched else { return false };
    let path = matched.path.iter().map(|(name, value)| (name.clone(), Value::Text(value.clone()))).collect();
    let authid = admitted.authid.clone().unwrap_or_default();
    let call =
        Call { daemon: Arc::clone(daemon), authid, access: admitted.access.clone(), params: Params(path) };
    let check = &matched.route.check;
    let check = tokio::task::spawn_blocking(move || api::check::verify(check, &call).is_ok());
    check.await.unwrap_or(false)
}

/// Refusals by the announced body (F10, F11).
pub(crate) fn refuse_body(head: &Head, limit: usize) -> Option<Response> {
    let length = head.length();
    if length == 0 {
        return None;
    }
    let refuse = |status, text: String| Some(answer::refusal(status, &text, &text));
    if !["POST", "PUT"].contains(&head.method.as_str()) {
        return refuse(501, format!("Unexpected content for method '{}'", head.method));
    }
    if length > limit {
        return refuse(501, "for data too large".into());
    }
    let kind = head.headers.get("content-type").unwrap_or_default();
    match content_type(&kind) {
        "" | "application/x-www-form-urlencoded" | "application/json" => None,
        _ => refuse(506, format!("upload 'Content-Type '{kind}' not implemented")),
    }
}

/// Without its parameters.
fn content_type(value: &str) -> &str {
    value.split([';', ',']).next().unwrap_or_default().trim_end()
}

/// `/api2/FORMAT/PATH`, a trailing slash and doubled ones ignored.
pub(crate) fn split_format(path: &str) -> Option<(&str, String)> {
    let rest = path.strip_prefix("/api2/")?.trim_start_matches('/');
    let (format, path) = rest.split_once('/').unwrap_or((rest, ""));
    let named = format.len() > 1
        && format.starts_with(|c: char| c.is_ascii_lowercase())
        && format.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    named.then(|| (format, format!("/{}", parts.join("/"))))
}

/// Looks at path, format and caller.
pub(crate) fn admit(daemon: &Daemon, head: &Head) -> Admission {
    let path = head.path();
    if !path.starts_with("/api2") {
        // rec 822: the web interface is not installed.
        let text = if path == "/" {
            "file error - /usr/share/pve-manager/index.html.tpl: not found\n".to_owned()
        } else {
            format!("no such file '{path}'\n")
        };
        return Admission::Refused(answer::refusal(500, &text, &text));
    }
    let Some((format, path)) = split_format(&path) else {
        return Admission::Refused(answer::refusal(501, "no such uri", "no such uri"));
    };
    let matched = api::find(&head.method, &path);
    let access = match access_file::load(&daemon.host) {
        Ok(access) => access,
        Err(error) => return Admission::Refused(answer::failure(Format::Json, &error, false)),
    };
    let authid = if matched.as_ref().is_some_and(|m| m.route.is_world()) {
        None
    } else {
        let now = clock::now(&daemon.host);
        let asked = (head.method.as_str(), &head.headers);
        match auth::authenticate(&daemon.host, &access, &daemon.ticket_key, asked, now) {
            Ok(authid) => Some(authid),
            Err(auth::Rejected(reason)) => {
                let refused = answer::refusal(401, reason, "");
                return Admission::Refused(Response { delayed: true, ..refused });
            }
        }
    };
    let format = match format {
        "json" => Format::Json,
        "extjs" => Format::Extjs,
        other => {
            let text = format!("no formatter for uri {path}, {other}");
            return Admission::Refused(answer::refusal(501, &text, &text));
        }
    };
    Admission::In(Admitted { format, path, matched, access, authid })
}

/// Does what is asked for and answers.
pub(crate) async fn perform(daemon: &Arc<Daemon>, admitted: Admitted, head: &Head, body: &[u8]) -> Response {
    match read_body(head, body) {
        Ok(body) => perform_with(daemon, admitted, head, body).await,
        Err((status, text)) => answer::refusal(status, &text, &text),
    }
}

/// The same with a body that was read.
pub(crate) async fn perform_with(
    daemon: &Arc<Daemon>,
    admitted: Admitted,
    head: &Head,
    body: BTreeMap<String, Value>,
) -> Response {
    let format = admitted.format;
    let query = decode::form(&head.query);
    let Some(Matched { route, path }) = admitted.matched else {
        return answer::failure(format, &ApiError::not_implemented(&head.method, &admitted.path), false);
    };
    let params = match decode::merge(&path, query, body) {
        Ok(params) => params,
        Err(conflicts) => return answer::failure(format, &ApiError::params(conflicts), false),
    };
    let authid = admitted.authid.unwrap_or_default();
    let call = Call { daemon: Arc::clone(daemon), authid, access: admitted.access, params };
    run(daemon, format, route, call).await
}

fn read_body(head: &Head, body: &[u8]) -> Result<BTreeMap<String, Value>, decode::Refusal> {
    let kind = head.headers.get("content-type").unwrap_or_default();
    match content_type(&kind) {
        _ if !["POST", "PUT"].contains(&head.method.as_str()) => Ok(BTreeMap::new()),
        "application/json" => decode::json(body),
        _ => Ok(decode::form(&String::from_utf8_lossy(body))),
    }
}

/// Handlers block (files, locks), so they run beside the runtime; protected ones share three workers, as in pvedaemon. After the
/// time limit pveproxy gives up on pvedaemon and answers 596, while the work goes on, or is begun later (F18).
async fn run(daemon: &Arc<Daemon>, format: Format, route: &'static api::Route, call: Call) -> Response {
    if route.protected && fault::daemon_is_dead(&daemon.host) {
        return answer::refusal(595, "Connection refused", "");
    }
    let workers = Arc::clone(&daemon.workers);
    let work = tokio::spawn(async move {
        let _permit = if route.protected { workers.acquire_owned().await.ok() } else { None };
        tokio::task::spawn_blocking(move || call.run(route)).await
    });
    let done = if route.protected {
        let Ok(done) = tokio::time::timeout(daemon.limits.proxy, work).await else {
            return answer::refusal(596, "Connection timed out", "");
        };
        done
    } else {
        work.await
    };
    let proxied = route.protected;
    match done.and_then(|inner| inner) {
        Err(join) => answer::failure(format, &ApiError::die(format!("internal error: {join}")), proxied),
        Ok(Err(error)) => answer::failure(format, &error, proxied),
        Ok(Ok(Reply::Data(data))) => answer::success(format, &data, None, proxied),
        Ok(Ok(Reply::Counted(data, total))) => answer::success(format, &data, Some(total), proxied),
        Ok(Ok(Reply::File(download))) => answer::file(download),
    }
}
