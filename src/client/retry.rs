//! Which failed attempts of a call are repeated, at which node, after which delay, and for how long.
//!
//! Without [`Client::with_retry_timeout`], a call that reaches no node fails as soon as each was tried: the daemon is most
//! likely down, and the caller should learn that at once. If a node asked to come back later or the response was lost, the
//! daemon is there, so publishing is repeated for 15 s.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::{Client, Error};

/// The attempts of one call.
pub(super) struct Attempts {
    /// The number of the node to try, modulo the count of nodes.
    pub node: usize,
    /// How many nodes were not tried yet.
    pub untried: usize,
    start: Instant,
    backoff: Backoff,
    /// Whether an attempt has reached a daemon, or may have.
    reached: bool,
    /// How long to retry where the caller did not say and a daemon was reached.
    default_timeout: Duration,
}

impl Attempts {
    pub fn new(client: &Client, default_timeout: Duration) -> Self {
        Self {
            node: client.node(),
            untried: client.bases.len(),
            start: Instant::now(),
            backoff: Backoff::default(),
            reached: false,
            default_timeout,
        }
    }

    /// The time that is left for attempts.
    pub fn time_left(&self, client: &Client) -> Duration {
        client.retry_timeout.unwrap_or(self.default_timeout).saturating_sub(self.start.elapsed())
    }

    /// Notes a failed attempt. Returns the delay before the next one, or `None` if the call has failed.
    pub fn failed(&mut self, client: &Client, error: &Error) -> Option<Duration> {
        self.untried = self.untried.saturating_sub(1);
        self.node = self.node.wrapping_add(1);
        self.reached |= !matches!(error, Error::Unreachable { sent: false, .. });
        let retry_after = match error {
            // The next node has not responded yet, so this node's Retry-After does not apply to it.
            Error::Refused(problem) if self.untried == 0 => problem.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let delay = self.backoff.next().max(retry_after);
        let timeout = client.retry_timeout.unwrap_or(if self.reached { self.default_timeout } else { Duration::ZERO });
        if !error.is_transient() || (self.untried == 0 && self.start.elapsed() + delay > timeout) {
            return None;
        }
        tracing::debug!(%error, ?delay, "a request failed; retrying after the delay");
        if let Some(report) = client.on_retry.as_ref().filter(|_| self.untried == 0) {
            report(error, timeout);
        }
        Some(delay)
    }
}
