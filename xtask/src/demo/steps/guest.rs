//! Step 2: the operator's desired state asks for one guest; the golden archive is imported; the box provisions.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::demo::{
    call, disk,
    driver::{Demo, Look, text, tolerant},
    judge::{self, Guest},
    world::{APP, BACKUP_STORE, BOX, GUEST},
};

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    import(demo)?;
    let file = demo.world.write("operator/desired.toml", &desired(&[GUEST]))?;
    let set =
        call::json(&mut demo.felhom(&["desired", "set", BOX, text(&file), "--message", "first guest"]))?;
    demo.screen.say(&format!(
        "  desired state, generation {}, asks for guest {GUEST} with app {APP}",
        set["generation"]
    ));
    demo.facts.provision_ms = provisioned(demo)?;
    let guest = demo.wait("the guest and its app", Duration::from_secs(60), || {
        tolerant(demo.shown(), |shown| Ok(Look::of(judge::tenant(&shown)?, judge::tenant_state(&shown))))
    })?;
    on_disk(demo, &guest)?;
    demo.screen.say(&format!("  guest {GUEST} is VMID {}, uuid {}", guest.vmid, guest.uuid));
    demo.facts.guest = guest;
    Ok(())
}

/// The golden archive is taken with its signed release; an altered one, and one of another signer, is refused.
fn import(demo: &Demo) -> Result<()> {
    let golden = demo.facts.golden.as_ref().context("no golden archive")?;
    let import = |archive: &str, release: &str, signature: &str| {
        demo.executor(&[
            "golden",
            "import",
            archive,
            "--release",
            release,
            "--signature",
            signature,
            "--json",
        ])
    };
    let (archive, release, signature) =
        (text(&golden.archive), text(&golden.release), text(&golden.signature));

    let altered = demo.world.path("golden/altered");
    fs::create_dir_all(&altered)?;
    let altered = altered.join(golden.archive.file_name().context("an archive has a name")?);
    fs::copy(&golden.archive, &altered)?;
    disk::flip_byte(&altered)?;
    let ended = call::end_of(&mut import(text(&altered), release, signature))?;
    ensure!(ended.code != Some(0), "an altered golden archive was imported");
    fs::remove_file(&altered)?;

    let forged = fs::read_to_string(&golden.release)?.replacen("\"version\": 1", "\"version\": 2", 1);
    let forged = demo.world.write("golden/forged.json", &forged)?;
    let ended = call::end_of(&mut import(archive, text(&forged), signature))?;
    ensure!(ended.code != Some(0), "a golden archive was imported with a release that nobody signed");

    call::json(&mut import(archive, release, signature))?;
    demo.screen.say("  golden archive imported; an altered one and a forged release were refused");
    Ok(())
}

/// Desired state with these guests.
pub(crate) fn desired(names: &[&str]) -> String {
    let guest = |name: &&str| {
        format!(
            "\n[[guest]]\nname = \"{name}\"\ncores = 1\nmemory_mib = 512\ndisk_gib = 4\napps = [\"{APP}\"]\n\n\
             [guest.backup]\nschedule = \"30 2 * * *\"\ntarget = \"{BACKUP_STORE}\"\n"
        )
    };
    let guests: String = names.iter().map(guest).collect();
    format!("schema = \"felhom.desired/v1\"\n{guests}")
}

fn provisioned(demo: &Demo) -> Result<u64> {
    demo.wait("provision_guest", Duration::from_secs(90), || {
        tolerant(demo.operations(), |operations| {
            let Some(operation) = judge::newest(&operations, "provision_guest", &[]) else {
                return Ok(Look::NotYet("the agent has not asked yet".to_owned()));
            };
            let took = judge::done(operation)?.then(|| judge::took_ms(operation));
            Ok(Look::of(took.transpose()?, judge::progress(operation)))
        })
    })
}

/// What the programs say is what the host's disk says.
fn on_disk(demo: &Demo, guest: &Guest) -> Result<()> {
    let guests = disk::guests(&demo.world)?;
    ensure!(guests.len() == 1, "the host has guests {:?} where one was asked for", guests.keys());
    let config = guests.get(&guest.vmid).with_context(|| format!("the host has no guest {}", guest.vmid))?;
    ensure!((2000..2800).contains(&guest.vmid), "VMID {} is not a tenant's", guest.vmid);
    let mark = config.description.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let expected = format!("felhom:1 guest={}", guest.uuid);
    ensure!(mark.starts_with(&expected), "the description's last line is `{mark}`, not `{expected} …`");
    ensure!(config.get("onboot") == Some("1"), "the guest would not start with the host");
    ensure!(config.get("lock").is_none(), "the guest is still locked: {:?}", config.get("lock"));
    ensure!(!config.link_is_down(), "the guest's network is down");
    ensure!(disk::rootfs(&demo.world, guest.vmid).is_dir(), "the guest has no root volume");
    Ok(())
}
