//! How many connections of a namespace were closed with each code, for `GET /v1/connections`.
//!
//! A client may close with a code of its own. So only so many different codes are counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::protocol::CloseCode;

/// A WebSocket was closed without a code, or an event stream by its client (RFC 6455, section 7.1.5).
pub const NO_CODE: u16 = 1005;
/// A connection ended without a Close.
pub const NO_CLOSE: u16 = 1006;
/// The most codes beside those of the protocol.
const MAX_OTHER: usize = 32;

/// The counts by code.
#[derive(Debug, Default)]
pub struct Closes(Mutex<BTreeMap<u16, u64>>);

impl Closes {
    /// Counts a connection. A code that is one too many is counted as [`NO_CODE`].
    pub fn count(&self, code: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = counts.contains_key(&code) || is_of_protocol(code);
        let has_room = is_known || counts.keys().filter(|code| !is_of_protocol(**code)).count() < MAX_OTHER;
        *counts.entry(if has_room { code } else { NO_CODE }).or_default() += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<u16, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_of_protocol(code: u16) -> bool {
    matches!(code, NO_CODE | NO_CLOSE) || CloseCode::ALL.iter().any(|known| known.as_u16() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_clients_are_bounded_and_those_of_the_protocol_are_always_counted() {
        let closes = Closes::default();
        for code in 3000..3100 {
            closes.count(code);
            closes.count(3000);
        }
        closes.count(CloseCode::SlowConsumer.as_u16());
        let counts = closes.counts();
        assert_eq!((counts[&3000], counts[&4008], counts[&NO_CODE]), (101, 1, 100 - MAX_OTHER as u64));
        assert_eq!(counts.len(), MAX_OTHER + 2);
    }
}
