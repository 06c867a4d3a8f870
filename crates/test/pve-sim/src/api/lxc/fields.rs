//! Parameters of guests, shared by create and change. Pure.

use crate::api::{formats, properties};
use crate::http::schema::{Field, Kind, many, opt};

const LOCKS: &[&str] = &[
    "backup",
    "create",
    "destroyed",
    "disk",
    "fstrim",
    "migrate",
    "mounted",
    "rollback",
    "snapshot",
    "snapshot-delete",
];
const OSTYPES: &[&str] = &[
    "debian",
    "devuan",
    "ubuntu",
    "centos",
    "fedora",
    "opensuse",
    "archlinux",
    "alpine",
    "gentoo",
    "nixos",
    "unmanaged",
];

/// Options of a configuration file.
pub(crate) const OPTIONS: &[Field] = &[
    opt("arch", Kind::Enum(&["amd64", "i386", "arm64", "armhf", "riscv32", "riscv64"])),
    opt("cmode", Kind::Enum(&["shell", "console", "tty"])),
    opt("console", Kind::Boolean),
    opt("cores", Kind::Integer(1, 8192)),
    opt("cpulimit", Kind::Number(0.0, 8192.0)),
    opt("cpuunits", Kind::Integer(0, 500_000)),
    opt("debug", Kind::Boolean),
    opt("description", Kind::Text(8192)),
    many("dev[n]", Kind::Property(&properties::DEVICE), 256),
    opt("entrypoint", Kind::Pattern(formats::is_command)),
    opt("env", Kind::Pattern(formats::is_environment)),
    opt("features", Kind::Property(&properties::FEATURES)),
    opt("hookscript", Kind::Format(formats::volume_id)),
    opt("hostname", Kind::Format(formats::dns_name)).length(0, 255),
    opt("lock", Kind::Enum(LOCKS)),
    opt("memory", Kind::Integer(16, i64::MAX)),
    many("mp[n]", Kind::Property(&properties::MOUNT_POINT), 256),
    opt("nameserver", Kind::List(formats::name_server)),
    many("net[n]", Kind::Property(&properties::NET), 32),
    opt("onboot", Kind::Boolean),
    opt("ostype", Kind::Enum(OSTYPES)),
    opt("protection", Kind::Boolean),
    opt("rootfs", Kind::Property(&properties::ROOTFS)),
    opt("searchdomain", Kind::List(formats::dns_name)),
    opt("startup", Kind::Format(formats::startup)),
    opt("swap", Kind::Integer(0, i64::MAX)),
    opt("tags", Kind::List(formats::tag)),
    opt("template", Kind::Boolean),
    opt("timezone", Kind::Format(formats::time_zone)),
    opt("tty", Kind::Integer(0, 6)),
    opt("unprivileged", Kind::Boolean),
    many("unused[n]", Kind::Property(&properties::UNUSED), 256),
];

/// Whether a name is an option of a configuration file.
pub(crate) fn is_option(name: &str) -> bool {
    OPTIONS.iter().any(|f| f.is(name)) || name.starts_with("lxc.") || name == "parent"
}

/// `rootfs` or `mpN`.
pub(crate) fn is_mount_point(name: &str) -> bool {
    name == "rootfs" || name.strip_prefix("mp").is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n < 256))
}

/// `unusedN`.
pub(crate) fn is_unused(name: &str) -> bool {
    name.strip_prefix("unused").is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n < 256))
}

/// Numbers stay numbers in answers; everything else is text.
pub(crate) fn is_number(name: &str) -> bool {
    OPTIONS.iter().any(|f| f.is(name) && matches!(f.kind, Kind::Integer(..) | Kind::Boolean))
}
