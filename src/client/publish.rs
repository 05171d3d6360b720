//! Publishing: the same event, under the same id, until a daemon has answered for it.

use std::slice;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::{ANSWER_TIMEOUT, Accepted, Client, Error, route};

/// The most events of one [`Client::publish_all`].
pub const MAX_BATCH: usize = 1_000;

/// For how long publishing is tried again, unless something else is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// What the last attempt has at least: cut shorter, it would only bring doubt.
const SHORTEST: Duration = Duration::from_secs(1);
/// Bytes a second that the way to a daemon carries, at least: a large request takes a while to get there.
const SLOWEST: u64 = 64 * 1024;

impl Client {
    /// Publishes one event: a CloudEvent, or anything that serialises as one, such as a
    /// [`Payload`](crate::event::Payload).
    ///
    /// An event without an `id` gets one here, so that it is published once, however often it has to be sent.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with the event; [`Error::Unconfirmed`] where it stays unknown whether it was
    /// taken: publishing it again with the `id` that this names is safe. With any other, it was not.
    pub async fn publish(&self, event: &impl Serialize) -> Result<Accepted, Error> {
        let mut event = serde_json::to_value(event).map_err(|error| self.unexpected(error.to_string()))?;
        identify(&mut event);
        let accepted = self.send(&event, slice::from_ref(&event)).await?.pop();
        accepted.ok_or_else(|| self.unexpected("it accepted no event".into()))
    }

    /// Publishes up to [`MAX_BATCH`] events, all or (where one is refused) none, in this order.
    ///
    /// Those without an `id` get one, in place: publishing the same slice again is safe.
    ///
    /// # Errors
    /// As [`Client::publish`]; the pointers of a refusal begin with the index of the event.
    pub async fn publish_all(&self, events: &mut [Value]) -> Result<Vec<Accepted>, Error> {
        events.iter_mut().for_each(identify);
        self.send(&events, events).await
    }

    /// Asks each node once, and again for as long as patience lasts.
    async fn send(&self, body: &impl Serialize, events: &[Value]) -> Result<Vec<Accepted>, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.unexpected(error.to_string()))?;
        let body = Bytes::from(body);
        let upload = Duration::from_secs(body.len() as u64 / SLOWEST);
        let end = Instant::now() + self.patience;
        let (mut node, mut unasked) = (self.node(), self.bases.len());
        let mut backoff = Backoff::default();
        // Whether an attempt may have done it.
        let mut open = false;
        loop {
            let answer = match unasked {
                0 => end.saturating_duration_since(Instant::now()).clamp(SHORTEST, ANSWER_TIMEOUT),
                _ => ANSWER_TIMEOUT,
            };
            let error = match self.post(node, body.clone(), answer + upload, events.len()).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            unasked = unasked.saturating_sub(1);
            node = node.wrapping_add(1);
            open |= error.is_open();
            let asked = match &error {
                // One that was not asked yet has not asked for a pause.
                Error::Refused(problem) if unasked == 0 => problem.retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let pause = backoff.next().max(asked);
            if !error.is_transient() || (unasked == 0 && Instant::now() + pause > end) {
                return Err(match open && !error.is_verdict() {
                    true => Error::Unconfirmed { ids: events.iter().map(id).collect(), cause: Box::new(error) },
                    false => error,
                });
            }
            tracing::debug!(%error, ?pause, "publishing is tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt at one node.
    async fn post(&self, node: usize, body: Bytes, limit: Duration, count: usize) -> Result<Vec<Accepted>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            accepted: Vec<Accepted>,
        }
        let url = route(self.base(node), &["v1", "events"]);
        let request = self.http.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        let Answer { accepted } = self.call(node, request, limit).await?;
        match accepted.len() == count {
            true => Ok(accepted),
            false => Err(self.unexpected(format!("it accepted {} of {count} events", accepted.len()))),
        }
    }
}

/// Gives an event an id, unless it has one or is none.
fn identify(event: &mut Value) {
    if let Some(attributes) = event.as_object_mut()
        && attributes.get("id").is_none_or(Value::is_null)
    {
        attributes.insert("id".into(), uuid::Uuid::now_v7().to_string().into());
    }
}

fn id(event: &Value) -> String {
    event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_its_id() {
        let mut event = json!({"id":"a"});
        identify(&mut event);
        assert_eq!(id(&event), "a");
        event["id"] = Value::Null;
        identify(&mut event);
        assert_eq!(id(&event).len(), 36);
    }
}
