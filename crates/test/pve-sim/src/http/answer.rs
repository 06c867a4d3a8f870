//! Answers as pveproxy writes them: the message in the reason phrase and in the body (F5), its headers, its closed connections (F9).

use std::io::Write as _;

use serde_json::{Value as Json, json};

use crate::api::Download;
use crate::error::ApiError;

/// Bodies longer than this are compressed for who wants it.
const COMPRESS: usize = 1024;

/// How the caller wants answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `/api2/json`.
    Json,
    /// `/api2/extjs`: always 200, with `success` and `status` (F19).
    Extjs,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// Status.
    pub(crate) status: u16,
    /// Reason phrase.
    pub(crate) reason: String,
    /// `Content-Type`, if there is one.
    pub(crate) kind: Option<&'static str>,
    /// `Location`, `Content-Encoding`, `Content-Disposition`.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// Whether the privileged daemon gave it, which closes its own connection and says so.
    pub(crate) proxied: bool,
    /// Whether it is held back as a failed authentication is.
    pub(crate) delayed: bool,
}

/// A successful answer.
pub(crate) fn success(format: Format, data: &Json, total: Option<usize>, proxied: bool) -> Response {
    let mut body = json!({ "data": data });
    // Nothing has no total (rec 1/440).
    if let Some(total) = total.filter(|t| *t > 0) {
        body["total"] = json!(total);
    }
    if format == Format::Extjs {
        body["success"] = json!(1);
    }
    Response { proxied, ..with_json(200, "OK", &body) }
}

/// A file: the only answer that is no JSON (rec 1/453).
pub(crate) fn file(download: Download) -> Response {
    let mut response = Response {
        status: 200,
        reason: "OK".into(),
        kind: Some("text/plain"),
        proxied: true,
        ..Response::default()
    };
    response.body = download.body;
    if download.compress
        && let Ok(packed) = gzip(&response.body)
    {
        response.body = packed;
        response.fields.push(("Content-Encoding", "gzip".into()));
    }
    response.fields.push(("Content-Disposition", format!("attachment; filename=\"{}\"", download.name)));
    response
}

/// An error answer.
pub(crate) fn failure(format: Format, error: &ApiError, proxied: bool) -> Response {
    let message = if error.newline { format!("{}\n", error.message) } else { error.message.clone() };
    let mut body = json!({ "data": null, "message": message });
    if !error.errors.is_empty() {
        body["errors"] = json!(error.errors);
    }
    let response = if format == Format::Extjs {
        body["success"] = json!(0);
        body["status"] = json!(error.status);
        with_json(200, "OK", &body)
    } else {
        with_json(error.status, error.message.lines().next().unwrap_or_default(), &body)
    };
    Response { proxied, delayed: error.status == 401, ..response }
}

/// An answer from before any endpoint: text, or nothing at all.
pub(crate) fn refusal(status: u16, reason: &str, body: &str) -> Response {
    let reason = reason.lines().next().unwrap_or_default().to_owned();
    Response { status, reason, body: body.as_bytes().to_vec(), ..Response::default() }
}

fn with_json(status: u16, reason: &str, body: &Json) -> Response {
    let kind = Some("application/json;charset=UTF-8");
    Response {
        status,
        reason: reason.to_owned(),
        kind,
        body: body.to_string().into_bytes(),
        ..Response::default()
    }
}

/// An answer as bytes.
#[derive(Debug)]
pub(crate) struct Wire {
    /// What goes over the line.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the body, if there is one: for the access log.
    pub(crate) length: Option<usize>,
    /// Whether the connection stays.
    pub(crate) stays: bool,
}

/// How an answer is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Minor version of HTTP/1.
    pub(crate) minor: u32,
    /// Whether the client and the server would keep the connection.
    pub(crate) keep_alive: bool,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// Writes an answer with the fields in pveproxy's order.
pub(crate) fn write(mut response: Response, manner: Manner) -> Wire {
    let stays = manner.keep_alive && response.status < 400;
    let encoded = response.fields.iter().any(|(name, _)| *name == "Content-Encoding");
    if manner.gzip
        && !encoded
        && response.body.len() > COMPRESS
        && let Ok(packed) = gzip(&response.body)
    {
        response.body = packed;
        response.fields.push(("Content-Encoding", "gzip".into()));
    }
    let of = |name: &str| response.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
    let reason: String = response.reason.chars().filter(|c| !c.is_control()).collect();
    let date = date(manner.now);
    let mut all: Vec<(&str, String)> = vec![("Cache-Control", "max-age=0".into())];
    if response.proxied || !stays {
        all.push(("Connection", "close".into()));
    }
    if stays {
        all.push(("Connection", "Keep-Alive".into()));
    }
    all.extend([("Date", date.clone()), ("Pragma", "no-cache".into())]);
    all.extend(of("Location").map(|v| ("Location", v)));
    all.push(("Server", "pve-api-daemon/3.0".into()));
    all.extend(of("Content-Encoding").map(|v| ("Content-Encoding", v)));
    let length = (!response.body.is_empty()).then_some(response.body.len());
    all.extend(length.map(|n| ("Content-Length", n.to_string())));
    all.extend(response.kind.map(|k| ("Content-Type", k.to_owned())));
    all.push(("Expires", date));
    all.extend(of("Content-Disposition").map(|v| ("Content-Disposition", v)));
    let mut text = format!("HTTP/1.{} {} {reason}\r\n", manner.minor, response.status);
    for (name, value) in all {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.append(&mut response.body);
    Wire { bytes, length, stays }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes)?;
    out.finish()
}

/// `Mon, 23 Nov 2026 11:29:06 GMT`.
fn date(now: u64) -> String {
    let stamp = jiff::Timestamp::from_second(i64::try_from(now).unwrap_or_default()).unwrap_or_default();
    stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response, keep_alive: bool) -> String {
        let manner = Manner { minor: 1, keep_alive, gzip: true, now: 1_795_433_346 };
        String::from_utf8(write(response, manner).bytes).unwrap()
    }

    /// F9, rec 8, 811: a proxied success carries two Connection fields; fields are in HTTP::Headers' order.
    #[test]
    fn f9_a_proxied_success_has_two_connection_fields() {
        assert_eq!(
            text(success(Format::Json, &Json::Null, None, true), true),
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nConnection: close\r\nConnection: Keep-Alive\r\n\
             Date: Mon, 23 Nov 2026 11:29:06 GMT\r\nPragma: no-cache\r\nServer: pve-api-daemon/3.0\r\nContent-Length: 13\r\n\
             Content-Type: application/json;charset=UTF-8\r\nExpires: Mon, 23 Nov 2026 11:29:06 GMT\r\n\r\n{\"data\":null}"
        );
        assert!(
            text(success(Format::Json, &Json::Null, None, true), false)
                .contains("\r\nConnection: close\r\nDate")
        );
    }

    /// F1, F9, rec 1: an empty body has neither length nor type, and an error closes.
    #[test]
    fn f9_an_error_closes_and_nothing_has_no_length() {
        assert_eq!(
            text(refusal(401, "No ticket", ""), true),
            "HTTP/1.1 401 No ticket\r\nCache-Control: max-age=0\r\nConnection: close\r\nDate: Mon, 23 Nov 2026 11:29:06 GMT\r\n\
             Pragma: no-cache\r\nServer: pve-api-daemon/3.0\r\nExpires: Mon, 23 Nov 2026 11:29:06 GMT\r\n\r\n"
        );
    }
}
