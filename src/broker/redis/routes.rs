//! Who has which key: one server all of them, or in a cluster each master those of its slots.

use std::ops::RangeInclusive;
use std::sync::Arc;

use fred::util::redis_keyslot;

use super::BrokerError;
use super::server::Server;

/// What is known at a time.
#[derive(Clone)]
pub(super) enum Routes {
    /// One server has all keys.
    One(Arc<Server>),
    /// The masters of a cluster, each with its slots.
    Slots(Arc<[(RangeInclusive<u16>, Arc<Server>)]>),
    /// No node of the cluster has been asked yet.
    Unasked,
    /// No node of the cluster says anything of use, and why.
    Unknown(Arc<str>),
}

/// The slot of a key; those with equal text in `{}` have the same.
pub(super) fn slot(key: &str) -> u16 {
    redis_keyslot(key.as_bytes())
}

impl Routes {
    /// Whether keys are at this server. One whose slots are moved away has others left; one that was demoted has none.
    pub fn has(&self, server: &Arc<Server>) -> bool {
        match self {
            Self::One(one) => Arc::ptr_eq(one, server),
            Self::Slots(ranges) => ranges.iter().any(|(_, one)| Arc::ptr_eq(one, server)),
            Self::Unasked | Self::Unknown(_) => false,
        }
    }

    /// # Errors
    /// Nobody has the key, or it is not known who.
    pub fn server(&self, key: &str) -> Result<Arc<Server>, BrokerError> {
        match self {
            Self::One(server) => Ok(server.clone()),
            Self::Slots(ranges) => {
                let slot = slot(key);
                let range = ranges.iter().find(|(slots, _)| slots.contains(&slot));
                range
                    .map(|(_, server)| server.clone())
                    .ok_or_else(|| BrokerError::Unavailable(format!("no master has slot {slot}")))
            }
            Self::Unasked => Err(BrokerError::Unavailable("no node of the cluster has answered".into())),
            Self::Unknown(reason) => Err(BrokerError::Unavailable(reason.to_string())),
        }
    }
}
