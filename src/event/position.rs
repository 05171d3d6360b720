//! A position in a channel's log: `EPOCH:OFFSET`, opaque to clients.
//!
//! Each event of a channel has an offset one higher than the event before it. The epoch identifies the log; it changes
//! only when the log was lost. Two positions can be compared if their epochs are equal, and only then.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The position of one event in its channel. Offset 0 is before the first event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: u64,
}

/// The identity of a channel's log, chosen when the log is created: 1 to 32 lowercase letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

/// The text is not of the form `EPOCH:OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a position is EPOCH:OFFSET, for example k3q7:42")]
pub struct ParsePositionError;

impl Position {
    /// The position of this offset in the log of this epoch.
    pub fn new(epoch: Epoch, offset: u64) -> Self {
        Self { epoch, offset }
    }

    /// Whether `other` has the same epoch, so that the offsets can be compared.
    pub fn same_epoch(&self, other: &Position) -> bool {
        self.epoch == other.epoch
    }

    /// The length of the position as text, in bytes.
    pub fn text_len(&self) -> usize {
        let digits = self.offset.checked_ilog10().unwrap_or_default() as usize + 1;
        self.epoch.as_str().len() + 1 + digits
    }
}

impl Epoch {
    /// The longest name of an epoch, in bytes.
    pub const MAX_LEN: usize = 32;

    /// A new random epoch of 40 bits: a collision with an earlier one is very unlikely.
    pub fn random() -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut bits: u64 = rand::random();
        let name: String = (0..8)
            .map(|_| {
                let digit = DIGITS[(bits & 31) as usize] as char;
                bits >>= 5;
                digit
            })
            .collect();
        Self(name.into())
    }

    /// The epoch as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Epoch {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(good) {
            return Err(ParsePositionError);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = text.split_once(':').ok_or(ParsePositionError)?;
        let canonical = offset.bytes().all(|byte| byte.is_ascii_digit()) && (offset == "0" || !offset.starts_with('0'));
        if !canonical {
            return Err(ParsePositionError);
        }
        Ok(Self { epoch: epoch.parse()?, offset: offset.parse().map_err(|_| ParsePositionError)? })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `write!` is slower, and every event frame and every response contains a position.
        f.write_str(self.epoch.as_str())?;
        f.write_str(":")?;
        self.offset.fmt(f)
    }
}

/// A position is opaque to clients: a string.
#[cfg(feature = "server")]
impl schemars::JsonSchema for Position {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A position in the log of a channel; opaque.",
            "pattern": "^[0-9a-z]{1,32}:(?:0|[1-9][0-9]{0,18})$",
            "examples": ["k3:42"],
        })
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = Position::new(Epoch::random(), 42);
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        for offset in [0, 1, 9, 10, 99, 100, u64::MAX] {
            let position = Position { offset, ..position.clone() };
            assert_eq!(position.text_len(), position.to_string().len(), "{position}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", ":", "k3", "k3:", ":1", "k3:-1", "k3:+1", "k3:01", "k3:1:2", "K3:1", "k3:99999999999999999999"]
        {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text}");
        }
    }
}
