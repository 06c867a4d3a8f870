//! `pct push`: a file of the node into a running guest.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{PctError, host_of};
use crate::destroyed::{self, Kind};
use crate::runtime::lxc::{self, Container};
use crate::runtime::{Guest, GuestTree, Resolved};
use crate::state::{Host, RuntimeKind};
use crate::volume::owners::{Owner, Owners, disk_mode};

/// `pct push VMID FILE DESTINATION`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The (unique) ID of the VM.
    pub vmid: u32,
    /// Path to a local file.
    pub file: PathBuf,
    /// Destination inside the container to write to.
    pub destination: OsString,
    /// File permissions to use (octal by default, prefix with '0x' for hexadecimal).
    #[arg(long)]
    pub perms: Option<String>,
    /// Owner user name or id. When using a name it must exist inside the container.
    #[arg(long)]
    pub user: Option<String>,
    /// Owner group name or id. When using a name it must exist inside the container.
    #[arg(long)]
    pub group: Option<String>,
}

/// Copies a file into a running guest.
pub(super) fn run(state: &Path, args: &PushArgs) -> Result<ExitCode, PctError> {
    let host = host_of(state, args.vmid)?;
    let source = File::open(&args.file).map_err(PctError::io("failed to open for reading", &args.file));
    let opened = match host.as_ref().filter(|host| host.runtime == RuntimeKind::Lxc) {
        Some(host) => return into_container(host, args, source).map(|()| ExitCode::SUCCESS),
        None => Guest::open(state, args.vmid)?,
    };
    let Some((guest, started)) = opened else { return Err(PctError::PushNotRunning) };
    let tree = GuestTree::new(&started.rootfs, &started.mounts);
    let owner = owner_of(&tree, args)?;
    let mut bytes = Vec::new();
    source?.read_to_end(&mut bytes).map_err(PctError::io("read", &args.file))?;
    let place = tree.resolve(&args.destination, true)?;
    if place.host.is_dir() {
        let value = args.destination.to_string_lossy().into_owned();
        return Err(PctError::BadParameter { parameter: "destination", reason: "is a directory", value });
    }
    // A state directory that no host was served from has no log.
    if let Some(host) = host.filter(|_| place.host.exists()) {
        note_overwritten(&host, args)?;
    }
    replace(&place.host, &bytes, owner)?;
    record_owner(&guest, &place, owner).map(|()| ExitCode::SUCCESS)
}

fn into_container(host: &Host, args: &PushArgs, source: Result<File, PctError>) -> Result<(), PctError> {
    let container = Container::new(host.dir.root(), args.vmid);
    let Some((pid, _)) = container.init() else { return Err(PctError::PushNotRunning) };
    let pid = i32::try_from(pid).map_err(|_| PctError::PushNotRunning)?;
    let destination = Path::new(&args.destination);
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    if root.join(destination.strip_prefix("/").unwrap_or(destination)).symlink_metadata().is_ok() {
        note_overwritten(host, args)?;
    }
    let inside = || owner_of(&GuestTree::new(Path::new("/"), &[]), args);
    lxc::push(pid, &mut source?, (destination, &inside))
}

fn owner_of(tree: &GuestTree, args: &PushArgs) -> Result<Owner, PctError> {
    Ok(Owner {
        uid: args.user.as_deref().map_or(Ok(0), |user| id(tree, "user", "/etc/passwd", user))?,
        gid: args.group.as_deref().map_or(Ok(0), |group| id(tree, "group", "/etc/group", group))?,
        mode: args.perms.as_deref().map_or(Ok(0o644), permissions)?,
    })
}

fn note_overwritten(host: &Host, args: &PushArgs) -> Result<(), PctError> {
    let id = format!("{}:{}", args.vmid, args.destination.display());
    destroyed::note(host, Kind::GuestFile, &id).map_err(PctError::io("log in", host.dir.root()))
}

/// The whole file appears at once; nobody ever sees it with other permissions.
fn replace(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), PctError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(disk_mode(owner.mode, false)))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        drop(fs::remove_file(&temporary));
        PctError::io("write", path)(error)
    })
}

/// Two pushes at once must not lose each other's entry.
fn record_owner(guest: &Guest, place: &Resolved, owner: Owner) -> Result<(), PctError> {
    let Some(volume) = &place.volume else { return Ok(()) };
    let path = guest.dir.join("owners.lock");
    let lock = File::create(&path).map_err(PctError::io("open", &path))?;
    lock.lock().map_err(PctError::io("lock", &path))?;
    let mut owners = Owners::load(volume)?;
    let before = owners.clone();
    owners.set(&place.inside, owner, false);
    if owners != before {
        owners.save(volume)?;
    }
    Ok(())
}

/// A number, or a name from the guest's own `/etc/passwd` or `/etc/group` (name first, id third).
fn id(tree: &GuestTree, parameter: &'static str, file: &str, value: &str) -> Result<u32, PctError> {
    if let Ok(id) = value.parse() {
        return Ok(id);
    }
    let text =
        tree.resolve(OsStr::new(file), true).ok().and_then(|place| fs::read_to_string(place.host).ok());
    let found = text.as_deref().unwrap_or_default().lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == value).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| PctError::BadParameter {
        parameter,
        reason: "no such name in the container",
        value: value.to_owned(),
    })
}

/// Octal with or without leading zero, or hexadecimal with `0x`.
fn permissions(text: &str) -> Result<u32, PctError> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => u32::from_str_radix(text, 8),
    };
    parsed.ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| PctError::BadParameter {
        parameter: "perms",
        reason: "no valid file permissions",
        value: text.to_owned(),
    })
}
