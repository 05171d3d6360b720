//! The probe: a message that this node sends to itself through Redis, on the way that events take. It proves that the node
//! can write, and receives what is published. In a cluster it goes through every master that has channels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::commands::{Commands, Script, timed_out};
use super::{BrokerError, Epoch};

/// The message of a heartbeat, which has no number.
const HEARTBEAT: &str = "beat";

/// How long a server may take to publish a probe, and how long the probe may take to come back. It is shorter than the
/// timeout of the callers, so that their error names the server.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// This node's probe.
pub(super) struct Probe {
    commands: Arc<Commands>,
    script: Script,
    /// The beginning of all keys of the namespace.
    base: String,
    /// Distinguishes this node's probe from those of other nodes.
    token: Epoch,
    /// The server has sharded pub/sub channels, and the listener uses one.
    sharded: AtomicBool,
    /// Held for a comparison.
    state: Mutex<ProbeState>,
}

/// A server through which the probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeTarget {
    /// The server's name in error texts. `None` if there is only one server.
    pub server: Option<String>,
    /// The key that is written there. The sharded channel has the same name.
    pub key: String,
}

struct ProbeState {
    /// Empty without a cluster, and while the cluster's slots are not known.
    targets: Vec<ProbeTarget>,
    /// The number of the last probe.
    number: u64,
    /// When the last probe was sent.
    sent: Instant,
    /// The servers from which the last probe has not come back.
    outstanding: Vec<ProbeTarget>,
    /// The newest number that has come back from any server.
    received: u64,
}

impl Probe {
    /// `base` is the beginning of all keys of the namespace.
    pub fn new(base: String, commands: Arc<Commands>) -> Self {
        let token = Epoch::random();
        let script = Script::new(include_str!("probe.lua"));
        let state =
            ProbeState { targets: Vec::new(), number: 0, sent: Instant::now(), outstanding: Vec::new(), received: 0 };
        Self { commands, script, base, token, sharded: AtomicBool::new(true), state: Mutex::new(state) }
    }

    /// The key without a cluster.
    pub fn single_key(&self) -> String {
        self.key(&self.base)
    }

    /// The key in the slot of the channel of this name.
    pub fn key(&self, name: &str) -> String {
        format!("{name}:probe:{}", self.token)
    }

    /// The plain pub/sub channel, for a Redis without sharded channels (before 7.0). It does not begin with the prefix, so
    /// that a pattern for the events does not match it. Such a Redis gives users the right to all channels by default.
    pub fn plain_channel(&self, key: &str) -> String {
        format!("probe:{key}")
    }

    /// Sets the servers for the next probes.
    pub fn set_targets(&self, targets: Vec<ProbeTarget>) {
        self.lock().targets = targets;
    }

    /// Sets whether the listener uses the sharded channel or the plain one.
    pub fn set_sharded(&self, sharded: bool) {
        self.sharded.store(sharded, Ordering::Relaxed);
    }

    /// Sends a probe of this number through all servers.
    ///
    /// # Errors
    /// A server did not publish it, or the previous probe has not come back from a server. The text names the server.
    pub async fn send(&self, number: u64) -> Result<(), BrokerError> {
        let (targets, overdue) = self.begin(number);
        let text = number.to_string();
        let sent = targets.iter().map(async |target| {
            let sent = tokio::time::timeout(SERVER_TIMEOUT, self.publish(&target.key, &text)).await;
            let sent = sent.unwrap_or_else(|_| Err(timed_out()));
            sent.map_err(|error| match &target.server {
                Some(server) => error.at(server),
                None => error,
            })
        });
        join_all(sent).await.into_iter().collect::<Result<(), _>>()?;
        match overdue {
            Some(target) => {
                let server = target.server.as_deref().unwrap_or("the broker");
                Err(BrokerError::Unavailable(format!("what is published does not come back from {server}")))
            }
            None => Ok(()),
        }
    }

    /// Publishes a heartbeat, a probe without a number. The listener sends it to see that anything arrives.
    pub async fn heartbeat(&self, key: &str) -> Result<(), BrokerError> {
        self.publish(key, HEARTBEAT).await
    }

    /// Records a message on the probe's channel. Returns the number of the probe when it has come back from all servers.
    pub fn received(&self, channel: &str, message: &[u8]) -> Option<u64> {
        let number: u64 = std::str::from_utf8(message).ok()?.parse().ok()?;
        let mut state = self.lock();
        if number != state.number {
            return None;
        }
        state.received = number;
        state.outstanding.retain(|target| !channel.ends_with(&target.key));
        state.outstanding.is_empty().then_some(number)
    }

    /// Whether the probe of this number, or a later one, has come back from any server.
    pub fn returned_from_any_server(&self, number: u64) -> bool {
        self.lock().received >= number
    }

    /// Starts a probe. Returns its targets, and a server from which the previous probe is overdue.
    fn begin(&self, number: u64) -> (Vec<ProbeTarget>, Option<ProbeTarget>) {
        let mut state = self.lock();
        let late = state.sent.elapsed() > SERVER_TIMEOUT;
        // A server that is not a target any more is not overdue.
        let is_target = |target: &ProbeTarget| target.server.is_none() || state.targets.contains(target);
        let overdue = state.outstanding.iter().find(|target| late && is_target(target)).cloned();
        let targets = match state.targets.is_empty() {
            true => vec![ProbeTarget { server: None, key: self.single_key() }],
            false => state.targets.clone(),
        };
        (state.number, state.sent, state.outstanding) = (number, Instant::now(), targets.clone());
        (targets, overdue)
    }

    async fn publish(&self, key: &str, message: &str) -> Result<(), BrokerError> {
        let (publish, channel) = match self.sharded.load(Ordering::Relaxed) {
            true => ("SPUBLISH", key.to_owned()),
            false => ("PUBLISH", self.plain_channel(key)),
        };
        let arguments = |_| (vec![key.into()], vec![message.into(), publish.into(), channel.as_str().into()]);
        self.commands.run(&self.script, key, arguments).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::broker::redis::routes::Routes;

    #[test]
    fn a_probe_is_complete_when_it_came_back_from_every_server() {
        let probe = Probe::new("t:n".into(), Arc::new(Commands::new(watch::channel(Routes::Pending).1, None)));
        let target = |server: &str| ProbeTarget { server: Some(server.into()), key: format!("{{{server}}}:probe") };
        probe.set_targets(vec![target("a"), target("b")]);
        assert_eq!(probe.begin(1), (vec![target("a"), target("b")], None));
        assert!(!probe.returned_from_any_server(1));
        assert_eq!(probe.received("{a}:probe", b"1"), None);
        assert!(probe.returned_from_any_server(1));
        assert_eq!(probe.received("{b}:probe", b"beat"), None);
        assert_eq!(probe.received("{b}:probe", b"1"), Some(1));
        probe.begin(2);
        assert_eq!(probe.received("{b}:probe", b"1"), None, "it belongs to the previous probe");
        assert_eq!(probe.received("{b}:probe", b"2"), None);
        assert_eq!(probe.begin(3).1, None, "the previous probe is not overdue yet");
        probe.received("{b}:probe", b"3");
        probe.lock().sent -= SERVER_TIMEOUT * 2;
        assert_eq!(probe.begin(4).1, Some(target("a")));
    }
}
