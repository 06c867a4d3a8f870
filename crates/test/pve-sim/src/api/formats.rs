//! Formats of parameter values, each answering what is wrong in Proxmox VE's words. Pure, but for the machine's time zones.
//!
//! Unless a recording is named the texts are unrecorded: `src/PVE/JSONSchema.pm` of pve-common 9.2.1, `PVE/AccessControl.pm`
//! and `PVE/Auth/Plugin.pm` of pve-access-control 9.1.1. Property strings are in [`super::properties`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::http::schema::{Field, Kind, req, valid_vmid};
use crate::state::property::parse_size;
use crate::state::volid::valid_storage_id;

/// `{node}` of a path.
pub(crate) const NODE: Field = req("node", Kind::Format(node));
/// `{node}` and `{vmid}` of a path.
pub(crate) const GUEST: &[Field] = &[NODE, req("vmid", Kind::Vmid)];
/// A guest's or snapshot's name for a snapshot.
pub(crate) const SNAPNAME: Kind = Kind::Format(config_id);

type Checked = Result<(), String>;

/// Answers for a format in Proxmox VE's words.
pub(crate) fn valid(good: bool, what: impl FnOnce() -> String) -> Checked {
    if good { Ok(()) } else { Err(format!("invalid format - {}\n", what())) }
}

fn looks_like(good: bool, what: &str) -> Checked {
    valid(good, || format!("value does not look like a valid {what}"))
}

/// A list item that is a VMID.
pub(crate) fn vmid_item(text: &str) -> Checked {
    valid_vmid(text)
}

/// A node's name.
pub(crate) fn node(text: &str) -> Checked {
    looks_like(is_name(text, "-"), "node name")
}

fn is_name(text: &str, more: &str) -> bool {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alnum) && text.ends_with(alnum) && text.chars().all(|c| alnum(c) || more.contains(c))
}

fn is_word(text: &str, more: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// A storage id (rec 396, 2/779).
pub(crate) fn storage_id(text: &str) -> Checked {
    valid(text.chars().count() >= 2, || format!("storage ID '{text}' cannot be shorter than 2 characters"))?;
    valid(valid_storage_id(text), || format!("storage ID '{text}' contains illegal characters"))
}

/// A pool id: at most three names.
pub(crate) fn pool_id(text: &str) -> Checked {
    let levels = text.trim_end_matches('/').split('/').count();
    valid(levels <= 3, || format!("pool name '{text}' nested too deeply (max levels = 3)"))?;
    valid(text.split('/').all(|name| is_word(name, "-_.")), || {
        format!("pool name '{text}' contains invalid characters")
    })
}

/// A role id.
pub(crate) fn role_id(text: &str) -> Checked {
    valid(is_word(text, "-_."), || format!("role name '{text}' contains invalid characters"))
}

/// A group id.
pub(crate) fn group_id(text: &str) -> Checked {
    valid(is_word(text, "-_."), || format!("group name '{text}' contains invalid characters"))
}

/// A privilege (rec 10).
pub(crate) fn privilege(text: &str) -> Checked {
    valid(crate::state::access::PRIVILEGES.contains(&text), || format!("invalid privilege '{text}'"))
}

fn is_realm(text: &str) -> bool {
    text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(text, "-_.")
}

/// A realm.
pub(crate) fn realm(text: &str) -> Checked {
    looks_like(is_realm(text), "realm")
}

/// `name@realm`.
pub(crate) fn is_user(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(name, realm)| {
        !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || ":/".contains(c)) && is_realm(realm)
    })
}

fn is_token(text: &str) -> bool {
    text.rsplit_once('!').is_some_and(|(user, token)| is_user(user) && is_realm(token))
}

/// `name@realm`.
pub(crate) fn user_id(text: &str) -> Checked {
    let length = text.chars().count();
    valid(length >= 3, || format!("user name '{text}' is too short"))?;
    valid(length <= 64, || format!("user name '{text}' is too long ({length} > 64)"))?;
    valid(is_user(text), || format!("value '{text}' does not look like a valid user name"))
}

/// `name@realm!token`.
pub(crate) fn full_token_id(text: &str) -> Checked {
    valid(is_token(text), || format!("value '{text}' does not look like a valid token ID"))
}

/// `name@realm[!token]`.
pub(crate) fn is_user_or_token(text: &str) -> bool {
    is_user(text) || is_token(text)
}

/// A token's own id.
pub(crate) fn is_token_id(text: &str) -> bool {
    is_realm(text)
}

/// Keys of a second factor.
pub(crate) fn is_keys(text: &str) -> bool {
    text.len() <= 4096 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!=".contains(&b))
}

/// A snapshot's or option's name (F52).
pub(crate) fn config_id(text: &str) -> Checked {
    let good = text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    valid(good, || format!("invalid configuration ID '{text}'"))
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| is_name(label, "-"))
}

/// A DNS name (rec 89).
pub(crate) fn dns_name(text: &str) -> Checked {
    looks_like(is_dns_name(text), "DNS name")
}

/// One tag (rec 147).
pub(crate) fn tag(text: &str) -> Checked {
    let start = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    valid(start && is_word(text, "_-+."), || "invalid characters in tag".into())
}

fn is_mail_user(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_+-~".contains(c)))
}

fn is_email(text: &str) -> bool {
    text.split_once('@')
        .is_some_and(|(user, host)| is_mail_user(user) && host.split('.').all(|label| is_word(label, "-")))
}

/// An address of electronic mail, or nothing.
pub(crate) fn email_or_nothing(text: &str) -> Checked {
    // `0` is false in Perl.
    looks_like(text.is_empty() || text == "0" || is_email(text), "email address")
}

/// An address of electronic mail or a local user.
pub(crate) fn email_or_user(text: &str) -> Checked {
    looks_like(is_email(text) || is_mail_user(text), "email address or user name")
}

/// An IPv4 address.
pub(crate) fn ipv4(text: &str) -> Checked {
    looks_like(text.parse::<Ipv4Addr>().is_ok(), "IPv4 address")
}

/// An IPv6 address.
pub(crate) fn ipv6(text: &str) -> Checked {
    looks_like(text.parse::<Ipv6Addr>().is_ok(), "IPv6 address")
}

fn is_cidr<T: std::str::FromStr>(text: &str, longest: u8) -> bool {
    text.split_once('/').is_some_and(|(ip, bits)| {
        let digits = bits.bytes().all(|b| b.is_ascii_digit());
        ip.parse::<T>().is_ok() && digits && bits.parse().is_ok_and(|b: u8| (8..=longest).contains(&b))
    })
}

/// `10.0.0.2/24`, `dhcp`, `manual` (rec 89, 90).
pub(crate) fn ipv4_config(text: &str) -> Checked {
    let good = ["dhcp", "manual"].contains(&text) || is_cidr::<Ipv4Addr>(text, 32);
    looks_like(good, "ipv4 network configuration")
}

/// `fd00::2/64`, `auto`, `dhcp`, `manual`.
pub(crate) fn ipv6_config(text: &str) -> Checked {
    let good = ["auto", "dhcp", "manual"].contains(&text) || is_cidr::<Ipv6Addr>(text, 128);
    looks_like(good, "ipv6 network configuration")
}

/// An address of a network card that is not for many.
pub(crate) fn mac_address(text: &str) -> Checked {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|p| u8::from_str_radix(p, 16).ok().filter(|_| is_word(p, "") && p.len() == 2))
        .collect();
    looks_like(bytes.is_some_and(|b| b.len() == 6 && b[0] & 1 == 0), "unicast MAC address")
}

/// An IP address; one of a link may name its interface (Unrecorded: src/PVE/LXC/Config.pm:438 of pve-container).
pub(crate) fn name_server(text: &str) -> Checked {
    let of_link = text.split_once('%').is_some_and(|(ip, interface)| {
        ip.starts_with("fe80:") && ip.parse::<Ipv6Addr>().is_ok() && is_interface(interface)
    });
    looks_like(of_link || text.parse::<IpAddr>().is_ok(), "IP address")
}

/// `eth0`, `eth0.5`, `eth0:1`.
fn is_interface(text: &str) -> bool {
    let at = text.find([':', '.']).unwrap_or(text.len());
    let (name, number) = text.split_at(at);
    let number = number.is_empty() || number.len() > 1 && number[1..].bytes().all(|b| b.is_ascii_digit());
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic());
    start && number && (2..=21).contains(&name.len()) && is_word(name, "_")
}

/// An IP address or a DNS name (Unrecorded: src/PVE/Storage/Plugin.pm:304 of pve-storage).
pub(crate) fn server(text: &str) -> Checked {
    looks_like(text.parse::<IpAddr>().is_ok() || is_dns_name(text), "server name or IP address")
}

/// `host`, `UTC`, or a zone of the machine's table (Unrecorded: src/PVE/LXC/Config.pm:962 of pve-container).
pub(crate) fn time_zone(text: &str) -> Checked {
    let in_table = || {
        let table = std::fs::read_to_string("/usr/share/zoneinfo/zone.tab").unwrap_or_default();
        let lines = table.lines().filter(|line| !line.trim_start().starts_with('#'));
        lines.filter_map(|line| line.split('\t').nth(2)).any(|zone| zone == text)
    };
    valid(["host", "UTC"].contains(&text) || in_table(), || format!("invalid time zone '{text}'"))
}

/// `order=1,up=30,down=60`.
pub(crate) fn startup(text: &str) -> Checked {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = || text.split(',').filter(|part| !part.trim().is_empty());
    let good = parts().all(|part| match part.split_once('=') {
        Some(("order" | "up" | "down", value)) => number(value),
        Some(_) => false,
        None => number(part),
    });
    // Nothing, and `0`, are false in Perl.
    valid(good && !text.is_empty() && text != "0", || "unable to parse startup options".into())
}

/// `STORE:NAME` (Unrecorded: src/PVE/Storage/Plugin.pm:406 of pve-storage).
pub(crate) fn volume_id(text: &str) -> Checked {
    let good = text.split_once(':').is_some_and(|(storage, name)| {
        valid_storage_id(storage) && !name.is_empty() && !name.starts_with('\n')
    });
    valid(good, || format!("unable to parse volume ID '{text}'"))
}

/// A path without steps up (Unrecorded: src/PVE/LXC/Config.pm:972 of pve-container).
pub(crate) fn plain_path(text: &str) -> Checked {
    let dots = text.split('/').skip(1).any(|part| part == "." || part == "..");
    valid(!dots && !text.starts_with("../"), || format!("{text} contains illegal character sequences"))
}

/// A device of the host (Unrecorded: src/PVE/LXC/Config.pm:1046 of pve-container).
pub(crate) fn device(text: &str) -> Checked {
    let dots = text.split('/').skip(1).any(|part| part == "." || part == "..");
    valid(!dots && text.starts_with("/dev/"), || format!("{text} is not a valid device path"))
}

/// `8G`, `1.5T`, `512`.
pub(crate) fn disk_size(text: &str) -> Checked {
    looks_like(parse_size(text).is_some(), &format!("disk size: {text}"))
}

/// `512M`, `+1G`.
pub(crate) fn is_resize(text: &str) -> bool {
    let size = text.strip_prefix('+').unwrap_or(text);
    parse_size(size).is_some() && !size.ends_with('B')
}

/// A line without control characters.
pub(crate) fn is_command(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_ascii_control() && c != '\t')
}

/// `NAME=value`, separated by NUL.
pub(crate) fn is_environment(text: &str) -> bool {
    let control = |c: char| c.is_ascii_control() && c != '\t';
    text.split('\0').all(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            !name.is_empty()
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !value.contains(control)
        })
    })
}

/// Characters other than blanks.
pub(crate) fn is_solid(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

#[cfg(test)]
#[path = "formats_tests.rs"]
mod tests;
