//! Rates: how much of something one client may do in a second, and how much at once.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A): a client's state is one moment, the one up to which it has used
//! its rate. That is 8 bytes, so every connection has its own. `docs/decisions/0040-own-rates.md` says why this is no
//! library.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most keys of a [`KeyedRate`].
pub const MAX_KEYS: usize = 100_000;
/// The keys that may be there before unused ones are looked for.
const FEW_KEYS: usize = 1_024;
/// How long a full [`KeyedRate`] refuses new keys at least before it looks for unused ones again, in nanoseconds.
const FULL: u64 = 1_000_000_000;

/// A rate and its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds for one.
    interval: u64,
    /// The most at once.
    burst: u64,
}

/// Why something is over a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// It would be within the rate after this time.
    For(Duration),
    /// It is more than the burst, and so never within the rate.
    Always,
}

/// The state of one client: nanoseconds of the clock of its owner. A new one has used nothing.
pub type Used = u64;

/// A rate that each of many clients has, up to [`MAX_KEYS`] of them at a time. If there are more, new ones are refused and
/// known ones go on: otherwise an attacker with many addresses could make the others be forgotten.
#[derive(Debug)]
pub struct KeyedRate<K> {
    rate: Rate,
    /// The beginning of the clock.
    begin: Instant,
    clients: Mutex<Clients<K>>,
}

#[derive(Debug)]
struct Clients<K> {
    used: HashMap<K, Used>,
    /// Unused keys are removed when there are this many.
    look_at: usize,
    /// New keys are refused until then.
    full_until: u64,
}

impl Rate {
    /// `per_second` in a second, `burst` at once.
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { interval: 1_000_000_000 / per_second.max(1), burst: burst.max(1) }
    }

    /// The most at once.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Uses `count` of the rate, or nothing. `now` is in nanoseconds.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn take(&self, used: &mut Used, now: u64, count: u64) -> Result<(), Exceeded> {
        if count > self.burst {
            return Err(Exceeded::Always);
        }
        let after = (*used).max(now).saturating_add(count.saturating_mul(self.interval));
        let latest = now.saturating_add(self.burst.saturating_mul(self.interval));
        match after.checked_sub(latest) {
            None | Some(0) => {
                *used = after;
                Ok(())
            }
            Some(over) => Err(Exceeded::For(Duration::from_nanos(over))),
        }
    }
}

impl<K: Eq + Hash> KeyedRate<K> {
    /// This rate for each key.
    pub fn new(rate: Rate) -> Self {
        let clients = Clients { used: HashMap::new(), look_at: FEW_KEYS, full_until: 0 };
        Self { rate, begin: Instant::now(), clients: Mutex::new(clients) }
    }

    /// The most at once.
    pub fn burst(&self) -> u64 {
        self.rate.burst()
    }

    /// Uses `count` of the rate of `key`, or nothing.
    ///
    /// # Errors
    /// [`Exceeded`], also if there are too many other keys.
    pub fn take(&self, key: K, count: u64) -> Result<(), Exceeded> {
        let now = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(key, count, now)
    }

    fn take_at(&self, key: K, count: u64, now: u64) -> Result<(), Exceeded> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = clients.used.get_mut(&key) {
            return self.rate.take(used, now, count);
        }
        clients.make_room(now)?;
        let mut used = 0;
        self.rate.take(&mut used, now, count)?;
        clients.used.insert(key, used);
        Ok(())
    }
}

impl<K: Eq + Hash> Clients<K> {
    /// Removes keys that have their whole burst again, if there are many.
    fn make_room(&mut self, now: u64) -> Result<(), Exceeded> {
        let refused = |until: u64| Err(Exceeded::For(Duration::from_nanos(until - now)));
        if now < self.full_until {
            return refused(self.full_until);
        }
        if self.used.len() < self.look_at {
            return Ok(());
        }
        self.used.retain(|_, used| *used > now);
        self.look_at = (2 * self.used.len()).clamp(FEW_KEYS, MAX_KEYS);
        self.used.shrink_to(self.look_at);
        if self.used.len() < MAX_KEYS {
            return Ok(());
        }
        // No key is unused before that. Not at once again, because each look takes milliseconds.
        let first = self.used.values().min().copied().unwrap_or(now);
        self.full_until = first.max(now.saturating_add(FULL));
        refused(self.full_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let rate = Rate::new(100, 500);
        let mut used = 0;
        assert_eq!(rate.take(&mut used, SECOND, 500), Ok(()));
        let Err(Exceeded::For(wait)) = rate.take(&mut used, SECOND, 1) else { panic!("{used}") };
        assert_eq!(wait, Duration::from_millis(10));
        assert_eq!(rate.take(&mut used, SECOND + 10_000_000, 1), Ok(()));
        assert!(rate.take(&mut used, SECOND + 10_000_000, 1).is_err());
        // After a long time it is the burst again, and no more.
        assert_eq!(rate.take(&mut used, 100 * SECOND, 500), Ok(()));
        assert!(rate.take(&mut used, 100 * SECOND, 1).is_err());
    }

    #[test]
    fn what_is_refused_uses_nothing_and_fits_after_the_time_that_was_said() {
        let rate = Rate::new(10, 20);
        let mut used = 0;
        rate.take(&mut used, 0, 15).unwrap();
        for _ in 0..1_000 {
            assert_eq!(rate.take(&mut used, 0, 10), Err(Exceeded::For(Duration::from_millis(500))));
        }
        assert!(rate.take(&mut used, SECOND / 2 - 1, 10).is_err());
        assert_eq!(rate.take(&mut used, SECOND / 2, 10), Ok(()));
    }

    #[test]
    fn more_than_the_burst_is_never_within_the_rate() {
        assert_eq!(Rate::new(1_000, 10).take(&mut 0, SECOND, 11), Err(Exceeded::Always));
        assert_eq!(Rate::new(u64::MAX, u64::MAX).take(&mut 0, u64::MAX, u64::MAX), Ok(()));
    }

    #[test]
    fn many_keys_are_bounded_and_known_ones_go_on() {
        let rate = KeyedRate::new(Rate::new(10, 100));
        for key in 0..MAX_KEYS {
            assert_eq!(rate.take_at(key, 50, SECOND), Ok(()), "{key}");
        }
        let Err(Exceeded::For(wait)) = rate.take_at(MAX_KEYS, 1, SECOND) else { panic!("a new key is refused") };
        assert_eq!(wait, Duration::from_secs(5), "then the first key is unused");
        assert_eq!(rate.take_at(7, 1, SECOND), Ok(()), "a known key goes on");
        let later = SECOND + u64::try_from(wait.as_nanos()).unwrap();
        assert_eq!(rate.take_at(MAX_KEYS, 1, later), Ok(()));
        assert_eq!(rate.clients.lock().unwrap().used.len(), 2, "key 7 and the new one");
    }

    #[test]
    fn keys_that_are_refused_are_not_kept() {
        let rate = KeyedRate::new(Rate::new(1, 1));
        for key in 0..10_000 {
            assert_eq!(rate.take_at(key, 2, SECOND), Err(Exceeded::Always));
        }
        assert_eq!(rate.clients.lock().unwrap().used.len(), 0);
        for key in 0..10_000 {
            let now = SECOND * (key + 1);
            rate.take_at(key, 1, now).unwrap();
            assert!(rate.clients.lock().unwrap().used.len() <= FEW_KEYS);
        }
    }
}
