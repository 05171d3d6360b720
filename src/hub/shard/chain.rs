//! One connection's steps in a batch: a linked list whose links lie in the [`Batch`](super::batch::Batch).

/// No link.
pub const END: u32 = u32::MAX;

/// A connection's list of steps: the indexes of its first and last link.
#[derive(Debug)]
pub struct Chain {
    /// The number of the last step that was noted. Two subscriptions that match a step make one delivery.
    pub last_noted: u64,
    pub first: u32,
    pub last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { last_noted: 0, first: END, last: END }
    }
}
