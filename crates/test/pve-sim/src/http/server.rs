//! One request: transport rules (F10–F11), format, caller, route, parameters, rights, handler, answer.
//!
//! The order is Proxmox VE's: the caller is checked before the path is looked up, and rights before parameters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, header};

use super::answer::{self, Format};
use super::params::Value;
use super::{auth, decode};
use crate::api::{self, Call, Matched, Reply};
use crate::clock;
use crate::daemon::Daemon;
use crate::error::ApiError;
use crate::state::access_file;
use crate::state::property::decode_text;

/// pveproxy's limit for a body, in bytes.
const BODY_LIMIT: usize = 512 * 1024;
/// A refused body is read up to this, in bytes.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
/// After this pveproxy gives up on a worker daemon and answers 596 (F18), while the work goes on.
const PROXY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers one request.
pub(crate) async fn handle(State(daemon): State<Arc<Daemon>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    if let Some(refused) = refuse_transport(&method, &parts.headers) {
        // Read to its end, so that the caller gets to see the answer and not a reset connection.
        let _ = to_bytes(body, DRAIN_LIMIT).await;
        return refused;
    }
    let path = decode_text(parts.uri.path());
    let Some((format, path)) = split_format(&path) else {
        return answer::refusal(404, "Not Found", "");
    };
    let format = match format {
        "json" => Format::Json,
        "extjs" => Format::Extjs,
        other => {
            let text = format!("no formatter for uri {path}, {other}");
            return answer::refusal(501, &text, &text);
        }
    };
    let query = decode::form(parts.uri.query().unwrap_or_default());
    let body = match read_body(&parts.headers, body).await {
        Ok(body) => body,
        Err((status, text)) => return answer::refusal(status, &text, &text),
    };
    let caller = Caller { method, path, headers: parts.headers };
    match answer_call(&daemon, &caller, query, body).await {
        Outcome::Done(Reply::Data(data), protected) => answer::success(format, &data, None, protected),
        Outcome::Done(Reply::Counted(data, total), protected) => {
            answer::success(format, &data, Some(total), protected)
        }
        Outcome::Done(Reply::Text(text), _) => answer::text(text),
        Outcome::Failed(error) => {
            if error.status == 401 {
                tokio::time::sleep(daemon.auth_delay).await;
            }
            answer::failure(format, &error)
        }
        Outcome::Rejected(reason) => {
            tokio::time::sleep(daemon.auth_delay).await;
            answer::refusal(401, reason, "")
        }
        Outcome::TimedOut => answer::refusal(596, "Connection timed out", ""),
    }
}

struct Caller {
    method: String,
    path: String,
    headers: HeaderMap,
}

enum Outcome {
    Done(Reply, bool),
    Failed(ApiError),
    Rejected(&'static str),
    TimedOut,
}

/// Refusals by method and transfer coding.
fn refuse_transport(method: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    if !["GET", "POST", "PUT", "DELETE"].contains(&method) {
        return Some(answer::refusal(501, &format!("method '{method}' not available"), ""));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let text = "chunked transfer encoding not supported";
        return Some(answer::refusal(501, text, text));
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|h| h.to_str().ok())
        .and_then(|h| h.parse::<usize>().ok());
    match length {
        Some(1..) if method == "GET" || method == "DELETE" => {
            let text = format!("Unexpected content for method '{method}'");
            Some(answer::refusal(501, &text, &text))
        }
        Some(length) if length > BODY_LIMIT => {
            Some(answer::refusal(501, "for data too large", "for data too large"))
        }
        _ => None,
    }
}

/// `/api2/FORMAT/PATH`, a trailing slash and doubled ones ignored.
fn split_format(path: &str) -> Option<(&str, String)> {
    let rest = path.strip_prefix("/api2/")?;
    let (format, path) = rest.split_once('/').unwrap_or((rest, ""));
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    Some((format, format!("/{}", parts.join("/"))))
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, Value>, decode::Refusal> {
    let bytes =
        to_bytes(body, BODY_LIMIT).await.map_err(|e| (400, format!("unable to read request body: {e}")))?;
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "" | "application/x-www-form-urlencoded" => Ok(decode::form(&String::from_utf8_lossy(&bytes))),
        "application/json" => decode::json(&bytes),
        other => Err((506, format!("upload 'Content-Type '{other}' not implemented"))),
    }
}

async fn answer_call(
    daemon: &Arc<Daemon>,
    caller: &Caller,
    query: BTreeMap<String, Value>,
    body: BTreeMap<String, Value>,
) -> Outcome {
    let access = match access_file::load(&daemon.host) {
        Ok(access) => access,
        Err(error) => return Outcome::Failed(error),
    };
    let matched = api::find(&caller.method, &caller.path);
    let world = matches!(&matched, Some(m) if m.route.is_world());
    let authid = if world {
        String::new()
    } else {
        let asked = (caller.method.as_str(), &caller.headers);
        match auth::authenticate(&daemon.host, &access, &daemon.ticket_key, asked, clock::now(&daemon.host)) {
            Ok(authid) => authid,
            Err(auth::Rejected(reason)) => return Outcome::Rejected(reason),
        }
    };
    let Some(Matched { route, path }) = matched else {
        return Outcome::Failed(ApiError::not_implemented(&caller.method, &caller.path));
    };
    let params = match decode::merge(&path, query, body) {
        Ok(params) => params,
        Err(conflicts) => return Outcome::Failed(ApiError::params(conflicts)),
    };
    let call = Call { daemon: Arc::clone(daemon), authid, access, params };
    run(daemon, route, call).await
}

/// Handlers block (files, locks), so they run beside the runtime; protected ones share three workers, as in pvedaemon.
async fn run(daemon: &Arc<Daemon>, route: &'static api::Route, call: Call) -> Outcome {
    let work = async {
        let _permit = if route.protected { daemon.workers.acquire().await.ok() } else { None };
        tokio::task::spawn_blocking(move || call.run(route)).await
    };
    match tokio::time::timeout(PROXY_TIMEOUT, work).await {
        Err(_) => Outcome::TimedOut,
        Ok(Err(join)) => Outcome::Failed(ApiError::die(format!("internal error: {join}"))),
        Ok(Ok(Err(error))) => Outcome::Failed(error),
        Ok(Ok(Ok(reply))) => Outcome::Done(reply, route.protected),
    }
}
