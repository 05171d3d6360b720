//! What the store knows of a webhook: how far it came, whether its receiver stopped it, and why it fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use crate::bus::FlowStore;
use crate::flows::FlowError;
use crate::flows::checkpoint::peek;

/// The key of the [`State`].
pub const STATE: &str = "state";
/// The key of [`Stopped`]. It is there as long as the webhook is stopped.
const STOPPED: &str = "stopped";

/// How far a webhook came. Only the holder of its lease writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The node that wrote it.
    pub node: String,
    /// The progress in each channel, by its name.
    pub channels: BTreeMap<String, Progress>,
    /// The last failure, unless a delivery succeeded since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LastFailure>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// In milliseconds since 1970.
    pub at: u64,
    pub reason: String,
    /// The event of it was given up, and no other one is tried again.
    #[serde(default)]
    pub given_up: bool,
}

/// That the receiver wants no more events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// In milliseconds since 1970.
    pub at: u64,
    pub reason: String,
}

impl State {
    /// The state in the store, if there is one.
    ///
    /// # Errors
    /// The broker's, or the value is damaged.
    pub async fn peek(store: &FlowStore) -> Result<Option<Self>, FlowError> {
        peek(store, STATE).await
    }
}

impl Stopped {
    /// Whether the webhook is stopped, and why.
    ///
    /// # Errors
    /// The broker's.
    pub async fn get(store: &FlowStore) -> Result<Option<Self>, FlowError> {
        let unknown = || Self { at: 0, reason: "for an unknown reason".into() };
        Ok(store.get(STOPPED).await?.map(|text| serde_json::from_slice(&text).unwrap_or_else(|_| unknown())))
    }

    /// Stops the webhook, on every node and over restarts.
    ///
    /// # Errors
    /// The broker's.
    pub async fn put(&self, store: &FlowStore) -> Result<(), FlowError> {
        // Numbers and strings: serialization cannot fail.
        Ok(store.put(STOPPED, &serde_json::to_vec(self).unwrap_or_default()).await?)
    }

    /// Lets the webhook go on. The node with its lease notices within seconds. Returns whether it was stopped.
    ///
    /// # Errors
    /// The broker's.
    pub async fn remove(store: &FlowStore) -> Result<bool, FlowError> {
        while let Some(text) = store.get(STOPPED).await? {
            if store.compare_and_set(STOPPED, Some(&text), None).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
