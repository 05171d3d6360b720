//! A link: one connection to Redis that is opened, verified, monitored, and replaced when it fails or goes silent.
//!
//! Each connection is a fred client of its own, and fred's own reconnecting is off, for three reasons. fred does not
//! notice a silent peer while commands are written, because every write restarts its wait for an answer. Its one task can
//! block in a write to a full socket. That task ends for good on some errors. A new client has none of these problems,
//! and never sends again what an old client had sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::BrokerError;
use super::attempts::{Attempts, Pulse};
use super::errors::{describe, from_fred, lacks_resp3};
use super::target::{Endpoint, Target};

/// The shortest time between two health checks of a connection.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How late the next proof of a connection may be before a health check.
const PROOF_DELAY: Duration = Duration::from_millis(500);

/// How long a health check may take. Longer than a fork or somebody else's slow command blocks Redis.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(4);

/// What shows that a connection works. Whoever uses the connection reports it here, so that a connection in use needs no
/// health checks.
pub(super) struct SignsOfLife {
    interval: ProofInterval,
    /// The last proof.
    proven: Mutex<Instant>,
    /// Messages that came on the connection.
    messages: AtomicU64,
    doubted: Notify,
}

/// The time between two proofs of a connection, in ms.
#[derive(Clone)]
pub(super) struct ProofInterval(Arc<AtomicU64>);

/// Opens connections to a target, one after the other.
pub(super) struct Link {
    target: Target,
    attempts: Attempts,
    /// See [`Endpoint::client`].
    message_buffer: usize,
    allow_replica: bool,
    /// A server without RESP3 is of no use.
    resp3_only: bool,
}

/// A connection that passed its handshake.
pub(super) struct Connection {
    pub client: Client,
    pub endpoint: Endpoint,
    allow_replica: bool,
    /// fred's task. The connection ends with it.
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Link {
    /// A link to a master. `message_buffer` is the number of pushed messages that are buffered.
    pub fn new(target: Target, role: &'static str, message_buffer: usize) -> Self {
        let attempts = Attempts::new(target.name.clone(), role);
        Self { target, attempts, message_buffer, allow_replica: false, resp3_only: false }
    }

    /// Names the bridge that the link is for, in log lines.
    pub fn of_bridge(mut self, name: &str) -> Self {
        self.attempts.bridge = Some(name.to_owned());
        self
    }

    /// Accepts a replica as well as a master.
    pub fn or_replica(self) -> Self {
        Self { allow_replica: true, ..self }
    }

    /// Accepts no server without RESP3: the connection subscribes and sends other commands too.
    pub fn resp3_only(self) -> Self {
        Self { resp3_only: true, ..self }
    }

    /// As [`Attempts::proven_by`].
    pub fn proven_by(self, pulse: Pulse) -> Self {
        Self { attempts: self.attempts.proven_by(pulse), ..self }
    }

    /// Makes the next [`connect`](Self::connect) go to this target.
    pub fn set_target(&mut self, target: Target) {
        self.attempts.name.clone_from(&target.name);
        self.target = target;
    }

    /// Tries once to connect, after the backoff that earlier failures require. The backoff ends early when Sentinel names
    /// another master.
    ///
    /// # Errors
    /// Why the attempt failed.
    pub async fn connect(&mut self) -> Result<Connection, BrokerError> {
        if let Some(backoff) = self.attempts.backoff() {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.target.changed() => {}
            }
        }
        let connected = match self.target.resolve().await {
            Ok(endpoint) => self.open(endpoint).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &connected {
            self.failed(&error.to_string());
        }
        connected
    }

    /// Opens a connection with RESP3, or with RESP2 to a server that refuses `HELLO 3`. Each connection finds that out anew,
    /// because another server may be behind the address.
    async fn open(&self, endpoint: Endpoint) -> Result<Connection, BrokerError> {
        let connect = |version| Connection::open(endpoint.clone(), version, self.message_buffer, self.allow_replica);
        match connect(RespVersion::RESP3).await {
            Err(error) if lacks_resp3(&error.to_string()) && !self.resp3_only => {
                tracing::debug!(redis = self.attempts.name, role = self.attempts.role, reason = %error, "no RESP3: using RESP2");
                connect(RespVersion::RESP2).await
            }
            connected => connected,
        }
    }

    /// Reports that the connection is in use: resets the backoff.
    pub fn established(&mut self) {
        self.attempts.established();
    }

    /// Reports that the connection ended, or could not be used: increases the backoff.
    pub fn failed(&mut self, cause: &str) {
        self.attempts.failed(cause);
    }
}

impl Connection {
    async fn open(
        endpoint: Endpoint,
        version: RespVersion,
        message_buffer: usize,
        allow_replica: bool,
    ) -> Result<Self, BrokerError> {
        let client = endpoint.client(version, message_buffer);
        let task = AbortOnDropHandle::new(client.connect());
        let mut connection = Self { client, endpoint, allow_replica, task };
        // fred holds the PING back until it has connected, so this covers the connect as well.
        let Self { client, task, endpoint, .. } = &mut connection;
        let is_replica = tokio::select! {
            error = task_ended(task) => return Err(endpoint.explain(error)),
            checked = handshake(client, allow_replica) => {
                checked.map_err(|error| endpoint.explain(from_fred(&error)))?
            }
        };
        endpoint.report_accepted();
        if is_replica {
            endpoint.report_replica();
            return Err(BrokerError::Unavailable(REPLICA.into()));
        }
        Ok(connection)
    }

    /// Waits until the connection ends and returns the reason. Ends it if the server does not answer health checks, if it
    /// has become a replica, or if Sentinel names another master.
    ///
    /// A health check is due when the next of the `signs` is late, or somebody doubts the connection.
    pub async fn ended(&mut self, signs: &SignsOfLife) -> String {
        let Self { client, endpoint, allow_replica, task } = self;
        tokio::select! {
            error = task_ended(task) => error.to_string(),
            cause = failed_health_check(client, *allow_replica, signs) => cause,
            () = endpoint.superseded() => "Sentinel names another master".into(),
        }
    }
}

async fn task_ended(task: &mut AbortOnDropHandle<Result<(), Error>>) -> BrokerError {
    match task.await {
        Ok(Ok(())) => BrokerError::Unavailable("the connection was closed".into()),
        Ok(Err(error)) => from_fred(&error),
        Err(error) => BrokerError::Unavailable(error.to_string()),
    }
}

async fn failed_health_check(client: &Client, allow_replica: bool, signs: &SignsOfLife) -> String {
    loop {
        tokio::time::sleep(HEALTH_CHECK_INTERVAL).await;
        signs.are_missed().await;
        let before = signs.messages();
        match verified_ping(client).await {
            Ok(()) => {}
            // fred reads before it writes, so many messages may delay the PING. Those messages prove that the
            // connection is alive.
            Err(error) if *error.kind() == ErrorKind::Timeout && signs.messages() != before => {}
            Err(error) => return describe(&error),
        }
        if !allow_replica && is_replica(client).await {
            return REPLICA.into();
        }
        signs.proved();
    }
}

impl SignsOfLife {
    /// The signs of a new connection, which is proven after each `interval`.
    pub fn after_each(interval: impl Into<ProofInterval>) -> Self {
        let interval = interval.into();
        let proven = Mutex::new(Instant::now());
        Self { interval, proven, messages: AtomicU64::new(0), doubted: Notify::new() }
    }

    /// Reports that the connection did what it is for: the server answers on it, and is a master if it must be one.
    pub fn proved(&self) {
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Reports that a call on the connection got no answer: a health check is due.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Reports a message. A connection on which messages arrive is alive.
    pub fn message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of messages.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Waits until a health check is due.
    async fn are_missed(&self) {
        let due = || *self.proven.lock().unwrap_or_else(PoisonError::into_inner) + self.interval.get() + PROOF_DELAY;
        while due() > Instant::now() {
            tokio::select! {
                () = tokio::time::sleep_until(due()) => {}
                () = self.doubted.notified() => return,
            }
        }
    }
}

/// Verifies a new connection. Returns whether the server is a replica where only a master is allowed.
async fn handshake(client: &Client, allow_replica: bool) -> Result<bool, Error> {
    verified_ping(client).await?;
    Ok(!allow_replica && is_replica(client).await)
}

const REPLICA: &str = "this Redis is a replica, which takes no writes (READONLY)";

/// Whether the server says that it is a replica. A demoted master keeps its connections, and a host name may lead to
/// another server after a failover. HELLO reports the role as ROLE does, and needs no right. A server without HELLO is asked
/// by ROLE. One that answers to neither counts as a master: the connection subscribes with RESP2, or the user may not ask.
async fn is_replica(client: &Client) -> bool {
    for command in ["HELLO", "ROLE"] {
        let command = CustomCommand::new_static(command, ClusterHash::Random, false);
        if let Ok(reply) = client.custom::<Value, Value>(command, Vec::new()).await {
            return is_role_of_replica(&reply);
        }
    }
    false
}

/// Whether the reply to HELLO, as RESP3 or RESP2 has it, or to ROLE is that of a replica.
fn is_role_of_replica(reply: &Value) -> bool {
    let is_replica =
        |role: Option<&Value>| role.and_then(Value::as_str).is_some_and(|role| role == "replica" || role == "slave");
    match reply {
        Value::Map(facts) => facts.iter().any(|(name, role)| name.as_str() == Some("role") && is_replica(Some(role))),
        Value::Array(facts) => {
            let mut pairs = facts.chunks(2);
            is_replica(facts.first())
                || pairs.any(|pair| pair[0].as_str().is_some_and(|name| name == "role") && is_replica(pair.get(1)))
        }
        _ => false,
    }
}

impl From<Duration> for ProofInterval {
    fn from(interval: Duration) -> Self {
        let new = Self(Arc::default());
        new.set(interval);
        new
    }
}

impl ProofInterval {
    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Changes the interval, also of connections that are open.
    pub fn set(&self, interval: Duration) {
        self.0.store(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Sends a PING with a nonce. Success proves that every earlier command was answered, and that replies still match their
/// commands.
///
/// fred gives each reply to the oldest command that waits for one. The reply to a refused SUBSCRIBE belongs to no waiting
/// command, so all later commands get the reply of the command before them. The nonce shows that. A connection that
/// subscribes with RESP2 gets the nonce after the word `pong`.
pub(super) async fn verified_ping(client: &Client) -> Result<(), Error> {
    let nonce = format!("{:016x}", rand::random::<u64>());
    let options = Options { timeout: Some(HEALTH_CHECK_TIMEOUT), ..Options::default() };
    let answer: Vec<String> = client.with_options(&options).ping(Some(nonce.clone())).await?;
    if answer.last() != Some(&nonce) {
        return Err(Error::new(ErrorKind::Protocol, "replies do not match their commands"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|&word| word.into()).collect())
    }

    #[test]
    fn a_replica_is_known_by_hello_and_by_role() {
        for (reply, replica) in [
            (list(&["server", "redis", "proto", "2", "role", "replica"]), true),
            (list(&["server", "redis", "proto", "2", "role", "master"]), false),
            (list(&["server", "replica"]), false),
            (list(&["slave", "127.0.0.1", "6379", "connected", "12"]), true),
            (list(&["master", "12"]), false),
            (Value::Null, false),
        ] {
            assert_eq!(is_role_of_replica(&reply), replica, "{reply:?}");
        }
    }
}
