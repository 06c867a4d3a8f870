//! Formats of parameter values, each answering what is wrong in Proxmox VE's words. Pure.

use crate::http::schema::{Field, Kind, req};
use crate::state::property::{MountPoint, Properties};
use crate::state::volid::valid_storage_id;

/// A VMID.
pub(crate) const VMID: Kind = Kind::Format(vmid);
/// `{node}` of a path.
pub(crate) const NODE: Field = req("node", Kind::Format(node));
/// `{node}` and `{vmid}` of a path.
pub(crate) const GUEST: &[Field] = &[NODE, req("vmid", VMID)];

fn vmid(text: &str) -> Result<(), String> {
    let number = text.parse::<i64>().map_err(|_| format!("type check ('integer') failed - got '{text}'"))?;
    if text.starts_with('0') || !(100..=999_999_999).contains(&number) {
        return Err("invalid format - value does not look like a valid VM ID\n".into());
    }
    Ok(())
}

/// A list item that is a VMID.
pub(crate) fn vmid_item(text: &str) -> Result<(), String> {
    vmid(text)
}

/// A node's name.
pub(crate) fn node_name(text: &str) -> Result<(), String> {
    node(text)
}

fn node(text: &str) -> Result<(), String> {
    if is_name(text, "-") {
        Ok(())
    } else {
        Err("invalid format - value does not look like a valid node name\n".into())
    }
}

/// A list item that is a node's name.
pub(crate) fn node_item(text: &str) -> Result<(), String> {
    node(text)
}

fn is_name(text: &str, more: &str) -> bool {
    let alnum = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alnum) && text.ends_with(alnum) && text.chars().all(|c| alnum(c) || more.contains(c))
}

/// A storage id.
pub(crate) fn storage_id(text: &str) -> Result<(), String> {
    if text.len() < 2 {
        Err(format!("invalid format - storage ID '{text}' cannot be shorter than 2 characters\n"))
    } else if valid_storage_id(text) {
        Ok(())
    } else {
        Err(format!("invalid format - storage ID '{text}' contains illegal characters\n"))
    }
}

/// A pool id.
pub(crate) fn pool_id(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) {
        Ok(())
    } else {
        Err("invalid format - value does not look like a valid poolid\n".into())
    }
}

/// A role id.
pub(crate) fn role_id(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        Ok(())
    } else {
        Err(format!("invalid format - role name '{text}' contains invalid characters\n"))
    }
}

/// A privilege.
pub(crate) fn privilege(text: &str) -> Result<(), String> {
    if crate::state::access::PRIVILEGES.contains(&text) {
        Ok(())
    } else {
        Err(format!("invalid format - invalid privilege '{text}'\n"))
    }
}

/// `name@realm`.
pub(crate) fn user_id(text: &str) -> Result<(), String> {
    let valid = text.split_once('@').is_some_and(|(name, realm)| {
        !name.is_empty()
            && !realm.is_empty()
            && !name.contains(|c: char| c.is_whitespace() || ":/!".contains(c))
            && realm.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    });
    if valid {
        Ok(())
    } else {
        Err(format!("invalid format - value '{text}' does not look like a valid user name\n"))
    }
}

/// `name@realm!token`.
pub(crate) fn full_token_id(text: &str) -> Result<(), String> {
    let valid =
        text.split_once('!').is_some_and(|(user, token)| user_id(user).is_ok() && token_id(token).is_ok());
    if valid {
        Ok(())
    } else {
        Err(format!("invalid format - value '{text}' does not look like a valid token ID\n"))
    }
}

/// A token's own id.
pub(crate) fn token_id(text: &str) -> Result<(), String> {
    let valid = text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if valid { Ok(()) } else { Err("value does not match the regex pattern".into()) }
}

/// A snapshot's or option's name (F52).
pub(crate) fn config_id(text: &str) -> Result<(), String> {
    let valid = text.len() >= 2
        && text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if valid { Ok(()) } else { Err(format!("invalid format - invalid configuration ID '{text}'\n")) }
}

/// A DNS name.
pub(crate) fn dns_name(text: &str) -> Result<(), String> {
    if !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|label| is_name(label, "-") && label.len() <= 63)
    {
        Ok(())
    } else {
        Err("invalid format - value does not look like a valid DNS name\n".into())
    }
}

/// One tag.
pub(crate) fn tag(text: &str) -> Result<(), String> {
    let valid = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-+.".contains(c));
    if valid { Ok(()) } else { Err("invalid format - invalid characters in tag\n".into()) }
}

/// `rootfs` and `mpN`; `rootfs` may be a size alone.
pub(crate) fn mount_point(name: &str, text: &str) -> Result<(), String> {
    if name == "rootfs" && is_size_only(text) {
        return Ok(());
    }
    MountPoint::parse(name, text).map(drop).map_err(|e| format_error(&e))
}

fn format_error(text: &str) -> String {
    format!("invalid format - format error\n{text}\n")
}

fn is_size_only(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";

const NET_KEYS: [&str; 14] = [
    "name",
    "bridge",
    "firewall",
    "gw",
    "gw6",
    "host-managed",
    "hwaddr",
    "ip",
    "ip6",
    "link_down",
    "mtu",
    "rate",
    "tag",
    "type",
];

/// `netN`.
pub(crate) fn net(name: &str, text: &str) -> Result<(), String> {
    let net = Properties::parse(text, None).map_err(|e| format_error(&e))?;
    if net.get("name").is_none() {
        return Err(format_error(&format!("{name}.name: property is missing and it is not optional")));
    }
    for (key, value) in &net.pairs {
        if !(key == "trunks" || NET_KEYS.contains(&key.as_str())) {
            return Err(format_error(&format!("{name}.{key}: {NOT_DEFINED}")));
        }
        let what = match key.as_str() {
            "hwaddr" if !is_unicast_mac(value) => "unicast MAC address",
            "ip" if !(["dhcp", "manual"].contains(&value.as_str()) || is_cidr(value)) => {
                "ipv4 network configuration"
            }
            "firewall" | "link_down" if crate::state::property::parse_boolean(value).is_none() => "boolean",
            _ => continue,
        };
        return Err(format_error(&format!(
            "{name}.{key}: invalid format - value does not look like a valid {what}\n"
        )));
    }
    Ok(())
}

fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<Option<u8>> =
        text.split(':').map(|p| (p.len() == 2).then(|| u8::from_str_radix(p, 16).ok()).flatten()).collect();
    bytes.len() == 6 && bytes.iter().all(Option::is_some) && bytes[0].is_some_and(|b| b & 1 == 0)
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(ip, bits)| {
        ip.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|b| (8..=32).contains(&b))
    })
}

/// `features`.
pub(crate) fn features(name: &str, text: &str) -> Result<(), String> {
    let features = Properties::parse(text, None).map_err(|e| format_error(&e))?;
    let known = ["force_rw_sys", "fuse", "keyctl", "mknod", "mount", "nesting"];
    match features.pairs.iter().find(|(k, _)| !known.contains(&k.as_str())) {
        Some((key, _)) => Err(format_error(&format!("{name}.{key}: {NOT_DEFINED}"))),
        None => Ok(()),
    }
}

/// `512M`, `+1G`.
pub(crate) fn resize(text: &str) -> Result<(), String> {
    let size = text.strip_prefix('+').unwrap_or(text);
    if crate::state::property::parse_size(size).is_some() {
        Ok(())
    } else {
        Err("value does not match the regex pattern".into())
    }
}

/// `keep-last=3,…`.
pub(crate) fn prune(text: &str) -> Result<(), String> {
    let known =
        ["keep-all", "keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"];
    let prune = Properties::parse(text, None).map_err(|e| format!("invalid format - format error\n{e}\n"))?;
    if !prune.pairs.is_empty()
        && prune.pairs.iter().all(|(k, v)| known.contains(&k.as_str()) && v.parse::<u64>().is_ok())
    {
        Ok(())
    } else {
        Err("invalid format - format error\n".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rec 86, 89, 90, 147, 190, 396.
    #[test]
    fn recorded_refusals() {
        assert_eq!(vmid("99").unwrap_err(), "invalid format - value does not look like a valid VM ID\n");
        assert_eq!(config_id("1bad").unwrap_err(), "invalid format - invalid configuration ID '1bad'\n");
        assert_eq!(tag("tag!").unwrap_err(), "invalid format - invalid characters in tag\n");
        assert_eq!(
            storage_id("1bad").unwrap_err(),
            "invalid format - storage ID '1bad' contains illegal characters\n"
        );
        assert_eq!(
            net("net0", "name=eth0,bridge=vmbr0,ip=10.0.0.300/24").unwrap_err(),
            "invalid format - format error\nnet0.ip: invalid format - value does not look like a valid ipv4 network configuration\n\n"
        );
        assert!(net("net0", "name=eth0,bridge=vmbr0,link_down=1").is_ok());
        assert!(dns_name("bad_host!").is_err());
        assert!(mount_point("rootfs", "4").is_ok());
        assert_eq!(
            mount_point("mp5", "tank:1").unwrap_err(),
            "invalid format - format error\nmp5.mp: property is missing and it is not optional\n"
        );
    }
}
