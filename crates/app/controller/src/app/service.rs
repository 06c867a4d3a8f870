//! One service of a compose file, as the process engine runs it.

use super::{
    compose::{NAME_RULE, is_name},
    values::{self, Port},
    yaml::{AppError, Node, Place},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
    time::Duration,
};

/// A service: one process with its environment, volumes and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `entrypoint` and `command`, never empty.
    pub command: Vec<String>,
    /// What the file sets; the engine adds `HOST`, `PORT` and `HEALTH_NONCE`.
    pub environment: BTreeMap<String, String>,
    /// Named volumes and where they are seen.
    pub mounts: Vec<Mount>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Its health check, if the compose file has one.
    pub health: Option<HealthCheck>,
    /// What happens when the process ends.
    pub restart: Restart,
    /// How long it may take to end after SIGTERM before it is killed.
    pub stop_grace: Duration,
    /// Absolute path inside the service's root, where it starts.
    pub working_dir: String,
    /// Services that must run before it.
    pub depends_on: BTreeSet<String>,
}

/// A named volume at an absolute path of the service's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name in the compose file.
    pub volume: String,
    /// Where the service sees it.
    pub target: String,
}

/// A health check by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port that the service listens on.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Time between two checks.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Failures in a row after which the service counts as unhealthy.
    pub retries: u32,
}

/// What happens when the process of a service ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It stays as it is.
    No,
    /// It is started again if it failed, at most so many times in a row, if a number is given.
    OnFailure(Option<u32>),
    /// It is started again.
    Always,
}

/// Reads the service `name`; `volumes` are the named volumes of the file.
///
/// # Errors
/// [`AppError`], the first thing that cannot be run exactly as it is written.
pub fn parse(name: String, mut node: Node, volumes: &BTreeSet<String>) -> Result<Service, AppError> {
    if !is_name(&name) {
        return Err(node.invalid("services", format!("`{name}` is no name of a service: {NAME_RULE}")));
    }
    let place = node.place().clone();
    // Processes have no image: their programs lie in the app's `bin`.
    node.text("image")?;
    let mut command = command(&mut node, "entrypoint")?;
    command.extend(self::command(&mut node, "command")?);
    if command.is_empty() {
        return Err(
            node.invalid("command", "is missing; the process engine knows no image that could have one")
        );
    }
    let service = Service {
        name,
        command,
        environment: environment(&mut node)?,
        mounts: mounts(&mut node, volumes)?,
        ports: ports(&mut node)?,
        health: health(&mut node)?,
        restart: restart(&mut node)?,
        stop_grace: duration(&mut node, "stop_grace_period")?.unwrap_or(Duration::from_secs(10)),
        working_dir: working_dir(&mut node)?,
        depends_on: depends_on(&mut node)?,
    };
    node.finish()?;
    no_absolute_data(&place, &service)?;
    Ok(service)
}

/// Processes see the machine's `/` and not the service's root: an absolute path into a volume would lead out of the guest.
fn no_absolute_data(place: &Place, service: &Service) -> Result<(), AppError> {
    let values = service.environment.iter().map(|(name, value)| ("environment", name.as_str(), value));
    let words = service.command.iter().map(|word| ("command", "a word", word));
    for (key, name, value) in values.chain(words) {
        let leads_out =
            |mount: &&Mount| value.match_indices(&mount.target).any(|(at, _)| is_whole_path(value, at));
        if let Some(mount) = service.mounts.iter().find(leads_out) {
            let why = format!(
                "{name} is `{value}`, but processes do not see the volume at {}; write the path relative to \
                 working_dir",
                mount.target
            );
            return Err(AppError::Invalid { place: place.clone(), key: key.to_owned(), why });
        }
    }
    Ok(())
}

/// Whether what begins at `at` begins a path there, as in `/data`, `--dir=/data` or `sqlite:/data/x`, not `a/data`.
fn is_whole_path(text: &str, at: usize) -> bool {
    text[..at]
        .chars()
        .next_back()
        .is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '/' | '.' | '_' | '-'))
}

fn strings(node: &Node, key: &str, value: Value) -> Result<Vec<String>, AppError> {
    let Value::Array(items) = value else {
        return Err(node.invalid(key, "must be a list of texts"));
    };
    let text = |item| match item {
        Value::String(text) => node.plain(key, text),
        other => Err(node.invalid(key, format!("must be a list of texts; put quotes around {other}"))),
    };
    items.into_iter().map(text).collect()
}

fn command(node: &mut Node, key: &'static str) -> Result<Vec<String>, AppError> {
    match node.take(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(line)) => {
            let line = node.plain(key, line)?;
            values::split_words(&line).map_err(|why| node.invalid(key, why))
        }
        Some(list) => strings(node, key, list),
    }
}

fn environment(node: &mut Node) -> Result<BTreeMap<String, String>, AppError> {
    const KEY: &str = "environment";
    let mut found = BTreeMap::new();
    match node.take(KEY) {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (name, value) in map {
                let value = match value {
                    Value::String(text) => node.plain(KEY, text)?,
                    Value::Number(number) if !number.is_f64() => number.to_string(),
                    Value::Null => {
                        return Err(
                            node.invalid(KEY, format!("`{name}` has no value; there is none to pass on"))
                        );
                    }
                    other => return Err(node.invalid(KEY, format!("`{name}`: put quotes around {other}"))),
                };
                found.insert(name, value);
            }
        }
        Some(list) => {
            for item in strings(node, KEY, list)? {
                let Some((name, value)) = item.split_once('=') else {
                    return Err(node.invalid(KEY, format!("`{item}` is not NAME=VALUE")));
                };
                found.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    match found.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        Some(name) => Err(node.invalid(KEY, format!("`{name}` is no name of a variable"))),
        None => Ok(found),
    }
}

/// An absolute path without `.` and `..` that is not the root itself.
fn is_target(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn mounts(node: &mut Node, volumes: &BTreeSet<String>) -> Result<Vec<Mount>, AppError> {
    const KEY: &str = "volumes";
    let items = match node.take(KEY) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(node.invalid(KEY, "must be a list")),
    };
    let mut mounts: Vec<Mount> = Vec::new();
    for item in items {
        let mount = match item {
            Value::String(text) => short_mount(node, &text)?,
            item => long_mount(node.nested(KEY, item)?)?,
        };
        if !volumes.contains(&mount.volume) {
            let why = format!(
                "`{}` is not under the file's `volumes` (binds and unnamed volumes are not supported)",
                mount.volume
            );
            return Err(node.invalid(KEY, why));
        }
        if !is_target(&mount.target) {
            return Err(node.invalid(KEY, format!("`{}` is no absolute path below /", mount.target)));
        }
        let (new, nested) = (Path::new(&mount.target), |old: &Mount| {
            Path::new(&mount.target).starts_with(&old.target)
                || Path::new(&old.target).starts_with(&mount.target)
        });
        if let Some(old) = mounts.iter().find(|old| nested(old)) {
            let why = format!("{} and {} lie in each other", new.display(), old.target);
            return Err(node.invalid(KEY, why));
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

fn short_mount(node: &Node, text: &str) -> Result<Mount, AppError> {
    let text = node.plain("volumes", text.to_owned())?;
    match text.split(':').collect::<Vec<_>>()[..] {
        [volume, target] | [volume, target, "rw"] => {
            Ok(Mount { volume: volume.to_owned(), target: target.to_owned() })
        }
        [_, _, mode] => Err(node.invalid("volumes", format!("mode `{mode}` is not supported, only rw is"))),
        _ => Err(node.invalid("volumes", format!("`{text}` is not VOLUME:/PATH"))),
    }
}

fn long_mount(mut node: Node) -> Result<Mount, AppError> {
    match node.text("type")?.as_deref() {
        Some("volume") => {}
        other => return Err(node.invalid("type", format!("must be `volume`, not `{}`", other.unwrap_or("")))),
    }
    let (Some(volume), Some(target)) = (node.text("source")?, node.text("target")?) else {
        return Err(node.invalid("source", "`source` and `target` are both needed"));
    };
    node.finish()?;
    Ok(Mount { volume, target })
}

fn ports(node: &mut Node) -> Result<Vec<Port>, AppError> {
    const KEY: &str = "ports";
    let items = match node.take(KEY) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(node.invalid(KEY, "must be a list")),
    };
    let one = |item| match item {
        Value::String(text) => values::port(&text).map_err(|why| node.invalid(KEY, why)),
        Value::Number(n) => {
            Err(node.invalid(KEY, format!("{n} publishes no fixed port; write \"8081:{n}\"")))
        }
        item => {
            let mut long = node.nested(KEY, item)?;
            let mut text = |key| match long.take(key) {
                Some(Value::String(text)) => text,
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            let (published, target) = (text("published"), text("target"));
            let protocol = long.text("protocol")?.unwrap_or("tcp".into());
            long.finish()?;
            values::port(&format!("{published}:{target}/{protocol}")).map_err(|why| node.invalid(KEY, why))
        }
    };
    items.into_iter().map(one).collect()
}

fn duration(node: &mut Node, key: &'static str) -> Result<Option<Duration>, AppError> {
    let Some(text) = node.text(key)? else {
        return Ok(None);
    };
    values::duration(&text).map(Some).map_err(|why| node.invalid(key, why))
}

fn restart(node: &mut Node) -> Result<Restart, AppError> {
    let text = node.text("restart")?;
    Ok(match text.as_deref() {
        None | Some("no") => Restart::No,
        Some("always" | "unless-stopped") => Restart::Always,
        Some("on-failure") => Restart::OnFailure(None),
        Some(other) => match other.strip_prefix("on-failure:").and_then(|n| n.parse().ok()) {
            Some(times) => Restart::OnFailure(Some(times)),
            None => return Err(node.invalid("restart", format!("`{other}` is no restart policy"))),
        },
    })
}

fn working_dir(node: &mut Node) -> Result<String, AppError> {
    let path = node.text("working_dir")?.unwrap_or("/".into());
    if path == "/" || is_target(&path) {
        return Ok(path);
    }
    Err(node.invalid("working_dir", format!("`{path}` is no absolute path without `.` and `..`")))
}

fn depends_on(node: &mut Node) -> Result<BTreeSet<String>, AppError> {
    const KEY: &str = "depends_on";
    match node.take(KEY) {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Object(map)) => {
            let mut names = BTreeSet::new();
            for (name, value) in map {
                let mut entry = node.nested(&format!("{KEY}.{name}"), value)?;
                match entry.text("condition")?.as_deref() {
                    None | Some("service_started") => {}
                    Some(other) => {
                        let why = format!("condition `{other}` is not supported, only service_started is");
                        return Err(node.invalid(KEY, why));
                    }
                }
                entry.finish()?;
                names.insert(name);
            }
            Ok(names)
        }
        Some(list) => Ok(strings(node, KEY, list)?.into_iter().collect()),
    }
}

/// A check by `curl` or `wget` on the service's own port is made by the engine itself; any other command is refused.
fn health(node: &mut Node) -> Result<Option<HealthCheck>, AppError> {
    let Some(mut check) = node.child("healthcheck")? else {
        return Ok(None);
    };
    let test = match check.take("test") {
        Some(Value::String(line)) => values::split_words(&line).map_err(|why| check.invalid("test", why))?,
        Some(Value::Array(items)) => {
            let mut words = strings(&check, "test", Value::Array(items))?;
            match words.first().map(String::as_str) {
                Some("CMD") => words.split_off(1),
                Some("CMD-SHELL") if words.len() == 2 => {
                    values::split_words(&words[1]).map_err(|why| check.invalid("test", why))?
                }
                _ => return Err(check.invalid("test", "must begin with CMD or CMD-SHELL")),
            }
        }
        _ => return Err(check.invalid("test", "is missing")),
    };
    let Some((port, path)) = http_test(&test) else {
        let why = format!(
            "`{}` is not supported; only `curl -f URL` and `wget -q --spider URL` with an http URL of localhost and \
             a port are, or `health` in felhom.yaml",
            test.join(" ")
        );
        return Err(check.invalid("test", why));
    };
    let retries = match check.take("retries") {
        None => 3,
        Some(value) => value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| check.invalid("retries", "must be a number from 1"))?,
    };
    // How long a start may take has no meaning here: a service is `starting` until its first good answer.
    duration(&mut check, "start_period")?;
    duration(&mut check, "start_interval")?;
    let found = HealthCheck {
        port,
        path,
        interval: duration(&mut check, "interval")?.unwrap_or(Duration::from_secs(30)),
        timeout: duration(&mut check, "timeout")?.unwrap_or(Duration::from_secs(30)),
        retries,
    };
    check.finish()?;
    Ok(Some(found))
}

fn http_test(words: &[String]) -> Option<(u16, String)> {
    let (program, arguments) = words.split_first()?;
    let (url, flags) = arguments.split_last()?;
    let known: &[&str] = match program.as_str() {
        "curl" => &["-f", "-s", "-S", "-fs", "-sf", "-fsS", "-sSf", "--fail", "--silent"],
        "wget" => &["-q", "--spider", "--no-verbose", "--tries=1", "-qO-"],
        _ => return None,
    };
    if !flags.iter().all(|flag| known.contains(&flag.as_str())) {
        return None;
    }
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (name, port) = host.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    matches!(name, "localhost" | "127.0.0.1").then(|| (port, path.to_owned()))
}
