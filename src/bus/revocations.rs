//! The revoked credentials of a namespace. They are in the broker's store, so that they hold on every node and survive
//! restarts.
//!
//! The store has one value with the names of segments, and each segment in a value of its own. A segment never changes: who
//! adds to one writes another with the same entries and the new ones. So a node reads only the segments that it does not
//! know, and the value with the names is what all nodes agree on.
//!
//! Every node reads the names each [`INTERVAL`]. A node that could not read them for [`MAX_AGE`] accepts no credential.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Bus, unreadable};
use crate::access::{AdminRight, Caller, Identity, Principal};
use crate::broker::{Backend, BrokerError, MAX_VALUE_BYTES};
use crate::protocol::{ErrorCode, Problem};

/// Between two looks at the store. With it, a revocation holds on every node within 2 s.
const INTERVAL: Duration = Duration::from_millis(750);
/// How old the list may be with which credentials are checked.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How long one read or write of the store may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest segment, in bytes. The store takes somewhat more.
const MAX_SEGMENT: usize = MAX_VALUE_BYTES * 3 / 4;
/// The key of the names of the segments. The segments are beside it.
const NAMES: &str = "revocations/names";
/// Nodes that write at the same time try so often.
const ATTEMPTS: usize = 50;
/// Revocations that wait for a broker that does not answer.
const MAX_WAITING: usize = 100_000;
/// The longest `jti`, `sub` or key id, in characters.
pub const MAX_REVOKED_NAME: usize = 1024;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry(Revocation, Option<i64>);

/// The list of one namespace, as far as this node has read it.
pub struct Revocations {
    backend: Arc<dyn Backend>,
    /// The longest time for which a token may be accepted.
    kept_for: Duration,
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
    waiting: Mutex<Waiting>,
    writer: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    names: Vec<u8>,
    segments: HashMap<String, Arc<Vec<Entry>>>,
    list: List,
    /// When the names were last read.
    read: Option<Instant>,
}

#[derive(Default)]
struct List {
    ids: HashMap<String, ()>,
    subjects: HashMap<String, i64>,
    keys: HashMap<String, ()>,
}

/// Revocations that wait for the next write. They stay here until they are written.
#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// How many were written before these.
    written: u64,
}

impl Bus {
    /// Revokes a credential of the caller's namespace, on every node. Returns when the broker has it.
    ///
    /// # Errors
    /// `forbidden`, `invalid-frame` for an empty or long name, `broker-unavailable`.
    pub async fn revoke(&self, caller: &Caller, revocation: Revocation) -> Result<(), Problem> {
        self.require(caller, AdminRight::Revoke)?;
        let (Revocation::Jti(name) | Revocation::Sub(name, _) | Revocation::Key(name)) = &revocation;
        if name.is_empty() || name.chars().count() > MAX_REVOKED_NAME {
            let detail = format!("the name of what is revoked must have 1 to {MAX_REVOKED_NAME} characters");
            return Err(Problem::new(ErrorCode::BadRequest, detail));
        }
        self.namespace(caller).revocations().add(revocation).await.map_err(unreadable)
    }
}

impl Revocations {
    /// The list in this backend's store. A revocation of tokens is kept for `kept_for`.
    pub fn new(backend: Arc<dyn Backend>, kept_for: Duration) -> Self {
        Self {
            backend,
            kept_for,
            known: RwLock::default(),
            changes: watch::Sender::default(),
            waiting: Mutex::default(),
            writer: tokio::sync::Mutex::default(),
        }
    }

    /// Changes with each change of the list.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a credential is revoked.
    ///
    /// # Errors
    /// This is not known: the store could not be read lately.
    pub fn covers(&self, principal: &Principal) -> Result<bool, String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.read {
            _ if principal.identity == Identity::Anonymous => Ok(false),
            Some(read) if read.elapsed() <= MAX_AGE => Ok(known.list.covers(principal)),
            _ => Err("the revoked credentials could not be read".into()),
        }
    }

    /// Whether a credential is revoked, as far as this node knows.
    pub fn is_known_to_cover(&self, principal: &Principal) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).list.covers(principal)
    }

    /// Whether the list has been read since this node started.
    pub fn is_read(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).read.is_some()
    }

    /// Reads the list again and again.
    pub async fn run(&self) {
        let mut failing = false;
        loop {
            let result = within(self.read()).await;
            match &result {
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(%error, "the revoked credentials cannot be read: no credential is accepted");
                }
                Ok(_) if std::mem::take(&mut failing) => tracing::info!("the revoked credentials can be read again"),
                _ => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads the names, and the segments that are new. Returns the names.
    async fn read(&self) -> Result<Vec<u8>, BrokerError> {
        let begun = Instant::now();
        loop {
            let names = self.backend.store().get(NAMES).await?.map(|names| names.to_vec()).unwrap_or_default();
            if let Some(segments) = self.segments(&names).await? {
                self.learned(names.clone(), segments, begun);
                return Ok(names);
            }
            // A segment was replaced meanwhile, and so were the names.
            tokio::task::yield_now().await;
        }
    }

    /// The segments of these names. `None` if one is gone.
    async fn segments(&self, names: &[u8]) -> Result<Option<Vec<(String, Arc<Vec<Entry>>)>>, BrokerError> {
        let mut segments = Vec::new();
        for name in parse_names(names)? {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner).segments.get(&name).cloned();
            let entries = match known {
                Some(entries) => entries,
                None => match self.backend.store().get(&segment_key(&name)).await? {
                    Some(text) => Arc::new(serde_json::from_slice(&text).map_err(damaged)?),
                    None => return Ok(None),
                },
            };
            segments.push((name, entries));
        }
        Ok(Some(segments))
    }

    fn learned(&self, names: Vec<u8>, segments: Vec<(String, Arc<Vec<Entry>>)>, read: Instant) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.read = Some(known.read.map_or(read, |before| before.max(read)));
        if known.names == names {
            return;
        }
        let list = List::of(segments.iter().flat_map(|(_, entries)| entries.iter()));
        (known.names, known.segments, known.list) = (names, segments.into_iter().collect(), list);
        drop(known);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Adds a revocation; returns when the store has it. Those that come together are written together.
    async fn add(&self, revocation: Revocation) -> Result<(), BrokerError> {
        let kept = !matches!(revocation, Revocation::Key(_));
        let until = kept.then(|| now() + i64::try_from(self.kept_for.as_secs()).unwrap_or(i64::MAX / 2) + 1);
        let number = {
            let mut waiting = self.lock();
            if waiting.entries.len() >= MAX_WAITING {
                return Err(BrokerError::Unavailable("too many revocations wait for the broker".into()));
            }
            waiting.entries.push(Entry(revocation, until));
            waiting.written + waiting.entries.len() as u64
        };
        let _writing = self.writer.lock().await;
        let entries = {
            let waiting = self.lock();
            if waiting.written >= number {
                // Another call has written it.
                return Ok(());
            }
            waiting.entries.clone()
        };
        within(self.write(&entries)).await?;
        let mut waiting = self.lock();
        waiting.entries.drain(..entries.len());
        waiting.written += entries.len() as u64;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, added: &[Entry]) -> Result<(), BrokerError> {
        let store = self.backend.store();
        for _ in 0..ATTEMPTS {
            let before = self.read().await?;
            let mut segments = self.segments(&before).await?.unwrap_or_default();
            let now = now();
            segments.retain(|(_, entries)| entries.iter().any(|entry| entry.is_kept(now)));
            // The newest segment grows until it is full.
            let mut entries = match segments.last() {
                Some((_, last)) if text_of(last).len() < MAX_SEGMENT / 2 => {
                    let last = last.iter().filter(|entry| entry.is_kept(now)).cloned().collect();
                    segments.pop();
                    last
                }
                _ => Vec::new(),
            };
            entries.extend_from_slice(added);
            let mut names: Vec<String> = segments.into_iter().map(|(name, _)| name).collect();
            for part in parts(&entries) {
                let name = format!("{:016x}", rand::random::<u64>());
                store.put(&segment_key(&name), &text_of(part)).await?;
                names.push(name);
            }
            let after = serde_json::to_vec(&names).map_err(damaged)?;
            let expected = (!before.is_empty()).then_some(&*before);
            if store.compare_and_set(NAMES, expected, Some(&after)).await? {
                self.forget(&before, &names).await;
                return self.read().await.map(drop);
            }
            for name in &names {
                let unused = !parse_names(&before)?.contains(name);
                if unused {
                    self.delete(name).await;
                }
            }
        }
        Err(BrokerError::Unavailable("too many nodes revoke credentials at once".into()))
    }

    /// Deletes the segments that are no longer named.
    async fn forget(&self, before: &[u8], names: &[String]) {
        for old in parse_names(before).unwrap_or_default().iter().filter(|old| !names.contains(old)) {
            self.delete(old).await;
        }
    }

    /// Deletes a segment that nobody needs. One that stays does no harm.
    async fn delete(&self, name: &str) {
        let (store, key) = (self.backend.store(), segment_key(name));
        if let Ok(Some(text)) = store.get(&key).await {
            let _ = store.compare_and_set(&key, Some(&text), None).await;
        }
    }
}

impl List {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let (mut list, now) = (Self::default(), now());
        for Entry(revocation, _) in entries.filter(|entry| entry.is_kept(now)) {
            match revocation {
                Revocation::Jti(id) => drop(list.ids.insert(id.clone(), ())),
                Revocation::Key(id) => drop(list.keys.insert(id.clone(), ())),
                Revocation::Sub(subject, before) => {
                    let known = list.subjects.entry(subject.clone()).or_insert(*before);
                    *known = (*known).max(*before);
                }
            }
        }
        list
    }

    fn covers(&self, principal: &Principal) -> bool {
        match &principal.identity {
            Identity::Anonymous => false,
            Identity::Key { id, .. } => self.keys.contains_key(&**id),
            Identity::Token(token) => {
                let by_subject = token.subject.as_ref().and_then(|subject| self.subjects.get(&**subject));
                token.id.as_ref().is_some_and(|id| self.ids.contains_key(&**id))
                    || by_subject.is_some_and(|before| token.issued.is_none_or(|issued| issued <= *before))
            }
        }
    }
}

impl Entry {
    fn is_kept(&self, now: i64) -> bool {
        self.1.is_none_or(|until| until > now)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

/// Divides entries so that each part fits into a segment.
fn parts(entries: &[Entry]) -> Vec<&[Entry]> {
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

fn text_of(entries: &[Entry]) -> Vec<u8> {
    // Strings and numbers: serialization cannot fail.
    serde_json::to_vec(entries).unwrap_or_default()
}

fn parse_names(names: &[u8]) -> Result<Vec<String>, BrokerError> {
    match names.is_empty() {
        true => Ok(Vec::new()),
        false => serde_json::from_slice(names).map_err(damaged),
    }
}

fn segment_key(name: &str) -> String {
    format!("revocations/{name}")
}

fn damaged(error: impl fmt::Display) -> BrokerError {
    BrokerError::Rejected(format!("the revoked credentials in the broker's store cannot be read: {error}"))
}

async fn within<T>(call: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let late = |_| Err(BrokerError::Unavailable("the store did not answer in time".into()));
    tokio::time::timeout(TIMEOUT, call).await.unwrap_or_else(late)
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
