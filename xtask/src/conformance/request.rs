//! The bytes of a request: as recorded, with the simulator's names, tickets and secrets in their places.

use std::fs;

use anyhow::{Context, Result};

use super::{
    compare::{self, Difference, Side},
    node::encode,
    recording::Exchange,
    replay::Replay,
    stage::Credentials,
    wire,
};

/// The secret of a token that never was.
const NO_SECRET: &str = "00000000-1111-2222-3333-444444444444";

impl Replay<'_> {
    /// A recorded request as it is sent.
    pub(super) fn request(&self, n: usize, exchange: &Exchange) -> Vec<u8> {
        let credentials = self.job.stage.credentials.get(&n).copied();
        let path = self.times(n, &self.rename.path(&self.ids.outgoing(&exchange.path)));
        let body = exchange.body.as_ref().map(|body| self.body_text(body));
        let recorded_length = exchange.body.as_ref().map_or(0, String::len).to_string();
        let mut text = format!("{} {path} HTTP/1.1\r\n", exchange.method);
        for (name, value) in &exchange.headers {
            let value = match name.as_str() {
                "Cookie" if value == "<ticket>" => self.cookie(credentials),
                "CSRFPreventionToken" if value == "<ticket>" => self.csrf(credentials),
                "Authorization" => self.authorization(value, credentials),
                "Content-Length" if *value == recorded_length => {
                    body.as_ref().map_or(0, String::len).to_string()
                }
                _ => value.clone(),
            };
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&body.unwrap_or_default());
        text.into_bytes()
    }

    /// Times that a list of tasks is asked for are as far from the last task's start as they were in the recording.
    fn times(&self, n: usize, path: &str) -> String {
        let Some((bare, query)) = path.split_once('?').filter(|(bare, _)| bare.ends_with("/tasks")) else {
            return path.to_owned();
        };
        let last = self.ours.range(..n).next_back();
        let started =
            last.and_then(|(line, ours)| Some((start(self.job.plan.started_by.get(line)?)?, start(ours)?)));
        let Some((recorded, ours)) = started else { return path.to_owned() };
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key @ ("since" | "until"), value)) => value
                .parse()
                .map_or_else(|_| pair.to_owned(), |time: i64| format!("{key}={}", time - recorded + ours)),
            _ => pair.to_owned(),
        };
        format!("{bare}?{}", query.split('&').map(pair).collect::<Vec<_>>().join("&"))
    }

    fn body_text(&self, body: &str) -> String {
        let body = self.bind_mounts(&self.ids.outgoing(body));
        if body.trim_start().starts_with(['{', '[']) {
            self.rename.json(&body)
        } else {
            self.rename.form(&body)
        }
    }

    /// Directories of the node that are mounted into a guest lie below the state directory, which is the node's `/`.
    fn bind_mounts(&self, body: &str) -> String {
        let state = encode(&self.node.state().display().to_string());
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value))
                if key.starts_with("mp") && value.starts_with("%2F") && !value.starts_with("%2Fdev") =>
            {
                format!("{key}={state}{value}")
            }
            _ => pair.to_owned(),
        };
        body.split('&').map(pair).collect::<Vec<_>>().join("&")
    }

    fn cookie(&self, credentials: Option<Credentials>) -> String {
        let mut ticket = self.node.ticket.clone();
        if credentials == Some(Credentials::ForgedTicket) {
            let last = ticket.pop();
            ticket.push(if last == Some('A') { 'B' } else { 'A' });
            // The last letter of base64 may not count; the one before does.
            let at = ticket.len().saturating_sub(10);
            let other = if ticket[at..=at].starts_with('A') { "B" } else { "A" };
            ticket.replace_range(at..=at, other);
        }
        format!("PVEAuthCookie={}", encode(&ticket))
    }

    fn csrf(&self, credentials: Option<Credentials>) -> String {
        if credentials == Some(Credentials::BadCsrf) { "bad".to_owned() } else { self.node.csrf.clone() }
    }

    fn authorization(&self, value: &str, credentials: Option<Credentials>) -> String {
        let Some(scheme) = value.strip_suffix("=<secret>") else {
            return self.rename.header(&self.ids.outgoing(value));
        };
        let token =
            scheme.split_once('=').map_or("", |(_, token)| token).replace("%40", "@").replace("%21", "!");
        let known = self.secrets.get(&token).map_or(NO_SECRET, String::as_str);
        let secret = match credentials {
            Some(Credentials::WrongSecret) => NO_SECRET,
            Some(Credentials::OldSecret) => self.old_secrets.get(&token).map_or(NO_SECRET, String::as_str),
            _ => known,
        };
        format!("{}={secret}", self.rename.header(scheme))
    }

    /// Raw bytes: sent as recorded, and every answer that comes back is compared.
    pub(super) fn raw(&mut self, n: usize, request: &str, response: &str) -> Result<Vec<Difference>> {
        let tls = !response.starts_with("HTTP/1.1 301");
        self.hold(n)?;
        let bytes = self.node.wire.raw(&self.raw_bytes(request)?, tls)?;
        let ours = String::from_utf8_lossy(&bytes).into_owned();
        let (recorded, ours) = (split(response), split(&ours));
        let mut found = Vec::new();
        if recorded.len() != ours.len() {
            let (expected, got) = (recorded.len().to_string(), ours.len().to_string());
            found.push(Difference { at: "answers".into(), expected, got });
        }
        for (recorded, ours) in recorded.iter().zip(&ours) {
            let body = self.clean(&ours.body);
            self.ids.learn_from(&recorded.body, &body);
            self.begun(n, &ours.body);
            let side = |answer: &wire::Answer, body: &str| Side {
                status: self.ids.blank_unknown(&self.ids.incoming(&self.clean(&answer.status))),
                content_type: answer.header("content-type").map(str::to_owned),
                body: self.ids.blank_unknown(&self.ids.incoming(body)),
                artefacts: 0,
            };
            let (mut recorded, mut ours) = (side(recorded, &recorded.body), side(ours, &body));
            if recorded.body.contains('\u{fffd}') && ours.body.contains('\u{fffd}') {
                // Packed bytes.
                recorded.body.clear();
                ours.body.clear();
            }
            found.extend(compare::answers(self.job.rules, "/", &[], &recorded, &ours));
        }
        Ok(found)
    }

    /// The recording has no file of an upload: any template of this node will do.
    fn raw_bytes(&self, text: &str) -> Result<Vec<u8>> {
        let text = self.raw_text(text);
        let Some((head, (content, name))) = multipart(&text) else { return Ok(text.into_bytes()) };
        let boundary = head.split_once("boundary=").and_then(|(_, rest)| rest.lines().next());
        let boundary = boundary.context("a body in several parts has no boundary")?;
        let cache = self.node.state().join("var/lib/vz/template/cache");
        let file = fs::read_dir(&cache)?.next().context("no template")??.path();
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\n{content}\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"filename\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend(fs::read(&file)?);
        body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
        let length = |line: &str| match line.starts_with("Content-Length:") {
            true => format!("Content-Length: {}", body.len()),
            false => line.to_owned(),
        };
        let head = head.split("\r\n").map(length).collect::<Vec<_>>().join("\r\n");
        Ok([format!("{head}\r\n\r\n").into_bytes(), body].concat())
    }

    fn raw_text(&self, text: &str) -> String {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let body_text = if body.starts_with("GET ") || body.starts_with("POST ") {
            self.raw_text(body)
        } else if head.contains("multipart/") || head.contains("chunked") {
            body.to_owned()
        } else {
            self.body_text(body)
        };
        let mut lines = Vec::new();
        for line in head.split("\r\n") {
            lines.push(match line.split_once(": ") {
                _ if lines.is_empty() => self.first_line(line),
                Some(("Authorization", value)) => {
                    format!("Authorization: {}", self.authorization(value, None))
                }
                Some(("Content-Length", value)) if value == body.len().to_string() => {
                    format!("Content-Length: {}", body_text.len())
                }
                _ => line.to_owned(),
            });
        }
        format!("{}\r\n\r\n{body_text}", lines.join("\r\n"))
    }

    fn first_line(&self, line: &str) -> String {
        let parts: Vec<&str> = line.split(' ').collect();
        match parts.as_slice() {
            [method, path, version] => format!("{method} {} {version}", self.rename.path(path)),
            _ => line.to_owned(),
        }
    }
}

/// Head, content and file name of `<multipart body: [('content', 'iso')] + NAME>`, which stands for a recorded upload.
fn multipart(text: &str) -> Option<(&str, (&str, &str))> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let rest = body.strip_prefix("<multipart body: [('content', '")?.strip_suffix('>')?;
    Some((head, rest.split_once("')] + ")?))
}

/// When a task started, in seconds since 1970.
fn start(upid: &str) -> Option<i64> {
    i64::from_str_radix(upid.split(':').nth(4)?, 16).ok()
}

/// The answers on one connection.
fn split(text: &str) -> Vec<wire::Answer> {
    let mut answers = Vec::new();
    let mut rest = text;
    while rest.starts_with("HTTP/") {
        let Some(end) = rest.find("\r\n\r\n") else { break };
        let head = &rest[..end + 4];
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .or_else(|| head.lines().find_map(|line| line.strip_prefix("content-length: ")));
        let length = length.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or_default();
        let body = rest.get(end + 4..end + 4 + length).unwrap_or(&rest[end + 4..]).to_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split_once(' ')).map_or("", |(_, s)| s).to_owned();
        let pair = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
        let headers = lines.filter_map(pair).collect();
        rest = rest.get(end + 4 + body.len()..).unwrap_or_default();
        answers.push(wire::Answer { status, headers, body });
    }
    answers
}
