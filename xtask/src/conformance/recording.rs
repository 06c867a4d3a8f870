//! The recordings as they lie on disk: one JSON object a line, in the order in which they happened.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: usize,
    /// The step of the recording that it belongs to.
    pub(crate) step: String,
    /// Seconds since 1970, where recorded.
    pub(crate) time: Option<f64>,
    /// What happened.
    pub(crate) what: What,
}

/// What a line records.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A request and its answer.
    Http(Box<Exchange>),
    /// Bytes sent and received.
    Raw {
        /// Sent.
        request: String,
        /// Received.
        response: String,
    },
    /// Something done at the node.
    Shell {
        /// The command, or a remark in parentheses.
        line: String,
        /// What it printed.
        output: String,
    },
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// GET, POST…
    pub(crate) method: String,
    /// As sent, still encoded, with its query.
    pub(crate) path: String,
    /// As sent; secrets are blanked.
    pub(crate) headers: Vec<(String, String)>,
    /// As sent.
    pub(crate) body: Option<String>,
    /// `401 No ticket`.
    pub(crate) status: String,
    /// Names as received.
    pub(crate) answer_headers: Vec<(String, String)>,
    /// As received.
    pub(crate) answer: String,
    /// The answer, if it is JSON.
    pub(crate) json: Option<Value>,
}

impl Exchange {
    /// The recorded answer's UPID, if it is one.
    pub(crate) fn upid(&self) -> Option<&str> {
        self.json.as_ref()?.get("data")?.as_str().filter(|text| text.starts_with("UPID:"))
    }

    /// The path without its query.
    pub(crate) fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct RawLine {
    step: Option<String>,
    request: Option<RawRequest>,
    response: Option<RawResponse>,
    t: Option<f64>,
    shell: Option<String>,
    output: Option<String>,
    raw_request: Option<String>,
    raw_response: Option<String>,
}

#[derive(Deserialize)]
struct RawRequest {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct RawResponse {
    status_line: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    json: Option<Value>,
}

/// Reads a file of recordings.
///
/// # Errors
/// The file is missing or a line is not understood.
pub(crate) fn load(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate();
    lines
        .map(|(at, line)| parse(at + 1, line).with_context(|| format!("{} line {}", path.display(), at + 1)))
        .collect()
}

fn parse(number: usize, text: &str) -> Result<Line> {
    let raw: RawLine = serde_json::from_str(text)?;
    let what = if let Some(line) = raw.shell {
        What::Shell { line, output: raw.output.unwrap_or_default() }
    } else if let Some(request) = raw.raw_request {
        What::Raw { request, response: raw.raw_response.unwrap_or_default() }
    } else {
        let request = raw.request.context("neither a request nor a shell line")?;
        let response = raw.response.context("no response")?;
        let status = response.status_line.split_once(' ').map_or("", |(_, rest)| rest);
        What::Http(Box::new(Exchange {
            method: request.method,
            path: request.path,
            headers: request.headers,
            body: request.body,
            status: status.to_owned(),
            answer_headers: response.headers,
            answer: response.body.unwrap_or_default(),
            json: response.json,
        }))
    };
    Ok(Line { number, step: raw.step.unwrap_or_default(), time: raw.t, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_of_lines_are_read() {
        let http = r#"{"step":"a","request":{"method":"GET","path":"/x?y=1","headers":[["Host","h"]],"body":null},
            "response":{"status_line":"HTTP/1.1 401 No ticket","headers":[],"body":"","json":null},"t":1.5}"#;
        let line = parse(3, http).unwrap();
        let What::Http(exchange) = line.what else { panic!("not HTTP") };
        assert_eq!((exchange.status.as_str(), exchange.bare_path(), line.number), ("401 No ticket", "/x", 3));
        assert!(matches!(parse(1, r#"{"shell":"ls","output":"x"}"#).unwrap().what, What::Shell { .. }));
        assert!(matches!(
            parse(1, r#"{"raw_request":"GET","raw_response":""}"#).unwrap().what,
            What::Raw { .. }
        ));
        assert!(parse(1, "{}").is_err());
    }
}
