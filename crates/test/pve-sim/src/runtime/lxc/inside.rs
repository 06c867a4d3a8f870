//! What is done inside a running container by its own paths: a file is written, a directory is mounted. Each is a process of its
//! own, because it enters the container's namespaces and does not come back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_gid, set_thread_groups, set_thread_uid,
};

use crate::runtime::RuntimeError;
use crate::volume::owners::{Owner, Ownership};

/// `pve-sim plug …`: internal, started when a mount point is added to a running container.
#[derive(Debug, Args)]
pub(crate) struct PlugArgs {
    /// Its init.
    #[arg(long)]
    pub(super) pid: i32,
    /// Directory of this machine.
    #[arg(long)]
    pub(super) source: PathBuf,
    /// Where it goes in the container.
    #[arg(long)]
    pub(super) path: PathBuf,
}

/// Mounts a directory of this machine in a container (PVE/LXC.pm of pve-container does it with the same calls).
///
/// # Errors
/// [`RuntimeError::Io`].
pub(crate) fn plug(args: &PlugArgs) -> Result<(), RuntimeError> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &args.source, flags).map_err(RuntimeError::io("mount", &args.source))?;
    enter(args.pid, "mnt", LinkNameSpaceType::Mount)?;
    std::env::set_current_dir("/").map_err(RuntimeError::io("enter", Path::new("/")))?;
    if !args.path.is_dir() {
        fs::create_dir_all(&args.path).map_err(RuntimeError::io("create", &args.path))?;
        let root = Owner { uid: 0, gid: 0, mode: 0o755 };
        Ownership::CONTAINER.give(&args.path, root).map_err(RuntimeError::io("set owner of", &args.path))?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree.as_fd(), "", CWD, &args.path, flags).map_err(RuntimeError::io("mount at", &args.path))
}

/// Writes a file in a container as its own root, so that no link leads out of it (`pct push` of pve-container). `owner` is asked
/// there, because names are the container's.
///
/// # Errors
/// [`RuntimeError::Io`]; what `owner` answers.
pub(crate) fn push<E: From<RuntimeError>>(
    pid: i32,
    source: &mut File,
    (path, owner): (&Path, &dyn Fn() -> Result<Owner, E>),
) -> Result<(), E> {
    let user = namespace(pid, "user")?;
    enter(pid, "mnt", LinkNameSpaceType::Mount)?;
    std::env::set_current_dir("/").map_err(RuntimeError::io("enter", Path::new("/")))?;
    become_root_of(&user).map_err(RuntimeError::io("enter the container for", path))?;
    let owner = owner()?;
    let mut write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        lchown(path, Some(owner.uid), Some(owner.gid))?;
        file.set_permissions(Permissions::from_mode(owner.mode))?;
        io::copy(source, &mut file)?;
        file.sync_all()
    };
    Ok(write().map_err(RuntimeError::io("write", path))?)
}

fn namespace(pid: i32, kind: &str) -> Result<File, RuntimeError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
    File::open(&path).map_err(RuntimeError::io("open", &path))
}

fn enter(pid: i32, kind: &str, which: LinkNameSpaceType) -> Result<(), RuntimeError> {
    let file = namespace(pid, kind)?;
    let entered = move_into_link_name_space(file.as_fd(), Some(which));
    entered.map_err(RuntimeError::io("enter namespace of", Path::new(&format!("/proc/{pid}/ns/{kind}"))))
}

fn become_root_of(user: &File) -> io::Result<()> {
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    set_thread_groups(&[])?;
    set_thread_gid(Gid::ROOT)?;
    set_thread_uid(Uid::ROOT)?;
    Ok(())
}
