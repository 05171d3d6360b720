//! Cursors of many channels, which are packed so that they fit into a request line.
//!
//! A cursor that is short enough is written as text. A longer one is packed: see [`CursorBase`]. The bases are in the
//! broker's store, so that every node reads a cursor, also after a restart, and also if the catalogue has changed. A
//! node that writes cursors puts its base into the store again if the broker has lost it. If nobody does, a cursor with that
//! base begins every channel with a gap.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::cursor_bases::MAX_TEXT;
use super::{Bus, CursorBases, Namespace, StreamQuery, unreadable};
use crate::access::Caller;
use crate::broker::{BrokerError, MAX_VALUE_BYTES};
use crate::event::{Cursor, CursorBase, Position, Since};
use crate::protocol::{ErrorCode, Problem};

/// A cursor of so few channels is always short: a name has up to 64 bytes, an epoch 32, an offset 20.
const FEW: usize = 8;
/// If a packed cursor of all channels is longer, a new base is made. The rest up to a kibibyte is for channels that move
/// meanwhile.
const MAX_PACKED: usize = 800;
/// Between two bases that this node makes.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks at whether the store still has the base from which this node writes cursors.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stream waits for a base. Without one, its cursors are long.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Nodes that make a base at the same time try so often.
const ATTEMPTS: usize = 5;
/// The key of the newest base's slot. The bases are beside it, each in a slot of its own. The 257th replaces the first.
const NEWEST: &str = "cursor-base/newest";

impl Bus {
    /// What writes the cursors of a stream of so many channels. Makes sure that they are short, if the broker answers.
    pub async fn cursors(&self, caller: &Caller, channels: usize) -> Arc<CursorBases> {
        let namespace = self.namespace(caller);
        if channels > FEW
            && let Some(heads) = self.heads(namespace)
            && Cursor::text_within(heads.iter(), MAX_TEXT).is_none()
        {
            let found = timeout(TIMEOUT, find_base(namespace, heads)).await;
            match found.unwrap_or_else(|_| Err(BrokerError::Unavailable("the store did not answer in time".into()))) {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "no base for cursors of many channels: they are long"),
            }
        }
        namespace.cursors().clone()
    }

    /// The same as [`Bus::cursors`], without the certainty that they are short.
    pub fn cursor_bases(&self, caller: &Caller) -> &Arc<CursorBases> {
        self.namespace(caller).cursors()
    }

    /// Writes the cursor of an answer. Only a long one needs a base.
    pub(super) async fn cursor_text(&self, caller: &Caller, cursor: &Cursor) -> String {
        match Cursor::text_within(cursor.iter(), MAX_TEXT) {
            Some(short) => short,
            None => self.cursors(caller, cursor.0.len()).await.write(cursor.iter()),
        }
    }

    /// Whether cursors of so many channels may need [`Bus::cursors`] again from time to time.
    pub fn may_pack(channels: usize) -> bool {
        channels > FEW
    }

    /// Reads a query's cursor with its base, if it is packed.
    ///
    /// # Errors
    /// `invalid-position`; `broker-unavailable` if the base cannot be read.
    pub async fn unpack(&self, caller: &Caller, query: &mut StreamQuery) -> Result<(), Problem> {
        if let Some(since) = query.since.take() {
            query.since = Some(self.unpacked(caller, since).await?);
        }
        Ok(())
    }

    /// The same for one `since`.
    pub(super) async fn unpacked(&self, caller: &Caller, since: Since) -> Result<Since, Problem> {
        let Since::Packed(packed) = since else { return Ok(since) };
        let namespace = self.namespace(caller);
        let base = match namespace.cursors().known(packed.id) {
            Some(base) => Some(base),
            None => load(namespace, packed.slot).await.map_err(unreadable)?.filter(|base| base.id == packed.id),
        };
        let cursor = match base {
            Some(base) => base.unpack(&packed).ok_or_else(|| {
                Problem::new(ErrorCode::InvalidPosition, "the cursor cannot be read: send one as it was received")
            })?,
            None => self.lost(),
        };
        Ok(Since::Cursor(cursor))
    }

    /// A cursor in an epoch that no log has, so that every channel begins with a gap.
    fn lost(&self) -> Cursor {
        let nowhere = |name: &Arc<str>| Some((name.to_string(), Position::new("lost".parse().ok()?, 0)));
        Cursor(self.catalog.types().iter().filter_map(|known| nowhere(&known.name)).collect())
    }

    /// Where all channels are; `None` until the node has read the log.
    fn heads(&self, namespace: &Namespace) -> Option<Cursor> {
        let head =
            |channel| Some((self.catalog.get(channel).name.to_string(), namespace.progress().position(channel)?));
        self.catalog.channels().map(head).collect::<Option<_>>().map(Cursor)
    }
}

/// Whether cursors near these positions are short with this base.
fn fits(base: &CursorBase, heads: &Cursor) -> bool {
    base.pack(heads.iter()).is_some_and(|packed| packed.len() <= MAX_PACKED)
}

/// Makes a base current with which cursors near `heads` are short: the one that is, the broker's newest, or a new one.
async fn find_base(namespace: &Namespace, heads: Cursor) -> Result<(), BrokerError> {
    let bases = namespace.cursors();
    let is_good = || bases.current().is_some_and(|base| fits(&base, &heads));
    if is_good() && bases.was_checked_within(CHECK_INTERVAL) {
        return Ok(());
    }
    let mut made = bases.made.lock().await;
    if let Some(base) = bases.current()
        && !bases.was_checked_within(CHECK_INTERVAL)
    {
        match is_stored(namespace, &base).await? {
            true => bases.set_checked(),
            false => bases.set_current(None),
        }
    }
    for _ in 0..ATTEMPTS {
        if is_good() {
            return Ok(());
        }
        let newest = namespace.store().get(NEWEST).await?;
        let slot = newest.as_deref().and_then(|slot| std::str::from_utf8(slot).ok()?.parse::<u8>().ok());
        if let Some(slot) = slot
            && let Some(base) = load(namespace, slot).await?
            && (fits(&base, &heads) || bases.current().is_none())
        {
            bases.set_current(Some(base));
            continue;
        }
        if made.is_some_and(|made| made.elapsed() < MIN_INTERVAL) {
            return Ok(());
        }
        let slot = slot.map_or(0, |slot| slot.wrapping_add(1));
        let base = CursorBase { slot, id: rand::random(), positions: heads.clone() };
        let text = base.to_text();
        if text.len() > MAX_VALUE_BYTES {
            return Ok(());
        }
        // First the slot, which only one node gets, then the base.
        let next = slot.to_string();
        if namespace.store().compare_and_set(NEWEST, newest.as_deref(), Some(next.as_bytes())).await? {
            namespace.store().put(&key(slot), text.as_bytes()).await?;
            bases.set_current(Some(bases.remember(base)));
            *made = Some(Instant::now());
        }
    }
    Ok(())
}

/// Whether the store has this base. Puts it there again if its slot is empty. Another base in the slot has replaced it.
async fn is_stored(namespace: &Namespace, base: &CursorBase) -> Result<bool, BrokerError> {
    match namespace.store().get(&key(base.slot)).await? {
        None => namespace.store().put(&key(base.slot), base.to_text().as_bytes()).await.map(|()| true),
        Some(stored) => Ok(stored == base.to_text().as_bytes()),
    }
}

/// Reads the base in a slot of the store.
async fn load(namespace: &Namespace, slot: u8) -> Result<Option<Arc<CursorBase>>, BrokerError> {
    let value = namespace.store().get(&key(slot)).await?;
    let base = value.and_then(|value| CursorBase::from_text(slot, std::str::from_utf8(&value).ok()?));
    Ok(base.map(|base| namespace.cursors().remember(base)))
}

fn key(slot: u8) -> String {
    format!("cursor-base/{slot}")
}
