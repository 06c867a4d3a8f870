//! `compose.yaml`: services in the order in which they start, and the named volumes.
//!
//! The process engine's part of the Compose specification; everything else is refused by name.

use super::{
    service::{self, Service},
    yaml::{AppError, Node},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// A compose file that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// Each after those that it depends on.
    pub services: Vec<Service>,
    /// The named volumes.
    pub volumes: BTreeSet<String>,
}

impl Compose {
    /// Reads `text`; messages call the file `file`.
    ///
    /// # Errors
    /// [`AppError`], the first thing that cannot be run exactly as it is written.
    pub fn parse(file: &str, text: &str) -> Result<Self, AppError> {
        let mut top = Node::parse(file, text)?;
        // Both are without effect: projects are named by their directory, and Compose ignores `version` itself.
        top.take("version");
        top.take("name");
        let volumes = volumes(&mut top)?;
        let Some(services) = top.child("services")? else {
            return Err(top.invalid("services", "is missing"));
        };
        let services: Vec<Service> = services
            .into_services()?
            .into_iter()
            .map(|(name, node)| service::parse(name, node, &volumes))
            .collect::<Result<_, _>>()?;
        if services.is_empty() {
            return Err(top.invalid("services", "is empty"));
        }
        check_ports(&top, &services)?;
        let services = in_order(&top, services)?;
        top.finish()?;
        Ok(Self { services, volumes })
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

fn volumes(top: &mut Node) -> Result<BTreeSet<String>, AppError> {
    let mut names = BTreeSet::new();
    let Some(node) = top.child("volumes")? else {
        return Ok(names);
    };
    let Value::Object(map) = node.into_value() else {
        return Ok(names);
    };
    for (name, settings) in map {
        if !is_name(&name) {
            return Err(top.invalid("volumes", format!("`{name}` is no name of a volume: {NAME_RULE}")));
        }
        match settings {
            Value::Null => {}
            settings => top.nested(&format!("volumes.{name}"), settings)?.finish()?,
        }
        names.insert(name);
    }
    Ok(names)
}

/// What [`is_name`] asks for.
pub(super) const NAME_RULE: &str = "1 to 63 of a-z A-Z 0-9 _ . -, a letter or digit first";

/// Whether `name` can be the name of a service or a volume (it becomes part of a path).
pub(super) fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Processes share one loopback address, so no two services may listen on or publish the same port.
fn check_ports(top: &Node, services: &[Service]) -> Result<(), AppError> {
    let mut targets = BTreeSet::new();
    let mut published = BTreeSet::new();
    for service in services {
        let own: BTreeSet<u16> = service.ports.iter().map(|port| port.target).collect();
        for target in own {
            if !targets.insert(target) {
                let why = format!("port {target} of `{}` is taken by another service", service.name);
                return Err(top.invalid("services", why));
            }
        }
        for port in &service.ports {
            if !published.insert(port.published) {
                let why = format!("`{}` publishes port {} a second time", service.name, port.published);
                return Err(top.invalid("services", why));
            }
        }
    }
    Ok(())
}

fn in_order(top: &Node, mut waiting: Vec<Service>) -> Result<Vec<Service>, AppError> {
    let names: BTreeSet<String> = waiting.iter().map(|service| service.name.clone()).collect();
    let mut ordered: Vec<Service> = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|service| {
            service.depends_on.iter().all(|on| ordered.iter().any(|done| done.name == *on))
        });
        match ready {
            Some(at) => ordered.push(waiting.remove(at)),
            None => {
                let service = &waiting[0];
                let missing = service.depends_on.iter().find(|on| !names.contains(*on));
                let why = match missing {
                    Some(on) => format!("`{}` depends on `{on}`, which is not there", service.name),
                    None => format!("`{}` depends on itself through other services", service.name),
                };
                return Err(top.invalid("services", why));
            }
        }
    }
    Ok(ordered)
}
