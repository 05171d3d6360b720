//! What an operator asks of a daemon's webhooks.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Client, Error};

/// How long a call may take that delivers to a receiver: longer than the daemon tries.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(90);

/// One webhook, as [`Client::webhooks`] lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookInfo {
    /// The name in the configuration.
    pub name: String,
    /// Where events are sent, without its query.
    pub url: String,
    /// The channels whose events it gets.
    pub channels: Vec<String>,
    /// `waiting`, `delivering`, `failing` or `stopped`.
    pub state: String,
    /// The node that delivers, or did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Events that are not delivered yet.
    pub lag: u64,
    /// Events that were given up in the last 7 days.
    pub dead: u64,
    /// Why it is failing or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When that was so last, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// What became of [`Client::test_webhook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WebhookTest {
    /// The id of the event that was sent.
    pub id: String,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long that took.
    pub took_ms: u64,
}

/// An event that a webhook has given up, as [`Client::dead_letters`] lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id of the event.
    pub id: String,
    /// Why the last attempt failed.
    pub reason: String,
    /// When that was, in RFC 3339.
    pub at: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Where the event was in its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The CloudEvent as JSON.
    pub event: Box<RawValue>,
}

/// What became of [`Client::replay_dead_letters`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookReplay {
    /// The ids of the events that were delivered.
    pub delivered: Vec<String>,
    /// Those that failed again.
    pub failed: Vec<FailedReplay>,
    /// Dead letters for which the time was too short.
    pub remaining: u64,
}

/// An event that failed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedReplay {
    /// The id of the event.
    pub id: String,
    /// Why it failed.
    pub reason: String,
}

impl Client {
    /// Lists the webhooks of the daemon. Needs the right `nodes`.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn webhooks(&self) -> Result<Vec<WebhookInfo>, Error> {
        #[derive(Deserialize)]
        struct Webhooks {
            webhooks: Vec<WebhookInfo>,
        }
        let response: Webhooks = self.get(&["v1", "webhooks"], &[]).await?;
        Ok(response.webhooks)
    }

    /// Sends an event of the type `tidings.test` to a webhook, once. Needs the right `flows`, as all that follow.
    ///
    /// # Errors
    /// As [`Client::channels`]. That the receiver does not take it is no error.
    pub async fn test_webhook(&self, name: &str) -> Result<WebhookTest, Error> {
        self.act(&["v1", "webhooks", name, "test"], &json!({})).await
    }

    /// Lists the events that a webhook has given up, the oldest first.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, Error> {
        #[derive(Deserialize)]
        struct Dead {
            dead: Vec<DeadLetter>,
        }
        let response: Dead = self.get(&["v1", "webhooks", name, "dead"], &[]).await?;
        Ok(response.dead)
    }

    /// Delivers events again that a webhook has given up: the one with this id, or all.
    ///
    /// # Errors
    /// As [`Client::channels`]. That the receiver does not take one is no error.
    pub async fn replay_dead_letters(&self, name: &str, id: Option<&str>) -> Result<WebhookReplay, Error> {
        let body = id.map_or_else(|| json!({ "all": true }), |id| json!({ "id": id }));
        self.act(&["v1", "webhooks", name, "replay"], &body).await
    }

    /// Lets a webhook go on that its receiver has stopped with 410. Returns whether it was stopped.
    ///
    /// # Errors
    /// As [`Client::channels`].
    pub async fn resume_webhook(&self, name: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Resumed {
            resumed: bool,
        }
        let response: Resumed = self.act(&["v1", "webhooks", name, "resume"], &json!({})).await?;
        Ok(response.resumed)
    }

    async fn act<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, Error> {
        self.post_json(path, body, DELIVERY_TIMEOUT).await
    }
}
