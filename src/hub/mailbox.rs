//! The mailbox of a `sync`: what a look at the log found, on its way to a shard.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::bus::Look;
use crate::protocol::Problem;

/// What a look at the log found, or why it found nothing.
pub type Looked = Result<Arc<Look>, Problem>;

/// The last look that the shard has not seen, and its wish for another.
#[derive(Debug)]
pub struct Mailbox {
    /// When the `sync` came.
    pub begun: Instant,
    looked: Mutex<Option<Looked>>,
    needs_another: Notify,
}

impl Mailbox {
    /// The mailbox of a `sync` that comes now.
    pub fn new() -> Self {
        Self { begun: Instant::now(), looked: Mutex::default(), needs_another: Notify::new() }
    }

    /// Takes the look out.
    pub fn take(&self) -> Option<Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts a look in, instead of one that was not taken out.
    pub fn put(&self, looked: Looked) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
    }

    /// Asks for another look now.
    pub fn ask_again(&self) {
        self.needs_another.notify_one();
    }

    /// Waits until another look is asked for.
    pub async fn asked_again(&self) {
        self.needs_another.notified().await;
    }
}
