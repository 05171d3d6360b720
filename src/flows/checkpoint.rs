//! How far a flow came: a value in the store that only the newest holder of the lease changes.
//!
//! The value bears the token of the lease under which it was written. A new holder first writes the value that it found with
//! its own token. From then on every write of an earlier holder fails, because each write names the bytes that it replaces.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{FlowError, Turn};
use crate::broker::BrokerError;
use crate::bus::FlowStore;

/// Pause after a call that failed. A flow whose broker is away loses its lease soon, and is dropped.
const RETRY: Duration = Duration::from_millis(200);

/// A value of this type, as this holder of the lease wrote it last.
pub struct Checkpoint<T> {
    store: FlowStore,
    key: &'static str,
    token: u64,
    stored: Option<Bytes>,
    value: PhantomData<fn(T)>,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    token: u64,
    value: T,
}

impl<T: Serialize + DeserializeOwned> Checkpoint<T> {
    /// Takes the value of a key over from the holder before, and returns it. `None`: there is none yet.
    ///
    /// # Errors
    /// [`FlowError::LeaseLost`] if a later holder has it; [`FlowError::Damaged`]; [`FlowError::Broker`].
    pub async fn claim(turn: &Turn, key: &'static str) -> Result<(Self, Option<T>), FlowError> {
        let stored = turn.store.get(key).await?;
        let mut checkpoint =
            Self { store: turn.store.clone(), key, token: turn.token(), stored: stored.clone(), value: PhantomData };
        let Some(mut found) = stored else { return Ok((checkpoint, None)) };
        loop {
            let Stored { token, value } = read::<T>(key, &found)?;
            if token > checkpoint.token {
                return Err(FlowError::LeaseLost);
            }
            let claimed = checkpoint.text(&value)?;
            if checkpoint.exchange(&claimed).await? {
                return Ok((checkpoint, Some(value)));
            }
            // The holder before wrote once more.
            found = match checkpoint.stored.clone() {
                Some(found) => found,
                None => return Ok((checkpoint, None)),
            };
        }
    }

    /// Writes the value. Returns when the broker has it, and tries until then.
    ///
    /// Cancel safe: the next write replaces whatever this one left.
    ///
    /// # Errors
    /// [`FlowError::LeaseLost`] if a later holder has written; [`FlowError::Broker`] if the broker refuses the value.
    pub async fn save(&mut self, value: &T) -> Result<(), FlowError> {
        let text = self.text(value)?;
        loop {
            match self.exchange(&text).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(FlowError::Broker(BrokerError::Unavailable(cause))) => {
                    tracing::debug!(key = self.key, cause, "a checkpoint cannot be written; it is tried again");
                    sleep(RETRY).await;
                }
                Err(FlowError::Broker(BrokerError::RateLimited { retry_after, .. })) => {
                    sleep(retry_after.unwrap_or(RETRY)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes this text in place of what was stored. If something else is stored there, reads that, and returns `false` if it
    /// may be replaced.
    async fn exchange(&mut self, text: &[u8]) -> Result<bool, FlowError> {
        let written = self.store.compare_and_set(self.key, self.stored.as_deref(), Some(text)).await;
        if let Ok(true) = written {
            self.stored = Some(Bytes::copy_from_slice(text));
            return Ok(true);
        }
        // The answer to an earlier attempt may have been lost, or the broker may have lost the value or restored an older one.
        self.stored = self.store.get(self.key).await?;
        match &self.stored {
            Some(found) if **found == *text => return Ok(true),
            Some(found) if read::<serde::de::IgnoredAny>(self.key, found)?.token > self.token => {
                return Err(FlowError::LeaseLost);
            }
            _ => {}
        }
        written?;
        Ok(false)
    }

    fn text(&self, value: &T) -> Result<Vec<u8>, FlowError> {
        let stored = Stored { token: self.token, value };
        serde_json::to_vec(&stored).map_err(|error| FlowError::damaged(self.key, &error))
    }
}

/// Reads a checkpoint without taking it over, such as to show it.
///
/// # Errors
/// [`FlowError::Damaged`], [`FlowError::Broker`].
pub async fn peek<T: DeserializeOwned>(store: &FlowStore, key: &str) -> Result<Option<T>, FlowError> {
    store.get(key).await?.map(|found| Ok(read::<T>(key, &found)?.value)).transpose()
}

fn read<T: DeserializeOwned>(key: &str, text: &[u8]) -> Result<Stored<T>, FlowError> {
    serde_json::from_slice(text).map_err(|error| FlowError::damaged(key, &error))
}
