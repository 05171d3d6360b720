//! A cursor: the positions of several channels in one string, opaque to clients.
//!
//! Written `CHANNEL=EPOCH:OFFSET`, separated by commas. History and event streams give cursors out; `since` takes them. A
//! cursor of many channels is packed: see `cursor_base.rs`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

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

    /// The channels by name with their positions, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Position)> + Clone {
        self.0.iter().map(|(channel, position)| (&**channel, position))
    }

    /// A cursor of these positions as text, if it has at most `limit` bytes.
    pub fn text_within<'a>(positions: impl Iterator<Item = (&'a str, &'a Position)>, limit: usize) -> Option<String> {
        let mut text = String::new();
        for (number, (channel, position)) in positions.enumerate() {
            let comma = if number > 0 { "," } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{channel}={position}");
            if text.len() > limit {
                return None;
            }
        }
        Some(text)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::text_within(self.iter(), usize::MAX).unwrap_or_default())
    }
}
