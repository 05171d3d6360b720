//! A cursor: the positions of several channels in one string, opaque to clients.
//!
//! Written `CHANNEL=EPOCH:OFFSET`, separated by commas. History and event streams give cursors out; `since` takes them.

use std::collections::BTreeMap;
use std::fmt;

use super::Position;

/// The position up to which a reader has read each of several channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(pub BTreeMap<String, Position>);

impl Cursor {
    /// Reads a cursor; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let one = |part: &str| {
            let (channel, position) = part.split_once('=')?;
            Some((channel.to_owned(), position.parse().ok()?))
        };
        text.split(',').map(one).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (channel, position)) in self.0.iter().enumerate() {
            write!(f, "{}{channel}={position}", if number > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}
