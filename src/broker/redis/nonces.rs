//! Nonces: which call appended an event. Equal nonces at an offset prove that two logs are equal up to there.
//!
//! Each call of the append script has a random [`Nonce`], and each entry of the log has that of its call. A node remembers
//! those of a log's newest events in [`Nonces`], 8 bytes for each event. `log.lua` compares them with the log.

use std::collections::VecDeque;
use std::fmt::Write;

use super::Epoch;

/// The length of a nonce as text, in bytes.
const TEXT_LEN: usize = 8;
/// The placeholder of an unknown nonce, as in `log.lua`.
const UNKNOWN: Nonce = Nonce(*b"--------");

/// The nonce of a call: 40 random bits as 8 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce([u8; TEXT_LEN]);

/// The nonces of consecutive events, some of which may not be known.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// The offset of the first.
    first: u64,
    nonces: VecDeque<Nonce>,
}

impl Nonce {
    /// The nonce of a call. The script also uses its text as the name of an epoch that it must begin. `None` unless the
    /// epoch is a [random](Epoch::random) one.
    pub fn of(epoch: &Epoch) -> Option<Self> {
        epoch.as_str().as_bytes().try_into().ok().map(Self)
    }

    /// The nonces of the events from `first` on, as a script returns them; those that are not known are left out.
    pub fn parse_each(first: u64, text: &str) -> impl Iterator<Item = (u64, Self)> {
        let (nonces, _) = text.as_bytes().as_chunks();
        (first..).zip(nonces).map(|(offset, nonce)| (offset, Self(*nonce))).filter(|(_, nonce)| *nonce != UNKNOWN)
    }
}

impl Nonces {
    /// Remembers the nonce of the event at an offset, and forgets all but the newest `capacity`.
    pub fn insert(&mut self, offset: u64, nonce: Nonce, capacity: usize) {
        let reach = capacity as u64;
        if self.nonces.is_empty() || offset >= self.end().saturating_add(reach) {
            self.nonces.clear();
            self.first = offset;
        }
        if self.end().saturating_sub(offset) > reach {
            return;
        }
        let missing = self.first.saturating_sub(offset) + (offset + 1).saturating_sub(self.end());
        self.reserve(missing as usize, capacity);
        while offset < self.first {
            self.nonces.push_front(UNKNOWN);
            self.first -= 1;
        }
        while offset >= self.end() {
            self.nonces.push_back(UNKNOWN);
        }
        self.nonces[(offset - self.first) as usize] = nonce;
        while self.nonces.len() > capacity {
            self.nonces.pop_front();
            self.first += 1;
        }
    }

    /// [Inserts](Self::insert) each of these.
    pub fn insert_all(&mut self, events: impl IntoIterator<Item = (u64, Nonce)>, capacity: usize) {
        events.into_iter().for_each(|(offset, nonce)| self.insert(offset, nonce, capacity));
    }

    /// The known nonces of the events up to this offset.
    pub fn up_to(&self, last: u64) -> impl Iterator<Item = (u64, Nonce)> {
        let all = (self.first..).zip(self.nonces.iter().copied());
        all.take_while(move |(offset, _)| *offset <= last).filter(|(_, nonce)| *nonce != UNKNOWN)
    }

    /// The offset of the first, a space, and the nonces without anything between them, for the newest `count` of them. `0 -`
    /// if there is none.
    pub fn text(&self, count: usize) -> String {
        if self.nonces.is_empty() {
            return "0 -".into();
        }
        let skipped = self.nonces.len().saturating_sub(count);
        let mut text = String::with_capacity(24 + (self.nonces.len() - skipped) * TEXT_LEN);
        // Writing to a string does not fail.
        let _ = write!(text, "{} ", self.first + skipped as u64);
        text.extend(self.nonces.iter().skip(skipped).flat_map(|nonce| nonce.0).map(char::from));
        text
    }

    /// Makes room for more nonces. Without this, the deque would grow to a power of two.
    fn reserve(&mut self, more: usize, capacity: usize) {
        let needed = self.nonces.len() + more;
        if needed > self.nonces.capacity() {
            let target = needed.max((self.nonces.len() * 2).min(capacity + 1));
            self.nonces.reserve_exact(target - self.nonces.len());
        }
    }

    /// The offset after the last.
    fn end(&self) -> u64 {
        self.first + self.nonces.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(text: &[u8; TEXT_LEN]) -> Nonce {
        Nonce(*text)
    }

    #[test]
    fn nonces_that_are_not_known_are_left_open() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.text(10), "0 -");
        nonces.insert(7, nonce(b"aaaaaaaa"), 10);
        nonces.insert(9, nonce(b"bbbbbbbb"), 10);
        nonces.insert(6, nonce(b"cccccccc"), 10);
        assert_eq!(nonces.text(10), "6 ccccccccaaaaaaaa--------bbbbbbbb");
        assert_eq!(nonces.text(1), "9 bbbbbbbb");
        let parsed: Vec<_> = Nonce::parse_each(8, "--------bbbbbbbb").collect();
        assert_eq!(parsed, [(9, nonce(b"bbbbbbbb"))]);
    }

    #[test]
    fn only_the_newest_nonces_are_remembered() {
        let mut nonces = Nonces::default();
        for offset in 1..=8 {
            nonces.insert(offset, nonce(b"aaaaaaaa"), 3);
        }
        nonces.insert(5, nonce(b"bbbbbbbb"), 3);
        assert_eq!(nonces.text(10), "6 aaaaaaaaaaaaaaaaaaaaaaaa");
        nonces.insert(1_000_000_000, nonce(b"cccccccc"), 3);
        assert_eq!(nonces.text(10), "1000000000 cccccccc");
    }

    #[test]
    fn a_random_epoch_is_a_nonce() {
        assert!(Nonce::of(&Epoch::random()).is_some());
        assert_eq!(Nonce::of(&"short".parse().unwrap()), None);
    }
}
