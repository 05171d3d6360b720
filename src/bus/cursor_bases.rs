//! The bases of packed cursors that this node knows, and the writing of cursors with them.
//!
//! `cursors.rs` finds and makes bases. This file only keeps them, so that the hub can write a cursor without waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Cursor, CursorBase, Position};

/// The longest cursor that is written as text, in bytes. Proxies take at least a few kilobytes of all headers together.
pub(super) const MAX_TEXT: usize = 1_000;
/// Bases that this node remembers.
const KNOWN: usize = 64;

/// The bases that this node knows of one namespace.
#[derive(Debug, Default)]
pub struct CursorBases {
    /// The base from which cursors are written.
    current: RwLock<Option<Arc<CursorBase>>>,
    /// When the store was last seen to have the current base.
    checked: Mutex<Option<Instant>>,
    known: Mutex<HashMap<u64, Arc<CursorBase>>>,
    /// When this node last made a base. Locked while it makes one.
    pub(super) made: tokio::sync::Mutex<Option<Instant>>,
}

impl CursorBases {
    /// Writes a cursor of these positions, which are in the order of the channels' names: as text if it is short, else
    /// packed. It is long text only while there is no base.
    pub fn write<'a>(&self, positions: impl Iterator<Item = (&'a str, &'a Position)> + Clone) -> String {
        let text = |limit| Cursor::text_within(positions.clone(), limit);
        let packed = || self.current()?.pack(positions.clone());
        text(MAX_TEXT).or_else(packed).or_else(|| text(usize::MAX)).unwrap_or_default()
    }

    pub(super) fn current(&self) -> Option<Arc<CursorBase>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn known(&self, id: u64) -> Option<Arc<CursorBase>> {
        if let Some(current) = self.current().filter(|current| current.id == id) {
            return Some(current);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn remember(&self, base: CursorBase) -> Arc<CursorBase> {
        let base = Arc::new(base);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(base.id, base.clone());
        base
    }

    /// Sets the current base, which the store has now, or none.
    pub(super) fn set_current(&self, base: Option<Arc<CursorBase>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = base;
        self.set_checked();
    }

    pub(super) fn set_checked(&self) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the store had the current base within this time.
    pub(super) fn was_checked_within(&self, time: Duration) -> bool {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|checked| checked.elapsed() < time)
    }
}
