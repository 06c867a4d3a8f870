//! The operator at the hub's API: wants guests, asks for jobs, signs, and leads on what stands.

use std::collections::BTreeSet;

use felhom_model::OperationId;
use felhom_model::operation::WayOut;
use felhom_protocol::SignedBytes;
use felhom_rig::Random;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::people;
use crate::world::{BOX, World};

/// Guests that there may be.
const NAMES: [&str; 3] = ["attic", "family", "office"];
/// Jobs that may be asked for, the likely ones twice.
const JOBS: [&str; 6] =
    ["backup_guest", "backup_guest", "reboot_guest", "reclaim_guest", "reclaim_guest", "no_such_kind"];

/// What the operator has in mind.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// The guests of the desired state.
    pub(crate) guests: Vec<Value>,
    /// Guests that are not wanted again: a name is used once.
    retired: BTreeSet<&'static str>,
}

impl Operator {
    /// Does something.
    pub(crate) fn act(&mut self, world: &World, random: &mut Random) -> String {
        let name = NAMES[random.place(NAMES.len())];
        if random.below(5) < 3 {
            self.want(world, name, random)
        } else {
            job(world, JOBS[random.place(JOBS.len())], name)
        }
    }

    fn want(&mut self, world: &World, name: &'static str, random: &mut Random) -> String {
        let at = self.guests.iter().position(|guest| guest["name"] == name);
        let mut guests = self.guests.clone();
        match (at, random.below(6)) {
            (None, _) if self.retired.contains(name) => return format!("{name} was retired once"),
            (None, _) => guests.push(new_guest(name)),
            (Some(at), 0) => {
                guests.remove(at);
            }
            (Some(at), 1 | 2) => {
                // Desired state only says so; it is asked for by itself.
                guests[at]["state"] = json!("retired");
                self.retired.insert(name);
                let asked = job(world, "retire_guest", name);
                return format!("{asked}; {}", self.set(world, guests));
            }
            (Some(at), n) => guests[at]["memory_mib"] = json!(192 + 64 * n),
        }
        self.set(world, guests)
    }

    /// The first guest of a box.
    pub(crate) fn want_family(&mut self, world: &World) -> String {
        self.set(world, vec![new_guest("family")])
    }

    /// Sets desired state. What the hub does not take is not wanted.
    fn set(&mut self, world: &World, guests: Vec<Value>) -> String {
        let path = format!("/boxes/{BOX}/desired");
        let spec = json!({"schema": "felhom.desired/v1", "guest": guests});
        let (status, answer) = world.call(Method::PUT, &path, &json!({"spec": spec}));
        if status == StatusCode::OK {
            self.guests = guests;
        }
        let shown: Vec<String> = self.guests.iter().map(shown).collect();
        format!("wanted is {}: {status} {}", shown.join(", "), answer["error"].as_str().unwrap_or_default())
    }

    /// Signs the newest challenge that waits for it, if the hub knows of one; its bytes.
    pub(crate) fn sign(&self, world: &World) -> (String, Option<Vec<u8>>) {
        let all = world.get("/challenges");
        let mut open = all.as_array().unwrap().iter().filter(|challenge| challenge["state"] == "open");
        let Some(challenge) = open.next_back() else {
            return ("nothing waits for a signature".to_owned(), None);
        };
        let SignedBytes { bytes, .. } = serde_json::from_value(challenge["signed"].clone()).unwrap();
        let path = format!("/challenges/{}/answers", challenge["digest"].as_str().unwrap());
        let signed = json!({"signature": people::consent(&bytes)});
        let (status, answer) = world.call(Method::POST, &path, &signed);
        let line =
            format!("a challenge is signed: {status} {}", answer["error"].as_str().unwrap_or_default());
        (line, Some(bytes))
    }

    /// Asks that what stands goes on in this way.
    pub(crate) fn lead_on(&self, world: &World, stands: OperationId, way: WayOut) -> String {
        let params = json!({"operation": stands, "way": way.name()});
        ask(world, "resolve_operation", &params);
        format!("what stands is led on: {}", way.name())
    }
}

fn new_guest(name: &str) -> Value {
    json!({"name": name, "state": "running", "cores": 1, "memory_mib": 256, "disk_gib": 1})
}

fn shown(guest: &Value) -> String {
    let text = |key: &str| guest[key].as_str().unwrap_or_default().to_owned();
    format!("{} {} {} MiB", text("name"), text("state"), guest["memory_mib"])
}

fn job(world: &World, kind: &str, name: &str) -> String {
    let status = ask(world, kind, &json!({"guest": name}));
    format!("job {kind} {name}: {status}")
}

fn ask(world: &World, kind: &str, params: &Value) -> StatusCode {
    let body = json!({"kind": kind, "params": params, "ttl_s": 86_400});
    let (status, answer) = world.call(Method::POST, &format!("/boxes/{BOX}/jobs"), &body);
    assert_eq!(status, StatusCode::CREATED, "{kind}: {answer}");
    status
}
