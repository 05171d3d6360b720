//! The messages of a bridge that wait to be published. They are bounded in number and in bytes: the oldest leave for new ones.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// The most messages that wait.
const MAX_MESSAGES: usize = 8_192;
/// The most bytes of them.
const MAX_BYTES: usize = 32 << 20;

/// A message that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub channel: String,
    pub payload: Bytes,
}

/// A queue with one reader.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    is_closed: bool,
}

impl Message {
    fn len(&self) -> usize {
        self.channel.len() + self.payload.len()
    }
}

impl Queue {
    /// Adds a message, which stays whatever its size. Returns how many older ones left for it.
    pub fn push(&self, message: Message) -> u64 {
        let mut waiting = self.lock();
        waiting.bytes += message.len();
        waiting.messages.push_back(message);
        let mut left = 0;
        while waiting.messages.len() > 1 && (waiting.messages.len() > MAX_MESSAGES || waiting.bytes > MAX_BYTES) {
            waiting.take(1);
            left += 1;
        }
        self.changed.notify_one();
        left
    }

    /// Says that no more messages come.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// The oldest messages, at least one and at most `limit`: waits until there is one. `None`: no more come.
    pub async fn take(&self, limit: usize) -> Option<Vec<Message>> {
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.messages.is_empty() {
                    return Some(waiting.take(limit));
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, limit: usize) -> Vec<Message> {
        let taken: Vec<_> = self.messages.drain(..limit.min(self.messages.len())).collect();
        self.bytes -= taken.iter().map(Message::len).sum::<usize>();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message { channel: "c".into(), payload: vec![b'x'; bytes - 1].into() }
    }

    #[tokio::test]
    async fn the_oldest_messages_leave_when_there_are_too_many_or_too_large_ones() {
        let queue = Queue::default();
        for number in 0..MAX_MESSAGES {
            assert_eq!(queue.push(Message { channel: number.to_string(), payload: Bytes::new() }), 0);
        }
        assert_eq!(queue.push(message(1)), 1);
        assert_eq!(queue.take(1).await.unwrap()[0].channel, "1", "the oldest has left");
        assert_eq!(queue.push(message(MAX_BYTES - 1)), MAX_MESSAGES as u64 - 2, "all but the newest small one");
        assert_eq!(queue.push(message(2)), 2, "one byte too many");
        assert_eq!(queue.push(message(MAX_BYTES + 1)), 1);
        assert_eq!(queue.take(9).await, Some(vec![message(MAX_BYTES + 1)]), "it stays although it is too large");
        assert_eq!(queue.lock().bytes, 0);
    }

    #[tokio::test]
    async fn what_waits_is_taken_before_the_end() {
        let queue = Queue::default();
        let (taken, _) = tokio::join!(queue.take(9), async { queue.push(message(1)) });
        assert_eq!(taken, Some(vec![message(1)]));
        queue.push(message(2));
        queue.close();
        assert_eq!(queue.take(9).await, Some(vec![message(2)]));
        assert_eq!(queue.take(9).await, None);
    }
}
