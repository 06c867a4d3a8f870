//! Whether an answer is the recorded one. Pure. Strict unless a rule with a reason says otherwise: same keys, same types, same
//! values, same texts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(crate) use super::rules::Rules;
use super::rules::{How, Object};

/// An answer, its names already those of the recording.
#[derive(Debug, Clone, Default)]
pub(crate) struct Side {
    /// `401 No ticket`.
    pub(crate) status: String,
    /// Header `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// The body.
    pub(crate) body: String,
    /// Of a recorded page of a log: lines of the whole log that the recorded node's mail system put there.
    pub(crate) artefacts: u64,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Where: `status`, `/data/rootfs`.
    pub(crate) at: String,
    /// As recorded.
    pub(crate) expected: String,
    /// As answered.
    pub(crate) got: String,
}

/// Compares answers to the request for `path`. `loose` names fields of this line that are compared by type only.
pub(crate) fn answers(
    rules: &Rules,
    path: &str,
    loose: &[String],
    recorded: &Side,
    ours: &Side,
) -> Vec<Difference> {
    let mut found = Comparison { rules, path, loose, found: Vec::new() };
    if !rules.same_text(&recorded.status, &ours.status) {
        found.differ("status", &recorded.status, &ours.status);
    }
    let kind = |side: &Side| side.content_type.clone().unwrap_or_else(|| "none".to_owned());
    if kind(recorded) != kind(ours) {
        found.differ("Content-Type", &kind(recorded), &kind(ours));
    }
    match (serde_json::from_str(&recorded.body), serde_json::from_str(&ours.body)) {
        (Ok(mut body), Ok(ours)) => {
            rules.without_artefacts(&mut body, recorded.artefacts);
            rules.without_absent(&mut body);
            found.values(("", "", &Object::new()), &body, &ours);
        }
        _ if rules.same_text(&recorded.body, &ours.body) => {}
        _ => found.differ("body", &recorded.body, &ours.body),
    }
    found.found
}

/// Compares what shell lines printed, line by line; blanks count once.
pub(crate) fn outputs(rules: &Rules, recorded: &str, ours: &str) -> Vec<Difference> {
    let split = |text: &str| -> Vec<String> {
        text.trim().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let (recorded, ours) = (split(recorded), split(ours));
    let same = recorded.len() == ours.len() && recorded.iter().zip(&ours).all(|(r, o)| rules.same_text(r, o));
    if same {
        return Vec::new();
    }
    let mut sorted = (recorded.clone(), ours.clone());
    sorted.0.sort();
    sorted.1.sort();
    // The recorder printed standard error after standard output.
    if sorted.0 == sorted.1 {
        return Vec::new();
    }
    vec![different_lines(rules, "output", &recorded, &ours)]
}

/// The lines that only one of two texts has.
fn different_lines(rules: &Rules, at: &str, recorded: &[String], ours: &[String]) -> Difference {
    let only = |a: &[String], b: &[String]| {
        let lines = a.iter().filter(|line| !b.iter().any(|other| rules.same_text(line, other)));
        format!("{} lines, of them only here:\n{}", a.len(), lines.cloned().collect::<Vec<_>>().join("\n"))
    };
    Difference { at: at.to_owned(), expected: only(recorded, ours), got: only(ours, recorded) }
}

struct Comparison<'a> {
    rules: &'a Rules,
    path: &'a str,
    loose: &'a [String],
    found: Vec<Difference>,
}

/// What makes an element of a list itself.
const IDENTITY: [&str; 18] = [
    "iface", "upid", "volid", "id", "vmid", "userid", "tokenid", "roleid", "ugid", "path", "storage",
    "poolid", "key", "name", "snapname", "subdir", "realm", "n",
];

impl Comparison<'_> {
    fn differ(&mut self, at: &str, expected: &str, got: &str) {
        self.found.push(Difference { at: at.to_owned(), expected: expected.to_owned(), got: got.to_owned() });
    }

    fn values(&mut self, (at, key, object): (&str, &str, &Object), recorded: &Value, ours: &Value) {
        let how = if self.loose.iter().any(|name| name == key) {
            Some(How::Type)
        } else {
            self.rules.how(self.path, key, object)
        };
        match (how, recorded, ours) {
            (Some(How::Any), _, _) => {}
            (Some(How::Type | How::Maybe), _, _) if kind(recorded) == kind(ours) => {}
            (Some(How::Set), Value::String(a), Value::String(b)) if set(a) == set(b) => {}
            (_, Value::Object(a), Value::Object(b)) => self.objects(at, a, b),
            (_, Value::Array(a), Value::Array(b)) => self.lists(at, a, b),
            (_, Value::String(a), Value::String(b)) if self.rules.same_text(a, b) => {}
            (_, a, b) if a == b => {}
            _ => self.differ(at, &recorded.to_string(), &ours.to_string()),
        }
    }

    fn objects(&mut self, at: &str, a: &Object, b: &Object) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let place = format!("{at}/{key}");
            let maybe = self.rules.how(self.path, key, a) == Some(How::Maybe);
            match (a.get(key), b.get(key)) {
                (Some(x), Some(y)) => self.values((&place, key, a), x, y),
                _ if maybe => {}
                (Some(a), None) => self.differ(&place, &a.to_string(), "(missing)"),
                (None, Some(b)) => self.differ(&place, "(missing)", &b.to_string()),
                (None, None) => {}
            }
        }
    }

    fn lists(&mut self, at: &str, a: &[Value], b: &[Value]) {
        if !a.is_empty() && a.iter().chain(b).all(|line| line.get("t").is_some()) {
            return self.logs(at, a, b);
        }
        let ordered = self.path.contains("/tasks") || !a.iter().chain(b).all(Value::is_object);
        if ordered && a.len() == b.len() {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                self.values((&format!("{at}/{index}"), "", &Object::new()), a, b);
            }
            return;
        }
        let (mut left, mut right) = (by_identity(a), by_identity(b));
        let names: BTreeSet<String> = left.keys().chain(right.keys()).cloned().collect();
        for name in names {
            let place = format!("{at}/{name}");
            let (a, b) = (left.remove(&name).unwrap_or_default(), right.remove(&name).unwrap_or_default());
            for index in 0..a.len().max(b.len()) {
                match (a.get(index), b.get(index)) {
                    (Some(a), Some(b)) => self.values((&place, "", &Object::new()), a, b),
                    (Some(a), None) => self.differ(&place, &a.to_string(), "(missing)"),
                    (None, Some(b)) => self.differ(&place, "(missing)", &b.to_string()),
                    (None, None) => {}
                }
            }
        }
    }
}

impl Comparison<'_> {
    /// Lines of a log, in order, but for those that come in any order.
    fn logs(&mut self, at: &str, a: &[Value], b: &[Value]) {
        let text = |lines: &[Value]| -> Vec<String> {
            lines.iter().filter_map(|line| line["t"].as_str()).map(str::to_owned).collect()
        };
        let (recorded, ours) = (text(a), text(b));
        let part = |lines: &[String]| -> (Vec<String>, Vec<String>) {
            lines.iter().cloned().partition(|line| self.rules.any_order(line))
        };
        let ((free, fixed), (mut our_free, our_fixed)) = (part(&recorded), part(&ours));
        let mut same = fixed.len() == our_fixed.len() && free.len() == our_free.len();
        same &= fixed.iter().zip(&our_fixed).all(|(a, b)| self.rules.same_text(a, b));
        for line in &free {
            match our_free.iter().position(|other| self.rules.same_text(line, other)) {
                Some(found) => drop(our_free.swap_remove(found)),
                None => same = false,
            }
        }
        if !same {
            self.found.push(different_lines(self.rules, at, &recorded, &ours));
        } else if a.iter().zip(b).any(|(a, b)| a["n"] != b["n"]) {
            self.differ(at, "line numbers", "other line numbers");
        }
    }
}

fn by_identity(list: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for value in list {
        let parts = IDENTITY.iter().filter_map(|key| value.get(key)).map(|part| match part {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        found.entry(parts.collect::<Vec<_>>().join(",")).or_default().push(value);
    }
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn set(text: &str) -> BTreeSet<&str> {
    text.split([',', ';', ' ']).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "[[field]]\nkeys = [\"pid\", \"cpu\"]\nhow = \"type\"\nreason = \"r\"\n\
        [[field]]\nkeys = [\"content\"]\nhow = \"set\"\nreason = \"r\"\n\
        [[line]]\npattern = \"Total bytes: * (*)\"\nreason = \"r\"\n";

    fn diff(recorded: &str, ours: &str) -> Vec<String> {
        let rules = Rules::parse(RULES).unwrap();
        let side = |body: &str| Side { status: "200 OK".into(), body: body.into(), ..Side::default() };
        answers(&rules, "/x", &[], &side(recorded), &side(ours)).into_iter().map(|d| d.at).collect()
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        assert_eq!(diff(r#"{"data":{"a":1}}"#, r#"{"data":{"a":1}}"#), [""; 0]);
        assert_eq!(diff(r#"{"data":{"a":1}}"#, r#"{"data":{}}"#), ["/data/a"], "missing key");
        assert_eq!(diff(r#"{"data":{}}"#, r#"{"data":{"a":1}}"#), ["/data/a"], "key too many");
        assert_eq!(diff(r#"{"data":{"a":1}}"#, r#"{"data":{"a":"1"}}"#), ["/data/a"], "type");
        assert_eq!(diff(r#"{"data":{"a":1}}"#, r#"{"data":{"a":2}}"#), ["/data/a"], "value");
        assert_eq!(diff(r#"{"message":"no\n"}"#, r#"{"message":"yes\n"}"#), ["/message"], "text");
        assert_eq!(diff(r#"{"data":null}"#, r#"{"data":[]}"#), ["/data"], "null");
        assert_eq!(diff("too large", "large"), ["body"], "body that is no JSON");
        assert_eq!(
            diff(r#"{"data":[{"vmid":1},{"vmid":2}]}"#, r#"{"data":[{"vmid":2}]}"#),
            ["/data/1"],
            "element"
        );
        assert_eq!(
            diff(r#"{"data":[1,2]}"#, r#"{"data":[2,1]}"#),
            ["/data/0", "/data/1"],
            "order of scalars"
        );
    }

    #[test]
    fn what_a_rule_names_is_compared_by_type_or_as_a_set_only() {
        assert_eq!(diff(r#"{"data":{"pid":1,"cpu":0}}"#, r#"{"data":{"pid":7,"cpu":0.5}}"#), [""; 0]);
        assert_eq!(diff(r#"{"data":{"pid":1}}"#, r#"{"data":{"pid":"7"}}"#), ["/data/pid"]);
        assert_eq!(diff(r#"{"data":{"pid":1}}"#, r#"{"data":{}}"#), ["/data/pid"]);
        assert_eq!(diff(r#"{"content":"a,b"}"#, r#"{"content":"b,a"}"#), [""; 0]);
        assert_eq!(diff(r#"{"content":"a,b"}"#, r#"{"content":"a"}"#), ["/content"]);
        assert_eq!(diff(r#"{"t":"Total bytes: 5 (1B)"}"#, r#"{"t":"Total bytes: 6 (2B)"}"#), [""; 0]);
        assert_eq!(diff(r#"{"t":"Total bytes: 5 (1B)"}"#, r#"{"t":"Total: 6 (2B)"}"#), ["/t"]);
        assert_eq!(diff(r#"{"t":"at 2026-11-23 16:14:56"}"#, r#"{"t":"at 2027-01-01 00:00:00"}"#), [""; 0]);
        assert_eq!(
            diff(r#"{"data":[{"vmid":1},{"vmid":2}]}"#, r#"{"data":[{"vmid":2},{"vmid":1}]}"#),
            [""; 0]
        );
    }

    #[test]
    fn lines_of_a_log_keep_their_order_unless_a_rule_says_otherwise() {
        let rules = "[[order]]\nprefixes = [\"key \"]\nreason = \"r\"\n";
        let rules = Rules::parse(rules).unwrap();
        let log = |lines: &[&str]| {
            let lines = lines.iter().enumerate().map(|(n, t)| serde_json::json!({"n": n + 1, "t": t}));
            let body = serde_json::json!({"data": lines.collect::<Vec<_>>()}).to_string();
            Side { status: "200 OK".into(), body, ..Side::default() }
        };
        let same = |a: &[&str], b: &[&str]| answers(&rules, "/", &[], &log(a), &log(b)).is_empty();
        assert!(same(&["a", "key 1", "key 2", "b"], &["a", "key 2", "key 1", "b"]));
        assert!(!same(&["a", "b"], &["b", "a"]));
        assert!(!same(&["a", "key 1"], &["a", "key 2"]));
        assert!(!same(&["a"], &["a", "a"]));
    }

    #[test]
    fn status_and_content_type_count() {
        let rules = Rules::default();
        let side = |status: &str, kind: Option<&str>| Side {
            status: status.into(),
            content_type: kind.map(str::to_owned),
            ..Side::default()
        };
        let at = |a: &Side, b: &Side| {
            answers(&rules, "/", &[], a, b).into_iter().map(|d| d.at).collect::<Vec<_>>()
        };
        assert_eq!(at(&side("200 OK", None), &side("500 OK", None)), ["status"]);
        assert_eq!(at(&side("401 No ticket", None), &side("401 no", None)), ["status"], "reason phrase");
        assert_eq!(at(&side("200 OK", Some("a/b")), &side("200 OK", None)), ["Content-Type"]);
    }

    #[test]
    fn the_order_of_options_and_notices_of_the_recorded_node_do_not_count() {
        let text = "[[artefact]]\npattern = \"WARN: mail*\"\nreason = \"\"\n";
        let rules = Rules::parse(text).unwrap();
        let head = "INFO: starting new backup job: vzdump 1";
        assert!(rules.same_text(&format!("{head} --a 1 --b 2"), &format!("{head} --b 2 --a 1")));
        let side = |lines: &str, total: u32| Side {
            body: format!("{{\"data\":[{lines}],\"total\":{total}}}"),
            ..Side::default()
        };
        let recorded = side("{\"n\":1,\"t\":\"WARN: mail x\"},{\"n\":2,\"t\":\"TASK OK\"}", 2);
        let ours = side("{\"n\":1,\"t\":\"TASK OK\"}", 1);
        assert_eq!(answers(&rules, "/tasks", &[], &recorded, &ours), []);
    }

    #[test]
    fn printed_lines_are_compared_without_their_blanks() {
        let rules = Rules::default();
        assert!(outputs(&rules, "a  b\nc", "a b\nc\n").is_empty());
        assert_eq!(outputs(&rules, "a\nc", "a\nd")[0].got, "2 lines, of them only here:\nd");
        assert_eq!(outputs(&rules, "a", "a\na").len(), 1);
    }
}
