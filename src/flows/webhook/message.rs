//! The messages of a webhook: what is read of an event, and the events that tidings makes itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::client::Message;
use crate::event::{Defaults, Json, Position, Selector};

/// The type of the event that tells of a gap.
const GAP: &str = "tidings.gap";
/// The type of the event that `tidings webhook test` sends.
const TEST: &str = "tidings.test";
/// The source of both.
const SOURCE: &str = "tidings";

/// What is read of an event in the log. Each is `None` if it is not there.
#[derive(Deserialize, Default)]
pub struct Logged<'a> {
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub subject: Option<Cow<'a, str>>,
    #[serde(rename = "time", borrow, default)]
    time_text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    /// In milliseconds since 1970.
    #[serde(skip)]
    pub time: Option<u64>,
}

impl Logged<'_> {
    /// Whether a webhook with this selector gets the event.
    pub fn matches(&self, selector: &Selector) -> bool {
        if selector.is_everything() {
            return true;
        }
        let data = self.data.and_then(|data| Json::parse_logged(data.get()).ok());
        data.is_some_and(|data| selector.matches(&data))
    }
}

/// Reads an event of the log.
pub fn read(json: &str) -> Logged<'_> {
    let mut event: Logged<'_> = serde_json::from_str(json).unwrap_or_default();
    let time = event.time_text.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    event.time = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    event
}

/// The event that tells a receiver of a gap. Its id is the same whenever the same gap is told.
pub fn gap(channel: &str, from: &Position, to: &Position) -> Message {
    let id = format!("gap:{channel}:{from}:{to}");
    let data = json!({ "channel": channel, "from": from, "position": to });
    message(&id, GAP, channel, &data)
}

/// The event that tries a webhook.
pub fn test(webhook: &str) -> Message {
    message(&format!("test:{}", Uuid::now_v7()), TEST, webhook, &json!({ "webhook": webhook }))
}

fn message(id: &str, kind: &str, subject: &str, data: &serde_json::Value) -> Message {
    let event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": kind, "subject": subject, "time": Defaults::now(),
        "data": data,
    });
    Message { id: id.into(), body: event.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_of_an_event_is_read() {
        let event =
            read(r#"{"id":"é\n","subject":"p-1","time":"2026-11-21T10:00:00.5Z","data":{"productId":"p-1"},"x":1}"#);
        assert_eq!((event.id.as_deref(), event.subject.as_deref()), (Some("é\n"), Some("p-1")));
        assert_eq!(event.time, Some(1_795_255_200_500));
        let event = read(r#"{"time":"now"}"#);
        assert_eq!((event.id, event.subject, event.time), (None, None, None));
        assert!(read("{").id.is_none());
    }
}
