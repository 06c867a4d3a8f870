//! What the host knows, as files in the state directory, laid out and written as Proxmox VE itself writes them.
//!
//! Every file is replaced atomically ([`atomic`]) and every read-modify-write happens under a `flock` ([`lock`]), so that the
//! server, the task workers and the `pct` subcommand, which are separate processes, can share it and be killed at any time.
//!
//! ```text
//! etc/host.json             node name, runtime, network (written by `serve`, read by workers and `pct`)
//! etc/pve/lxc/ID.conf       guests                     -> guest_config, guests
//! etc/pve/user.cfg          users, tokens, roles, pools, ACL   -> access
//! etc/pve/priv/*.cfg        token secrets, password hashes (0600)
//! etc/pve/storage.cfg       storages                   -> storage
//! control/disks.json        sizes of file systems, what is not mounted, for tests   -> disk
//! etc/pve/datacenter.cfg    how fast restores may be      -> bandwidth
//! etc/vzdump.conf           the host owner's backup defaults
//! etc/pve/local/pveproxy-ssl.{pem,key}, etc/pve/authkey        the server's certificate and ticket key
//! run/lock/*.lock           flock files
//! run/guests/               process runtime, one entry for each running guest
//! var/log/pve/tasks/        active, index, X/UPID      -> crate::task
//! var/lib/vz                storage `local`
//! mnt/tank                  storage `tank`
//! ```

pub(crate) mod access;
pub(crate) mod access_file;
pub(crate) mod atomic;
pub(crate) mod bandwidth;
pub(crate) mod calendar;
pub(crate) mod disk;
pub(crate) mod guest_config;
pub(crate) mod guests;
pub(crate) mod host;
pub(crate) mod jobs;
pub(crate) mod lock;
pub(crate) mod paths;
pub(crate) mod property;
pub(crate) mod secrets;
pub(crate) mod storage;
pub(crate) mod volid;
pub(crate) mod vzdump_conf;

pub(crate) use host::{Host, RuntimeKind};
pub(crate) use paths::StateDir;
