//! Why a read or a write of a cache failed.

use std::sync::Arc;
use std::time::Duration;

use crate::client;

/// What a loader or a writer may return as its error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of a cache failed. Readers who share a load share its error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The loader failed, or what `put` or `mutate` was given to write. Nothing was stored.
    #[error("{0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// The loader panicked.
    #[error("the loader panicked")]
    Panicked,
    /// The daemon refused the subscription or an invalidation, or it is unknown whether it took one.
    #[error(transparent)]
    Bus(#[from] client::Error),
    /// The daemon did not take an invalidation in time. If it did all the same, publishing it again under these ids is safe.
    #[error("the invalidation was not acknowledged within {} s", .limit.as_secs_f64())]
    Unacknowledged {
        /// The ids of the events.
        ids: Vec<String>,
        /// For how long it was tried.
        limit: Duration,
    },
    /// An option or an argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The cache was closed.
    #[error("the cache is closed: connect again for a new one")]
    Closed,
}

impl Error {
    pub(super) fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(error.into().into())
    }

    /// The error of the loader or writer, if it is of this type.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => error.downcast_ref(),
            _ => None,
        }
    }
}
