//! The name of a channel within the process: a number, by which [`PerChannel`](super::PerChannel) finds its state.

/// The index of an event type in its [`Catalog`](super::Catalog), and so of the type's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(super) u32);

impl ChannelId {
    /// Its place in the catalogue's order. State by channel is in a [`PerChannel`](super::PerChannel); a number is for
    /// what is stored.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// A channel by number, for tests that need no catalogue.
    #[cfg(test)]
    pub const fn for_test(number: u32) -> Self {
        Self(number)
    }
}
