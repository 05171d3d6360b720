//! A box for what a flow has to give up: each letter with its reason, bounded in number, size and age.
//!
//! The store has an index of the box as one value, and each letter beside it, in parts where it is long. Every node may add
//! and take letters: all agree on the index, which only changes by comparison. A letter is written before the index names it,
//! and deleted after. A node that dies in between leaves a value that nobody reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::FlowError;
use crate::broker::{BrokerError, MAX_VALUE_BYTES};
use crate::bus::FlowStore;

/// The most letters of a box. The oldest leave for new ones.
pub const MAX_LETTERS: usize = 500;
/// The most bytes of all letters of a box.
pub const MAX_BYTES: usize = 8 << 20;
/// How long a letter is kept.
pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest reason, in characters.
const MAX_REASON: usize = 500;
/// The key of the index.
const INDEX: &str = "dead";
/// Nodes that change the index at the same time try so often.
const ATTEMPTS: usize = 50;
/// After so many answers that did not come, a change fails.
const LOST_ANSWERS: usize = 2;

/// Something that a flow has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The id of the event, or whatever else the flow has.
    pub id: String,
    /// Why it was given up, for people.
    pub reason: String,
    /// When, in milliseconds since 1970 by the clock of the node that gave it up.
    pub at: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it stood in its channel, if it came from one.
    pub position: Option<String>,
    /// The event or the message, as it was.
    pub body: String,
}

/// The box of one flow.
#[derive(Clone)]
pub struct DeadLetters(FlowStore);

/// What the index says of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry(
    /// The letter's key, a digest of its id, position and body.
    String,
    /// When it came, in milliseconds since 1970.
    u64,
    /// Its size.
    usize,
);

impl DeadLetters {
    /// The box of the flow with this store.
    pub fn new(store: FlowStore) -> Self {
        Self(store)
    }

    /// Puts a letter into the box. One with the same id, position and body is replaced. The oldest leave if the box is full.
    ///
    /// # Errors
    /// [`FlowError::Broker`], [`FlowError::Damaged`]. The letter may be in the box.
    pub async fn add(&self, mut letter: DeadLetter) -> Result<(), FlowError> {
        if let Some((cut, _)) = letter.reason.char_indices().nth(MAX_REASON) {
            letter.reason.truncate(cut);
        }
        let text = serde_json::to_vec(&letter).map_err(|error| FlowError::damaged(INDEX, &error))?;
        let entry = Entry(name(&letter), letter.at, text.len());
        for (number, part) in text.chunks(MAX_VALUE_BYTES).enumerate() {
            self.0.put(&entry.part(number), part).await?;
        }
        let (name, now) = (entry.0.clone(), now());
        self.change(|entries| {
            entries.retain(|other| other.0 != name && other.is_fresh(now));
            entries.push(entry.clone());
            let mut bytes: usize = entries.iter().map(|entry| entry.2).sum();
            // The new one stays, whatever its size.
            while entries.len() > 1 && (entries.len() > MAX_LETTERS || bytes > MAX_BYTES) {
                bytes -= entries.remove(0).2;
            }
        })
        .await
    }

    /// How many letters there are.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn count(&self) -> Result<usize, FlowError> {
        Ok(self.index().await?.len())
    }

    /// The letters, the oldest first: all, or those with this id, of which each channel may have one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn list(&self, id: Option<&str>) -> Result<Vec<DeadLetter>, FlowError> {
        let mut letters = Vec::new();
        for entry in self.index().await? {
            let letter = self.letter(&entry).await?;
            letters.extend(letter.filter(|letter| id.is_none_or(|id| letter.id == id)));
        }
        Ok(letters)
    }

    /// Takes a letter out of the box. One that is not there is no error.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn remove(&self, letter: &DeadLetter) -> Result<(), FlowError> {
        let (name, now) = (name(letter), now());
        self.change(|entries| entries.retain(|entry| entry.0 != name && entry.is_fresh(now))).await
    }

    /// The letter of an entry. `None` if another node has taken it.
    async fn letter(&self, entry: &Entry) -> Result<Option<DeadLetter>, FlowError> {
        let mut text = Vec::with_capacity(entry.2);
        for number in 0..entry.2.div_ceil(MAX_VALUE_BYTES) {
            match self.0.get(&entry.part(number)).await? {
                Some(part) => text.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
        // A letter that was replaced meanwhile has another length.
        Ok(serde_json::from_slice(&text).ok())
    }

    /// The entries of the index that are not too old.
    async fn index(&self) -> Result<Vec<Entry>, FlowError> {
        let (mut entries, now) = (self.stored_index().await?.1, now());
        entries.retain(|entry| entry.is_fresh(now));
        Ok(entries)
    }

    /// The index as it is stored, and all its entries.
    async fn stored_index(&self) -> Result<(Option<Bytes>, Vec<Entry>), FlowError> {
        let stored = self.0.get(INDEX).await?;
        let entries = match &stored {
            Some(text) => serde_json::from_slice(text).map_err(|error| FlowError::damaged(INDEX, &error))?,
            None => Vec::new(),
        };
        Ok((stored, entries))
    }

    /// Changes the index, and deletes the letters that it names no more.
    async fn change(&self, change: impl Fn(&mut Vec<Entry>)) -> Result<(), FlowError> {
        // The entries that any attempt found: one whose answer was lost may have changed the index.
        let mut found: Vec<Entry> = Vec::new();
        let mut lost_answers = 0;
        for _ in 0..ATTEMPTS {
            let (stored, before) = self.stored_index().await?;
            let is_new = |entry: &&Entry| found.iter().all(|known| !known.is_stored_as(entry));
            let new: Vec<_> = before.iter().filter(is_new).cloned().collect();
            found.extend(new);
            let mut after = before.clone();
            change(&mut after);
            if after != before {
                let text = serde_json::to_vec(&after).map_err(|error| FlowError::damaged(INDEX, &error))?;
                let new = (!after.is_empty()).then_some(&*text);
                match self.0.compare_and_set(INDEX, stored.as_deref(), new).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(BrokerError::Unavailable(_)) if lost_answers < LOST_ANSWERS => {
                        lost_answers += 1;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            for gone in found.iter().filter(|entry| after.iter().all(|other| !other.is_stored_as(entry))) {
                self.delete(gone).await;
            }
            return Ok(());
        }
        Err(BrokerError::Unavailable("too many nodes change the dead letters at once".into()).into())
    }

    /// Deletes a letter that nobody needs. One that stays does no harm.
    async fn delete(&self, entry: &Entry) {
        for number in 0..entry.2.div_ceil(MAX_VALUE_BYTES) {
            let key = entry.part(number);
            if let Ok(Some(part)) = self.0.get(&key).await {
                let _ = self.0.compare_and_set(&key, Some(&part), None).await;
            }
        }
    }
}

impl Entry {
    /// The key of a part. A letter that is added again has other keys, so that a node that deletes the earlier one does not
    /// delete the later one.
    fn part(&self, number: usize) -> String {
        format!("dead/{}/{}/{number}", self.0, self.1)
    }

    /// Whether both have the same parts.
    fn is_stored_as(&self, other: &Self) -> bool {
        (&self.0, self.1) == (&other.0, other.1)
    }

    fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.1) < MAX_AGE.as_millis() as u64
    }
}

/// The key of a letter: ids may be longer than a key, have any characters, and are unique within a channel only.
fn name(letter: &DeadLetter) -> String {
    let text = format!("{} {} {}", letter.position.as_deref().unwrap_or_default(), letter.id, letter.body);
    BASE64_URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..15])
}

/// Now, in milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::lossy::Lossy;
    use super::*;

    #[tokio::test]
    async fn a_letter_that_is_added_again_survives_the_deletion_of_the_earlier_one() {
        let letters = DeadLetters::new(FlowStore::for_test(super::super::tests::backend(), "bridge/a"));
        let at = now();
        let first = DeadLetter {
            id: "e1".into(),
            reason: "refused".into(),
            at,
            attempts: 1,
            position: None,
            body: "x".repeat(100_000),
        };
        letters.add(first.clone()).await.unwrap();
        let entry = letters.index().await.unwrap().remove(0);
        letters.remove(&first).await.unwrap();
        // Another node adds it again while the one that removed it has still to delete its parts.
        let again = DeadLetter { at: at + 1, ..first };
        letters.add(again.clone()).await.unwrap();
        letters.delete(&entry).await;
        assert_eq!(letters.list(None).await.unwrap(), [again]);
    }

    #[tokio::test]
    async fn the_parts_of_letters_that_went_are_deleted_although_the_answer_was_lost() {
        let backend = Lossy::new();
        let letters = DeadLetters::new(FlowStore::for_test(backend.clone(), "bridge/a"));
        let letter = |id: &str, bytes: usize| {
            let (id, body) = (id.to_owned(), "x".repeat(bytes));
            DeadLetter { id, reason: "refused".into(), at: now(), attempts: 1, position: None, body }
        };
        let (old, large) = (letter("old", 100_000), letter("large", MAX_BYTES));
        letters.add(old).await.unwrap();
        let entry = letters.index().await.unwrap().remove(0);
        // The large one makes the box too full, and the old one leaves.
        backend.lost_answers.store(1, Ordering::Relaxed);
        letters.add(large.clone()).await.unwrap();
        assert_eq!(letters.list(None).await.unwrap(), std::slice::from_ref(&large));
        assert_eq!(letters.letter(&entry).await.unwrap(), None, "its parts are deleted");
        let entry = letters.index().await.unwrap().remove(0);
        backend.lost_answers.store(1, Ordering::Relaxed);
        letters.remove(&large).await.unwrap();
        assert_eq!(letters.letter(&entry).await.unwrap(), None);
    }
}
