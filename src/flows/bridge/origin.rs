//! Where the events of bridges came from: so that a bridge with `direction = "out"` sends each to all channels but that one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;

use crate::broker::compare_redis;
use crate::config::RedisUrl;
use crate::event::{BRIDGE_CHANNEL, Json};

/// What the value of an attribute cannot have (CloudEvents 1.0.2, section 3), and the escape itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// How long an answer counts that a server did not give.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The value of [`BRIDGE_CHANNEL`] for a channel of Redis.
pub fn encoded(channel: &str) -> Cow<'_, str> {
    utf8_percent_encode(channel, ESCAPED).into()
}

/// A bridge that listens on a channel to which another one sends.
#[derive(Debug, Clone)]
pub struct Listener {
    pub name: String,
    pub redis: RedisUrl,
}

/// The listeners beside a bridge that sends, and which of them are at the same Redis.
pub struct Origins<'a> {
    name: &'a str,
    redis: &'a RedisUrl,
    listeners: &'a [Listener],
    /// Whether a listener is at the same Redis, by its name, and until when that counts.
    known: BTreeMap<&'a str, (bool, Option<Instant>)>,
}

impl<'a> Origins<'a> {
    /// For the bridge of this name that sends to this Redis.
    pub fn new(name: &'a str, redis: &'a RedisUrl, listeners: &'a [Listener]) -> Self {
        Self { name, redis, listeners, known: BTreeMap::new() }
    }

    /// Forgets what was found: behind the names may be other servers.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// The channel of this bridge's Redis that an event came from, [encoded]. `None` if it came from elsewhere.
    ///
    /// Only bridges set the attribute, so nobody else can keep an event from a channel.
    pub async fn of<'e>(&mut self, event: &'e Json<'_>) -> Option<&'e str> {
        let channel = event.get(BRIDGE_CHANNEL).and_then(Json::as_str)?;
        let bridge = event.get("source").and_then(Json::as_str)?.strip_prefix("bridge/")?;
        let listener = self.listeners.iter().find(|listener| listener.name == bridge)?;
        self.is_here(listener).await.then_some(channel)
    }

    async fn is_here(&mut self, listener: &'a Listener) -> bool {
        let now = Instant::now();
        if let Some((here, until)) = self.known.get(&*listener.name)
            && until.is_none_or(|until| now < until)
        {
            return *here;
        }
        let found = compare_redis((&listener.redis, &listener.name), (self.redis, self.name)).await;
        let until = (!found.complete).then(|| Instant::now() + ASK_AGAIN);
        self.known.insert(&listener.name, (found.same, until));
        found.same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_channel_is_a_value_that_an_attribute_may_have() {
        for (channel, value) in [
            ("channel:inventory:change", "channel:inventory:change"),
            ("50%\n", "50%25%0A"),
            ("a\u{85}é", "a%C2%85%C3%A9"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(encoded(channel), value);
        }
    }
}
