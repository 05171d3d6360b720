//! How many events a publisher may send: the settings `publish_rate` and `publish_burst`.

use std::net::IpAddr;

use super::Bus;
use super::publish::Publisher;
use crate::access::{LimitKey, LimitKeys};
use crate::event::Mistake;
use crate::protocol::{ErrorCode, Problem};
use crate::rate::{Exceeded, KeyedRate, Rate};

/// The rate of events that each publisher has.
#[derive(Debug)]
pub struct PublishLimit {
    keys: LimitKeys,
    per_second: u64,
    events: KeyedRate<LimitKey>,
}

impl PublishLimit {
    /// `per_second` events in a second, `burst` at once.
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { keys: LimitKeys::default(), per_second, events: KeyedRate::new(Rate::new(per_second, burst)) }
    }
}

impl Publisher<'_> {
    /// Counts events of a publisher that connects from `address`. The caller charges before it validates: an event that
    /// is refused costs the same work, so it counts too.
    ///
    /// # Errors
    /// `rate-limited`, `invalid-event`: a batch that is larger than the burst would be over the rate for ever.
    pub fn charge(&self, events: usize, address: IpAddr) -> Result<(), Problem> {
        let Bus { publish_limit: Some(limit), .. } = self.bus else { return Ok(()) };
        match limit.events.take(limit.keys.of(self.caller, address), events as u64) {
            Ok(()) => Ok(()),
            Err(Exceeded::Always) => {
                let burst = limit.events.burst();
                let message = format!(
                    "{events} events are more than the {burst} that may come at once (publish_burst): send fewer at a time"
                );
                Err(Problem::new(ErrorCode::InvalidEvent, &*message).with_errors(vec![Mistake::new("", message)]))
            }
            Err(Exceeded::For(wait)) => {
                let detail = format!(
                    "you publish more than {} events a second (publish_rate), and nothing was done: try again after the \
                     time in the header Retry-After",
                    limit.per_second
                );
                let mut problem = Problem::new(ErrorCode::RateLimited, detail);
                // Rounded up, so that the same events are within the rate then.
                problem.retry_after = Some(wait.as_nanos().div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX));
                Err(problem)
            }
        }
    }
}
