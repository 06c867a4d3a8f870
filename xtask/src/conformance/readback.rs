//! A call that changes something is as recorded only if what was read back is: the end of its task, and the reads of the same
//! object in the same step, before the next change of it.

use super::{
    compare::Difference,
    plan::Plan,
    recording::{Exchange, Line, What},
    replay::Verdict,
};

/// Takes the match away from changes whose read-back differs.
pub(crate) fn apply(lines: &[Line], plan: &Plan, verdicts: &mut [Verdict]) {
    let before = verdicts.to_vec();
    for (at, line) in lines.iter().enumerate() {
        let What::Http(exchange) = &line.what else { continue };
        if !changes(exchange) || !matches!(before.get(at), Some(Verdict::Matched)) {
            continue;
        }
        let read = read_back(lines, plan, at)
            .into_iter()
            .find(|read| matches!(before.get(*read), Some(Verdict::Differs(_))));
        if let (Some(read), Some(verdict)) = (read.and_then(|read| lines.get(read)), verdicts.get_mut(at)) {
            *verdict = Verdict::Differs(vec![Difference {
                at: "read back".into(),
                expected: format!("line {} as recorded", read.number),
                got: "it differs".into(),
            }]);
        }
    }
}

/// Indices of the lines that read a change back.
fn read_back(lines: &[Line], plan: &Plan, at: usize) -> Vec<usize> {
    let Some(What::Http(change)) = lines.get(at).map(|line| &line.what) else { return Vec::new() };
    let task = lines.get(at).and_then(|line| plan.started_by.get(&line.number));
    let object = object(change);
    let mut found = Vec::new();
    let mut open = true;
    let step = lines.get(at).map(|line| &line.step);
    for (index, line) in lines.iter().enumerate().skip(at + 1) {
        let What::Http(exchange) = &line.what else { continue };
        let path = exchange.bare_path();
        if task.is_some() && path.contains("/tasks/UPID") && path.ends_with("/status") {
            let data = exchange.json.as_ref().map(|json| &json["data"]);
            let ours = data
                .is_some_and(|d| d["upid"].as_str() == task.map(String::as_str) && d["status"] == "stopped");
            if ours {
                found.push(index);
            }
        }
        // Later steps change pools and guests in ways that do not name them.
        open &= step == Some(&line.step);
        if object.is_some() && open && self::object(exchange) == object {
            if changes(exchange) {
                open = false;
            } else if exchange.method == "GET" {
                found.push(index);
            }
        }
        if !open && task.is_none() {
            break;
        }
    }
    found
}

fn changes(exchange: &Exchange) -> bool {
    exchange.method != "GET"
        && exchange.status.starts_with("200")
        && !exchange.path.contains("/access/ticket")
}

/// What a call is about: a guest, a pool, a user, a role, the ACL, a storage's definition.
fn object(exchange: &Exchange) -> Option<String> {
    let path = exchange.bare_path();
    let parts: Vec<&str> = path.split('/').skip(3).collect();
    let body = exchange.body.as_deref().unwrap_or_default();
    let field = |name: &str| {
        body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    match parts.as_slice() {
        ["nodes", _, "lxc"] if exchange.method == "POST" => Some(format!("lxc/{}", field("vmid")?)),
        ["nodes", _, "lxc", vmid, ..] => Some(format!("lxc/{vmid}")),
        ["pools", pool, ..] => Some(format!("pool/{pool}")),
        ["pools"] if exchange.method != "GET" => Some(format!("pool/{}", field("poolid")?)),
        ["access", "acl"] => Some("acl".to_owned()),
        ["access", kind @ ("users" | "roles"), name, ..] => {
            Some(format!("{kind}/{}", name.replace("%40", "@")))
        }
        ["access", "users"] if exchange.method != "GET" => {
            Some(format!("users/{}", field("userid")?.replace("%40", "@")))
        }
        ["access", "roles"] if exchange.method != "GET" => Some(format!("roles/{}", field("roleid")?)),
        ["storage", name] => Some(format!("storage/{name}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::conformance::plan;

    fn line(number: usize, method: &str, path: &str, body: &str, data: Value) -> Line {
        let exchange = Exchange {
            method: method.into(),
            path: format!("/api2/json{path}"),
            headers: Vec::new(),
            body: (!body.is_empty()).then(|| body.to_owned()),
            status: "200 OK".into(),
            answer_headers: Vec::new(),
            answer: String::new(),
            json: Some(json!({ "data": data })),
        };
        Line { number, step: "s".into(), time: None, what: What::Http(Box::new(exchange)) }
    }

    fn verdicts(bad: &[usize], count: usize) -> Vec<Verdict> {
        (0..count)
            .map(|n| if bad.contains(&n) { Verdict::Differs(Vec::new()) } else { Verdict::Matched })
            .collect()
    }

    #[test]
    fn a_change_whose_task_or_next_read_differs_does_not_match() {
        let upid = "UPID:pve:000001F1:00077C4C:6B0422A5:vzcreate:101:root@pam:";
        let lines = [
            line(1, "POST", "/nodes/pve/lxc", "vmid=101&x=1", json!(upid)),
            line(2, "GET", "/nodes/pve/tasks/UPID/status", "", json!({"upid": upid, "status": "stopped"})),
            line(3, "GET", "/nodes/pve/lxc/101/config", "", json!({})),
            line(4, "PUT", "/nodes/pve/lxc/101/config", "memory=1", Value::Null),
            line(5, "GET", "/nodes/pve/lxc/101/config", "", json!({})),
            line(6, "GET", "/nodes/pve/lxc/102/config", "", json!({})),
        ];
        let plan = plan::of(&lines);
        let matched = |bad: &[usize]| {
            let mut all = verdicts(bad, lines.len());
            apply(&lines, &plan, &mut all);
            [0, 3].map(|at| matches!(all[at], Verdict::Matched))
        };
        assert_eq!(matched(&[]), [true, true]);
        assert_eq!(matched(&[1]), [false, true], "its task ended otherwise");
        assert_eq!(matched(&[2]), [false, true], "the next read differs");
        assert_eq!(matched(&[4]), [true, false]);
        assert_eq!(matched(&[5]), [true, true], "another guest");
    }
}
