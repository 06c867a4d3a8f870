//! Whether the Proxmox server answers, is the pinned one, and is of a version that we know.

use felhom_pve::Fingerprint;

use super::finding::id;
use super::{Answers, Facts, Finding, Server};

/// The oldest version that works.
const OLDEST: (u32, u32) = (8, 4);
/// The newest major version that was tried.
const NEWEST: u32 = 9;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    match &facts.server {
        Server::Shows(seen) => vec![certificate(facts, *seen)],
        Server::Away(why) => vec![
            Finding::danger(id!("server.away"), &facts.should.host.url)
                .seen(why)
                .why("nothing can be done without it; rights, storages and backup settings were not checked")
                .repair("systemctl restart pveproxy pvedaemon"),
        ],
        Server::NoSecret(why) => vec![
            Finding::danger(id!("token.no_secret"), facts.should.host.token.to_string())
                .seen(why)
                .why("nothing can be done without a token; rights, storages and backup settings were not checked")
                .repair("felhom-executor setup"),
        ],
        Server::Refuses(why) => vec![
            Finding::danger(id!("token.refused"), facts.should.host.token.to_string())
                .seen(why)
                .why(
                    "the token is gone, expired or has another secret; rights, storages and backup settings were not \
                     checked",
                )
                .repair("felhom-executor setup --new-token"),
        ],
        Server::Answers(answers) => {
            let mut findings: Vec<Finding> = version(&answers.version).into_iter().collect();
            findings.extend(node(facts, answers));
            findings.extend(elsewhere(facts));
            findings
        }
    }
}

/// The host's own file says whether the certificate was renewed, or somebody else answers.
fn certificate(facts: &Facts, seen: Fingerprint) -> Finding {
    let url = &facts.should.host.url;
    let file = facts.should.file.display();
    let pin = format!("sed -i 's/^fingerprint *=.*/fingerprint = \"{seen}\"/' {file}");
    let own = facts.certificate == Some(seen);
    let compare = "pvenode cert info".to_owned();
    match (facts.should.host.fingerprint, own) {
        (None, own) => Finding::danger(id!("tls.not_pinned"), url)
            .seen(format!("it shows {seen}; the configuration names no certificate"))
            .why("without a pin anybody could answer in its place; nothing was sent")
            .repair(if own { pin } else { compare }),
        (Some(pinned), true) => Finding::danger(id!("tls.renewed"), url)
            .seen(format!("it shows {seen}, as the host's own file does; pinned is {pinned}"))
            .why("the certificate was renewed; nothing is sent until the new one is pinned")
            .repair(pin),
        (Some(pinned), false) => Finding::danger(id!("tls.other_certificate"), url)
            .seen(format!("it shows {seen}; pinned is {pinned}, and the host's own file has another one"))
            .why("somebody else answers there, or the address is another host's; nothing was sent")
            .repair(compare),
    }
}

/// The executor's unit lets it reach the host's loopback only.
fn elsewhere(facts: &Facts) -> Option<Finding> {
    let url = &facts.should.host.url;
    let server = url.trim_start_matches("https://");
    let local = ["127.", "localhost", "[::1]"].iter().any(|local| server.starts_with(local));
    (!local).then(|| {
        Finding::warning(id!("server.not_loopback"), url)
            .seen("the address is not on the host's loopback")
            .why("the executor's unit lets it reach nothing else, and so it has to be this host")
            .repair(format!(
                "sed -i 's|^url *=.*|url = \"https://127.0.0.1:8006\"|' {}",
                facts.should.file.display()
            ))
    })
}

fn version(text: &str) -> Option<Finding> {
    let mut numbers = text.split(['.', '-', '~']).map(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().flatten(), numbers.next().flatten().unwrap_or(0));
    let finding = |id, severity| {
        Finding::new(id, severity, "Proxmox VE")
            .seen(format!("version {text}"))
            .repair("pveversion --verbose")
    };
    match major {
        Some(major) if (major, minor) < OLDEST => {
            Some(finding(id!("pve.too_old"), super::Severity::Danger).why(
                "9 is what Felhom is made for, 8.4 works; older ones answer in other ways; the way up is at \
                     https://pve.proxmox.com/wiki/Category:Upgrade",
            ))
        }
        Some(major) if major <= NEWEST => None,
        _ => Some(
            finding(id!("pve.not_tried"), super::Severity::Warning)
                .why("9 is what Felhom is made for; what this version answers has not been tried"),
        ),
    }
}

fn node(facts: &Facts, answers: &Answers) -> Option<Finding> {
    let wanted = &facts.should.host.node;
    match &answers.nodes {
        Err(why) => Some(super::unseen("names of the nodes", why)),
        Ok(nodes) if nodes.iter().any(|name| name == wanted.as_str()) => None,
        Ok(nodes) => Some(
            Finding::danger(id!("node.unknown"), format!("node {wanted}"))
                .seen(format!("there are: {}", nodes.join(", ")))
                .why("every call names the node; `pve.node` in the configuration has to be this host's name")
                .repair(own_node(facts, nodes)),
        ),
    }
}

/// A cluster has several nodes, in any order: only the host's own name says which one it is.
fn own_node(facts: &Facts, nodes: &[String]) -> String {
    let own = facts.survey.as_ref().ok().and_then(|survey| survey.name.as_ref());
    match own.filter(|own| nodes.contains(own)) {
        Some(own) => format!("sed -i 's/^node *=.*/node = \"{own}\"/' {}", facts.should.file.display()),
        None => "pvesh get /nodes".to_owned(),
    }
}
