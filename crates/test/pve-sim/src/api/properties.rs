//! The property strings of parameters: what keys each has. Data.
//!
//! Unrecorded where no test names a recording: `src/PVE/LXC/Config.pm` of pve-container 6.1.10, `src/PVE/Storage/Plugin.pm` of
//! pve-storage 9.1.7, `src/PVE/VZDump/Common.pm` of pve-guest-common.

use super::formats;
use crate::http::property::{PropertyString, Values, keys};
use crate::http::schema::{Field, Kind, opt, req};

const PATH: Kind = Kind::Format(formats::plain_path);

/// `netN`.
pub(crate) const NET: PropertyString = keys(&[
    opt("bridge", Kind::Pattern(is_interface_name)),
    opt("firewall", Kind::Boolean),
    opt("gw", Kind::Format(formats::ipv4)),
    opt("gw6", Kind::Format(formats::ipv6)),
    opt("host-managed", Kind::Boolean),
    opt("hwaddr", Kind::Format(formats::mac_address)),
    opt("ip", Kind::Format(formats::ipv4_config)),
    opt("ip6", Kind::Format(formats::ipv6_config)),
    opt("link_down", Kind::Boolean),
    opt("mtu", Kind::Integer(64, 65535)),
    req("name", Kind::Pattern(is_interface_name)),
    opt("rate", Kind::Number(f64::MIN, f64::MAX)),
    opt("tag", Kind::Integer(1, 4094)),
    opt("trunks", Kind::Pattern(is_trunks)),
    opt("type", Kind::Enum(&["veth"])),
]);

/// `rootfs`.
pub(crate) const ROOTFS: PropertyString = PropertyString {
    default_key: Some("volume"),
    keys: &[
        req("volume", PATH),
        opt("acl", Kind::Boolean),
        opt("idmap", Kind::Pattern(is_idmap)),
        opt("mountoptions", Kind::Pattern(is_mount_options)),
        opt("quota", Kind::Boolean),
        opt("replicate", Kind::Boolean),
        opt("ro", Kind::Boolean),
        opt("shared", Kind::Boolean),
        opt("size", Kind::Format(formats::disk_size)),
    ],
    rule: None,
};

/// `mpN`.
pub(crate) const MOUNT_POINT: PropertyString = PropertyString {
    default_key: Some("volume"),
    keys: &[
        req("volume", PATH),
        req("mp", PATH),
        opt("acl", Kind::Boolean),
        opt("backup", Kind::Boolean),
        opt("idmap", Kind::Pattern(is_idmap)),
        opt("keepattrs", Kind::Boolean),
        opt("mountoptions", Kind::Pattern(is_mount_options)),
        opt("quota", Kind::Boolean),
        opt("replicate", Kind::Boolean),
        opt("ro", Kind::Boolean),
        opt("shared", Kind::Boolean),
        opt("size", Kind::Format(formats::disk_size)),
    ],
    rule: None,
};

/// `unusedN`.
pub(crate) const UNUSED: PropertyString = PropertyString {
    default_key: Some("volume"),
    keys: &[req("volume", Kind::Format(formats::volume_id))],
    rule: None,
};

/// `devN`.
pub(crate) const DEVICE: PropertyString = PropertyString {
    default_key: Some("path"),
    keys: &[
        opt("path", Kind::Format(formats::device)),
        opt("deny-write", Kind::Boolean),
        opt("gid", Kind::Integer(0, i64::MAX)),
        opt("mode", Kind::Pattern(is_mode)),
        opt("uid", Kind::Integer(0, i64::MAX)),
    ],
    rule: None,
};

/// `features`.
pub(crate) const FEATURES: PropertyString = keys(&[
    opt("force_rw_sys", Kind::Boolean),
    opt("fuse", Kind::Boolean),
    opt("keyctl", Kind::Boolean),
    opt("mknod", Kind::Boolean),
    opt("mount", Kind::Pattern(is_file_systems)),
    opt("nesting", Kind::Boolean),
]);

const LIMIT: Kind = Kind::Number(0.0, f64::MAX);

/// `bwlimit` of a storage.
pub(crate) const BWLIMIT: PropertyString = keys(&[
    opt("clone", LIMIT),
    opt("default", LIMIT),
    opt("migration", LIMIT),
    opt("move", LIMIT),
    opt("restore", LIMIT),
]);

const KEEP: Kind = Kind::Integer(0, i64::MAX);
const RETENTION: &[Field] = &[
    opt("keep-all", Kind::Boolean),
    opt("keep-daily", KEEP),
    opt("keep-hourly", KEEP),
    opt("keep-last", KEEP),
    opt("keep-monthly", KEEP),
    opt("keep-weekly", KEEP),
    opt("keep-yearly", KEEP),
];

/// `prune-backups`.
pub(crate) const PRUNE: PropertyString =
    PropertyString { default_key: None, keys: RETENTION, rule: Some(all_or_some) };

fn all_or_some(values: &Values) -> Result<(), &'static str> {
    let all = values.get("keep-all").is_some_and(|v| v == "1");
    if all && values.iter().any(|(key, value)| *key != "keep-all" && value.parse().is_ok_and(|n: i64| n > 0))
    {
        return Err("keep-all cannot be set together with other options.");
    }
    Ok(())
}

/// `fleecing`.
pub(crate) const FLEECING: PropertyString = PropertyString {
    default_key: Some("enabled"),
    keys: &[opt("enabled", Kind::Boolean), opt("storage", Kind::Format(formats::storage_id))],
    rule: Some(enabled_with_storage),
};

fn enabled_with_storage(values: &Values) -> Result<(), &'static str> {
    if values.get("enabled").is_some_and(|v| v == "1") && !values.contains_key("storage") {
        return Err("'storage' parameter is required when 'enabled' is set");
    }
    Ok(())
}

/// `performance`.
pub(crate) const PERFORMANCE: PropertyString =
    keys(&[opt("max-workers", Kind::Integer(1, 256)), opt("pbs-entries-max", Kind::Integer(1, i64::MAX))]);

fn is_interface_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_trunks(text: &str) -> bool {
    text.split(';').all(digits)
}

fn is_mode(text: &str) -> bool {
    text.len() == 4 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

fn is_file_systems(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_; ".contains(c))
}

fn is_mount_options(text: &str) -> bool {
    let known = ["discard", "lazytime", "noatime", "nodev", "noexec", "nosuid"];
    text.split(';').all(|option| known.contains(&option))
}

fn is_idmap(text: &str) -> bool {
    let entry = |entry: &str| match entry.split(':').collect::<Vec<_>>()[..] {
        ["u" | "g", inside, outside, count] => {
            digits(inside) && digits(outside) && digits(count) && !count.starts_with('0')
        }
        _ => false,
    };
    text == "passthrough" || text.split(';').all(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(string: &'static PropertyString, good: &[&str], bad: &[(&str, &str)]) {
        let field = opt("x0", Kind::Property(string));
        for text in good {
            assert_eq!(field.check("x0", text), Ok(()), "{text}");
        }
        for (text, wanted) in bad {
            assert_eq!(field.check("x0", text), Err(format!("invalid format - {wanted}\n")), "{text}");
        }
    }

    const PATTERN: &str = "value does not match the regex pattern";

    /// rec 89, 90, 1032; the rest is unrecorded: src/PVE/LXC/Config.pm:862–958 of pve-container.
    #[test]
    fn network_cards() {
        let good = [
            "name=eth0",
            "name=eth0,bridge=vmbr0,ip=dhcp,ip6=auto,firewall=1,link_down=yes,type=veth,host-managed=0",
            "name=eth0,gw=10.0.0.1,gw6=fd00::1,hwaddr=BC:24:11:00:00:01,mtu=1500,rate=0.5,tag=4094,trunks=1;2",
        ];
        let bad = |text: &str| format!("format error\nx0.{text}");
        let wanted = [
            ("name=a b", bad(&format!("name: {PATTERN}"))),
            ("name=a,bridge=a/b", bad(&format!("bridge: {PATTERN}"))),
            ("name=a,mtu=63", bad("mtu: value must have a minimum value of 64")),
            ("name=a,mtu=big", bad("mtu: type check ('integer') failed - got 'big'")),
            ("name=a,tag=4095", bad("tag: value must have a maximum value of 4094")),
            ("name=a,rate=fast", bad("rate: type check ('number') failed - got 'fast'")),
            ("name=a,rate=inf", bad("rate: type check ('number') failed - got 'inf'")),
            ("name=a,trunks=1;", bad(&format!("trunks: {PATTERN}"))),
            ("name=a,type=phys", bad("type: value 'phys' does not have a value in the enumeration 'veth'")),
            ("name=a,gw=x", bad("gw: invalid format - value does not look like a valid IPv4 address\n")),
            ("name=a,nosuch=1", "invalid key in comma-separated list property: nosuch".into()),
        ];
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(text, error)| (*text, error.as_str())).collect();
        check(&NET, &good, &wanted);
    }

    /// rec 848; the rest is unrecorded: src/PVE/LXC/Config.pm:336–430, 992–1070 of pve-container.
    #[test]
    fn volumes_and_devices() {
        let good = [
            "tank:8,mp=/data,backup=1,size=8G,mountoptions=noatime;nodev",
            "/srv,mp=/srv,shared=1,idmap=u:0:1000:5;g:0:1000:5",
            "tank:8,mp=/a,idmap=passthrough",
        ];
        let bad = [
            ("tank:8", "format error\nx0.mp: property is missing and it is not optional"),
            (
                "tank:8,mp=/a/../b",
                "format error\nx0.mp: invalid format - /a/../b contains illegal character sequences\n",
            ),
            (
                "tank:8,mp=/a,mountoptions=sync",
                "format error\nx0.mountoptions: value does not match the regex pattern",
            ),
            ("tank:8,mp=/a,idmap=u:0:1:0", "format error\nx0.idmap: value does not match the regex pattern"),
            (
                "tank:8,mp=/a,size=big",
                "format error\nx0.size: invalid format - value does not look like a valid disk size: big\n",
            ),
        ];
        check(&MOUNT_POINT, &good, &bad);
        check(
            &ROOTFS,
            &["4", "tank:4,ro=1"],
            &[("4,mp=/", "invalid key in comma-separated list property: mp")],
        );
        let bad = [("x", "format error\nx0.volume: invalid format - unable to parse volume ID 'x'\n")];
        check(&UNUSED, &["tank:101/vm-101-disk-0.raw"], &bad);
        let bad = [
            (
                "/etc/passwd",
                "format error\nx0.path: invalid format - /etc/passwd is not a valid device path\n",
            ),
            ("/dev/x,mode=660", "format error\nx0.mode: value does not match the regex pattern"),
            ("/dev/x,uid=-1", "format error\nx0.uid: value must have a minimum value of 0"),
        ];
        check(&DEVICE, &["/dev/x", "path=/dev/x,mode=0660,uid=0,gid=5,deny-write=1", "mode=0600"], &bad);
        let bad = [("mount=nfs/cifs", "format error\nx0.mount: value does not match the regex pattern")];
        check(&FEATURES, &["nesting=1,keyctl=1,mount=nfs;cifs", ""], &bad);
    }

    /// Unrecorded: src/PVE/Storage/Plugin.pm:69–140 of pve-storage, src/PVE/VZDump/Common.pm:96–160 of pve-guest-common.
    #[test]
    fn backups_and_storages() {
        let bad = [
            ("keep-all=1,keep-last=1", "keep-all cannot be set together with other options."),
            ("keep-last=-1", "format error\nx0.keep-last: value must have a minimum value of 0"),
            ("keep-some=1", "invalid key in comma-separated list property: keep-some"),
        ];
        check(&PRUNE, &["keep-last=3,keep-daily=7", "keep-all=1", "keep-all=1,keep-last=0", ""], &bad);
        let needed = "'storage' parameter is required when 'enabled' is set";
        check(&FLEECING, &["1,storage=tank", "0", "enabled=no"], &[("1", needed), ("enabled=on", needed)]);
        let bad = [("max-workers=0", "format error\nx0.max-workers: value must have a minimum value of 1")];
        check(&PERFORMANCE, &["max-workers=256,pbs-entries-max=1"], &bad);
        let bad = [("restore=-1", "format error\nx0.restore: value must have a minimum value of 0")];
        check(&BWLIMIT, &["default=100,restore=0.5,clone=1,move=2,migration=3"], &bad);
    }
}
