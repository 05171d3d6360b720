//! The tokens that were verified, so that a token is verified once and not with every request.
//!
//! A token is found by its SHA-256; the cache has no token. It is bounded by entries and by bytes. Half of it is forgotten
//! at a time: entries go into the young half, and what is used moves there, so what is not used is forgotten first. Only
//! valid tokens get in: trying bad ones changes nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use super::issuer::Keys;
use super::keys::VerifyingKey;
use crate::access::{Grants, Principal};

/// The most tokens, in both halves.
const MAX_ENTRIES: usize = 100_000;
/// The most memory, in both halves, in bytes, as it is estimated.
const MAX_BYTES: usize = 64 << 20;

/// A hash of a token.
pub type TokenHash = [u8; 32];

/// A verified token.
#[derive(Debug, Clone)]
pub struct Verified {
    pub principal: Arc<Principal>,
    /// The version of the configuration that accepted it.
    pub version: u64,
    /// The key that signed it.
    pub key: Arc<VerifyingKey>,
    /// The keys of its issuer, among which that key must still be.
    pub keys: Keys,
}

/// See the module.
#[derive(Debug)]
pub struct TokenCache {
    halves: Mutex<Halves>,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Halves {
    young: Half,
    old: Half,
    grants: SharedGrants,
}

#[derive(Debug, Default)]
struct Half {
    entries: HashMap<TokenHash, (Verified, usize)>,
    bytes: usize,
}

/// Equal grants, shared: thousands of users have one role.
#[derive(Debug, Default)]
struct SharedGrants(HashMap<u64, Weak<Grants>>);

impl Default for TokenCache {
    fn default() -> Self {
        Self::bounded(MAX_ENTRIES, MAX_BYTES)
    }
}

impl TokenCache {
    fn bounded(max_entries: usize, max_bytes: usize) -> Self {
        Self { halves: Mutex::default(), max_entries, max_bytes }
    }

    /// The principal of a token that this version of the configuration accepted, and that is still valid.
    pub fn get(&self, hash: &TokenHash, version: u64, now: SystemTime) -> Option<Arc<Principal>> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, is_old) = match halves.young.entries.get(hash) {
            Some((verified, _)) => (verified.clone(), false),
            None => (halves.old.entries.get(hash)?.0.clone(), true),
        };
        let is_valid = found.version == version
            && found.principal.expires.is_none_or(|expires| now < expires)
            && found.keys.accepts(&found.key, now);
        let moved = if is_old || !is_valid { halves.remove(hash) } else { None };
        if let Some((_, bytes)) = moved.filter(|_| is_valid) {
            halves.insert(*hash, found.clone(), bytes, self.max_entries, self.max_bytes);
        }
        is_valid.then_some(found.principal)
    }

    /// Remembers a token of this length. The result is the principal to use, which shares its grants with equal ones.
    pub fn insert(&self, hash: TokenHash, mut verified: Verified, length: usize) -> Arc<Principal> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let grants = halves.grants.share(&verified.principal.grants);
        if !Arc::ptr_eq(&grants, &verified.principal.grants) {
            verified.principal = Arc::new(Principal { grants, ..(*verified.principal).clone() });
        }
        let principal = verified.principal.clone();
        // What a token grants is about as long as what it says, or as what the rules say.
        halves.insert(hash, verified, 1024 + 4 * length, self.max_entries, self.max_bytes);
        principal
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.halves.lock().unwrap_or_else(PoisonError::into_inner) = Halves::default();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap();
        halves.young.entries.len() + halves.old.entries.len()
    }
}

impl Halves {
    fn insert(&mut self, hash: TokenHash, verified: Verified, bytes: usize, max_entries: usize, max_bytes: usize) {
        self.remove(&hash);
        let is_full = self.young.entries.len() >= max_entries / 2 || self.young.bytes + bytes > max_bytes / 2;
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += bytes;
        self.young.entries.insert(hash, (verified, bytes));
    }

    fn remove(&mut self, hash: &TokenHash) -> Option<(Verified, usize)> {
        [&mut self.young, &mut self.old].into_iter().find_map(|half| {
            let removed = half.entries.remove(hash)?;
            half.bytes -= removed.1;
            Some(removed)
        })
    }
}

impl SharedGrants {
    /// Equal grants that somebody has, or else these.
    fn share(&mut self, grants: &Arc<Grants>) -> Arc<Grants> {
        let mut hasher = DefaultHasher::new();
        grants.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(shared) = self.0.get(&hash).and_then(Weak::upgrade).filter(|shared| shared == grants) {
            return shared;
        }
        // Each entry of the cache keeps at most one; those without an owner go when there are as many again.
        if self.0.len() >= 2 * MAX_ENTRIES {
            self.0.retain(|_, grants| grants.strong_count() > 0);
        }
        self.0.insert(hash, Arc::downgrade(grants));
        grants.clone()
    }
}
