//! The newest event of each subject: what a backend keeps beside the log of a channel whose type says so.
//!
//! An event becomes the newest of its subject in the step that appends it. The values are bounded in age and in number: the
//! subjects that have not changed for the longest time leave first. They survive what the log survives, and belong to its
//! epoch: a new epoch begins without any, so that no answer ever mixes two epochs. An event without a subject has no value.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{BrokerError, Entry};
use crate::event::{ChannelId, Position};

/// The values of all channels.
#[async_trait]
pub trait Latest: Send + Sync {
    /// Whether the channel's type keeps the newest event of each subject. The other methods find nothing where it does not.
    fn keeps_latest(&self, channel: ChannelId) -> bool;

    /// The newest event of a subject.
    ///
    /// # Errors
    /// As those of [`Log`](super::Log).
    async fn latest(&self, channel: ChannelId, subject: &str) -> Result<LatestOf, BrokerError>;

    /// Up to `limit` values whose events have an offset above `after`, in the order of their offsets. A page ends early once
    /// its events have [`PAGE_BYTES`](super::PAGE_BYTES) bytes, but it has at least one event if there is one.
    ///
    /// So a subject that changes while pages are read moves behind all of them. A reader of all pages finds each subject that
    /// did not change once, and misses none.
    ///
    /// # Errors
    /// As those of [`Log`](super::Log).
    async fn latest_page(&self, channel: ChannelId, after: u64, limit: usize) -> Result<LatestPage, BrokerError>;

    /// How many subjects the channel has, as this node last saw, and how many it has evicted.
    fn latest_tally(&self, channel: ChannelId) -> &LatestTally;
}

/// The value of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestOf {
    /// The head of the log at the same instant. It has the epoch of the value.
    pub head: Position,
    /// `None` if the subject has no event, or only one that is too old or was evicted.
    pub entry: Option<Entry>,
}

/// The values of some subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestPage {
    /// The head of the log at the same instant. It has the epoch of the values.
    pub head: Position,
    /// In the order of their offsets.
    pub entries: Vec<Entry>,
    /// There are values behind the last of these.
    pub more: bool,
}

/// How long, and for how many subjects of a type, the newest event is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatestRetention {
    pub max_age: Duration,
    pub max_subjects: u64,
}

/// The subjects of one channel, as this node last saw them.
#[derive(Debug, Default)]
pub struct LatestTally {
    kept: AtomicU64,
    evicted: AtomicU64,
}

impl LatestTally {
    /// The subjects that have a value.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// The subjects that lost their value since the last call because there were too many.
    pub fn take_evicted(&self) -> u64 {
        self.evicted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn note(&self, kept: u64, evicted: u64) {
        self.kept.store(kept, Ordering::Relaxed);
        self.evicted.fetch_add(evicted, Ordering::Relaxed);
    }
}
