//! Which of an archive's options a restored guest gets: everything that was not passed (F74). Pure but for random addresses.
//! Source: `PVE/LXC/Create.pm` `sanitize_and_merge_config`.

use super::settings::random_mac;
use crate::api::lxc::perms::is_net;
use crate::error::ApiError;
use crate::state::guest_config::Section;
use crate::state::property::Properties;

/// What a restored guest does not get.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Raw `lxc.*` lines, which only root gets.
    pub(crate) lxc: Vec<String>,
    /// The features, because the guest becomes privileged.
    pub(crate) features_skipped: bool,
}

/// Merges `old`, from the archive, into what was given.
///
/// # Errors
/// If there are no random numbers for an address.
pub(crate) fn merge(
    given: &mut Section,
    old: &Section,
    root: bool,
    unique: bool,
) -> Result<LeftOut, ApiError> {
    let mut left_out = LeftOut::default();
    for (key, value) in &old.values {
        let numbered = |stem: &str| key.strip_prefix(stem).is_some_and(|n| n.parse::<u32>().is_ok());
        let own = ["rootfs", "unprivileged", "parent", "template", "lock", "digest"].contains(&key.as_str());
        if own || numbered("mp") || numbered("unused") {
            continue;
        }
        if key == "features" && !root && old.flag("unprivileged") && !given.flag("unprivileged") {
            left_out.features_skipped = true;
            continue;
        }
        if unique && is_net(key) {
            // F60: also over a net that was passed.
            let mut net = Properties::parse(value, None).unwrap_or_default();
            net.set("hwaddr", random_mac()?);
            given.set(key, net.to_text(Some("name")));
        } else if given.get(key).is_none() {
            given.set(key, value.clone());
        }
    }
    if root {
        given.lxc.clone_from(&old.lxc);
        return Ok(left_out);
    }
    left_out.lxc = old.lxc.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::guest_config::GuestConfig;

    fn section(text: &str) -> Section {
        GuestConfig::parse(text).current
    }

    /// F74, rec 2/1–26: onboot, protection, hookscript, devices, features and nets come from the archive unless they are passed.
    #[test]
    fn f74_what_is_not_passed_comes_from_the_archive() {
        let old = section(
            "dev0: /dev/fuse\nfeatures: nesting=1,keyctl=1\nhookscript: local:snippets/x\nhostname: old\nlock: backup\n\
             mp0: tank:1/vm-1-disk-1.raw,mp=/data\nnet0: name=eth0,hwaddr=AA:BB:CC:00:00:01\nonboot: 1\nrootfs: tank:1/x.raw\n\
             unprivileged: 1\nlxc.cap.drop: sys_nice\n",
        );
        let mut given =
            section("hostname: new\nnet0: name=eth0,hwaddr=BC:24:11:00:00:01,type=veth\nunprivileged: 1\n");
        let skipped = merge(&mut given, &old, false, false).unwrap();
        assert_eq!(given.get("hostname"), Some("new"));
        assert_eq!(given.get("net0"), Some("name=eth0,hwaddr=BC:24:11:00:00:01,type=veth"));
        assert_eq!(given.get("hookscript"), Some("local:snippets/x"));
        assert_eq!(given.get("features"), Some("nesting=1,keyctl=1"));
        assert_eq!(given.get("onboot"), Some("1"));
        assert_eq!((given.get("mp0"), given.get("lock"), given.get("rootfs")), (None, None, None));
        assert_eq!(skipped.lxc, ["lxc.cap.drop: sys_nice"]);
    }

    /// F60, rec 341/345: `unique` makes a new address even where a net was passed.
    #[test]
    fn f60_unique_ignores_a_net_that_was_passed() {
        let mut given = section("net0: name=eth0,hwaddr=BC:24:11:00:00:01,type=veth\n");
        merge(&mut given, &section("net0: name=eth0,bridge=vmbr0,hwaddr=AA:BB:CC:00:00:01\n"), false, true)
            .unwrap();
        let net = given.get("net0").unwrap();
        assert!(
            net.starts_with("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:") && !net.contains("00:00:01"),
            "{net}"
        );
    }
}
