//! The first configuration: what a person would write. Pure but for the files that were named.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use felhom_host::UserIds;
use felhom_model::StorageId;
use felhom_pve::Fingerprint;

use super::{BoxChoices, InstallError};

/// What is known of the host itself.
#[derive(Debug, Clone)]
pub(super) struct Here {
    /// Its name, which is the node's.
    pub(super) node: String,
    /// The certificate in its own file.
    pub(super) fingerprint: Option<Fingerprint>,
    /// The agent's user.
    pub(super) user: UserIds,
}

/// What an earlier configuration says, and stays where nothing else was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    guest: Option<StorageId>,
    backup: Option<StorageId>,
    golden: Option<StorageId>,
    release_keys: Vec<String>,
    fingerprint: String,
}

impl Earlier {
    /// Nothing of a text that cannot be read: somebody edited it, and it is not replaced.
    pub(super) fn of(text: &str) -> Self {
        let table: toml::Table = text.parse().unwrap_or_default();
        let of = |section: &str, key: &str| table.get(section)?.get(key).cloned();
        let text = |value: &toml::Value| value.as_str().map(str::to_owned);
        let id = |value: Option<toml::Value>| value?.as_str()?.parse().ok();
        let first = of("storages", "backup").and_then(|list| list.as_array()?.first().cloned());
        let keys = table.get("release_keys").and_then(toml::Value::as_array);
        Self {
            guest: id(of("storages", "guest")),
            backup: id(first),
            golden: id(of("storages", "golden")),
            release_keys: keys.into_iter().flatten().filter_map(text).collect(),
            fingerprint: of("pve", "fingerprint").as_ref().and_then(text).unwrap_or_default(),
        }
    }
}

/// `executor.toml`.
///
/// # Errors
/// [`InstallError::Needs`] for a storage that was not named, [`InstallError::File`] for a release key that is none.
pub(super) fn executor(choices: &BoxChoices, here: &Here, before: &Earlier) -> Result<String, InstallError> {
    let needs = |option: &str| InstallError::Needs {
        what: format!("the first configuration has to name a storage: {option} ID"),
        command: "pvesm status",
    };
    let guest =
        choices.guest_storage.as_ref().or(before.guest.as_ref()).ok_or_else(|| needs("--guest-storage"))?;
    let backup = choices
        .backup_storage
        .as_ref()
        .or(before.backup.as_ref())
        .ok_or_else(|| needs("--backup-storage"))?;
    let golden = choices.golden_storage.as_ref().or(before.golden.as_ref()).unwrap_or(backup);
    let keys = if choices.release_keys.is_empty() {
        before.release_keys.clone()
    } else {
        choices.release_keys.iter().map(|path| release_key(path)).collect::<Result<_, _>>()?
    };
    let mut text = String::from(
        "# The executor of this box. `felhom-executor --check-config` shows every key with its value.\n\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(line);
        text.push('\n');
    };
    line(format_args!("# Who may speak on its socket: the user `felhom`, whom the agent runs as."));
    line(format_args!("allowed_uids = [{}]\nsocket_gid = {}\n", here.user.uid, here.user.gid));
    line(format_args!("# Whose golden archives and releases are taken, each a line as in a `.pub` file."));
    line(format_args!("release_keys = {}\n", toml::Value::from(keys)));
    line(format_args!("[pve]\nurl = \"https://127.0.0.1:8006\""));
    line(format_args!("# SHA-256 of the host's certificate, as `pvenode cert info` prints it."));
    let fingerprint = here.fingerprint.map_or_else(|| before.fingerprint.clone(), |f| f.to_string());
    line(format_args!("fingerprint = {}", toml::Value::from(fingerprint)));
    line(format_args!("node = {}", toml::Value::from(here.node.clone())));
    line(format_args!(
        "# Written by `felhom-executor setup`.\ntoken_file = \"/etc/felhom/executor.token\"\n"
    ));
    line(format_args!("[storages]\nguest = {}", toml::Value::from(guest.to_string())));
    line(format_args!("backup = [{}]", toml::Value::from(backup.to_string())));
    line(format_args!("golden = {}", toml::Value::from(golden.to_string())));
    Ok(text)
}

fn release_key(path: &Path) -> Result<String, InstallError> {
    let fail = |why: String| InstallError::File { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    let key = text.trim().to_owned();
    felhom_signing::sshsig::SshPublicKey::from_openssh(&key).map_err(|e| fail(e.to_string()))?;
    Ok(key)
}

/// `agent.toml`.
pub(super) fn agent(address: IpAddr) -> String {
    let at = std::net::SocketAddr::new(address, 8443);
    format!(
        "# The agent of this box. `felhom-agent --check-config` shows every key with its value.\n\n\
         # Where guests reach this host; they are told this address.\n\
         local_api_listen = \"{at}\"\nlocal_api_url = \"https://{at}\"\n"
    )
}

/// `hub.toml`.
pub(super) fn hub(address: Option<IpAddr>) -> String {
    let mut text = String::from(
        "# The hub. `felhom-hub --check-config` shows every key with its value.\n\n\
         # How boxes and browsers reach it; it is written into tickets.\n",
    );
    text += &match address {
        Some(address) => {
            format!("public_url = \"https://{}\"\n", std::net::SocketAddr::new(address, 7443))
        }
        None => "# public_url = \"https://hub.example:7443\"\n".to_owned(),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn here() -> Here {
        Here {
            node: "box-1".to_owned(),
            fingerprint: Some(Fingerprint::from_bytes([0xab; 32])),
            user: UserIds { uid: 998, gid: 997 },
        }
    }

    #[test]
    fn the_executor_can_read_what_is_written_for_it() {
        let choices = BoxChoices {
            guest_storage: Some("local-zfs".parse().unwrap()),
            backup_storage: Some("local".parse().unwrap()),
            ..BoxChoices::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("executor.toml");
        std::fs::write(&file, executor(&choices, &here(), &Earlier::default()).unwrap()).unwrap();
        let config = Config::load(&file, std::iter::empty()).unwrap();
        assert_eq!((config.allowed_uids, config.socket_gid), (vec![998], Some(997)));
        assert_eq!(config.pve.node, "box-1");
        assert!(config.pve.fingerprint.starts_with("AB:AB:"));
        assert_eq!(config.storages.guest.as_str(), "local-zfs");
        assert_eq!((config.storages.backup[0].as_str(), config.storages.golden.as_str()), ("local", "local"));
        assert_eq!(config.state_dir, Path::new("/var/lib/felhom/executor"));
    }

    #[test]
    fn a_storage_that_was_not_named_and_a_key_that_is_none_are_told() {
        let mut choices = BoxChoices::default();
        let missing = executor(&choices, &here(), &Earlier::default()).unwrap_err().to_string();
        assert!(missing.contains("--guest-storage ID") && missing.contains("`pvesm status`"), "{missing}");
        choices.guest_storage = Some("tank".parse().unwrap());
        choices.backup_storage = Some("local".parse().unwrap());
        choices.release_keys = vec!["/dev/null".into()];
        let no_key = executor(&choices, &here(), &Earlier::default()).unwrap_err().to_string();
        assert!(no_key.starts_with("/dev/null: "), "{no_key}");
    }

    #[test]
    fn what_was_chosen_before_stays_unless_it_is_chosen_anew() {
        let first = BoxChoices {
            guest_storage: Some("tank".parse().unwrap()),
            backup_storage: Some("local".parse().unwrap()),
            golden_storage: Some("nas".parse().unwrap()),
            ..BoxChoices::default()
        };
        let key = "ssh-ed25519 AAAA release".to_owned();
        let before = Earlier { release_keys: vec![key.clone()], ..Earlier::default() };
        let text = executor(&first, &here(), &before).unwrap();
        let again = Here { fingerprint: None, ..here() };
        assert_eq!(executor(&BoxChoices::default(), &again, &Earlier::of(&text)).unwrap(), text);
        let other = BoxChoices { backup_storage: Some("usb".parse().unwrap()), ..BoxChoices::default() };
        let changed = executor(&other, &here(), &Earlier::of(&text)).unwrap();
        let wanted = Earlier { backup: Some("usb".parse().unwrap()), ..Earlier::of(&text) };
        assert_eq!(Earlier::of(&changed), wanted);
        assert_eq!((wanted.release_keys, wanted.golden), (vec![key], first.golden_storage));
    }

    #[test]
    fn addresses_become_urls() {
        let agent = agent("192.168.1.10".parse().unwrap());
        assert!(agent.contains("local_api_url = \"https://192.168.1.10:8443\"\n"), "{agent}");
        let hub = hub(Some("fd00::1".parse().unwrap()));
        assert!(hub.contains("public_url = \"https://[fd00::1]:7443\"\n"), "{hub}");
        assert!(toml::from_str::<toml::Table>(&super::hub(None)).unwrap().is_empty());
    }
}
