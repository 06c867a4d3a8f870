//! `pct` commands that are calls of the API, made by root on the node itself, and what else the node's owner has at hand there.
//!
//! Options are written as the node's tools take them: `-mp7 VALUE`, `--mp7 VALUE` or `--mp7=VALUE`, a flag with or without `1`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json};

use crate::api::{self, Call, Reply};
use crate::daemon::{Daemon, Limits};
use crate::error::ApiError;
use crate::http::params::{Params, Value};
use crate::http::schema::Kind;
use crate::http::ticket::TicketKey;
use crate::state::property::encode_text;
use crate::state::{Host, access_file, guests, lock};
use crate::task::{Upid, index, log, process};
use crate::work::rescan;

/// Commands of `pct` about configurations, volumes and power.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List all containers.
    List,
    /// Show the configuration: `config VMID [--current] [--snapshot NAME]`.
    Config(Rest),
    /// Show CT status: `status VMID [--verbose]`.
    Status(Rest),
    /// Set container options: `set VMID --OPTION VALUE …`.
    Set(Rest),
    /// Unlock the VM: `unlock VMID`.
    Unlock(Rest),
    /// Rescan all storages and update disk sizes and unused disk images: `rescan [--vmid VMID] [--dryrun]`.
    Rescan(Rest),
    /// Start the container: `start VMID`.
    Start(Rest),
    /// Stop the container: `stop VMID`.
    Stop(Rest),
    /// Shut the container down: `shutdown VMID`.
    Shutdown(Rest),
    /// Reboot the container: `reboot VMID`.
    Reboot(Rest),
    /// Destroy the container: `destroy VMID [--force] [--purge] [--destroy-unreferenced-disks]`.
    Destroy(Rest),
    /// Create or restore a container: `restore VMID OSTEMPLATE [--OPTION VALUE …]`.
    Restore(Rest),
    /// Snapshot a container: `snapshot VMID NAME [--description TEXT]`.
    Snapshot(Rest),
    /// Delete a snapshot: `delsnapshot VMID NAME [--force]`.
    Delsnapshot(Rest),
    /// Resize a container mount point: `resize VMID DISK SIZE`.
    Resize(Rest),
    /// Move a volume: `move-volume VMID VOLUME [STORAGE] [TARGET-VMID] [TARGET-VOLUME]`.
    #[command(alias = "move_volume")]
    MoveVolume(Rest),
}

/// Everything after the command.
#[derive(Debug, Args)]
pub struct Rest {
    /// Arguments and options.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// How a command is a call: method, path below the guest's, and the arguments that are not options.
type Shape = (&'static str, &'static str, &'static [&'static str]);

/// Runs a command. Messages go to standard error; 255 is failure.
pub(super) fn run(state: &Path, command: &NodeCommand) -> ExitCode {
    let (name, shape, rest): (&str, Shape, &[String]) = match command {
        NodeCommand::List => ("list", ("GET", "", &[]), &[]),
        NodeCommand::Config(rest) => ("config", ("GET", "/config", &["vmid"]), &rest.words),
        NodeCommand::Status(rest) => ("status", ("GET", "/status/current", &["vmid"]), &rest.words),
        NodeCommand::Set(rest) => ("set", ("PUT", "/config", &["vmid"]), &rest.words),
        NodeCommand::Unlock(rest) => ("unlock", ("", "", &["vmid"]), &rest.words),
        NodeCommand::Rescan(rest) => ("rescan", ("", "", &[]), &rest.words),
        NodeCommand::Start(rest) => ("start", ("POST", "/status/start", &["vmid"]), &rest.words),
        NodeCommand::Stop(rest) => ("stop", ("POST", "/status/stop", &["vmid"]), &rest.words),
        NodeCommand::Shutdown(rest) => ("shutdown", ("POST", "/status/shutdown", &["vmid"]), &rest.words),
        NodeCommand::Reboot(rest) => ("reboot", ("POST", "/status/reboot", &["vmid"]), &rest.words),
        NodeCommand::Destroy(rest) => ("destroy", ("DELETE", "", &["vmid"]), &rest.words),
        NodeCommand::Restore(rest) => ("restore", ("POST", "", &["vmid", "ostemplate"]), &rest.words),
        NodeCommand::Snapshot(rest) => {
            ("snapshot", ("POST", "/snapshot", &["vmid", "snapname"]), &rest.words)
        }
        NodeCommand::Delsnapshot(rest) => {
            ("delsnapshot", ("DELETE", "/snapshot/{snapname}", &["vmid", "snapname"]), &rest.words)
        }
        NodeCommand::Resize(rest) => ("resize", ("PUT", "/resize", &["vmid", "disk", "size"]), &rest.words),
        NodeCommand::MoveVolume(rest) => {
            let words = &["vmid", "volume", "storage", "target-vmid", "target-volume"];
            ("move-volume", ("POST", "/move_volume", words), &rest.words)
        }
    };
    let done =
        Host::open(state).map_err(ApiError::from).and_then(|host| command_on(&host, name, shape, rest));
    match done {
        Ok(code) => code,
        Err(error) => {
            let arguments: String = shape.2.iter().map(|a| format!(" <{a}>")).collect();
            fail(&cli_text(&error, &format!("pct {name}{arguments} [OPTIONS]")))
        }
    }
}

pub(super) fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(255)
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A parameter error comes with the parameters and the usage.
pub(super) fn cli_text(error: &ApiError, usage: &str) -> String {
    if error.errors.is_empty() || error.status != 400 {
        return error.to_string();
    }
    let mut text = "400 Parameter verification failed.\n".to_owned();
    for (name, what) in &error.errors {
        let _ = writeln!(text, "{name}: {}", what.trim_end());
    }
    text + usage
}

fn command_on(host: &Host, name: &str, shape: Shape, rest: &[String]) -> Result<ExitCode, ApiError> {
    let (method, below, arguments) = shape;
    let flag = |option: &str| match name {
        "status" => option == "verbose",
        "rescan" => option == "dryrun",
        "restore" => is_flag(method, "/nodes/{node}/lxc", option),
        _ => is_flag(method, &format!("/nodes/{{node}}/lxc/{{vmid}}{below}"), option),
    };
    let mut given = options(rest, arguments, flag)?;
    let vmid =
        match given.get("vmid") {
            Some(text) => Some(text.parse().map_err(|_| {
                ApiError::param("vmid", format!("type check ('integer') failed - got '{text}'"))
            })?),
            None if arguments.contains(&"vmid") => {
                return Err(ApiError { status: 400, ..ApiError::die("not enough arguments") });
            }
            None => None,
        };
    match (name, vmid) {
        ("unlock", Some(vmid)) => {
            if guests::load(host, vmid)?.current.get("lock").is_none() {
                return Err(ApiError::die("no lock found trying to remove any lock"));
            }
            guests::clear_lock(host, vmid, None)?;
            return Ok(ExitCode::SUCCESS);
        }
        ("rescan", vmid) => {
            let dry = given.get("dryrun").is_some_and(|d| d == "1");
            rescan::run(host, vmid, dry, &mut |line| print(&format!("{line}\n")))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let verbose = name == "status" && given.remove("verbose").is_some_and(|v| v == "1");
    let mut path = format!("/nodes/{}/lxc", host.node);
    if name == "restore" {
        given.insert("restore".into(), "1".into());
    } else if let Some(vmid) = vmid {
        let _ =
            write!(path, "/{vmid}{}", below.replace("{snapname}", given.get("snapname").map_or("", |s| s)));
    }
    match (name, call(host, (method, &path), given)?) {
        ("list", Reply::Data(Json::Array(all))) => print(&listed(&all)),
        ("config", Reply::Data(Json::Object(config))) => print(&config_text(&config)),
        ("status", Reply::Data(Json::Object(status))) if verbose => print(&status_text(&status)),
        ("status", Reply::Data(status)) => {
            print(&format!("status: {}\n", status["status"].as_str().unwrap_or("unknown")));
        }
        (_, Reply::Data(Json::String(text))) => {
            if let Ok(upid) = text.parse() {
                return wait(host, &upid);
            }
        }
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Options by name; what is no option is the next of `arguments`.
pub(super) fn options(
    words: &[String],
    arguments: &[&str],
    is_flag: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, ApiError> {
    let bad = |text: String| ApiError { status: 400, ..ApiError::die(text) };
    let mut given = BTreeMap::new();
    let mut names = arguments.iter();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let dashed = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|w| !w.is_empty());
        let Some(option) = dashed else {
            let name = names.next().ok_or_else(|| bad("too many arguments".into()))?;
            given.insert((*name).to_owned(), word.clone());
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None if is_flag(option) => {
                let value = words.next_if(|next| ["0", "1"].contains(&next.as_str()));
                (option, value.cloned().unwrap_or_else(|| "1".into()))
            }
            None => match words.next() {
                Some(value) => (option, value.clone()),
                None => return Err(bad(format!("Option {option} requires an argument"))),
            },
        };
        given.insert(name.to_owned(), value);
    }
    Ok(given)
}

pub(super) fn is_flag(method: &str, pattern: &str, option: &str) -> bool {
    let routes = api::TABLES.iter().copied().flatten().filter(|r| r.method == method && r.path == pattern);
    let mut fields = routes.flat_map(|route| route.fields.iter().copied().flatten());
    fields.any(|field| field.is(option) && matches!(field.kind, Kind::Boolean))
}

/// The call as `root@pam`, in this process.
pub(super) fn call(
    host: &Host,
    (method, path): (&str, &str),
    given: BTreeMap<String, String>,
) -> Result<Reply, ApiError> {
    let found = api::find(method, path).ok_or_else(|| ApiError::not_implemented(method, path))?;
    let all = given.into_iter().chain(found.path).map(|(name, value)| (name, Value::Text(value)));
    let daemon = Daemon::new(host.clone(), TicketKey::new(Vec::new()), String::new(), Limits::NONE)?;
    let call = Call {
        daemon: Arc::new(daemon),
        authid: "root@pam".into(),
        access: access_file::load(host)?,
        params: Params(all.collect()),
    };
    call.run(found.route)
}

/// A task that was started here is waited for: its log goes to standard output, what it fails with to standard error.
fn wait(host: &Host, upid: &Upid) -> Result<ExitCode, ApiError> {
    while process::running(upid.pid, upid.pstart) {
        lock::pause(Duration::from_millis(5));
    }
    index::refresh(host)?;
    let (lines, _) = log::read(host, upid, 0, 0);
    for (_, line) in lines.iter().filter(|(_, line)| !line.starts_with("TASK ")) {
        print(&format!("{line}\n"));
    }
    match log::exit_status(host, upid).as_str() {
        "OK" => Ok(ExitCode::SUCCESS),
        status if status.starts_with("WARNINGS: ") => Ok(ExitCode::SUCCESS),
        status => Ok(fail(status)),
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// rec 2/791.
fn listed(all: &[Json]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let line = |c: [&str; 4]| format!("{:<10} {:<10} {:<12} {:<20}\n", c[0], c[1], c[2], c[3]);
    let mut text = line(["VMID", "Status", "Lock", "Name"]);
    for guest in all {
        let of = |key: &str| guest.get(key).map(plain).unwrap_or_default();
        text += &line([&of("vmid"), &of("status"), &of("lock"), &of("name")]);
    }
    text
}

fn config_text(config: &Map<String, Json>) -> String {
    let keys = config.iter().filter(|(key, _)| !["digest", "lxc"].contains(&key.as_str()));
    let mut lines: Vec<String> = keys
        .map(|(key, value)| {
            let value = plain(value);
            let value = if key == "description" { encode_text(&value) } else { value };
            format!("{key}: {value}\n")
        })
        .collect();
    lines.sort();
    for pair in config.get("lxc").and_then(Json::as_array).into_iter().flatten() {
        lines.push(format!("{}: {}\n", plain(&pair[0]), plain(&pair[1])));
    }
    lines.concat()
}

fn status_text(status: &Map<String, Json>) -> String {
    let shown = status.iter().filter(|(key, _)| !["cpu", "ha"].contains(&key.as_str()));
    let mut lines: Vec<String> = shown.map(|(key, value)| format!("{key}: {}\n", plain(value))).collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_nodes_tools_read_them() {
        let words: Vec<String> =
            ["260", "-mp7", "/srv/b,mp=/b", "--force", "x1", "--purge", "0", "--name=a=b"]
                .map(str::to_owned)
                .into();
        let flags = |option: &str| ["force", "purge"].contains(&option);
        let given = options(&words, &["vmid", "snapname"], flags).unwrap();
        let expected = [
            ("force", "1"),
            ("mp7", "/srv/b,mp=/b"),
            ("name", "a=b"),
            ("purge", "0"),
            ("snapname", "x1"),
            ("vmid", "260"),
        ];
        assert_eq!(given, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(options(&["1".into(), "2".into()], &["vmid"], flags).is_err());
        assert!(options(&["--mp7".into()], &[], flags).is_err());
    }
}
