//! Points at which the executor stands until somebody says what becomes of it: before each call that changes something at Proxmox.
//! All of them are operations'. Root acts are let through: notices are brought to guests by them at times of their own.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use felhom_pve::{Answer, Call, Refusal};

use crate::reins::say;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Go,
    Refuse,
    Lose,
    Die,
}

/// Who stands where.
#[derive(Debug, Default)]
pub(crate) struct Points(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reached: u32,
    standing: BTreeMap<u32, Sender<Order>>,
    /// What becomes of the answers to what was let go.
    after: BTreeMap<String, Order>,
}

impl Points {
    /// Passes on an answer; whether it was one.
    pub(crate) fn answer(&self, line: &str) -> bool {
        let Some((word, number)) = line.split_once(' ') else { return false };
        let order = match word {
            "go" => Order::Go,
            "refuse" => Order::Refuse,
            "lose" => Order::Lose,
            "die" => Order::Die,
            _ => return false,
        };
        let standing = number.parse().ok().and_then(|n| self.inner().standing.remove(&n));
        standing.is_some_and(|who| who.send(order).is_ok())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands here. Whether it is refused.
    fn stand(&self, what: &str) -> bool {
        let told = self.reach(what);
        // Other tasks go on meanwhile.
        let order = tokio::task::block_in_place(|| told.recv());
        match order {
            Ok(Order::Go) => false,
            Ok(Order::Refuse) => true,
            Ok(order @ (Order::Lose | Order::Die)) => {
                self.inner().after.insert(what.to_owned(), order);
                false
            }
            // Nobody leads this process any more.
            Err(_) => std::process::abort(),
        }
    }

    fn reach(&self, what: &str) -> Receiver<Order> {
        let (sender, receiver) = channel();
        let mut inner = self.inner();
        inner.reached += 1;
        let number = inner.reached;
        inner.standing.insert(number, sender);
        say(&format!("point {number} {what}"));
        receiver
    }

    /// Whether what came of it is lost.
    fn lost(&self, what: &str) -> bool {
        match self.inner().after.remove(what) {
            Some(Order::Die) => std::process::abort(),
            Some(Order::Lose) => true,
            Some(Order::Go | Order::Refuse) | None => false,
        }
    }
}

fn named(call: &Call) -> String {
    format!("{} {}", call.method, call.path)
}

impl felhom_pve::Hook for Points {
    fn before_mutation(&self, call: &Call) -> Result<(), felhom_pve::Error> {
        if !self.stand(&named(call)) {
            return Ok(());
        }
        let message = "got timeout".to_owned();
        let answer = Answer { status: 500, reason: message.clone(), message, errors: BTreeMap::new() };
        Err(felhom_pve::Error::Refused(Box::new(Refusal { call: call.clone(), answer })))
    }

    fn after_mutation(&self, call: &Call) -> Result<(), felhom_pve::Error> {
        let reason = "connection reset".to_owned();
        let error = || felhom_pve::Error::NoAnswer { call: Box::new(call.clone()), reason };
        if self.lost(&named(call)) { Err(error()) } else { Ok(()) }
    }
}
