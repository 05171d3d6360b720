//! Revocations as values: what is revoked and until when, whom a list of them covers, and how the broker's store has them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::access::{Identity, Principal};
use crate::broker::{BrokerError, MAX_VALUE_BYTES};

/// The largest segment, in bytes. The store takes somewhat more.
pub const MAX_SEGMENT: usize = MAX_VALUE_BYTES * 3 / 4;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Revocation {
    /// The token with this `jti`.
    Jti(String),
    /// The tokens of this `sub` that were issued at this second or before, in seconds since 1970, and those that do not say
    /// when.
    Sub(String, i64),
    /// The API key with this id.
    Key(String),
}

/// An entry of a segment, and the second until which it is kept. `None`: for ever, as keys have no end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry(pub Revocation, pub Option<i64>);

/// Revocations, indexed by what they name.
#[derive(Default)]
pub struct List {
    ids: HashSet<String>,
    subjects: HashMap<String, i64>,
    keys: HashSet<String>,
}

impl List {
    /// The entries that are still kept.
    pub fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let (mut list, now) = (Self::default(), now());
        for Entry(revocation, _) in entries.filter(|entry| entry.is_kept(now)) {
            match revocation {
                Revocation::Jti(id) => drop(list.ids.insert(id.clone())),
                Revocation::Key(id) => drop(list.keys.insert(id.clone())),
                Revocation::Sub(subject, before) => {
                    let known = list.subjects.entry(subject.clone()).or_insert(*before);
                    *known = (*known).max(*before);
                }
            }
        }
        list
    }

    /// Whether the credential of this principal is revoked.
    pub fn covers(&self, principal: &Principal) -> bool {
        match &principal.identity {
            Identity::Anonymous => false,
            Identity::Key { id, .. } => self.keys.contains(&**id),
            Identity::Token(token) => {
                let by_subject = token.subject.as_ref().and_then(|subject| self.subjects.get(&**subject));
                token.id.as_ref().is_some_and(|id| self.ids.contains(&**id))
                    || by_subject.is_some_and(|before| token.issued.is_none_or(|issued| issued <= *before))
            }
        }
    }
}

impl Entry {
    /// Whether it is still kept at this second since 1970.
    pub fn is_kept(&self, now: i64) -> bool {
        self.1.is_none_or(|until| until > now)
    }
}

/// Divides entries so that each part fits into a segment.
pub fn parts(entries: &[Entry]) -> Vec<&[Entry]> {
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let size = text_of(std::slice::from_ref(entry)).len();
        if bytes + size > MAX_SEGMENT && index > begin {
            parts.push(&entries[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += size;
    }
    parts.push(&entries[begin..]);
    parts
}

/// Entries as a segment has them.
pub fn text_of(entries: &[Entry]) -> Vec<u8> {
    // Strings and numbers: serialization cannot fail.
    serde_json::to_vec(entries).unwrap_or_default()
}

/// The names of the segments. An empty text has none.
///
/// # Errors
/// The text is not what a node wrote.
pub fn parse_names(names: &[u8]) -> Result<Vec<String>, BrokerError> {
    match names.is_empty() {
        true => Ok(Vec::new()),
        false => serde_json::from_slice(names).map_err(damaged),
    }
}

/// The error of a value that no node wrote.
pub fn damaged(error: impl fmt::Display) -> BrokerError {
    BrokerError::Rejected(format!("the revoked credentials in the broker's store cannot be read: {error}"))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
