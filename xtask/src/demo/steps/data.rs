//! Step 3: the app comes up and gets data over HTTP: notes in its database, files in its folder.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Data;
use crate::demo::{
    disk,
    driver::{Demo, Load, Look},
    http,
};

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let address = address_of(&demo.facts.guest.app_url)?;
    demo.wait("the app's first answer", Duration::from_secs(20), || {
        let answer = http::ask(address, "GET", "/health", b"", PATIENCE);
        Ok(Look::of(answer.ok().filter(|answer| answer.status == 200), "no answer yet"))
    })?;
    let data = fill(address, demo.load)?;
    ensure!(
        read(address)? == (data.notes.clone(), data.files.clone()),
        "the app does not hold what it was given"
    );
    on_disk(demo, &data)?;
    demo.screen.say(&format!(
        "  {} notes and {} files ({} MiB) are in the app at {}",
        data.notes.len(),
        data.files.len(),
        data.bytes >> 20,
        demo.facts.guest.app_url
    ));
    demo.facts.app = Some(address);
    demo.facts.data = data;
    Ok(())
}

/// Put notes and files into the app.
fn fill(address: SocketAddr, load: Load) -> Result<Data> {
    let mut data = Data::default();
    for n in 0..load.notes {
        let text = format!("note {n} {}", hex::encode(&Sha256::digest(format!("note {n}"))[..8]));
        let body = json!({ "text": text }).to_string();
        http::ask(address, "POST", "/notes", body.as_bytes(), PATIENCE)?.ok()?;
        data.notes.push(text);
    }
    for n in 0..load.files {
        let name = format!("photo-{n:02}.jpg");
        let bytes = noise(n, load.file_bytes);
        let answer = http::ask(address, "PUT", &format!("/files/{name}"), &bytes, PATIENCE)?.json()?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        ensure!(answer["sha256"] == sha256.as_str(), "the app stored other bytes for {name}: {answer}");
        data.bytes += bytes.len() as u64;
        data.files.insert(name, sha256);
    }
    Ok(data)
}

/// Bytes that do not compress, the same in each run.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let mut block = Sha256::digest(seed.to_le_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes
}

/// What the app says it holds.
pub(super) fn read(address: SocketAddr) -> Result<(Vec<String>, std::collections::BTreeMap<String, String>)> {
    let notes = http::ask(address, "GET", "/notes", b"", PATIENCE)?.json()?;
    let files = http::ask(address, "GET", "/files", b"", PATIENCE)?.json()?;
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    Ok((
        list(&notes).iter().map(|note| text(note, "text")).collect(),
        list(&files).iter().map(|file| (text(file, "name"), text(file, "sha256"))).collect(),
    ))
}

/// The bytes are really in the guest's volume on the host's disk, and not somewhere else.
fn on_disk(demo: &Demo, data: &Data) -> Result<()> {
    let folder = disk::app_data(&disk::rootfs(&demo.world, demo.facts.guest.vmid));
    let found = disk::digests(&folder)?;
    for (name, sha256) in &data.files {
        let seen = found.get(&format!("files/{name}"));
        ensure!(seen == Some(sha256), "{}/files/{name} holds other bytes", folder.display());
    }
    ensure!(found.contains_key("notes.db"), "no database in {}", folder.display());
    Ok(())
}

/// The address in an `http://HOST:PORT/…` URL.
pub(super) fn address_of(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` is no http URL"))?;
    let host = rest.split('/').next().unwrap_or(rest);
    let found = host.to_socket_addrs().with_context(|| format!("`{host}` is no address"))?.next();
    found.with_context(|| format!("`{host}` is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_addresses() {
        assert_eq!(address_of("http://127.64.0.2:8081/").unwrap(), "127.64.0.2:8081".parse().unwrap());
        assert!(address_of("https://127.0.0.1:1").is_err());
        assert!(address_of("http://").is_err());
    }

    #[test]
    fn noise_is_its_own_for_each_file_and_the_same_in_each_run() {
        assert_eq!(noise(1, 99), noise(1, 99));
        assert_ne!(noise(1, 99), noise(2, 99));
        assert!(noise(1, 99).len() >= 99);
    }
}
