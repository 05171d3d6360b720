//! When to try again: exponential backoff with full jitter, so that those who lost one daemon do not meet at the next.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// The pauses between attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause: anything from nothing to a bound that doubles each time, from 200 ms to 10 s.
    pub fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts += 1;
        bound.mul_f64(rand::random())
    }

    /// Begins again, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_their_bounds() {
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next() <= LONGEST));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
