//! Parameters of guests, shared by create and change. Pure.

use crate::api::formats;
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
    many("dev[n]", Kind::Text(512), 256),
    opt("entrypoint", Kind::Text(4096)),
    opt("env", Kind::Text(4096)),
    opt("features", Kind::Property(formats::features)),
    opt("hookscript", Kind::Text(512)),
    opt("hostname", Kind::Format(formats::dns_name)),
    opt("lock", Kind::Enum(LOCKS)),
    opt("memory", Kind::Integer(16, i64::MAX)),
    many("mp[n]", Kind::Property(formats::mount_point), 256),
    opt("nameserver", Kind::Text(1024)),
    many("net[n]", Kind::Property(formats::net), 32),
    opt("onboot", Kind::Boolean),
    opt("ostype", Kind::Enum(OSTYPES)),
    opt("protection", Kind::Boolean),
    opt("rootfs", Kind::Property(formats::mount_point)),
    opt("searchdomain", Kind::Text(1024)),
    opt("startup", Kind::Text(256)),
    opt("swap", Kind::Integer(0, i64::MAX)),
    opt("tags", Kind::List(formats::tag)),
    opt("template", Kind::Boolean),
    opt("timezone", Kind::Text(64)),
    opt("tty", Kind::Integer(0, 6)),
    opt("unprivileged", Kind::Boolean),
    many("unused[n]", Kind::Text(512), 256),
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

/// The `disk` of a resize.
pub(crate) fn disk_key(text: &str) -> Result<(), String> {
    if is_mount_point(text) { Ok(()) } else { Err(no_such_key(text, &["mp"])) }
}

/// The `volume` of a move: also an unused one.
pub(crate) fn volume_key(text: &str) -> Result<(), String> {
    if is_mount_point(text) || is_unused(text) { Ok(()) } else { Err(no_such_key(text, &["mp", "unused"])) }
}

fn no_such_key(text: &str, stems: &[&str]) -> String {
    let numbered = stems.iter().flat_map(|stem| (0..256).map(move |n| format!("{stem}{n}")));
    let all: Vec<String> = std::iter::once("rootfs".to_owned()).chain(numbered).collect();
    format!("value '{text}' does not have a value in the enumeration '{}'", all.join(", "))
}

/// Numbers stay numbers in answers; everything else is text.
pub(crate) fn is_number(name: &str) -> bool {
    OPTIONS.iter().any(|f| f.is(name) && matches!(f.kind, Kind::Integer(..) | Kind::Boolean))
}
