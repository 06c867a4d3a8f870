//! `var/log/pveproxy/access.log`: one line a request in the common log format (`log_request` in
//! src/PVE/APIServer/AnyEvent.pm of pve-http-server).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};

use crate::clock;
use crate::state::Host;

/// The open log.
#[derive(Debug)]
pub(crate) struct AccessLog(File);

impl AccessLog {
    /// Opens it, creating it and its directory.
    pub(crate) fn open(host: &Host) -> io::Result<Self> {
        let path = host.dir.access_log();
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// One request: status, and bytes of the body. A full disk is no reason not to answer.
    pub(crate) fn line(
        &self,
        host: &Host,
        (peer, user): (&str, Option<&str>),
        request: &str,
        (status, length): (u16, Option<usize>),
    ) {
        let time = clock::local(host).strftime("%d/%m/%Y:%H:%M:%S %z").to_string();
        let length = length.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let request: String = request.chars().filter(|c| !c.is_control()).collect();
        let user = user.filter(|u| !u.is_empty()).unwrap_or("-");
        let text = format!("{peer} - {user} [{time}] \"{request}\" {status} {length}\n");
        let _ = (&self.0).write_all(text.as_bytes());
    }
}
