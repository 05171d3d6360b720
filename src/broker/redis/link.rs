//! A link: one connection to Redis that is opened, verified, monitored, and replaced when it fails or goes silent.
//!
//! Each connection is a fred client of its own, and fred's own reconnecting is off, for three reasons. fred does not
//! notice a silent peer while commands are written, because every write restarts its wait for an answer. Its one task can
//! block in a write to a full socket. That task ends for good on some errors. A new client has none of these problems,
//! and never sends again what an old client had sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio_util::task::AbortOnDropHandle;

use super::BrokerError;
use super::errors::{describe, from_fred};
use super::target::{Endpoint, Target};

/// Between two health checks of a connection.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a health check may take. Longer than a fork or somebody else's slow command blocks Redis.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest wait between two attempts to connect, and so the longest delay until a Redis that is back is noticed.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Opens connections to a target, one after the other.
pub(super) struct Link {
    target: Target,
    /// The purpose of the connection, for log lines.
    role: &'static str,
    /// See [`Endpoint::client`].
    message_buffer: usize,
    allow_replica: bool,
    /// Consecutive attempts that failed, or whose connection ended before [`established`](Self::established).
    failures: u32,
    /// The last failure. The same failure is logged once.
    last_failure: Option<String>,
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
        Self { target, role, message_buffer, allow_replica: false, failures: 0, last_failure: None }
    }

    /// Accepts a replica as well as a master.
    pub fn or_replica(self) -> Self {
        Self { allow_replica: true, ..self }
    }

    /// Makes the next [`connect`](Self::connect) go to this target.
    pub fn set_target(&mut self, target: Target) {
        self.target = target;
    }

    /// Tries once to connect, after the backoff that earlier failures require. The backoff ends early when Sentinel names
    /// another master.
    ///
    /// # Errors
    /// Why the attempt failed.
    pub async fn connect(&mut self) -> Result<Connection, BrokerError> {
        if self.failures > 0 {
            let backoff = MAX_BACKOFF.min(Duration::from_millis(50) * 2u32.pow(self.failures.min(8)));
            // Jitter: nodes that lost the same Redis must not come back at the same moment.
            let backoff = backoff.mul_f64(0.5 + 0.5 * rand::random::<f64>());
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.target.changed() => {}
            }
        }
        let connected = match self.target.resolve().await {
            Ok(endpoint) => Connection::open(endpoint, self.message_buffer, self.allow_replica).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &connected {
            self.failed(&error.to_string());
        }
        connected
    }

    /// Reports that the connection is in use: resets the backoff.
    pub fn established(&mut self) {
        self.failures = 0;
        self.last_failure = None;
        tracing::info!(redis = self.target.name, role = self.role, "connected to Redis");
    }

    /// Reports that the connection ended, or could not be used: increases the backoff.
    pub fn failed(&mut self, cause: &str) {
        self.failures += 1;
        if self.last_failure.as_deref() != Some(cause) {
            tracing::warn!(redis = self.target.name, role = self.role, reason = cause, "no connection to Redis");
            self.last_failure = Some(cause.to_owned());
        }
    }
}

impl Connection {
    async fn open(endpoint: Endpoint, message_buffer: usize, allow_replica: bool) -> Result<Self, BrokerError> {
        let client = endpoint.client(message_buffer);
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
        if is_replica {
            endpoint.report_replica();
            return Err(BrokerError::Unavailable(REPLICA.into()));
        }
        Ok(connection)
    }

    /// Waits until the connection ends and returns the reason. Ends it if the server does not answer health checks, if it
    /// has become a replica, or if Sentinel names another master.
    ///
    /// `received` counts the messages that came on the connection. A connection on which messages arrive is alive.
    pub async fn ended(&mut self, received: &AtomicU64) -> String {
        let Self { client, endpoint, allow_replica, task } = self;
        tokio::select! {
            error = task_ended(task) => error.to_string(),
            cause = failed_health_check(client, *allow_replica, received) => cause,
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

async fn failed_health_check(client: &Client, allow_replica: bool, received: &AtomicU64) -> String {
    loop {
        tokio::time::sleep(HEALTH_CHECK_INTERVAL).await;
        let before = received.load(Ordering::Relaxed);
        match verified_ping(client).await {
            Ok(()) => {}
            // fred reads before it writes, so many messages may delay the PING. Those messages prove that the
            // connection is alive.
            Err(error) if *error.kind() == ErrorKind::Timeout && received.load(Ordering::Relaxed) != before => {}
            Err(error) => return describe(&error),
        }
        if !allow_replica && is_replica(client).await {
            return REPLICA.into();
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
/// another server after a failover. HELLO reports the role as ROLE does, and needs no right.
async fn is_replica(client: &Client) -> bool {
    let hello = CustomCommand::new_static("HELLO", ClusterHash::Random, false);
    let Ok(Value::Map(facts)) = client.custom::<Value, Value>(hello, Vec::new()).await else { return false };
    facts.iter().any(|(name, value)| {
        name.as_str() == Some("role") && value.as_str().is_some_and(|role| role == "replica" || role == "slave")
    })
}

/// Sends a PING with a nonce. Success proves that every earlier command was answered, and that replies still match their
/// commands.
///
/// fred gives each reply to the oldest command that waits for one. The reply to a refused SUBSCRIBE belongs to no waiting
/// command, so all later commands get the reply of the command before them. The nonce shows that.
pub(super) async fn verified_ping(client: &Client) -> Result<(), Error> {
    let nonce = format!("{:016x}", rand::random::<u64>());
    let options = Options { timeout: Some(HEALTH_CHECK_TIMEOUT), ..Options::default() };
    let answer: String = client.with_options(&options).ping(Some(nonce.clone())).await?;
    if answer != nonce {
        return Err(Error::new(ErrorKind::Protocol, "replies do not match their commands"));
    }
    Ok(())
}
