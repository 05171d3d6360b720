//! Whether a namespace of this node can publish and receive, as its readiness probe last found.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// What the round trips through the broker say.
#[derive(Debug, Clone)]
pub struct Health {
    /// Ready, or why not: a sentence for operators.
    pub ready: Result<(), String>,
    /// No round trip has succeeded for so long that no client may stay here.
    pub partitioned: bool,
}

/// What the relay tells the readiness probe.
#[derive(Debug, Default)]
pub struct RelayReport {
    /// The number of the last probe that came back.
    pub returned_probe: u64,
    /// The channels whose log cannot be read, each with the cause.
    pub unreadable: BTreeMap<Arc<str>, String>,
}

impl RelayReport {
    /// Why not every log can be read; `None` if each can.
    pub fn problem(&self) -> Option<String> {
        let (channel, cause) = self.unreadable.first_key_value()?;
        let others = match self.unreadable.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(format!("the log of {channel}{others} cannot be read: {cause}"))
    }
}

/// Before the first round trip.
impl Default for Health {
    fn default() -> Self {
        Self { ready: Err("no round trip through the broker yet".to_owned()), partitioned: false }
    }
}

impl Health {
    /// Whether the namespace is ready. If its probe has ended, its last word does not count.
    ///
    /// # Errors
    /// Why it is not ready.
    pub fn reported(health: &watch::Receiver<Self>) -> Result<(), String> {
        if health.has_changed().is_err() {
            return Err("the readiness probe has ended".to_owned());
        }
        health.borrow().ready.clone()
    }
}
