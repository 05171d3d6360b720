//! Routes: which server has which key. Without a cluster one server has all keys; in a cluster each master has the keys
//! of its slots.

use std::ops::RangeInclusive;
use std::sync::Arc;

use fred::util::redis_keyslot;

use super::BrokerError;
use super::server::Server;

/// The routes as they are known now.
#[derive(Clone)]
pub(super) enum Routes {
    /// One server has all keys.
    Single(Arc<Server>),
    /// The masters of a cluster, each with a range of slots.
    Slots(Arc<[(RangeInclusive<u16>, Arc<Server>)]>),
    /// The first lookup in the cluster has not ended yet.
    Pending,
    /// No node of the cluster returned the routes. The error is that of one of them.
    Unknown(BrokerError),
}

/// The slot of a key. Keys with the same hash tag (the text in `{}`) have the same slot.
pub(super) fn slot(key: &str) -> u16 {
    redis_keyslot(key.as_bytes())
}

impl Routes {
    /// Whether this server has keys. A demoted master has none; a master that gave away some slots still has others.
    pub fn serves(&self, server: &Arc<Server>) -> bool {
        match self {
            Self::Single(one) => Arc::ptr_eq(one, server),
            Self::Slots(ranges) => ranges.iter().any(|(_, one)| Arc::ptr_eq(one, server)),
            Self::Pending | Self::Unknown(_) => false,
        }
    }

    /// The servers; one that has several ranges of slots comes several times.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        let (single, ranges) = match self {
            Self::Single(server) => (Some(server), &[][..]),
            Self::Slots(ranges) => (None, &ranges[..]),
            Self::Pending | Self::Unknown(_) => (None, &[][..]),
        };
        single.into_iter().chain(ranges.iter().map(|(_, server)| server))
    }

    /// The server that has `key`.
    ///
    /// # Errors
    /// No master has the key's slot, or the routes are not known.
    pub fn server(&self, key: &str) -> Result<Arc<Server>, BrokerError> {
        match self {
            Self::Single(server) => Ok(server.clone()),
            Self::Slots(ranges) => {
                let slot = slot(key);
                let range = ranges.iter().find(|(slots, _)| slots.contains(&slot));
                range
                    .map(|(_, server)| server.clone())
                    .ok_or_else(|| BrokerError::Unavailable(format!("no master has slot {slot}")))
            }
            Self::Pending => Err(BrokerError::Unavailable("no node of the cluster has answered".into())),
            Self::Unknown(error) => Err(error.clone()),
        }
    }
}
