//! The canary: a message that this node sends to itself by the way that events take, to prove that it can write to Redis
//! and hears what is published there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::commands::{Commands, Script};
use super::{BrokerConfig, Epoch, Unavailable};

/// The message of the bus's own canaries, which nobody waits for by number.
const BEAT: &str = "beat";

/// This node's canary.
pub(super) struct Canary {
    commands: Arc<Commands>,
    script: Script,
    /// The key that is written, and the sharded channel.
    key: String,
    /// The channel for a Redis without sharded ones (before 7.0). It is outside of the prefix, so that it is not among
    /// the events there either; such a Redis restricts no user's channels unless told to.
    plain: String,
    sharded: AtomicBool,
}

impl Canary {
    pub fn new(config: &BrokerConfig, commands: Arc<Commands>) -> Self {
        let key = format!("{}{}:canary:{}", config.prefix, config.namespace, Epoch::random());
        let script = Script::new(include_str!("canary.lua"));
        Self { commands, script, plain: format!("canary:{key}"), key, sharded: AtomicBool::new(true) }
    }

    pub fn sharded(&self) -> &str {
        &self.key
    }

    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// Which of the two channels is listened to.
    pub fn set_sharded(&self, sharded: bool) {
        self.sharded.store(sharded, Ordering::Relaxed);
    }

    /// Sends the number.
    pub async fn send(&self, number: u64) -> Result<(), Unavailable> {
        self.publish(&number.to_string()).await
    }

    /// Sends one that only shows that something comes back.
    pub async fn beat(&self) -> Result<(), Unavailable> {
        self.publish(BEAT).await
    }

    /// The number that came back, where it was one.
    pub fn number(&self, message: &[u8]) -> Option<u64> {
        std::str::from_utf8(message).ok()?.parse().ok()
    }

    async fn publish(&self, message: &str) -> Result<(), Unavailable> {
        let (publish, channel) =
            if self.sharded.load(Ordering::Relaxed) { ("SPUBLISH", &self.key) } else { ("PUBLISH", &self.plain) };
        let arguments =
            || (vec![self.key.as_str().into()], vec![message.into(), publish.into(), channel.as_str().into()]);
        self.commands.run(&self.script, arguments).await.map(drop)
    }
}
