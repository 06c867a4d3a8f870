//! The calls to Proxmox that an observation makes, by the simulated host's own `access.log`, and how long the agent's passes
//! took, by its log. A pass asks Proxmox by one observation of the executor's, and by nothing else.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::demo::{driver::Demo, http};

/// Odd, so that one stands in the middle. The executor looks after guests of its own accord meanwhile, but not each time.
const LOOKS: usize = 11;

/// Calls of one observation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Calls {
    /// All calls.
    pub(crate) all: usize,
    /// Those that are about all guests, storages or archives at once.
    pub(crate) lists: usize,
    /// The token's own permissions.
    pub(crate) permissions: usize,
}

/// The median of several observations.
pub(super) fn of_observation(demo: &Demo) -> Result<Calls> {
    let log = demo.world.path("pve/var/log/pveproxy/access.log");
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        let before = log.metadata()?.len();
        observe(&demo.world.socket())?;
        seen.push(count(&since(&log, before)?));
    }
    seen.sort_unstable();
    seen.get(LOOKS / 2).copied().context("no observation")
}

fn observe(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /v1/observation HTTP/1.1\r\nHost: executor\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    http::parse(&bytes)?.ok()
}

/// What was written behind this byte.
fn since(log: &Path, byte: u64) -> Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(byte))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn count(log: &str) -> Calls {
    let path = |line: &str| Some(line.split_once("/api2/json")?.1.split([' ', '?']).next()?.to_owned());
    let mut calls = Calls::default();
    for path in log.lines().filter_map(path) {
        calls.all += 1;
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            ["access", "permissions"] => calls.permissions += 1,
            ["nodes", _, "lxc" | "storage"]
            | ["nodes", _, "storage", _, "content"]
            | ["cluster", "resources"] => {
                calls.lists += 1;
            }
            _ => {}
        }
    }
    calls
}

/// Milliseconds of each pass that the agent's log tells of behind this byte.
pub(super) fn passes_ms(log: &Path, byte: u64) -> Result<Vec<f64>> {
    Ok(since(log, byte)?.lines().filter_map(pass_ms).collect())
}

fn pass_ms(line: &str) -> Option<f64> {
    let micros: f64 = line.split_once("a pass took ")?.1.split(' ').next()?.parse().ok()?;
    Some(micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_from_the_rest() {
        let line = |path: &str| format!("127.0.0.1 - a@pve [x] \"GET /api2/json{path} HTTP/1.1\" 200 12\n");
        let paths =
            ["/access/permissions", "/nodes/pve/lxc", "/nodes/pve/lxc/2000/config", "/nodes/pve/storage"];
        let log: String = paths.map(line).concat() + &line("/nodes/pve/storage/local/content?content=backup");
        assert_eq!(count(&log), Calls { all: 5, lists: 3, permissions: 1 });
    }

    #[test]
    fn a_pass_is_found_in_the_log() {
        assert_eq!(pass_ms("DEBUG felhom_agent::pass: a pass took 12500 µs"), Some(12.5));
        assert_eq!(pass_ms("INFO felhom_agent: a pass was made"), None);
    }
}
