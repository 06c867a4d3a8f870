//! Decoding query, form and JSON as Proxmox VE's own web server does (F12–F14). Pure.

use std::collections::BTreeMap;

use super::params::{Params, Value};
use crate::state::property::decode_text;

/// What a body is refused with before any endpoint sees it: status and plain text.
pub(crate) type Refusal = (u16, String);

/// A form or a query string: pairs separated by `&` and `;`, a value being what stands between the first and the second `=`.
pub(crate) fn form(text: &str) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for pair in text.split(['&', ';']).filter(|p| !p.is_empty()) {
        let mut parts = pair.split('=');
        let name = unescape(parts.next().unwrap_or_default());
        let value = unescape(parts.next().unwrap_or_default());
        let value = match all.remove(&name) {
            Some(Value::Text(first)) => Value::List(vec![first, value]),
            Some(Value::List(mut list)) => {
                list.push(value);
                Value::List(list)
            }
            Some(Value::Null) | None => Value::Text(value),
        };
        all.insert(name, value);
    }
    // Sent by web interfaces against caching.
    all.remove("_dc");
    all
}

fn unescape(text: &str) -> String {
    decode_text(&text.replace('+', " "))
}

/// A JSON body.
///
/// # Errors
/// 500 with the parser's words for anything that is no object.
pub(crate) fn json(body: &[u8]) -> Result<BTreeMap<String, Value>, Refusal> {
    let parsed: serde_json::Value = serde_json::from_slice(body).map_err(|e| malformed(body, &e))?;
    let serde_json::Value::Object(mut object) = parsed else {
        return Err((
            500,
            "Not a HASH reference at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 972.\n".into(),
        ));
    };
    object.remove("_dc");
    Ok(object.into_iter().map(|(name, value)| (name, json_value(value))).collect())
}

/// In the words of Perl's JSON::XS, as far as its parser and this one agree on what is wrong (F11, rec 366).
fn malformed(body: &[u8], error: &serde_json::Error) -> Refusal {
    let lines = body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1));
    let eof = error.is_eof();
    let at = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(usize::from(!eof));
    let at = at.min(body.len());
    let rest: String = String::from_utf8_lossy(&body[at..]).chars().filter(|c| !c.is_control()).collect();
    let before = match rest.chars().count() {
        0 => "(end of string)".to_owned(),
        1..=20 => rest,
        _ => format!("{}...", rest.chars().take(20).collect::<String>()),
    };
    let said = error.to_string();
    let what = if said.starts_with("expected `,` or `}`") || (eof && said.contains("object")) {
        ", or } expected while parsing object/hash"
    } else if said.starts_with("expected `,` or `]`") || (eof && said.contains("list")) {
        ", or ] expected while parsing array"
    } else if said.starts_with("trailing characters") {
        "garbage after JSON object"
    } else if said.contains("parsing a string") {
        "unexpected end of string while parsing JSON string"
    } else {
        "malformed JSON string, neither tag, array, object, number, string or atom"
    };
    let line = "/usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934";
    (500, format!("{what}, at character offset {at} (before \"{before}\") at {line}.\n"))
}

fn json_value(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Array(all) => Value::List(all.into_iter().map(json_text).collect()),
        other => Value::Text(json_text(other)),
    }
}

fn json_text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::Bool(yes) => if yes { "1" } else { "0" }.into(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Puts query, body and path together: the query overrides the body (F13), the path must not be contradicted.
///
/// # Errors
/// The names that contradict the path.
pub(crate) fn merge(
    path: &BTreeMap<String, String>,
    query: BTreeMap<String, Value>,
    body: BTreeMap<String, Value>,
) -> Result<Params, BTreeMap<String, String>> {
    let mut all = body;
    all.extend(query);
    let mut conflicts = BTreeMap::new();
    for (name, value) in path {
        let value = Value::Text(value.clone());
        // It ends at the first one.
        if conflicts.is_empty() && all.get(name).is_some_and(|given| *given != value) {
            conflicts.insert(
                name.clone(),
                "duplicate parameter (already defined in URI) with conflicting values!".to_owned(),
            );
        }
        all.insert(name.clone(), value);
    }
    if conflicts.is_empty() { Ok(Params(all)) } else { Err(conflicts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.into())
    }

    /// F12, rec 370, 1029–1033: `;` separates pairs, a second unencoded `=` ends the value.
    #[test]
    fn f12_a_form_is_decoded_naively() {
        let all = form("net0=name=eth0,bridge=vmbr0&comment=a=b;c&plus=a+b%3D%3B");
        assert_eq!(all["net0"], text("name"));
        assert_eq!(all["comment"], text("a"));
        assert_eq!(all["c"], text(""));
        assert_eq!(all["plus"], text("a b=;"));
    }

    /// F13, rec 373: a query parameter overrides the body's of the same name; rec 376: the path cannot be contradicted.
    #[test]
    fn f13_the_query_wins_over_the_body() {
        let merged = merge(&BTreeMap::new(), form("poolid=q"), form("poolid=b&comment=x")).unwrap();
        assert_eq!(merged.get("poolid").unwrap(), "q");
        let path = BTreeMap::from([("vmid".to_owned(), "101".to_owned())]);
        assert!(
            merge(&path, form(""), form("vmid=102")).unwrap_err()["vmid"].starts_with("duplicate parameter")
        );
        assert!(merge(&path, form(""), form("vmid=101")).is_ok());
    }

    /// F14, F15, rec 118, 377, 378, 383.
    #[test]
    fn f14_json_has_booleans_numbers_lists_and_null() {
        let all = json(br#"{"onboot":true,"memory":200,"tags":["x","y"],"swap":null}"#).unwrap();
        let params = Params(all);
        assert_eq!(params.get("onboot").unwrap(), "1");
        assert_eq!(params.get("memory").unwrap(), "200");
        assert_eq!(params.list("tags"), ["x", "y"]);
        assert_eq!(params.get("swap").unwrap(), " ");
        // rec 366.
        let text = "malformed JSON string, neither tag, array, object, number, string or atom, at character offset 11 \
                    (before \"broken\") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.\n";
        assert_eq!(json(b"{\"poolid\": broken").unwrap_err(), (500, text.to_owned()));
        assert!(json(b"{\"a\":1").unwrap_err().1.contains("(end of string)"));
        assert!(json(b"[1]").unwrap_err().1.starts_with("Not a HASH reference"));
    }
}
