//! Attempts to reach a server, one after the other: the backoff between them, and a log line for each change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

/// The longest wait between two attempts, and so the longest delay until a Redis that is back is noticed.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// How often a probe proves the connections, and whether the next one is due at once.
#[derive(Clone)]
pub(super) struct Pulse {
    pub interval: Duration,
    due: Arc<Notify>,
}

/// The attempts to open one connection.
pub(super) struct Attempts {
    /// The server, for log lines.
    pub name: String,
    /// The purpose of the connection, for log lines.
    pub role: &'static str,
    /// The bridge that the connection is for, for log lines.
    pub bridge: Option<String>,
    /// What to tell of a connection that was in use and ended.
    pulse: Option<Pulse>,
    /// Consecutive attempts that failed, or whose connection ended before [`established`](Self::established).
    failures: u32,
    /// The last failure. The same failure is logged once.
    last_failure: Option<String>,
}

impl Pulse {
    pub fn each(interval: Duration) -> Self {
        Self { interval, due: Arc::default() }
    }

    pub fn make_due(&self) {
        self.due.notify_one();
    }

    /// Waits until a probe is due before its time.
    pub async fn due(&self) {
        self.due.notified().await;
    }
}

impl Attempts {
    pub fn new(name: String, role: &'static str) -> Self {
        Self { name, role, bridge: None, pulse: None, failures: 0, last_failure: None }
    }

    /// Makes a probe due when a connection that was in use has ended: `/readyz` must not wait for the next pulse.
    pub fn proven_by(self, pulse: Pulse) -> Self {
        Self { pulse: Some(pulse), ..self }
    }

    /// The wait before the next attempt that earlier failures require.
    pub fn backoff(&self) -> Option<Duration> {
        let backoff = MAX_BACKOFF.min(Duration::from_millis(50) * 2u32.pow(self.failures.min(8)));
        // Jitter: nodes that lost the same Redis must not come back at the same moment.
        (self.failures > 0).then(|| backoff.mul_f64(0.5 + 0.5 * rand::random::<f64>()))
    }

    /// Reports that the connection is in use: resets the backoff.
    pub fn established(&mut self) {
        self.failures = 0;
        self.last_failure = None;
        let (redis, role, bridge) = (&*self.name, self.role, self.bridge.as_deref());
        tracing::info!(redis, role, bridge, "connected to Redis");
    }

    /// Reports that the connection ended, or could not be used: increases the backoff.
    pub fn failed(&mut self, cause: &str) {
        if self.failures == 0 {
            self.pulse.iter().for_each(Pulse::make_due);
        }
        self.failures += 1;
        if self.last_failure.as_deref() != Some(cause) {
            let (redis, role, bridge) = (&*self.name, self.role, self.bridge.as_deref());
            tracing::warn!(redis, role, bridge, reason = cause, "no connection to Redis");
            self.last_failure = Some(cause.to_owned());
        }
    }
}
