//! Finding a program inside a guest, and the environment that it runs with.
//!
//! A program, and the interpreter of a script, must be in the guest: the host's file at the same path is never taken. (A
//! dynamically linked program still gets its libraries from this machine; guests of this runtime hold static programs.)

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::proc::ROOTFS_VARIABLE;
use super::tree::GuestTree;
use super::{RuntimeError, Started};

/// Where a bare name is looked for, in this order.
const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What to execute on this machine.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    file: PathBuf,
    /// For a script: its interpreter's arguments up to and with the script itself.
    before: Vec<OsString>,
    script: bool,
}

/// The command that runs `argv` inside the guest, with the guest's environment and working directory.
///
/// # Errors
/// [`RuntimeError::NoProgram`] if there is no such program inside the guest.
pub(crate) fn command(guest: &Started, argv: &[OsString]) -> Result<Command, RuntimeError> {
    let tree = GuestTree::new(&guest.rootfs, &guest.mounts);
    let (name, arguments) =
        argv.split_first().ok_or_else(|| none(guest, OsStr::new(""), "missing command"))?;
    let program = find(guest, &tree, name, 4)?;
    let mut command = Command::new(&program.file);
    if !program.script {
        command.arg0(name);
    }
    command.args(&program.before).args(arguments).current_dir(&guest.rootfs).env_clear();
    command.envs(environment(guest, &tree));
    Ok(command)
}

fn environment(guest: &Started, tree: &GuestTree) -> Vec<(&'static str, OsString)> {
    let mut path = OsString::new();
    for directory in SEARCH {
        // `bin` may be a link to `/usr/bin`, which is the host's unless it is resolved here.
        let Ok(found) = tree.resolve(OsStr::new(directory), true) else { continue };
        if found.exists && !std::env::split_paths(&path).any(|known| known == found.host) {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(found.host);
        }
    }
    let mut variables = vec![
        ("PATH", path),
        (ROOTFS_VARIABLE, guest.rootfs.clone().into_os_string()),
        ("PVE_SIM_HOSTNAME", OsString::from(&guest.hostname)),
        ("PVE_SIM_LO", OsString::from(guest.lo.to_string())),
    ];
    if let Some(net0) = guest.net0 {
        variables.push(("PVE_SIM_NET0", OsString::from(net0.to_string())));
    }
    variables
}

fn find(guest: &Started, tree: &GuestTree, name: &OsStr, depth: u32) -> Result<Program, RuntimeError> {
    let file = if name.as_bytes().contains(&b'/') {
        executable(tree, name).map_err(|reason| none(guest, name, &reason))?
    } else {
        let candidates = SEARCH.iter().filter_map(|directory| {
            let mut path = OsString::from(directory);
            path.push("/");
            path.push(name);
            executable(tree, &path).ok()
        });
        candidates.into_iter().next().ok_or_else(|| none(guest, name, "No such file or directory"))?
    };
    let Some((interpreter, argument)) = interpreter(&file) else {
        return Ok(Program { file, before: Vec::new(), script: false });
    };
    if depth == 0 {
        return Err(none(guest, name, "too many interpreters"));
    }
    let mut program = find(guest, tree, &interpreter, depth - 1)?;
    program.before.extend(argument);
    program.before.push(file.into_os_string());
    program.script = true;
    Ok(program)
}

/// The file on this machine, if it is an executable file inside the guest.
fn executable(tree: &GuestTree, path: &OsStr) -> Result<PathBuf, String> {
    let found = tree.resolve(path, true).map_err(|error| error.to_string())?;
    let metadata = fs::metadata(&found.host).map_err(|_| "No such file or directory".to_owned())?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err("Permission denied: no executable file".to_owned());
    }
    Ok(found.host)
}

/// The interpreter of a script's `#!` line and its one argument.
fn interpreter(file: &std::path::Path) -> Option<(OsString, Option<OsString>)> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let mut parts = line.splitn(2, u8::is_ascii_whitespace);
    let program = OsString::from_vec(parts.next()?.to_vec());
    let argument = parts.next().map(|rest| OsString::from_vec(rest.trim_ascii().to_vec()));
    Some((program, argument))
}

fn none(guest: &Started, program: &OsStr, reason: &str) -> RuntimeError {
    RuntimeError::NoProgram {
        program: program.to_string_lossy().into_owned(),
        reason: reason.to_owned(),
        rootfs: guest.rootfs.clone(),
    }
}
