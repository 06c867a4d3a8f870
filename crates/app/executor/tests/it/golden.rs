//! `felhom-executor golden import` against a simulated host.

use std::fs;
use std::path::PathBuf;

use felhom_model::Digest;
use felhom_signing::Key;
use felhom_signing::sshsig::{Namespace, openssh_line, sign};
use serde_json::json;

use crate::sim::{Ended, Sim};

const CONFIG: &str = "arch: amd64\nfeatures: nesting=1,keyctl=1\nhostname: golden\nmemory: 256\n\
                      net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\nostype: debian\n\
                      rootfs: local:1999/vm-1999-disk-0.raw,size=1G\nswap: 0\nunprivileged: 1\n";

fn key() -> Key {
    Key::from_seed(&[5; 32])
}

/// A simulated host after `setup`, whose executor knows the release key.
fn ready() -> Sim {
    let sim = Sim::start();
    let line = openssh_line(&key().public(), "release").unwrap();
    sim.configure(&sim.url, &sim.fingerprint, &format!("release_keys = [{line:?}]\n"));
    let done = sim.setup(&[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    sim
}

fn archive(config: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    for (name, text) in [("./etc/vzdump/pct.conf", config), ("./etc/hostname", "golden\n")] {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Files of a release: archive, document, signature.
struct Release {
    archive: PathBuf,
    document: PathBuf,
    signature: PathBuf,
}

impl Release {
    fn write(sim: &Sim, name: &str, version: u64, bytes: &[u8]) -> Self {
        let dir = sim.path(name);
        fs::create_dir_all(&dir).unwrap();
        let artefact = json!({
            "kind": "golden", "name": "a.tar.zst", "sha256": Digest::of(bytes), "bytes": bytes.len(), "apps": ["sample"],
        });
        let document = json!({ "schema": "felhom.release/v1", "version": version, "artefacts": [artefact] });
        let document = serde_json::to_vec_pretty(&document).unwrap();
        let release = Self {
            archive: dir.join("a.tar.zst"),
            document: dir.join("release.json"),
            signature: dir.join("release.json.sig"),
        };
        fs::write(&release.archive, bytes).unwrap();
        fs::write(&release.signature, sign(&key(), Namespace::Release, &document).unwrap()).unwrap();
        fs::write(&release.document, document).unwrap();
        release
    }

    fn import(&self, sim: &Sim) -> Ended {
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let (archive, release, signature) =
            (text(&self.archive), text(&self.document), text(&self.signature));
        sim.executor(&["golden", "import", &archive, "--release", &release, "--signature", &signature])
    }
}

fn dump(sim: &Sim) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sim.path("pve/var/lib/vz/dump")) else { return Vec::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_named_archive_is_brought_in_once() {
    let sim = ready();
    let bytes = archive(CONFIG);
    let release = Release::write(&sim, "r1", 1, &bytes);
    let first = release.import(&sim);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let golden = &first.json["golden"];
    assert_eq!(golden["outcome"], "imported");
    assert_eq!(golden["digest"], json!(Digest::of(&bytes)));
    let volid = golden["volid"].as_str().unwrap();
    assert!(volid.starts_with("local:backup/vzdump-lxc-1999-") && volid.ends_with(".tar.zst"), "{volid}");
    assert_eq!(dump(&sim), [volid.strip_prefix("local:backup/").unwrap()]);
    assert_eq!(fs::read(sim.path("pve/var/lib/vz/dump").join(&dump(&sim)[0])).unwrap(), bytes);

    // Beside the archive lie the release and its signature: naming them is not needed.
    let again = sim.executor(&["golden", "import", release.archive.to_str().unwrap()]);
    assert_eq!((again.code, &again.json["golden"]["outcome"]), (0, &json!("unchanged")), "{}", again.stderr);
    assert_eq!(again.json["golden"]["volid"], volid);
    assert_eq!(dump(&sim).len(), 1);

    // What a crash left out is done by the next import, under the same name.
    fs::remove_file(sim.path("pve/var/lib/vz/dump").join(&dump(&sim)[0])).unwrap();
    let repaired = release.import(&sim);
    assert_eq!(repaired.json["golden"]["volid"], volid, "{}", repaired.stderr);
    assert_eq!(dump(&sim).len(), 1);
}

#[test]
fn any_other_file_is_refused_by_the_name_of_the_reason() {
    let sim = ready();
    let refused = |release: &Release, reason: &str| {
        let ended = release.import(&sim);
        assert_eq!((ended.code, &ended.json["reason"]), (3, &json!(reason)), "{}", ended.stderr);
        assert!(dump(&sim).is_empty(), "{reason}");
        assert!(!sim.path("executor/golden").exists(), "{reason}");
        ended.stderr
    };
    let altered = Release::write(&sim, "altered", 1, &archive(CONFIG));
    let mut bytes = fs::read(&altered.archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&altered.archive, &bytes).unwrap();
    let text = refused(&altered, "not_in_release");
    assert!(text.contains(&Digest::of(&bytes).to_string()), "{text}");

    let forged = Release::write(&sim, "forged", 1, &archive(CONFIG));
    let document = fs::read_to_string(&forged.document).unwrap().replace("\"version\": 1", "\"version\": 2");
    fs::write(&forged.document, document).unwrap();
    refused(&forged, "bad_signature");

    let stranger = Release::write(&sim, "stranger", 1, &archive(CONFIG));
    let signed = sign(&Key::from_seed(&[6; 32]), Namespace::Release, &fs::read(&stranger.document).unwrap());
    fs::write(&stranger.signature, signed.unwrap()).unwrap();
    refused(&stranger, "bad_signature");

    // What a restore would take over from the archive: F74, F75.
    let foreign = [
        "hookscript: local:snippets/hook.sh",
        "dev0: /dev/sda,mode=0666",
        "entrypoint: /bin/sh",
        "env: LD_PRELOAD=/x.so",
        "lxc.apparmor.profile: unconfined",
        "lxc.mount.entry: /etc etc none bind 0 0",
        "mp0: /etc,mp=/host",
        "net1: name=eth1,bridge=vmbr0,type=veth\nnet2: name=eth2,bridge=vmbr0,type=veth",
        "somethingnew: 1",
    ];
    for (n, line) in foreign.iter().enumerate() {
        let foreign = archive(&format!("{CONFIG}{line}\n"));
        let text = refused(&Release::write(&sim, &format!("foreign-{n}"), 1, &foreign), "forbidden_config");
        let name = line.lines().last().and_then(|last| last.split(':').next()).unwrap();
        assert!(text.contains(name), "{line}: {text}");
    }
    let fused = archive(&CONFIG.replace("keyctl=1", "keyctl=1,fuse=1"));
    let text = refused(&Release::write(&sim, "fused", 1, &fused), "forbidden_config");
    assert!(text.contains("fuse"), "{text}");
    refused(&Release::write(&sim, "privileged", 1, &archive("arch: amd64\n")), "forbidden_config");
    refused(&Release::write(&sim, "words", 1, b"no archive at all"), "not_an_archive");
}

#[test]
fn an_older_release_or_none_that_can_be_checked_is_refused() {
    let sim = ready();
    let newer = Release::write(&sim, "newer", 7, &archive(CONFIG));
    assert_eq!(newer.import(&sim).code, 0);
    let older = Release::write(&sim, "older", 6, &archive(&CONFIG.replace("golden", "older")));
    let ended = older.import(&sim);
    assert_eq!((ended.code, &ended.json["reason"]), (3, &json!("older_release")), "{}", ended.stderr);
    assert_eq!(dump(&sim).len(), 1);

    sim.configure(&sim.url, &sim.fingerprint, "");
    let without = newer.import(&sim);
    assert_eq!(without.code, 2, "{}", without.stderr);
    assert!(without.stderr.contains("release_keys"), "{}", without.stderr);
}
