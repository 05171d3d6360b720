//! The `sync` requests of a subscriber that have no answer yet.

use crate::protocol::{ClientFrame, MAX_SYNCS, Sync};

/// Names a request of [`Subscriber::sync`](super::Subscriber::sync). Later requests have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(u64);

/// The requests without an answer, the oldest first.
#[derive(Debug, Default)]
pub struct Syncs {
    last: u64,
    waiting: Vec<SyncId>,
    /// How many of them were sent on the connection.
    sent: usize,
}

impl Syncs {
    /// A new request, with its frame. `None` while there are as many as a daemon takes.
    pub fn request(&mut self) -> Option<(SyncId, ClientFrame)> {
        if self.waiting.len() == MAX_SYNCS {
            return None;
        }
        self.last += 1;
        let id = SyncId(self.last);
        self.waiting.push(id);
        Some((id, id.frame()))
    }

    /// The last request was sent.
    pub fn sent(&mut self) {
        self.sent = self.waiting.len();
    }

    /// The frames of the requests that were not sent yet, for a new connection.
    pub fn unsent(&mut self) -> Vec<ClientFrame> {
        let frames = self.waiting[self.sent..].iter().map(|id| id.frame()).collect();
        self.sent();
        frames
    }

    /// The request that this answer belongs to.
    pub fn answered(&mut self, id: &str) -> Option<SyncId> {
        let index = self.waiting.iter().position(|waiting| id.parse() == Ok(waiting.0))?;
        self.sent = self.sent.saturating_sub(1);
        Some(self.waiting.remove(index))
    }

    /// The requests that were sent on a connection which has ended.
    pub fn lost(&mut self) -> Vec<SyncId> {
        let sent = std::mem::take(&mut self.sent);
        self.waiting.drain(..sent).collect()
    }
}

impl SyncId {
    fn frame(self) -> ClientFrame {
        ClientFrame::Sync(Sync { id: self.0.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_lost_connection_are_told_apart_from_those_that_wait_for_the_next() {
        let mut syncs = Syncs::default();
        let ids: Vec<_> = (0..MAX_SYNCS).map(|_| syncs.request().unwrap().0).collect();
        assert_eq!(syncs.request(), None);
        assert_eq!(syncs.unsent().len(), MAX_SYNCS);
        assert_eq!(syncs.answered("2"), Some(ids[1]));
        assert_eq!(syncs.answered("2"), None);
        assert_eq!(syncs.answered("x"), None);
        let waits = syncs.request().unwrap().0;
        assert_eq!(syncs.lost(), [&ids[..1], &ids[2..]].concat());
        assert_eq!(syncs.unsent(), [waits.frame()]);
        assert_eq!(syncs.unsent(), []);
    }
}
