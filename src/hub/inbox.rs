//! The way into a shard: its inbox, and what brings the commands of many connections there together.
//!
//! To wake the shard's thread costs as much as many commands, and while connections come by the thousand it would be woken
//! for each of them. So what connections ask in one turn of the runtime is handed over in one piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::ShardDied;
use super::shard::Item;

/// Events and commands that wait for a shard. The relay waits when it is full, and with it the broker's bus.
const CAPACITY: usize = 1024;

/// A shard's inbox, for those who fill it.
#[derive(Debug)]
pub struct Inbox {
    shard: mpsc::Sender<Item>,
    /// What was asked and not handed over yet. A connection waits for its answers now and then, so this is bounded by what
    /// connections there are.
    asked: Mutex<Vec<Item>>,
}

impl Inbox {
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Item>) {
        let (shard, inbox) = mpsc::channel(CAPACITY);
        (Arc::new(Self { shard, asked: Mutex::default() }), inbox)
    }

    /// Sends an item at once; waits while the shard is behind.
    ///
    /// # Errors
    /// [`ShardDied`].
    pub async fn send(&self, item: Item) -> Result<(), ShardDied> {
        self.shard.send(item).await.map_err(|_| ShardDied)
    }

    /// Hands a connection's command over, with what others ask in the same turn of the runtime, in the order in which they
    /// asked.
    pub fn ask(self: &Arc<Self>, item: Item) {
        let first = {
            let mut asked = self.asked();
            asked.push(item);
            asked.len() == 1
        };
        if first {
            tokio::spawn(self.clone().hand_over());
        }
    }

    async fn hand_over(self: Arc<Self>) {
        // Lets all run that is ready now; where nothing is, this is over at once.
        tokio::task::yield_now().await;
        let Ok(room) = self.shard.reserve().await else {
            // The relay ends the node; who asked sees that nobody answers.
            self.asked().clear();
            return;
        };
        // Sent under the lock: else the next piece might overtake this one.
        let mut asked = self.asked();
        room.send(Item::Commands(std::mem::take(&mut asked)));
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Item>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
