//! Retry delays: exponential backoff with full jitter.
//!
//! The jitter spreads out clients that lost the same daemon, so that they do not all reconnect at the same moment.

use std::time::Duration;

/// The upper bound of the first delay.
const MIN_BOUND: Duration = Duration::from_millis(200);
/// The upper bound of any delay.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(10);
/// The longest pause that a daemon, or a proxy before it, may ask for. A longer one is a mistake, and a clock could not count the
/// longest.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause of a header `Retry-After` in seconds, at most [`MAX_PAUSE`].
pub(super) fn retry_after(seconds: &str) -> Option<Duration> {
    match seconds.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds).min(MAX_PAUSE)),
        // More than 64 bits.
        Err(_) if !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit()) => Some(MAX_PAUSE),
        Err(_) => None,
    }
}

/// The delays between successive attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the next attempt: a random part of a bound that doubles with each attempt, from 200 ms to 10 s.
    pub fn next(&mut self) -> Duration {
        let bound = MIN_BOUND.saturating_mul(1 << self.attempts.min(16)).min(MAX_DELAY);
        self.attempts += 1;
        bound.mul_f64(rand::random())
    }

    /// Returns to the shortest bound. Called after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_bounds() {
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next() <= MAX_DELAY));
        backoff.reset();
        assert!(backoff.next() <= MIN_BOUND);
    }
}
