//! Publishing with retries.
//!
//! Every event gets an id before the first attempt. A retry sends the same id, which the daemon takes only once, so that a
//! lost response does not publish an event twice. A failed attempt moves on to the next node.

use std::slice;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::RESPONSE_TIMEOUT;
use super::retry::Attempts;
use super::urls::route;
use super::{Accepted, Client, Error};
use crate::event::Json;

/// The most events that one call of [`Client::publish_all`] takes.
pub const MAX_BATCH: usize = 1_000;

/// How long publishing is retried by default, if a daemon was reached.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// The response timeout of the last attempt is at least this long: a shorter one would mostly yield
/// [`Error::Unconfirmed`].
const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The slowest expected upload, in bytes a second. A large request body extends the response timeout accordingly.
const MIN_UPLOAD_RATE: u64 = 64 * 1024;

impl Client {
    /// Publishes one event: a CloudEvent, or anything that serialises as one, such as a
    /// [`Payload`](crate::event::Payload).
    ///
    /// An event without an `id` gets a new one, so that retries do not publish it twice.
    /// [`Client::with_retry_timeout`] says what is retried, and for how long.
    ///
    /// # Errors
    /// - [`Error::Refused`] lists what is wrong with the event.
    /// - [`Error::Unconfirmed`]: it is unknown whether the event was published. Publishing it again with the `id` that the
    ///   error names is safe.
    /// - With any other error, the event was not published.
    pub async fn publish(&self, event: &impl Serialize) -> Result<Accepted, Error> {
        let text = serde_json::to_string(event).map_err(|error| self.unexpected(error.to_string()))?;
        self.publish_text(EventText::new(text)).await
    }

    /// Publishes up to [`MAX_BATCH`] events in this order. If the daemon refuses one of them, it publishes none.
    ///
    /// Events without an `id` get one in place, so that publishing the same slice again is safe.
    ///
    /// # Errors
    /// As [`Client::publish`]. Each pointer of [`Error::Refused`] begins with the index of the event.
    pub async fn publish_all(&self, events: &mut [Value]) -> Result<Vec<Accepted>, Error> {
        events.iter_mut().for_each(ensure_id);
        let text = |event: &Value| EventText { text: event.to_string(), id: id(event).to_owned() };
        self.publish_texts(&events.iter().map(text).collect::<Vec<_>>()).await
    }

    /// As [`Client::publish`], with numbers as they were written.
    pub(crate) async fn publish_text(&self, event: EventText) -> Result<Accepted, Error> {
        let accepted = self.publish_body(event.text.clone(), slice::from_ref(&event)).await?.pop();
        accepted.ok_or_else(|| self.unexpected("the response lists no accepted event".into()))
    }

    /// As [`Client::publish_all`], with numbers as they were written.
    pub(crate) async fn publish_texts(&self, events: &[EventText]) -> Result<Vec<Accepted>, Error> {
        let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        self.publish_body(format!("[{}]", texts.join(",")), events).await
    }

    /// Posts `body` to each node once, then retries until the retry timeout. `events` are the events in `body`.
    async fn publish_body(&self, body: String, events: &[EventText]) -> Result<Vec<Accepted>, Error> {
        let body = Bytes::from(body);
        let upload = Duration::from_secs(body.len() as u64 / MIN_UPLOAD_RATE);
        let mut attempts = Attempts::new(self, RETRY_TIMEOUT);
        let mut may_have_published = false;
        loop {
            let response_timeout = match attempts.untried {
                0 => attempts.time_left(self).clamp(MIN_RESPONSE_TIMEOUT, RESPONSE_TIMEOUT),
                _ => RESPONSE_TIMEOUT,
            };
            let error = match self.post(attempts.node, body.clone(), response_timeout + upload, events.len()).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            may_have_published |= error.may_have_published();
            match attempts.failed(self, &error) {
                Some(delay) => tokio::time::sleep(delay).await,
                None if may_have_published && !error.rejects_request() => {
                    let ids = events.iter().map(|event| event.id.clone()).collect();
                    return Err(Error::Unconfirmed { ids, cause: Box::new(error) });
                }
                None => return Err(error),
            }
        }
    }

    /// Posts `body`, which holds `count` events, to one node once.
    async fn post(&self, node: usize, body: Bytes, limit: Duration, count: usize) -> Result<Vec<Accepted>, Error> {
        #[derive(Deserialize)]
        struct Response {
            accepted: Vec<Accepted>,
        }
        let url = route(self.base(node), &["v1", "events"]);
        let request = self.http.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        let Response { accepted } = self.call(node, request, limit).await?;
        match accepted.len() == count {
            true => Ok(accepted),
            false => Err(self.unexpected(format!("the daemon accepted {} of {count} events", accepted.len()))),
        }
    }
}

/// An event as JSON text: numbers as they were written, and an `id`, so that a retry does not publish it twice.
#[derive(Debug, Clone)]
pub(crate) struct EventText {
    text: String,
    id: String,
}

impl EventText {
    /// Gives an event a new id (UUIDv7) if it has none. Leaves a text that is not an object as it is: the daemon says what
    /// is wrong with it.
    pub fn new(text: String) -> Self {
        match Json::parse(&text) {
            Ok(event) => Self::of(event),
            Err(_) => Self { text, id: String::new() },
        }
    }

    /// As [`EventText::new`], for an event that was read.
    pub fn of(mut event: Json<'_>) -> Self {
        let mut id = String::new();
        if let Json::Object(attributes) = &mut event {
            match attributes.iter().find(|(name, value)| name == "id" && !value.is_null()) {
                Some((_, given)) => given.as_str().unwrap_or_default().clone_into(&mut id),
                None => {
                    attributes.retain(|(name, _)| name != "id");
                    id = uuid::Uuid::now_v7().to_string();
                    attributes.push(("id".into(), id.clone().into()));
                }
            }
        }
        Self { text: event.to_string(), id }
    }
}

/// Gives an event a new id (UUIDv7) if it has none. Leaves JSON that is not an object as it is.
fn ensure_id(event: &mut Value) {
    if let Some(attributes) = event.as_object_mut()
        && attributes.get("id").is_none_or(Value::is_null)
    {
        attributes.insert("id".into(), uuid::Uuid::now_v7().to_string().into());
    }
}

fn id(event: &Value) -> &str {
    event.get("id").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_as_text_keeps_its_numbers_and_gets_an_id() {
        let new = |text: &str| EventText::new(text.to_owned());
        let given = new(r#"{"id":"a","data":{"n":1E5,"big":18446744073709551616}}"#);
        assert_eq!((&*given.id, &*given.text), ("a", r#"{"id":"a","data":{"n":1E5,"big":18446744073709551616}}"#));
        let null = new(r#"{"id":null,"data":1.10}"#);
        assert_eq!(null.text, format!(r#"{{"data":1.10,"id":"{}"}}"#, null.id));
        for other in ["[1]", r#"{"a":1,"a":1}"#, "{"] {
            assert_eq!(new(other).text, other);
        }
    }

    #[test]
    fn an_event_without_an_id_gets_one_and_keeps_it() {
        let mut event = json!({"id":"a"});
        ensure_id(&mut event);
        assert_eq!(id(&event), "a");
        event["id"] = Value::Null;
        ensure_id(&mut event);
        assert_eq!(id(&event).len(), 36);
    }
}
