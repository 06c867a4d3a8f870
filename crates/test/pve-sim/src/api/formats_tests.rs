//! Good and bad values of each format, and what is said of the bad ones.

use super::*;

/// Every `good` passes; every `bad` is answered with `text`, in which `{}` stands for the value.
fn check(format: fn(&str) -> Checked, good: &[&str], bad: &[&str], text: &str) {
    for value in good {
        assert_eq!(format(value), Ok(()), "{value:?}");
    }
    for value in bad {
        assert_eq!(
            format(value),
            Err(format!("invalid format - {}\n", text.replace("{}", value))),
            "{value:?}"
        );
    }
}

fn check_pattern(pattern: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
    for value in good {
        assert!(pattern(value), "{value:?}");
    }
    for value in bad {
        assert!(!pattern(value), "{value:?}");
    }
}

/// rec 86, 88, 89, 90, 147, 190, 396, 2/779.
#[test]
fn recorded_refusals() {
    check(
        vmid_item,
        &["100", "999999999"],
        &["5", "99", "0100", "1000000000", "+100", "abc"],
        "value does not look like a valid VM ID",
    );
    check(config_id, &["ab", "a-1_b"], &["1bad", "a", "a b", ""], "invalid configuration ID '{}'");
    check(tag, &["a", "_a+b.c-d", "1"], &["tag!", "", "-a", ".a"], "invalid characters in tag");
    check(
        storage_id,
        &["ab", "a.b-c_1"],
        &["1bad", "ab-", "a b"],
        "storage ID '{}' contains illegal characters",
    );
    check(storage_id, &[], &["", "a"], "storage ID '{}' cannot be shorter than 2 characters");
    let bad = ["10.0.0.300/24", "nonsense", "10.0.0.1", "10.0.0.1/7", "10.0.0.1/33", "auto", "fd00::1/64"];
    check(
        ipv4_config,
        &["10.0.0.1/24", "dhcp", "manual"],
        &bad,
        "value does not look like a valid ipv4 network configuration",
    );
    check(
        dns_name,
        &["a", "a-b.c", "A1"],
        &["bad_host!", "", "-a", "a-", "a..b", "a."],
        "value does not look like a valid DNS name",
    );
}

/// Unrecorded: src/PVE/JSONSchema.pm:456–760 of pve-common.
#[test]
fn addresses() {
    check(
        ipv4,
        &["10.0.0.1"],
        &["10.0.0", "010.0.0.1", "::1", ""],
        "value does not look like a valid IPv4 address",
    );
    check(
        ipv6,
        &["fd00::1", "::1"],
        &["10.0.0.1", "fe80::1%eth0", ":"],
        "value does not look like a valid IPv6 address",
    );
    let bad = ["fd00::1", "fd00::1/7", "fd00::1/129", "10.0.0.1/24", "fd00::1/+64"];
    check(
        ipv6_config,
        &["fd00::1/64", "auto", "dhcp", "manual"],
        &bad,
        "value does not look like a valid ipv6 network configuration",
    );
    let bad = ["BD:24:11:00:00:01", "BC:24:11:00:00", "BC:24:11:00:00:0", "+C:24:11:00:00:01", ""];
    check(
        mac_address,
        &["BC:24:11:00:00:01", "bc:24:11:aa:bb:cc"],
        &bad,
        "value does not look like a valid unicast MAC address",
    );
    let good = ["10.0.0.1", "fd00::1", "fe80::1%eth0", "fe80::1%vmbr0.5"];
    check(
        name_server,
        &good,
        &["dns.example", "fd00::1%eth0", "fe80::1%", "fe80::1%e", ""],
        "value does not look like a valid IP address",
    );
    let bad = ["", "a b", "nas_1", "10.0.0.1:2049"];
    check(
        server,
        &["nas.example", "10.0.0.1", "fd00::1"],
        &bad,
        "value does not look like a valid server name or IP address",
    );
    check(
        email_or_nothing,
        &["", "0", "a.b+c@d-e.f", "a@b"],
        &["a", "a@", "@b", "a..b@c", "a@b_c", "a@b@c"],
        "value does not look like a valid email address",
    );
    check(
        email_or_user,
        &["root", "a.b@c"],
        &["", "a b", "a@", "a/b"],
        "value does not look like a valid email address or user name",
    );
}

/// Unrecorded: PVE/Auth/Plugin.pm:34–160 and PVE/AccessControl.pm:306–1370 of pve-access-control.
#[test]
fn users_and_what_they_are_in() {
    check(realm, &["pam", "p2", "a.b-c"], &["", "p", "2p", "a b"], "value does not look like a valid realm");
    check(
        user_id,
        &["a@pve", "a@b@pve", "root@pam"],
        &["root", "a:b@pve", "a/b@pve", "@pve", "a@p"],
        "value '{}' does not look like a valid user name",
    );
    check(user_id, &[], &["", "a@"], "user name '{}' is too short");
    let long = format!("{}@pve", "a".repeat(61));
    assert_eq!(user_id(&long), Err(format!("invalid format - user name '{long}' is too long (65 > 64)\n")));
    check(
        full_token_id,
        &["a@pve!t1"],
        &["a@pve", "a@pve!t", "!t1", "a@pve!1t"],
        "value '{}' does not look like a valid token ID",
    );
    check_pattern(is_user_or_token, &["a@pve", "a@pve!t1"], &["a", "a@pve!", "a@pve!t1!"]);
    check_pattern(is_token_id, &["t1", "T.a-b"], &["t", "1t", "t!", ""]);
    check(group_id, &["g", "1"], &["", "a b", "a/b"], "group name '{}' contains invalid characters");
    check(role_id, &["r", "1"], &["", "a b"], "role name '{}' contains invalid characters");
    check(privilege, &["VM.Audit"], &["VM.Nope", ""], "invalid privilege '{}'");
    check(
        pool_id,
        &["a", "a/b/c"],
        &["", "a b", "/a", "a//b", "a/"],
        "pool name '{}' contains invalid characters",
    );
    check(pool_id, &[], &["a/b/c/d", "/a/b/c"], "pool name '{}' nested too deeply (max levels = 3)");
    check_pattern(is_keys, &["", "aZ9!="], &["a b", &"x".repeat(4097)]);
}

/// Unrecorded: src/PVE/JSONSchema.pm:678, 767, 797 of pve-common; src/PVE/LXC/Config.pm:962, 972, 1046 of pve-container;
/// src/PVE/Storage/Plugin.pm:406 of pve-storage.
#[test]
fn what_guests_are_configured_with() {
    check(time_zone, &["host", "UTC"], &["", "Mars/Olympus", "#code"], "invalid time zone '{}'");
    let good = ["1", "order=1", "order=1,up=30,down=60", "up=5,,down=6", "down=6,3"];
    check(
        startup,
        &good,
        &["", "0", "order", "order=", "order=x", "up=-1", "1, up=3"],
        "unable to parse startup options",
    );
    let good = ["local:snippets/hook.sh", "ab::x"];
    check(
        volume_id,
        &good,
        &["", "hook.sh", "local:", "a:x", "1a:x", "/etc/passwd"],
        "unable to parse volume ID '{}'",
    );
    let good = ["tank:8", "/srv/..data", "..", "./a", "/"];
    check(
        plain_path,
        &good,
        &["/a/../b", "/a/./b", "/a/..", "/.", "../a"],
        "{} contains illegal character sequences",
    );
    check(
        device,
        &["/dev/dri/card0", "/dev/..a"],
        &["dri", "/dev", "/dev/../etc", "/dev/.", ""],
        "{} is not a valid device path",
    );
    let good = ["8G", "1.5T", "512", "4KiB", "0"];
    check(
        disk_size,
        &good,
        &["", "G", "1.", ".5G", "1.2.3G", "8g", "8GB", "-1"],
        "value does not look like a valid disk size: {}",
    );
}

/// Unrecorded: src/PVE/LXC/Config.pm:655, 695 of pve-container; the API's schema for the others.
#[test]
fn patterns() {
    check_pattern(is_resize, &["1G", "+1.5G", "512", "+0"], &["-1G", "1GiB", "++1G", "", "1 G"]);
    check_pattern(is_command, &["/sbin/init", "sh -c\t'x'", "ü"], &["", "a\nb", "a\u{7f}"]);
    check_pattern(is_environment, &["A=1", "A=", "A=b=c\0B=2"], &["", "A", "=1", "A=1\0", "A B=1", "A=\n"]);
    check_pattern(is_solid, &["a", "ü!"], &["", "a b", "a\n"]);
}
