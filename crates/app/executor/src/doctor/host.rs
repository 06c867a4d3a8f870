//! Whether the host's clock, time zone, kernel and ranges of ids are what guests and backups need.

use felhom_host::{IdRange, Survey};
use jiff::tz::TimeZone;

use super::finding::id;
use super::{Answers, Facts, Finding, Severity, unseen};

/// Seconds that the server's clock may differ from ours. It is the same machine's.
const SAME_CLOCK: u64 = 5;
/// What an unprivileged guest is given (`PVE::LXC`: `lxc.idmap = u 0 100000 65536`).
const IDS: IdRange = IdRange { first: 100_000, count: 65_536 };

/// Hosts have one of the two files, or both, and one of the two boot loaders.
const CGROUP: &str = "for file in /etc/default/grub /etc/kernel/cmdline; do [ ! -e $file ] || sed -i \
                      's/systemd.unified_cgroup_hierarchy=0//' $file; done; update-grub; proxmox-boot-tool refresh";
/// Now and at each boot.
const USER_NAMESPACES: &str = "echo user.max_user_namespaces=100000 > /etc/sysctl.d/90-felhom.conf && sysctl -p \
                               /etc/sysctl.d/90-felhom.conf";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match &facts.survey {
        Ok(survey) => kernel(survey),
        Err(why) => vec![unseen("kernel, ids and mounts", why).repair("findmnt")],
    };
    match &facts.clock_is_synchronised {
        Ok(true) => {}
        Ok(false) => findings.push(
            Finding::warning(id!("clock.not_synchronised"), "clock")
                .seen("no time server keeps it right")
                .why("backups are named and aged by it, certificates and signatures are judged by it")
                .repair("timedatectl set-ntp true"),
        ),
        Err(why) => {
            findings.push(unseen("whether a time server keeps the clock right", why).repair("timedatectl"))
        }
    }
    findings
}

/// The clock and the zone, ours and the server's.
pub(super) fn time(facts: &Facts, answers: &Answers) -> Vec<Finding> {
    let time = match &answers.time {
        Ok(time) => time,
        Err(why) => return vec![unseen("the node's clock and time zone", why)],
    };
    let mut findings = Vec::new();
    let (before, after) = answers.asked;
    let off = before.saturating_sub(time.time).max(time.time.saturating_sub(after));
    if off > SAME_CLOCK {
        findings.push(
            Finding::danger(id!("clock.differs"), "clock")
                .seen(format!("Proxmox's clock and this machine's are {off} s apart"))
                .why("they should be one: `pve.url` names another machine, or the clock was just set; wrong times void signatures")
                .repair(format!("editor {}", facts.should.file.display())),
        );
    }
    let own = facts.survey.as_ref().ok().and_then(|survey| survey.time_zone.as_deref());
    findings.extend(zone(&time.timezone, own, facts.should.host.node.as_str()));
    findings
}

fn zone(proxmox: &str, own: Option<&str>, node: &str) -> Option<Finding> {
    // It writes both places, `/etc/timezone` and `/etc/localtime`; `timedatectl` does the latter only.
    let set = |zone: &str| format!("pvesh set /nodes/{node}/time --timezone {zone}");
    let finding = |id, severity| Finding::new(id, severity, "time zone");
    if TimeZone::get(proxmox).is_err() {
        return Some(
            finding(id!("time_zone.unknown"), Severity::Warning)
                .seen(format!("Proxmox names {proxmox:?}"))
                .why("no zone of that name is known here; windows for backups are times of the day")
                .repair(set("Europe/Budapest")),
        );
    }
    match own {
        Some(own) if !same_zone(own, proxmox) => Some(
            finding(id!("time_zone.differs"), Severity::Warning)
                .seen(format!("/etc/localtime says {own}, Proxmox says {proxmox}"))
                .why("the agent schedules by the one, Proxmox names backups by the other")
                .repair(set(own)),
        ),
        _ if is_utc(proxmox) => Some(
            finding(id!("time_zone.utc"), Severity::Notice)
                .seen(proxmox)
                .why("windows for backups are times of the day; a home is rarely in this zone")
                .repair(set("Europe/Budapest")),
        ),
        _ => None,
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone.trim_start_matches("Etc/"), "UTC" | "UCT" | "Universal" | "Zulu" | "GMT")
}

fn same_zone(one: &str, other: &str) -> bool {
    one == other || (is_utc(one) && is_utc(other))
}

fn kernel(survey: &Survey) -> Vec<Finding> {
    let finding = |missing: bool, id, subject: &str| missing.then(|| Finding::danger(id, subject));
    let mut findings = Vec::new();
    findings.extend(finding(!survey.cgroup2, id!("kernel.cgroup"), "control groups").map(|f| {
        f.seen("they are not in the one hierarchy of version 2")
            .why("systemd and Docker in guests need it, and memory limits do; and then the host has to be booted")
            .repair(CGROUP)
    }));
    findings.extend(finding(!survey.overlay, id!("kernel.overlay"), "overlayfs").map(|f| {
        f.seen("neither the kernel nor a module of it has overlayfs")
            .why("Docker in guests keeps its images on it")
            .repair("apt-get install --reinstall proxmox-default-kernel")
    }));
    let none = survey.user_namespaces.is_none_or(|most| most == 0);
    findings.extend(finding(none, id!("kernel.user_namespaces"), "user namespaces").map(|f| {
        f.seen("there may be none").why("an unprivileged guest is one").repair(match survey.user_namespaces {
            Some(_) => USER_NAMESPACES,
            None => "apt-get install --reinstall proxmox-default-kernel",
        })
    }));
    for (name, have, option) in
        [("subuid", &survey.subuids, "--add-subuids"), ("subgid", &survey.subgids, "--add-subgids")]
    {
        let last = IDS.first + IDS.count - 1;
        let there = have.iter().any(|r| r.first <= IDS.first && r.first + r.count > last);
        let id = if name == "subuid" { id!("ids.subuid") } else { id!("ids.subgid") };
        findings.extend(finding(!there, id, &format!("/etc/{name}")).map(|f| {
            f.seen(format!("root has no range that holds {} to {last}", IDS.first))
                .why("an unprivileged guest gets these ids; without them it does not start")
                .repair(format!("usermod {option} {}-{last} root", IDS.first))
        }));
    }
    if !survey.apparmor {
        findings.push(
            Finding::warning(id!("kernel.apparmor"), "AppArmor")
                .seen("it is off")
                .why("guests are confined by user namespaces alone")
                .repair("apt-get install --reinstall apparmor lxc-pve"),
        );
    }
    findings
}
