//! The probe: an event that this node publishes to itself through Redis, on the way that events take. It proves that the node
//! can append, read, and receives what is published. In a cluster it goes through every master that has channels.
//!
//! On the way, its script looks at the heads of the channels' logs. What it shows of the two connections to a server saves
//! their health checks.
//!
//! A probe waits for the listener's subscription, and is published again if that was replaced meanwhile: a connection that
//! is being opened is no fault. If it cannot be opened, the probe fails at once, with the cause.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::commands::{Commands, timed_out};
use super::heads::Heads;
use super::internal::{InternalChannels, channel_of};
use super::probe_log::{ProbeLog, ProbeScripts};
use super::rights::{Rights, advised};
use super::routes::slot;
use super::{BrokerError, Epoch};
use crate::broker::FoundHeads;

/// The JSON of a heartbeat, which has no number.
const HEARTBEAT: &str = r#""beat""#;

/// How long a probe may take at a server. It is shorter than the timeout of the callers, so that their error names the
/// server.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The rights are checked with one probe of so many, and with each that Redis refused. Redis counts the commands that the
/// check has refused among its errors, so the check is no part of every probe.
const RIGHTS_INTERVAL: u64 = 16;

/// How many hash tags are tried to find one in a master's slots. A master with a single slot is found in nearly all cases.
const MAX_TAGS: u32 = 200_000;

/// This node's probe.
pub(super) struct Probe {
    commands: Arc<Commands>,
    heads: Arc<Heads>,
    scripts: ProbeScripts,
    rights: Rights,
    /// The setting `prefix`.
    prefix: String,
    /// The beginning of all keys of the namespace.
    base: String,
    /// Distinguishes this node's probe from those of other nodes.
    token: Epoch,
    internal: Arc<InternalChannels>,
    /// The next probe checks the rights.
    check_rights: AtomicBool,
    state: watch::Sender<ProbeState>,
}

/// A server through which the probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbeTarget {
    /// The server's name in error texts. `None` if there is only one server.
    pub server: Option<String>,
    /// The internal pub/sub channel, and the beginning of the keys of the probe's log there.
    pub key: String,
}

#[derive(Default)]
struct ProbeState {
    /// Empty while the cluster's slots are not known.
    targets: Vec<ProbeTarget>,
    /// The number of the last probe.
    number: u64,
    /// The newest number that has come back from any server.
    received: u64,
    /// What is known of each server, by the probe's key there.
    servers: HashMap<String, ServerState>,
}

#[derive(Default)]
struct ServerState {
    subscription: Subscription,
    /// The last probe that came back.
    returned: Option<u64>,
    /// When a probe or a heartbeat was last sent.
    sent: Option<Instant>,
    /// When one last came back.
    came_back: Option<Instant>,
    /// When the first was sent of those that were published and have not come back.
    outstanding_since: Option<Instant>,
}

/// The listener's subscription at a server.
#[derive(Default)]
enum Subscription {
    /// It is being opened.
    #[default]
    Pending,
    /// It stands. The number tells it from those before it.
    Active(u64),
    Failed(BrokerError),
}

impl Probe {
    /// The probe of a namespace. `latest`: a type keeps the newest event of each subject.
    pub fn new(
        prefix: &str,
        namespace: &str,
        clustered: bool,
        latest: bool,
        commands: Arc<Commands>,
        heads: Arc<Heads>,
        internal: Arc<InternalChannels>,
    ) -> Self {
        Self {
            commands,
            heads,
            scripts: ProbeScripts::new(clustered),
            rights: Rights::new(clustered, latest, prefix.to_owned()),
            prefix: prefix.to_owned(),
            base: format!("{prefix}{namespace}"),
            token: Epoch::random(),
            internal,
            check_rights: AtomicBool::new(true),
            state: watch::Sender::default(),
        }
    }

    /// The key without a cluster.
    pub fn single_key(&self) -> String {
        format!("{}:probe:{}", self.base, self.token)
    }

    /// A key in one of these slots; `current` if that is one. No other slot has channels, if possible: the fewer keys a
    /// channel's slot has, the faster it moves.
    pub fn key_in(&self, slots: &[RangeInclusive<u16>], channels: &[u16], current: &str) -> String {
        let has = |key: &str| {
            let slot = slot(key);
            slots.iter().any(|range| range.contains(&slot)).then_some(slot)
        };
        if !current.is_empty() && has(current).is_some() {
            return current.to_owned();
        }
        let keys = || (0..MAX_TAGS).map(|tag| format!("{}:{{probe:{tag}}}:{}", self.base, self.token));
        let free = keys().find(|key| has(key).is_some_and(|slot| !channels.contains(&slot)));
        free.or_else(|| keys().find(|key| has(key).is_some())).unwrap_or_else(|| self.single_key())
    }

    /// Whether the probe's channel is a sharded one, as far as is known.
    pub fn is_sharded(&self) -> bool {
        self.internal.plain_name("").is_none()
    }

    /// Sets the servers for the probes.
    pub fn set_targets(&self, targets: Vec<ProbeTarget>) {
        self.state.send_modify(|state| {
            // Without targets the cluster is not known, and the listeners may keep their subscriptions meanwhile.
            if !targets.is_empty() {
                state.servers.retain(|key, _| targets.iter().any(|target| target.key == *key));
            }
            state.targets = targets;
        });
    }

    /// Reports that Redis refused a call: the next probe checks the rights.
    pub fn call_refused(&self) {
        self.check_rights.store(true, Ordering::Relaxed);
    }

    /// Reports that the listener's subscription at a server stands.
    pub fn subscribed(&self, key: &str) {
        self.set_subscription(key, Subscription::Active(rand::random()));
    }

    /// Reports that the listener has no subscription at a server. `failure` says why it cannot get one.
    pub fn unsubscribed(&self, key: &str, failure: Option<BrokerError>) {
        self.set_subscription(key, failure.map_or(Subscription::Pending, Subscription::Failed));
    }

    fn set_subscription(&self, key: &str, subscription: Subscription) {
        self.state.send_modify(|state| {
            let server = state.servers.entry(key.to_owned()).or_default();
            (server.subscription, server.outstanding_since) = (subscription, None);
        });
    }

    /// Sends a probe of this number through all servers, and waits until it came back from each. With `found`, it also
    /// looks at the heads of the channels' logs.
    ///
    /// # Errors
    /// A server refused it, or it did not come back. The text names the server, and says what to do if that is known.
    pub async fn send(&self, number: u64, found: Option<&FoundHeads<'_>>) -> Result<(), BrokerError> {
        let deadline = Instant::now() + SERVER_TIMEOUT;
        self.state.send_modify(|state| state.number = number);
        let check_rights = self.check_rights.swap(false, Ordering::Relaxed) || number.is_multiple_of(RIGHTS_INTERVAL);
        let mut state = self.state.subscribe();
        loop {
            let targets = state.borrow_and_update().targets.clone();
            if targets.is_empty() {
                // The error of the cluster, as soon as it is known.
                let key = self.single_key();
                let server = timeout_at(deadline, self.commands.known_server_of(&key)).await;
                server.unwrap_or_else(|_| Err(timed_out()))?;
            }
            let through = |target| self.send_through(target, number, found, check_rights, deadline);
            let sent = join_all(targets.iter().map(through));
            tokio::select! {
                sent = sent, if !targets.is_empty() => return sent.into_iter().collect(),
                _ = state.wait_for(|state| state.targets != targets) => {}
                () = tokio::time::sleep_until(deadline) => return Err(timed_out()),
            }
        }
    }

    async fn send_through(
        &self,
        target: &ProbeTarget,
        number: u64,
        found: Option<&FoundHeads<'_>>,
        check_rights: bool,
        deadline: Instant,
    ) -> Result<(), BrokerError> {
        let log = ProbeLog::new(&target.key);
        let (mut result, ()) = tokio::join!(
            self.round_trip(target, &log, number, found, deadline),
            self.look_without_probe(target, number, found),
        );
        if check_rights || matches!(result, Err(BrokerError::Rejected(_))) {
            // The missing right says more than the call that needed it.
            let plain = self.internal.plain_name(&target.key);
            let rights = timeout_at(deadline, self.rights.check(&self.commands, &log, plain.as_deref())).await;
            result = rights.unwrap_or(Ok(())).and(result);
        }
        if matches!(result, Err(BrokerError::Rejected(_))) {
            self.call_refused();
        }
        result.map_err(|error| {
            let error = advised(error, &self.prefix);
            match &target.server {
                Some(server) => error.at(server),
                None => error,
            }
        })
    }

    /// Looks at the heads if the probe's script cannot: it is not sent before the subscription stands.
    async fn look_without_probe(&self, target: &ProbeTarget, number: u64, found: Option<&FoundHeads<'_>>) {
        let Some(found) = found else { return };
        let stands = matches!(self.state.borrow().subscription(&target.key), Subscription::Active(_));
        if !stands || self.heads.for_script(&target.key, number).is_none() {
            found(&self.heads.beside(&target.key).await);
        }
    }

    /// Publishes a probe, and waits until it came back.
    async fn round_trip(
        &self,
        target: &ProbeTarget,
        log: &ProbeLog,
        number: u64,
        found: Option<&FoundHeads<'_>>,
        deadline: Instant,
    ) -> Result<(), BrokerError> {
        let mut state = self.state.subscribe();
        loop {
            let subscribed = |state: &ProbeState| match state.subscription(&target.key) {
                Subscription::Active(number) => Some(Ok(*number)),
                Subscription::Failed(error) => Some(Err(error.clone())),
                Subscription::Pending => None,
            };
            let stands = state.wait_for(|state| subscribed(state).is_some());
            let subscription = match timeout_at(deadline, stands).await {
                Ok(Ok(state)) => subscribed(&state).unwrap_or_else(|| Err(BrokerError::closed()))?,
                Ok(Err(_)) => return Err(BrokerError::closed()),
                Err(_) => return Err(BrokerError::Unavailable("Redis does not answer to SUBSCRIBE".into())),
            };
            let published = timeout_at(deadline, self.publish(log, number, &number.to_string(), found)).await;
            published.unwrap_or_else(|_| Err(timed_out()))?;
            let returned = |state: &ProbeState| state.has_returned(&target.key, number);
            let replaced = |state: &ProbeState| !matches!(subscribed(state), Some(Ok(now)) if now == subscription);
            match timeout_at(deadline, state.wait_for(|state| returned(state) || replaced(state))).await {
                Ok(Ok(state)) if returned(&state) => return Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(BrokerError::closed()),
                Err(_) => {
                    return Err(BrokerError::Unavailable(
                        "what is published does not come back from the broker".into(),
                    ));
                }
            }
        }
    }

    /// Publishes a heartbeat, a probe without a number. The listener sends it to see that anything arrives.
    pub async fn heartbeat(&self, key: &str) -> Result<(), BrokerError> {
        self.publish(&ProbeLog::new(key), 0, HEARTBEAT, None).await
    }

    /// How long ago a probe or a heartbeat was last sent through a server. `None` if none was.
    pub fn last_sent(&self, key: &str) -> Option<Duration> {
        self.state.borrow().servers.get(key)?.sent.map(|sent| sent.elapsed())
    }

    /// When the first probe or heartbeat was sent that a server has published and that has not come back.
    pub fn outstanding_since(&self, key: &str) -> Option<Instant> {
        self.state.borrow().servers.get(key)?.outstanding_since
    }

    /// Records a message on the probe's channel. Returns the number of the probe when it has come back from all servers.
    pub fn received(&self, channel: &str, frame: &[u8]) -> Option<u64> {
        let mut complete = None;
        self.state.send_if_modified(|state| {
            let target = state.targets.iter().find(|target| target.key == channel_of(channel));
            let Some(key) = target.map(|target| target.key.clone()) else { return false };
            let server = state.servers.entry(key).or_default();
            (server.came_back, server.outstanding_since) = (Some(Instant::now()), None);
            let Some(number) = number_of(frame).filter(|number| *number == state.number) else { return false };
            server.returned = Some(number);
            state.received = number;
            complete = state.targets.iter().all(|target| state.has_returned(&target.key, number)).then_some(number);
            true
        });
        complete
    }

    /// Whether the probe of this number, or a later one, has come back from any server.
    pub fn returned_from_any_server(&self, number: u64) -> bool {
        self.state.borrow().received >= number
    }

    /// Appends and publishes a probe or a heartbeat, and reads its log.
    async fn publish(
        &self,
        log: &ProbeLog,
        number: u64,
        message: &str,
        found: Option<&FoundHeads<'_>>,
    ) -> Result<(), BrokerError> {
        let plain = self.internal.plain_name(&log.channel);
        let ids = found.and_then(|_| self.heads.for_script(&log.channel, number)).unwrap_or_default();
        let metas: Vec<_> = ids.iter().map(|id| self.heads.meta(*id)).collect();
        let sent = Instant::now();
        self.update(&log.channel, |server| server.sent = Some(sent));
        let probed = self.scripts.run(&self.commands, log, plain.as_deref(), message, &metas).await?;
        if let Some(found) = found {
            found(&self.heads.found_by_script(&ids, probed.heads));
        }
        probed.published?;
        self.commands.proved(&log.stream, probed.connection);
        self.update(&log.channel, |server| {
            if server.came_back.is_none_or(|came_back| came_back < sent) {
                server.outstanding_since.get_or_insert(sent);
            }
        });
        probed.read
    }

    /// Changes the state of a server, which no round trip waits for.
    fn update(&self, key: &str, change: impl FnOnce(&mut ServerState)) {
        self.state.send_if_modified(|state| {
            change(state.servers.entry(key.to_owned()).or_default());
            false
        });
    }
}

impl ProbeState {
    fn subscription(&self, key: &str) -> &Subscription {
        self.servers.get(key).map_or(&Subscription::Pending, |server| &server.subscription)
    }

    fn has_returned(&self, key: &str, number: u64) -> bool {
        self.servers.get(key).is_some_and(|server| server.returned == Some(number))
    }
}

/// The number of a probe, from the frame that the append script published. `None` for a heartbeat.
fn number_of(frame: &[u8]) -> Option<u64> {
    let (_, event) = std::str::from_utf8(frame).ok()?.rsplit_once(r#""event":"#)?;
    event.strip_suffix('}')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::redis::channels::Channels;
    use crate::broker::redis::routes::Routes;

    fn probe() -> Probe {
        let commands = Arc::new(Commands::new(watch::channel(Routes::Pending).1, None));
        let heads = Heads::new(Channels::for_test(true), commands.clone());
        Probe::new("t:", "n", true, false, commands, Arc::new(heads), Arc::default())
    }

    #[test]
    fn a_probe_is_complete_when_it_came_back_from_every_server() {
        let probe = probe();
        let target = |server: &str| ProbeTarget { server: Some(server.into()), key: format!("{{{server}}}:probe") };
        let frame = |event: &str| crate::protocol::event_frame(&"e:1".parse().unwrap(), event).into_bytes();
        probe.set_targets(vec![target("a"), target("b")]);
        probe.state.send_modify(|state| state.number = 1);
        assert!(!probe.returned_from_any_server(1));
        assert_eq!(probe.received("{a}:probe", &frame("1")), None);
        assert!(probe.returned_from_any_server(1));
        assert_eq!(probe.received("{b}:probe", &frame(HEARTBEAT)), None);
        assert_eq!(probe.received("{b}:probe", &frame("1")), Some(1));
        probe.state.send_modify(|state| state.number = 2);
        assert_eq!(probe.received("{b}:probe", &frame("1")), None, "it belongs to the previous probe");
        assert_eq!(probe.received("{b}:probe", &frame("2")), None);
        assert_eq!(probe.received("{a}:probe", &frame("2")), Some(2));
    }

    #[test]
    fn the_key_of_a_master_is_in_its_slots_and_in_no_channels_slot() {
        let probe = probe();
        let key = probe.key_in(&[100..=200, 9000..=9010], &[100], "t:n:{probe:0}:x");
        let found = slot(&key);
        assert!((101..=200).contains(&found) || (9000..=9010).contains(&found), "{found}");
        assert_eq!(probe.key_in(&[found..=found], &[], &key), key, "a key stays as long as its slot does");
        assert_eq!(slot(&probe.key_in(&[found..=found], &[found], "other")), found);
    }
}
