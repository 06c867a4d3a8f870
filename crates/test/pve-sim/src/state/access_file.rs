//! `user.cfg` in Proxmox VE's own syntax: one record a line, fields separated by colons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::access::{Access, AclNode, Group, Pool, Token, User};
use super::property::{decode_text, encode_text};
use super::{Host, atomic};
use crate::error::ApiError;

/// Reads `user.cfg`; a missing one knows root@pam only.
pub(crate) fn load(host: &Host) -> Result<Access, ApiError> {
    Ok(parse(&atomic::read_optional(&host.dir.user_config())?.unwrap_or_default()))
}

/// Replaces `user.cfg`. The caller holds [`Host::lock_access`].
pub(crate) fn save(host: &Host, access: &Access) -> Result<(), ApiError> {
    Ok(atomic::write(&host.dir.user_config(), to_text(access).as_bytes())?)
}

/// Changes `user.cfg` under its lock.
///
/// # Errors
/// What `change` answers; nothing is written then.
pub(crate) fn update<T>(
    host: &Host,
    change: impl FnOnce(&mut Access) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let _held = host.lock_access()?;
    let mut access = load(host)?;
    let result = change(&mut access)?;
    save(host, &access)?;
    Ok(result)
}

/// Parses the file's text.
pub(crate) fn parse(text: &str) -> Access {
    let mut access = Access::default();
    access.users.insert("root@pam".into(), User::default());
    for line in text.lines().map(str::trim_end) {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |n: usize| fields.get(n).copied().unwrap_or_default();
        let list = |n: usize| field(n).split(',').filter(|s| !s.is_empty()).map(str::to_owned);
        match field(0) {
            "user" => {
                let user = access.users.entry(field(1).to_owned()).or_default();
                user.enable = field(2) != "0";
                user.expire = field(3).parse().unwrap_or_default();
                user.firstname = decode_text(field(4));
                user.lastname = decode_text(field(5));
                user.email = field(6).to_owned();
                user.comment = decode_text(field(7));
            }
            "token" => {
                let Some((user, id)) = field(1).split_once('!') else { continue };
                let token = Token {
                    expire: field(2).parse().unwrap_or_default(),
                    privsep: field(3) != "0",
                    comment: decode_text(field(4)),
                };
                if let Some(user) = access.users.get_mut(user) {
                    user.tokens.insert(id.to_owned(), token);
                }
            }
            "group" => {
                access.groups.insert(
                    field(1).to_owned(),
                    Group { users: list(2).collect(), comment: decode_text(field(3)) },
                );
            }
            "role" => {
                access.roles.insert(field(1).to_owned(), list(2).collect());
            }
            "pool" => {
                // A guest belongs to the first pool that names it.
                // Unrecorded: PVE/AccessControl.pm:1595 of libpve-access-control 9.1.1.
                let taken = |vmid: &u32| access.pools.values().any(|pool| pool.vms.contains(vmid));
                let vms = list(3).filter_map(|v| v.parse().ok()).filter(|v| !taken(v)).collect();
                access.pools.insert(
                    field(1).to_owned(),
                    Pool { comment: decode_text(field(2)), vms, storages: list(4).collect() },
                );
            }
            "acl" => {
                let node = access.acl.entry(field(2).to_owned()).or_default();
                for who in list(3) {
                    for role in list(4) {
                        entry(node, &who).insert(role, field(1) != "0");
                    }
                }
            }
            _ => {}
        }
    }
    access
}

/// The roles of `user@realm`, `@group` or `user@realm!token` on a path.
pub(crate) fn entry<'a>(node: &'a mut AclNode, who: &str) -> &'a mut BTreeMap<String, bool> {
    if let Some(group) = who.strip_prefix('@') {
        node.groups.entry(group.to_owned()).or_default()
    } else if who.contains('!') {
        node.tokens.entry(who.to_owned()).or_default()
    } else {
        node.users.entry(who.to_owned()).or_default()
    }
}

/// The file's text.
pub(crate) fn to_text(access: &Access) -> String {
    let mut text = String::new();
    for (id, user) in &access.users {
        let _ = writeln!(
            text,
            "user:{id}:{}:{}:{}:{}:{}:{}::",
            u8::from(user.enable),
            user.expire,
            encode_text(&user.firstname),
            encode_text(&user.lastname),
            user.email,
            encode_text(&user.comment)
        );
        for (name, token) in &user.tokens {
            let (privsep, comment) = (u8::from(token.privsep), encode_text(&token.comment));
            let _ = writeln!(text, "token:{id}!{name}:{}:{privsep}:{comment}:", token.expire);
        }
    }
    for (id, group) in &access.groups {
        let _ = writeln!(text, "group:{id}:{}:{}:", join(&group.users), encode_text(&group.comment));
    }
    for (id, pool) in &access.pools {
        let vms: Vec<String> = pool.vms.iter().map(u32::to_string).collect();
        let _ = writeln!(
            text,
            "pool:{id}:{}:{}:{}:",
            encode_text(&pool.comment),
            vms.join(","),
            join(&pool.storages)
        );
    }
    for (id, privileges) in &access.roles {
        let _ = writeln!(text, "role:{id}:{}:", join(privileges));
    }
    for (path, node) in &access.acl {
        let users = node.users.iter().map(|(k, v)| (k.clone(), v));
        let groups = node.groups.iter().map(|(k, v)| (format!("@{k}"), v));
        let tokens = node.tokens.iter().map(|(k, v)| (k.clone(), v));
        for (who, roles) in users.chain(groups).chain(tokens) {
            for (role, propagate) in roles {
                let _ = writeln!(text, "acl:{}:{path}:{who}:{role}:", u8::from(*propagate));
            }
        }
    }
    text
}

fn join(set: &BTreeSet<String>) -> String {
    set.iter().cloned().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_written_back() {
        let text = "user:ctl@pve:1:0:::a@b.c:with %3A colon::\ntoken:ctl@pve!full:0:0:t:\nuser:root@pam:1:0::::::\n\
                    pool:tenants:x:100,101:tank:\nrole:Op:VM.Audit,VM.Backup:\n\
                    acl:1:/:ctl@pve:Op:\nacl:0:/vms/100:ctl@pve!full:Op:\n";
        assert_eq!(to_text(&parse(text)), text);
    }

    #[test]
    fn several_users_and_roles_in_one_line_are_understood() {
        let access = parse("acl:1:/vms:a@pve,@g,b@pve!t:R1,R2:\n");
        let node = &access.acl["/vms"];
        assert_eq!(
            (node.users["a@pve"].len(), node.groups["g"].len(), node.tokens["b@pve!t"].len()),
            (2, 2, 2)
        );
    }
}
