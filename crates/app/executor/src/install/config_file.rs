//! The first configuration: what a person would write. Pure but for the files that were named.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use felhom_host::UserIds;
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

/// `executor.toml`.
///
/// # Errors
/// [`InstallError::Needs`] for a storage that was not named, [`InstallError::File`] for a release key that is none.
pub(super) fn executor(choices: &BoxChoices, here: &Here) -> Result<String, InstallError> {
    let needs = |option: &str| InstallError::Needs {
        what: format!("the first configuration has to name a storage: {option} ID"),
        command: "pvesm status",
    };
    let guest = choices.guest_storage.as_ref().ok_or_else(|| needs("--guest-storage"))?;
    let backup = choices.backup_storage.as_ref().ok_or_else(|| needs("--backup-storage"))?;
    let golden = choices.golden_storage.as_ref().unwrap_or(backup);
    let keys = choices.release_keys.iter().map(|path| release_key(path)).collect::<Result<Vec<_>, _>>()?;
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
    let fingerprint = here.fingerprint.map(|f| f.to_string()).unwrap_or_default();
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
        std::fs::write(&file, executor(&choices, &here()).unwrap()).unwrap();
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
        let missing = executor(&choices, &here()).unwrap_err().to_string();
        assert!(missing.contains("--guest-storage ID") && missing.contains("`pvesm status`"), "{missing}");
        choices.guest_storage = Some("tank".parse().unwrap());
        choices.backup_storage = Some("local".parse().unwrap());
        choices.release_keys = vec!["/dev/null".into()];
        let no_key = executor(&choices, &here()).unwrap_err().to_string();
        assert!(no_key.starts_with("/dev/null: "), "{no_key}");
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
