//! Step 1: the simulated host, the hub and the box come up; rights are set up, the box enrols, its key is pinned.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::consent;
use crate::{
    demo::{
        call,
        driver::{Demo, Look, text, tolerant},
        judge,
        service::Recipe,
        world::{BACKUP_STORE, BOX, GUEST_STORE, NODE},
    },
    golden::{self, Runtime},
};

const ROOT_PASSWORD: &str = "demo-root-password";
/// Who logs in at the hub's pages in the demo.
pub(crate) const OPERATOR: &str = "ada";
pub(crate) const OPERATOR_PASSWORD: &str = "only-for-the-demo";

pub(super) fn run(demo: &mut Demo) -> Result<()> {
    let fingerprint = start_host(demo)?;
    start_hub(demo)?;
    demo.facts.golden = Some(match demo.world.runtime {
        Runtime::Process => {
            golden::build(&demo.world.programs, &demo.world.path("golden"), demo.load.ballast_mib)?
        }
        Runtime::Lxc => {
            demo.screen.say("  building the golden image from Debian's packages …");
            golden::build_for_demo(&demo.world.path("golden"), demo.load.profile)?
        }
    });
    write_executor_config(demo, &fingerprint)?;
    set_rights(demo)?;
    consent::operators(demo)?;
    start(
        demo,
        "executor",
        "felhom-executor",
        &["--config", text(&demo.world.path("etc/executor.toml")), "serve"],
    )?;
    enrol(demo)
}

/// Start a program that stays up, with a log of its own.
fn start(demo: &Demo, name: &str, program: &str, args: &[&str]) -> Result<()> {
    let recipe = Recipe {
        program: demo.world.programs.join(program),
        args: args.iter().map(Into::into).collect(),
        log: demo.world.path("log").join(format!("{name}.log")),
    };
    demo.services.start(name, recipe)
}

/// The simulated host; returns its certificate's fingerprint, as its owner would read it on the host.
fn start_host(demo: &Demo) -> Result<String> {
    let world = &demo.world;
    let password = world.write_secret("etc/root-password", ROOT_PASSWORD)?;
    let (listen, net) = (world.pve.to_string(), world.net.to_string());
    let state = world.path("pve");
    let mut args = vec!["serve", "--json", "--state", text(&state), "--listen", &listen, "--node", NODE];
    args.extend(["--net", &net, "--root-password-file", text(&password)]);
    let containers = demo.world.runtime == Runtime::Lxc;
    args.extend(["--runtime", if containers { "lxc" } else { "process" }]);
    start(demo, "pve-sim", "pve-sim", &args)?;
    let log = world.path("log/pve-sim.log");
    let fingerprint = demo.wait("the simulated host", Duration::from_secs(20), || {
        let log = std::fs::read_to_string(&log)?;
        let ready = log.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(Look::of(ready.and_then(|ready| Some(ready["fingerprint"].as_str()?.to_owned())), ""))
    })?;
    demo.screen.say(&format!("  Proxmox host (simulated) at https://{listen}"));
    Ok(fingerprint)
}

fn start_hub(demo: &mut Demo) -> Result<()> {
    let world = &demo.world;
    let config = write_hub_config(demo)?;
    let password = world.write_secret("operator/password", OPERATOR_PASSWORD)?;
    let token = world.path("operator/token");
    let mut init = world.program("felhom-hub");
    init.args(["--config", text(&config), "init", "--json", "--operator", OPERATOR]);
    init.args(["--token-file", text(&token), "--password-file", text(&password)]);
    let init = call::json(&mut init)?;
    start(demo, "hub", "felhom-hub", &["--config", text(&config), "serve"])?;
    let url = format!("https://{}", world.hub);
    let mut cli = toml_line("hub_url", &url);
    cli += &toml_line("hub_fingerprint", judge::text(&init, "tls_fingerprint"));
    cli += &toml_line("token_file", text(&token));
    world.write("operator/config.toml", &cli)?;
    demo.wait("the hub's first answer", Duration::from_secs(20), || {
        tolerant(call::json(&mut demo.felhom(&["box", "list"])), |_| Ok(Look::Found(())))
    })?;
    demo.screen.say(&format!("  hub at {url}"));
    demo.facts.hub_url = url;
    Ok(())
}

/// The hub's file of configuration.
pub(crate) fn write_hub_config(demo: &Demo) -> Result<PathBuf> {
    let world = &demo.world;
    let config = toml_line("state_dir", text(&world.path("hub")))
        + &toml_line("listen", &world.hub.to_string())
        + &toml_line("public_url", &format!("https://{}", demo.pace.hub_door.unwrap_or(world.hub)))
        + &demo.pace.hub;
    world.write("etc/hub.toml", &config)
}

fn write_executor_config(demo: &Demo, fingerprint: &str) -> Result<()> {
    let world = &demo.world;
    let golden = demo.facts.golden.as_ref().context("no golden archive")?;
    let release_key = std::fs::read_to_string(&golden.public_key)?;
    let state = world.path("pve");
    let simulator = world.programs.join("pve-sim");
    let tool = |name: &str| {
        format!(
            "{} = [{}, {}, \"--state\", {}]\n",
            name.replace('-', "_"),
            quoted(text(&simulator)),
            quoted(name),
            quoted(text(&state))
        )
    };
    let config = toml_line("state_dir", text(&world.path("executor")))
        + &toml_line("socket", text(&world.socket()))
        + &tool("pct")
        + &tool("pvesm")
        + &tool("pveum")
        + &tool("lxc-unfreeze")
        + &toml_line("host_root", text(&state))
        + &format!("release_keys = [{}]\n", quoted(release_key.trim()))
        + "reserve_bytes = 67108864\n"
        + &demo.pace.executor
        + "\n[pve]\n"
        + &toml_line("url", &format!("https://{}", world.pve))
        + &toml_line("fingerprint", fingerprint)
        + &toml_line("node", NODE)
        + &toml_line("token_file", text(&world.path("executor/pve-token")))
        + "\n[storages]\n"
        + &toml_line("guest", GUEST_STORE)
        + &format!("backup = [{}]\n", quoted(BACKUP_STORE))
        + &toml_line("golden", BACKUP_STORE)
        + "\n[timeouts]\nprobe_apps_s = 20\nfrozen_s = 20\n";
    world.write("etc/executor.toml", &config).map(drop)
}

/// Pool, roles, user and token; a second time nothing is left to do.
fn set_rights(demo: &Demo) -> Result<()> {
    let password = demo.world.path("etc/root-password");
    let setup = |extra: &[&str]| {
        let args = ["setup", "--password-file", text(&password), "--json"];
        call::json(demo.executor(&args).args(extra))
    };
    setup(&[])?;
    let again = setup(&["--dry-run"])?;
    let lines = again["setup"]["lines"].as_array().context("`setup --json` lists nothing")?;
    let open: Vec<_> = lines.iter().filter(|line| line["outcome"] != "unchanged").collect();
    ensure!(open.is_empty(), "`setup` would still change something after it ran: {open:?}");
    let users = std::fs::read_to_string(demo.world.path("pve/etc/pve/user.cfg"))?;
    least_rights(&users)?;
    demo.screen.say("  rights on the host: pool, roles, user and token, nothing on /");
    Ok(())
}

/// What the host's own file says about our rights: nothing on `/`, nothing that propagates.
fn least_rights(user_cfg: &str) -> Result<()> {
    let ours = user_cfg.lines().filter(|line| line.starts_with("acl:") && line.contains("felhom@pve"));
    let mut count = 0;
    for line in ours {
        let mut fields = line.split(':').skip(1);
        let (propagate, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        ensure!(path != "/", "a right on / was given: {line}");
        ensure!(propagate == "0", "a right that propagates was given: {line}");
        count += 1;
    }
    ensure!(count > 0, "no right was given to felhom@pve");
    Ok(())
}

fn enrol(demo: &Demo) -> Result<()> {
    let world = &demo.world;
    let added = call::json(&mut demo.felhom(&["box", "add", BOX]))?;
    let ticket = judge::text(&added, "ticket");
    let config = toml_line("state_dir", text(&world.path("agent")))
        + &toml_line("executor_socket", text(&world.socket()))
        + &toml_line("local_api_listen", &world.local_api.to_string())
        + &toml_line("local_api_url", &format!("https://{}", world.local_api))
        + &demo.pace.agent;
    let config = world.write("etc/agent.toml", &config)?;
    // The ticket is a secret until it was used: on standard input, not in an argument.
    let enrolled = demo.wait("enrolment", Duration::from_secs(20), || {
        let enrolled = call::json_with_input(&mut demo.agent(&["enroll", "-", "--json"]), ticket);
        tolerant(enrolled, |value| Ok(Look::Found(value)))
    })?;
    let mut thief = demo.agent(&["enroll", "-", "--json"]);
    thief.env("FELHOM_AGENT_STATE_DIR", world.path("thief"));
    let again = call::end_with_input(&mut thief, ticket)?;
    ensure!(again.code != Some(0), "a used ticket was taken a second time, from another box");
    let fingerprint = judge::text(&enrolled, "attestation_key").to_owned();
    call::json(&mut demo.felhom(&["box", "pin", BOX, &fingerprint]))?;
    start(demo, "agent", "felhom-agent", &["--config", text(&config), "serve"])?;
    demo.wait("the box to be enrolled and alive", Duration::from_secs(30), || {
        tolerant(demo.shown(), |shown: Value| {
            let state = format!("box is {}", judge::text(&shown["box"], "liveness"));
            Ok(Look::of(judge::enrolled(&shown)?.then_some(()), state))
        })
    })?;
    demo.screen.say(&format!("  {BOX} is enrolled; its key {fingerprint} is pinned; its ticket is void"));
    Ok(())
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn toml_line(key: &str, value: &str) -> String {
    format!("{key} = {}\n", quoted(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_on_the_root_or_below_are_found() {
        let acl = |propagate: &str, path: &str| {
            format!("acl:{propagate}:{path}:felhom@pve!executor:FelhomGuests:\n")
        };
        assert!(least_rights(&(acl("0", "/pool/felhom") + &acl("0", "/storage/guests"))).is_ok());
        assert!(least_rights(&acl("0", "/")).is_err());
        assert!(least_rights(&acl("1", "/pool/felhom")).is_err());
        assert!(least_rights("acl:1:/:root@pam:Administrator:\n").is_err());
    }
}
