//! Limits the memory of the bodies that are inflated, parsed and validated at once.
//!
//! A few hundred bytes can inflate to `max_body_bytes`, and the JSON tree of a body can take 17 times its bytes. So a body
//! waits until the bodies before it leave room.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::protocol::{ErrorCode, Problem};

/// How many bodies of the largest size are parsed at once.
const LARGEST_BODIES: usize = 4;
/// The bytes of one permit: the semaphore counts in 32 bits.
const UNIT: usize = 1024;

/// The node's limit on the bytes that are parsed at once.
#[derive(Debug)]
pub struct ParseLimit {
    room: Semaphore,
    max_body_bytes: usize,
}

impl ParseLimit {
    /// Leaves room for four bodies of `max_body_bytes`.
    pub fn new(max_body_bytes: usize) -> Self {
        Self { room: Semaphore::new(LARGEST_BODIES * units(max_body_bytes)), max_body_bytes }
    }

    /// Waits for the room of a body of `bytes` bytes; `None`: its size is not known before it is inflated. Bodies get room
    /// in the order in which they ask. The body has it until the permit is dropped.
    ///
    /// # Errors
    /// `overloaded`: there was not enough room within `timeout`.
    pub(super) async fn acquire(
        &self,
        bytes: Option<usize>,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, Problem> {
        let bytes = bytes.map_or(self.max_body_bytes, |bytes| bytes.min(self.max_body_bytes));
        let permits = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        match tokio::time::timeout(timeout, self.room.acquire_many(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => {
                let detail = "too many bodies are parsed at once: publish again when Retry-After says";
                Err(Problem::new(ErrorCode::Overloaded, detail))
            }
        }
    }
}

/// The permits for a number of bytes: at least one.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 << 20;

    #[tokio::test]
    async fn four_bodies_of_unknown_size_are_parsed_at_once() {
        let limit = ParseLimit::new(MAX);
        let compressed = async || limit.acquire(None, Duration::ZERO).await;
        let mut parsed = Vec::new();
        for _ in 0..4 {
            parsed.push(compressed().await.unwrap());
        }
        let refused = compressed().await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Overloaded);
        assert!(refused.retry_after.is_some());
        assert!(limit.acquire(Some(2), Duration::ZERO).await.is_err(), "no room for a small body");
        parsed.pop();
        assert!(compressed().await.is_ok());
    }

    #[tokio::test]
    async fn a_body_of_known_size_takes_its_bytes() {
        let limit = ParseLimit::new(MAX);
        let mut parsed = Vec::new();
        for _ in 0..4 * 8 {
            parsed.push(limit.acquire(Some(1 << 20), Duration::ZERO).await.unwrap());
        }
        assert!(limit.acquire(Some(0), Duration::ZERO).await.is_err());
        parsed.truncate(31);
        assert!(limit.acquire(Some(1 << 20), Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_waits_for_room() {
        for max in [1, MAX, u32::MAX as usize] {
            let limit = ParseLimit::new(max);
            let all = [(); 4].map(|()| limit.acquire(Some(max), Duration::ZERO));
            let mut parsed = Vec::new();
            for permit in all {
                parsed.push(permit.await.unwrap());
            }
            let waiting = limit.acquire(None, Duration::from_secs(30));
            let (waited, ()) = tokio::join!(biased; waiting, async { drop(parsed.pop()) });
            assert!(waited.is_ok(), "{max}");
        }
    }
}
