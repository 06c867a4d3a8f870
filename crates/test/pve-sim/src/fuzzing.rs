//! What the fuzz targets in `fuzz/` call: pure parsers, with what must hold for every input. Not an interface for anybody else.

use std::collections::BTreeMap;

use crate::api::{self, TABLES};
use crate::http::params::Params;
use crate::http::schema;
use crate::http::server;
use crate::http::wire::{self, Parsed};
use crate::http::{decode, params};
use crate::state::access_file;
use crate::state::guest_config::GuestConfig;
use crate::state::property::{self, MountPoint, Properties};
use crate::state::storage::Storages;
use crate::state::volid::{self, Volid};
use crate::state::vzdump_conf::Defaults;
use crate::task::Upid;

/// A request's head, whole and cut anywhere.
pub fn http(data: &[u8]) {
    let whole = wire::parse(data);
    let Parsed::Head(head, used) = &whole else { return };
    assert!(*used <= data.len());
    // What is enough stays enough, and what is not enough is never taken for a head.
    assert_eq!(wire::parse(&data[..*used]), whole);
    assert!(!matches!(wire::parse(&data[..*used - 1]), Parsed::Head(..)));
    let _ =
        (head.length(), head.keeps_alive(), server::refuse_transport(head), server::refuse_body(head, 1024));
    if let Some((_, path)) = server::split_format(&head.path()) {
        let _ = api::find(&head.method, &path);
    }
    let _ = decode::form(&head.query);
}

/// A body as form and as JSON, checked against the parameters of every route.
pub fn body(data: &[u8]) {
    let form = decode::form(&String::from_utf8_lossy(data));
    check(&Params(form.clone()));
    if let Ok(json) = decode::json(data) {
        check(&Params(json.clone()));
        if let Ok(merged) = decode::merge(&BTreeMap::new(), form, json) {
            check(&merged);
        }
    }
}

fn check(given: &Params) {
    for route in TABLES.iter().copied().flatten() {
        let _ = schema::verify(route.fields, given);
    }
    let _ = (given.vmid(), given.number("start"), given.list("tags"), given.flag("force"));
}

/// Property strings, volume ids, sizes and task names; what is read is written back so that it is read again.
pub fn property(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for default in [None, Some("volume")] {
        // A default key's value is written without its key, so one that is empty or holds `=` is read as something else, and
        // blanks around it are lost, as in Proxmox VE.
        let odd = |first: &str| first.is_empty() || first.contains(|c: char| c == '=' || c.is_whitespace());
        let plain = |read: &Properties| !read.first.as_deref().is_some_and(odd);
        if let Some(read) = Properties::parse(&text, default).ok().filter(plain) {
            let written = read.to_text(default);
            let again = Properties::parse(&written, default).map(|p| p.to_text(default));
            assert_eq!(again.as_deref(), Ok(written.as_str()), "{text:?}");
        }
    }
    for key in ["rootfs", "mp0"] {
        if let Ok(mount) = MountPoint::parse(key, &text) {
            let _ = (mount.to_text(key), mount.size(), mount.kind(), mount.in_backup(key));
        }
    }
    if let Ok(volume) = Volid::parse(&text) {
        let _ = volume.parts();
    }
    if let Ok(upid) = text.parse::<Upid>() {
        assert_eq!(upid.to_string().parse(), Ok(upid));
    }
    let _ = (property::parse_size(&text), property::parse_boolean(&text), volid::archive_vmid(&text));
    assert_eq!(property::decode_text(&property::encode_text(&text)), text);
    let _ = params::split_list(&text);
}

/// The files of the state directory: what was read and written twice is written the same for ever.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    settles(&text, |text| GuestConfig::parse(text).to_text());
    settles(&text, |text| Storages::parse(text).to_text());
    settles(&text, |text| access_file::to_text(&access_file::parse(text)));
    let _ = Defaults::parse(&text).exclude_path();
}

/// Only for what such a file can hold: blanks other than the space are no part of it.
fn settles(text: &str, rewrite: fn(&str) -> String) {
    if text.contains(|c: char| c != ' ' && c != '\n' && (c.is_whitespace() || c.is_control())) {
        return;
    }
    let twice = rewrite(&rewrite(text));
    assert_eq!(rewrite(&twice), twice);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is fed, and what it begins with.
    type Target = (fn(&[u8]), &'static [&'static [u8]]);

    const SEEDS: [Target; 4] = [
        (
            http,
            &[
                include_bytes!("../fuzz/seeds/http/post"),
                include_bytes!("../fuzz/seeds/http/folded"),
                include_bytes!("../fuzz/seeds/http/absolute"),
            ],
        ),
        (
            body,
            &[
                include_bytes!("../fuzz/seeds/body/form"),
                include_bytes!("../fuzz/seeds/body/json"),
                include_bytes!("../fuzz/seeds/body/broken"),
            ],
        ),
        (
            property,
            &[
                include_bytes!("../fuzz/seeds/property/net"),
                include_bytes!("../fuzz/seeds/property/mount"),
                include_bytes!("../fuzz/seeds/property/upid"),
                include_bytes!("../fuzz/seeds/property/volume"),
            ],
        ),
        (
            config,
            &[
                include_bytes!("../fuzz/seeds/config/guest"),
                include_bytes!("../fuzz/seeds/config/storage"),
                include_bytes!("../fuzz/seeds/config/access"),
            ],
        ),
    ];

    /// The same numbers at each run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % (limit as u64).max(1)).unwrap()
        }
    }

    fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
        const ODD: &[u8] = b"\0\n\r:=,;&%\" []{}\\/\xff\xc30@!\t";
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len() + 1);
            match numbers.below(4) {
                0 => bytes.insert(at, ODD[numbers.below(ODD.len())]),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] = ODD[numbers.below(ODD.len())],
                _ => {
                    let end = (at + numbers.below(16)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.extend(piece);
                }
            }
        }
    }

    /// Seeds, and seeds changed a little: a short form of the fuzz targets for every test run.
    #[test]
    fn seeds_and_what_is_near_them_hold() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for (target, seeds) in SEEDS {
            for seed in seeds {
                target(seed);
                for _ in 0..300 {
                    let mut bytes = seed.to_vec();
                    change(&mut bytes, &mut numbers);
                    target(&bytes);
                }
            }
        }
    }
}
