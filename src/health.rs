//! Whether a namespace of this node can publish and receive, as its readiness probe last found.

use tokio::sync::watch;

/// What the round trips through the broker say.
#[derive(Debug, Clone)]
pub struct Health {
    /// Ready, or why not: a sentence for operators.
    pub ready: Result<(), String>,
    /// No round trip has succeeded for so long that no client may stay here.
    pub partitioned: bool,
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
