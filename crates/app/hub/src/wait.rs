//! Wakes the long poll of a box when there is something new for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Boxes that wait, by name. An entry lives as long as somebody waits.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<String, Weak<Notify>>>);

impl Waiters {
    /// Begins to wait. Only what is told after this call is noticed, so look at the database after it.
    pub(crate) fn join(&self, box_name: &str) -> Arc<Notify> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = waiting.get(box_name).and_then(Weak::upgrade) {
            return notify;
        }
        if waiting.len() == waiting.capacity() {
            waiting.retain(|_, notify| notify.strong_count() > 0);
        }
        let notify = Arc::new(Notify::new());
        waiting.insert(box_name.to_owned(), Arc::downgrade(&notify));
        notify
    }

    /// Wakes everybody who waits for this box.
    pub(crate) fn tell(&self, box_name: &str) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = waiting.get(box_name).and_then(Weak::upgrade) {
            notify.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_after_joining_is_noticed() {
        let waiters = Waiters::default();
        let notify = waiters.join("home");
        let notified = notify.notified();
        waiters.tell("other");
        waiters.tell("home");
        notified.await;
        drop(notify);
        waiters.tell("home");
        for n in 0..1000 {
            drop(waiters.join(&n.to_string()));
        }
        assert!(waiters.0.lock().unwrap().len() < 1000);
    }
}
