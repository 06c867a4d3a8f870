//! What people say to the box through the hub: kept with what came of it until the hub knows.

use super::{Result, Store, json, to_json};
use felhom_protocol::hub_sync::{Message, Outcome};
use rusqlite::params;

/// More than this are not taken in; the hub offers the rest again.
const MOST: i64 = 500;

impl Store {
    /// Takes messages in that are not known yet. Tells whether there was one.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn take_messages(&self, messages: &[Message]) -> Result<bool> {
        let doing = "take messages in";
        let texts = messages.iter().map(|message| Ok((message.id.to_string(), to_json(doing, message)?)));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        self.transaction(doing, |db| {
            let mut taken = 0;
            for (id, message) in &texts {
                taken += db.execute(
                    "INSERT OR IGNORE INTO message (id, message) SELECT ?1, ?2
                     WHERE (SELECT count(*) FROM message) < ?3",
                    params![id, message, MOST],
                )?;
            }
            Ok(taken > 0)
        })
    }

    /// Messages that nobody has judged yet, oldest first.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn undelivered(&self) -> Result<Vec<Message>> {
        self.with("read the messages", |db| {
            let sql = "SELECT message FROM message WHERE outcome IS NULL ORDER BY id";
            db.prepare(sql)?.query_map([], |row| json(row, 0))?.collect()
        })
    }

    /// Notes what came of a message. The first outcome stays.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn note_outcome(&self, outcome: &Outcome) -> Result<()> {
        let doing = "note what came of a message";
        let (id, text) = (outcome.id.to_string(), to_json(doing, outcome)?);
        self.with(doing, |db| {
            let sql = "UPDATE message SET outcome = ?2 WHERE id = ?1 AND outcome IS NULL";
            db.execute(sql, params![id, text]).map(drop)
        })
    }

    /// What came of messages, oldest first.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn outcomes(&self) -> Result<Vec<Outcome>> {
        self.with("read what came of messages", |db| {
            let sql = "SELECT outcome FROM message WHERE outcome IS NOT NULL ORDER BY id";
            db.prepare(sql)?.query_map([], |row| json(row, 0))?.collect()
        })
    }

    /// Forgets messages whose outcome the hub has.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError).
    pub(crate) fn forget_messages<'a>(&self, known: impl Iterator<Item = &'a Outcome>) -> Result<()> {
        let ids: Vec<String> = known.map(|outcome| outcome.id.to_string()).collect();
        self.transaction("forget messages", |db| {
            for id in &ids {
                db.execute("DELETE FROM message WHERE id = ?1", [id])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use felhom_model::{Digest, MessageId};
    use felhom_protocol::hub_sync::Said;

    #[test]
    fn a_message_is_kept_once_with_its_first_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let id = MessageId::from_parts(1, 1);
        let message = Message { id, said: Said::Renew { challenge: Digest::of(b"c") } };
        assert!(store.take_messages(std::slice::from_ref(&message)).unwrap());
        assert!(!store.take_messages(std::slice::from_ref(&message)).unwrap());
        assert_eq!(store.undelivered().unwrap(), [message]);
        let outcome =
            |accepted| Outcome { id, accepted, code: None, message: String::new(), challenge: None };
        store.note_outcome(&outcome(true)).unwrap();
        store.note_outcome(&outcome(false)).unwrap();
        assert_eq!(store.undelivered().unwrap(), []);
        assert_eq!(store.outcomes().unwrap(), [outcome(true)]);
        store.forget_messages([outcome(true)].iter()).unwrap();
        assert_eq!(store.outcomes().unwrap(), []);
    }
}
