//! Shell lines of a recording, run on the simulator's files.
//!
//! A script has `$STATE` (the node's `/`), `pct` and `pvesm` (the simulator's), and `vol VMID KEY`, which prints the directory of
//! a guest's volume, and `clock_at ARCHIVE`. Paths of the node (`/etc/pve`, `/mnt/…`, `/var/lib/vz`, `/srv/…`) are put below `$STATE`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::node::Node;

const PLACES: [&str; 8] = [
    "/etc/pve",
    "/etc/vzdump.conf",
    "/mnt/",
    "/var/lib/vz",
    "/var/log/pve",
    "/srv/",
    "/var/lib/lxc",
    "/run/lock/lxc",
];

const PRELUDE: &str = r#"
pct() { "$SIM" pct --state "$STATE" "$@"; }
pvesm() { "$SIM" pvesm --state "$STATE" "$@"; }
vol() { pvesm path "$(sed -n "/^\[/q; s/^$2: \([^,]*\).*/\1/p" "$STATE/etc/pve/lxc/$1.conf" | head -n 1)"; }
# From the next second on the node's clock goes on at the second in the name of an archive.
clock_at() {
  local stamp second other
  stamp=$(echo "$1" | sed -E "s/.*-([0-9]{4})_([0-9]{2})_([0-9]{2})-([0-9]{2})_([0-9]{2})_([0-9]{2})\\.tar.*/\\1-\\2-\\3 \\4:\\5:\\6/")
  second=$(date +%s); while [ "$(date +%s)" = "$second" ]; do sleep 0.01; done
  other=$(grep -o '"shift_s":[^}]*' "$STATE/control/faults.json" | grep -o -- '-\?[0-9]*$' | paste -sd+)
  "$SIM" fault --state "$STATE" set \
    "{\"at\":\"clock\",\"do\":{\"shift_s\":$(( $(date -d "$stamp" +%s) - second - 1 - (${other:-0}) ))}}"
}
cd "$STATE" || exit 1
"#;

/// Seconds after which a script that waits for something is ended; then its line differs.
const LIMIT: &str = "10";

/// Runs a script; its standard output, then its standard error.
///
/// # Errors
/// bash cannot be started.
pub(crate) fn run(node: &Node, script: &str) -> Result<String> {
    let script = format!("{PRELUDE}{}", below_state(script));
    let output = Command::new("timeout")
        .args([LIMIT, "bash", "-c"])
        .arg(&script)
        .env("STATE", node.state())
        .env("SIM", &node.program)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("cannot start bash")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// The node's paths below `$STATE`.
fn below_state(script: &str) -> String {
    let mut out = String::new();
    let mut rest = script;
    while !rest.is_empty() {
        let place = PLACES.iter().find(|place| rest.starts_with(**place));
        let inside = out.ends_with(|c: char| c.is_ascii_alphanumeric() || "/._-}".contains(c))
            || out.ends_with("STATE");
        if let Some(place) = place.filter(|_| !inside) {
            out.push_str("$STATE");
            out.push_str(place);
            rest = &rest[place.len()..];
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out
}

/// Whether a recorded line only looks at files, or calls `pct` and `pvesm`, so that it can be run as it is.
pub(crate) fn runs_as_it_is(line: &str) -> bool {
    if ["`", "$(", "<<", "/proc", "/sys/", "/root/"].iter().any(|part| line.contains(part)) {
        return false;
    }
    if line.replace("2>&1", "").replace("2>/dev/null", "").contains('>') {
        return false;
    }
    split_commands(line).iter().all(|command| {
        let mut words = command.split_whitespace();
        match (words.next(), words.next()) {
            (Some("cat" | "grep" | "ls" | "head" | "tail" | "sort" | "echo" | "wc"), _) => true,
            (Some("pct"), Some(verb)) => [
                "config",
                "unlock",
                "status",
                "rescan",
                "list",
                "delsnapshot",
                "set",
                "pending",
                "listsnapshot",
            ]
            .contains(&verb),
            (Some("pvesm"), Some(verb)) => ["list", "path", "alloc", "free", "status"].contains(&verb),
            _ => false,
        }
    })
}

/// Commands of a line; separators inside quotes do not count.
fn split_commands(line: &str) -> Vec<String> {
    let (mut all, mut now, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, ';' | '|' | '&' | '\n') => all.push(std::mem::take(&mut now)),
            (None, '"' | '\'') => {
                quote = Some(c);
                now.push(c);
            }
            (Some(q), c) if q == c => {
                quote = None;
                now.push(c);
            }
            (_, c) => now.push(c),
        }
    }
    all.push(now);
    all.retain(|command| !command.trim().is_empty() && command.trim() != "1");
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_look_are_run_as_they_are() {
        assert!(runs_as_it_is("cat /etc/pve/lxc/101.conf; ls /mnt/btr/images/101 2>/dev/null | tail -2"));
        assert!(runs_as_it_is("grep -E \"^(mp|net)|lock\" /etc/pve/lxc/1.conf; pct unlock 100"));
        for bad in
            ["kill -9 1", "umount /mnt/x", "cat $(x)", "echo a > /b", "pct exec 1 -- true", "ps ax | grep x"]
        {
            assert!(!runs_as_it_is(bad), "{bad}");
        }
    }

    #[test]
    fn paths_of_the_node_are_put_below_its_state() {
        assert_eq!(below_state("ls /mnt/a \"/etc/pve/x\""), "ls $STATE/mnt/a \"$STATE/etc/pve/x\"");
        assert_eq!(below_state("x/mnt/a $STATE/etc/pve"), "x/mnt/a $STATE/etc/pve");
    }
}
