//! The revoked credentials of a namespace. They are in the broker's store, so that they hold on every node and survive
//! restarts.
//!
//! The store has one value with the names of segments, and each segment in a value of its own. A segment never changes: a
//! node that adds to one writes another with the same entries and the new ones. So a node reads only the segments that it
//! does not know, and the value with the names is what all nodes agree on.
//!
//! Every node reads the names each [`INTERVAL`]. A node that could not read them for [`MAX_AGE`] accepts no credential. A
//! node that misses entries that it has read before writes them again: a Redis that was emptied, or a replica that became
//! the master too early, has lost them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::audit::What;
use super::revocation_list::{Entry, List, MAX_SEGMENT, Revocation, damaged, now, parse_names, parts, text_of};
use super::{Bus, rate_limited};
use crate::access::{AdminRight, Caller, Identity, Principal};
use crate::broker::{Backend, BrokerError};
use crate::protocol::{ErrorCode, Problem};

/// Between two looks at the store. With it, a revocation holds on every node within 2 s.
pub const INTERVAL: Duration = Duration::from_millis(750);
/// How old the list may be with which credentials are checked.
const MAX_AGE: Duration = Duration::from_secs(2);
/// How long one read or write of the store may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The key of the names of the segments. The segments are beside it.
const NAMES: &str = "revocations/names";
/// Nodes that write at the same time try so often.
const ATTEMPTS: usize = 50;
/// Revocations that wait for a broker that does not answer.
const MAX_WAITING: usize = 100_000;
/// The longest `jti`, `sub` or key id, in characters.
pub const MAX_REVOKED_NAME: usize = 1024;

/// The list of one namespace, as far as this node has read it.
pub struct Revocations {
    backend: Arc<dyn Backend>,
    /// The longest time for which a token may be accepted. A reload of `auth.toml` changes it.
    kept_for: Box<dyn Fn() -> Duration + Send + Sync>,
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
    /// Revocations that wait for the next write.
    waiting: Mutex<Vec<Waiting>>,
    writer: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    names: Vec<u8>,
    segments: HashMap<String, Arc<Vec<Entry>>>,
    /// Entries that the store had and has no more, although they are to be kept.
    lost: Vec<Entry>,
    list: List,
    /// When the names were last read.
    read: Option<Instant>,
}

/// A revocation, and who is told whether it was written.
struct Waiting {
    entry: Entry,
    written: oneshot::Sender<Result<(), BrokerError>>,
}

impl Bus {
    /// Revokes a credential of the caller's namespace, on every node. Returns when the broker has it.
    ///
    /// # Errors
    /// `forbidden`, `bad-request` for an empty or long name, `broker-unavailable`.
    pub async fn revoke(&self, caller: &Caller, revocation: Revocation) -> Result<(), Problem> {
        self.require(caller, AdminRight::Revoke)?;
        let (Revocation::Jti(name) | Revocation::Sub(name, _) | Revocation::Key(name)) = &revocation;
        if name.is_empty() || name.chars().count() > MAX_REVOKED_NAME {
            let detail = format!("the name of what is revoked must have 1 to {MAX_REVOKED_NAME} characters");
            return Err(Problem::new(ErrorCode::BadRequest, detail));
        }
        let (kind, name) = match &revocation {
            Revocation::Jti(name) => ("jti", name.clone()),
            Revocation::Sub(name, _) => ("sub", name.clone()),
            Revocation::Key(name) => ("key", name.clone()),
        };
        self.namespace(caller).revocations().add(revocation).await.map_err(not_stored)?;
        self.record(caller, What::Revoked { kind, name });
        Ok(())
    }
}

impl Revocations {
    /// The list in this backend's store. A revocation of tokens is kept for what `kept_for` says when it is made.
    pub fn new(backend: Arc<dyn Backend>, kept_for: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            backend,
            kept_for: Box::new(kept_for),
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

    /// Reads the list again and again, and writes what the store has lost.
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
            if result.is_ok()
                && let Err(error) = self.restore().await
            {
                tracing::debug!(%error, "revoked credentials that the broker has lost cannot be written");
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
        if known.read.is_some_and(|before| before > read) {
            // Another call has read later, and this one could have read less.
            return;
        }
        known.read = Some(read);
        if known.names == names {
            return;
        }
        let lost = {
            let stored: HashSet<&Entry> = segments.iter().flat_map(|(_, entries)| entries.iter()).collect();
            let now = now();
            let named = |name: &str| segments.iter().any(|(new, _)| new == name);
            let gone = known.segments.iter().filter(|(name, _)| !named(name)).flat_map(|(_, entries)| entries.iter());
            let missing = gone.chain(&known.lost).filter(|entry| entry.is_kept(now) && !stored.contains(entry));
            missing.cloned().collect::<Vec<_>>()
        };
        if !lost.is_empty() && known.lost.is_empty() {
            tracing::warn!(count = lost.len(), "the broker has lost revoked credentials: this node writes them again");
        }
        known.list = List::of(segments.iter().flat_map(|(_, entries)| entries.iter()).chain(&lost));
        (known.names, known.segments, known.lost) = (names, segments.into_iter().collect(), lost);
        drop(known);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Writes what the store has lost.
    async fn restore(&self) -> Result<(), BrokerError> {
        let lost = self.known.read().unwrap_or_else(PoisonError::into_inner).lost.clone();
        if lost.is_empty() {
            return Ok(());
        }
        let _writing = self.writer.lock().await;
        within(self.write(&lost)).await
    }

    /// Adds a revocation; returns when the store has it. Those that come together are written together, and have the same
    /// result.
    async fn add(&self, revocation: Revocation) -> Result<(), BrokerError> {
        let kept = !matches!(revocation, Revocation::Key(_));
        let until = kept.then(|| now() + i64::try_from((self.kept_for)().as_secs()).unwrap_or(i64::MAX / 2) + 1);
        let entry = Entry(revocation, until);
        loop {
            let (written, mut result) = oneshot::channel();
            {
                let mut waiting = self.lock();
                if waiting.len() >= MAX_WAITING {
                    // Clients that have gone wait for no answer.
                    waiting.retain(|one| !one.written.is_closed());
                }
                if waiting.len() >= MAX_WAITING {
                    return Err(BrokerError::Unavailable("too many revocations wait for the broker".into()));
                }
                waiting.push(Waiting { entry: entry.clone(), written });
            }
            let _writing = self.writer.lock().await;
            match result.try_recv() {
                Ok(result) => return result,
                // The call that was writing it ended early, as its client went away.
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let waiting = std::mem::take(&mut *self.lock());
            let entries: Vec<_> = waiting.iter().map(|one| one.entry.clone()).collect();
            let result = within(self.write(&entries)).await;
            for one in waiting {
                // A client that has gone needs no answer.
                let _ = one.written.send(result.clone());
            }
            return result;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, added: &[Entry]) -> Result<(), BrokerError> {
        let store = self.backend.store();
        for _ in 0..ATTEMPTS {
            let before = self.read().await?;
            let mut segments = self.segments(&before).await?.unwrap_or_default();
            let stored: HashSet<&Entry> = segments.iter().flat_map(|(_, entries)| entries.iter()).collect();
            // Another node may have restored the same entries.
            let added: Vec<_> = added.iter().filter(|entry| !stored.contains(entry)).cloned().collect();
            if added.is_empty() {
                return Ok(());
            }
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
            entries.extend(added);
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

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").finish_non_exhaustive()
    }
}

fn segment_key(name: &str) -> String {
    format!("revocations/{name}")
}

/// What a caller is told of a revocation that may not be in the store.
fn not_stored(error: BrokerError) -> Problem {
    let detail = match error {
        BrokerError::RateLimited { cause, retry_after } => return rate_limited(cause, retry_after),
        BrokerError::Rejected(_) | BrokerError::TooLarge(_) => {
            "the broker refused to store the revocation, so the credential is still accepted: the reason is in this node's log"
        }
        _ => {
            "the broker did not confirm the revocation, so the credential may still be accepted: send it again; the reason \
             is in this node's log"
        }
    };
    Problem::new(ErrorCode::BrokerUnavailable, detail).with_cause(error)
}

async fn within<T>(call: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let late = |_| Err(BrokerError::Unavailable("the store did not answer in time".into()));
    tokio::time::timeout(TIMEOUT, call).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests;
