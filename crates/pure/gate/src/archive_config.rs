//! What an archive's configuration may hold, since a restore takes over all that it is not told otherwise (F74, F75).
//!
//! Input is the text of `GET vzdump/extractconfig`. Only keys on the list pass; a third network, another feature than
//! `nesting` and `keyctl`, a hookscript, a device, an entry point, environment or raw `lxc.*` line does not.

/// Keys that carry no will of somebody else's, or that our restore always passes itself.
const KEYS: [&str; 20] = [
    "arch",
    "cmode",
    "console",
    "cores",
    "cpulimit",
    "cpuunits",
    "description",
    "hostname",
    "memory",
    "nameserver",
    "onboot",
    "ostype",
    "protection",
    "searchdomain",
    "startup",
    "swap",
    "tags",
    "timezone",
    "tty",
    "unprivileged",
];
const NETWORKS: [&str; 2] = ["net0", "net1"];
const FEATURES: [&str; 2] = ["nesting=1", "keyctl=1"];

/// The lines of `config` that are not on the allow-list, each with the reason, in their order. Empty is good.
///
/// Lines of a snapshot's section (`[name]` and on) are looked at alike: nothing is trusted because of where it stands.
pub fn forbidden_lines(config: &str) -> Vec<String> {
    config.lines().map(str::trim_end).filter_map(objection).collect()
}

fn objection(line: &str) -> Option<String> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let Some((key, value)) = line.split_once(':') else {
        return Some(format!("{line} (not a `key: value` line)"));
    };
    let allowed = match key {
        "features" => value.trim().split(',').all(|feature| FEATURES.contains(&feature)),
        "rootfs" => is_volume(value),
        _ if is_mount_point(key) => is_volume(value),
        _ => KEYS.contains(&key) || NETWORKS.contains(&key),
    };
    (!allowed).then(|| line.to_owned())
}

fn is_mount_point(key: &str) -> bool {
    key.strip_prefix("mp")
        .is_some_and(|n| !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A volume `STORAGE:PATH`, not a path or device of the host, and first, as Proxmox writes it: `volume=` elsewhere in the line
/// would be another spelling of the same, and the later one counts.
fn is_volume(value: &str) -> bool {
    let mut parts = value.trim().split(',');
    let source = parts.next().unwrap_or_default();
    let plain = |text: &str| !text.is_empty() && !text.contains('=');
    source.split_once(':').is_some_and(|(storage, path)| {
        plain(storage) && plain(path) && !storage.contains('/') && !path.starts_with('/')
    }) && parts.all(|part| part.split_once('=').is_some_and(|(key, _)| key.trim() != "volume"))
}
