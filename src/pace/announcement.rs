//! What a node tells the others about a channel: how far its subscribers have read, and its window.
//!
//! As text `READ WINDOW NODE`, for example `k3q7:4711 48 9f2c`: a position, events, and the random number of the node. The
//! window is `-` once the subscribers keep up again.

use std::fmt;
use std::str::FromStr;

use crate::event::Position;

/// How far a node's subscribers of a channel have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Everything up to here counts as read.
    pub read: Position,
    /// How many events may be in flight after that; `None` if any number may.
    pub window: Option<u64>,
    /// The node that says so.
    pub node: u64,
}

/// The text is not of the form `READ WINDOW NODE`.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseAnnouncementError;

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window {
            Some(window) => write!(f, "{} {window} {:x}", self.read, self.node),
            None => write!(f, "{} - {:x}", self.read, self.node),
        }
    }
}

impl FromStr for Announcement {
    type Err = ParseAnnouncementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let mut parts = text.split(' ');
            let (read, window, node) = (parts.next()?, parts.next()?, parts.next()?);
            let node = u64::from_str_radix(node, 16).ok()?;
            let window = if window == "-" { None } else { Some(window.parse().ok()?) };
            let announcement = Self { read: read.parse().ok()?, window, node };
            parts.next().is_none().then_some(announcement)
        };
        parsed().ok_or(ParseAnnouncementError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_read_as_it_was_written_and_nothing_else_is() {
        for (window, text) in [(Some(48), "k3:41 48 9f2c"), (None, "k3:41 - 9f2c")] {
            let announcement = Announcement { read: "k3:41".parse().unwrap(), window, node: 0x9f2c };
            assert_eq!(announcement.to_string(), text);
            assert_eq!(text.parse(), Ok(announcement));
        }
        for text in ["", "k3:41", "k3:41 48", "k3 48 9f2c", "k3:41 -1 9f2c", "k3:41 48 x", "k3:41 48 9f2c 1", "{}"] {
            assert_eq!(text.parse::<Announcement>(), Err(ParseAnnouncementError), "{text}");
        }
    }
}
