//! One connection, kept up: connected, proved, watched, and replaced by a new one when it ends or goes silent.
//!
//! Each connection is a fred client of its own, and fred's own reconnecting is off. Its policy reconnects only what it
//! sees fail: a peer that is silent while commands are written goes unnoticed (every write starts the wait for an answer
//! again), its one task may be stuck in a write to a full socket, and that task ends for good on some errors. A new
//! client has none of that behind it, and nothing that was written to an old one is ever written again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio_util::task::AbortOnDropHandle;

use super::target::{Place, Target};

/// Between two proofs of life.
const PULSE: Duration = Duration::from_secs(1);

/// How long a proof of life may take: longer than a fork or a slow command of somebody else holds Redis up.
const SILENCE: Duration = Duration::from_secs(4);

/// The longest wait before connecting again: when Redis is back, that is noticed within this.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Connects one time after the other.
pub(super) struct Link {
    target: Target,
    /// What it is for, in log lines.
    role: &'static str,
    /// See [`Place::client`].
    messages: usize,
    /// A replica will do.
    any: bool,
    /// Connections in a row that failed or ended before they were of use.
    failures: u32,
    /// The last failure, so that one that lasts is logged once.
    reason: Option<String>,
}

/// A connection that answered.
pub(super) struct Connection {
    pub client: Client,
    pub place: Place,
    any: bool,
    /// fred's task; the connection ends with it.
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Link {
    pub fn new(target: Target, role: &'static str, messages: usize) -> Self {
        Self { target, role, messages, any: false, failures: 0, reason: None }
    }

    /// A replica will do too.
    pub fn or_replica(self) -> Self {
        Self { any: true, ..self }
    }

    /// Connects to this one next.
    pub fn aim(&mut self, target: Target) {
        self.target = target;
    }

    /// Waits as long as earlier failures make advisable, or until Redis is said to be elsewhere, then tries once.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&mut self) -> Result<Connection, String> {
        if self.failures > 0 {
            let wait = MAX_WAIT.min(Duration::from_millis(50) * 2u32.pow(self.failures.min(8)));
            // Nodes that lost their Redis together do not come back together.
            let wait = wait.mul_f64(0.5 + 0.5 * rand::random::<f64>());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.target.moved() => {}
            }
        }
        let connected = match self.target.place().await {
            Ok(place) => Connection::open(place, self.messages, self.any).await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = &connected {
            self.lost(reason);
        }
        connected
    }

    /// The connection does what it is for.
    pub fn stands(&mut self) {
        self.failures = 0;
        self.reason = None;
        tracing::info!(redis = self.target.name, role = self.role, "connected to Redis");
    }

    /// The connection is no more, or was never of use.
    pub fn lost(&mut self, reason: &str) {
        self.failures += 1;
        if self.reason.as_deref() != Some(reason) {
            tracing::warn!(redis = self.target.name, role = self.role, reason, "no connection to Redis");
            self.reason = Some(reason.to_owned());
        }
    }
}

impl Connection {
    async fn open(place: Place, messages: usize, any: bool) -> Result<Self, String> {
        let client = place.client(messages);
        let task = AbortOnDropHandle::new(client.connect());
        let mut connection = Self { client, place, any, task };
        // The PING waits in fred until it has connected, so this is the whole of it.
        let Self { client, task, .. } = &mut connection;
        let proof = tokio::select! {
            reason = ended(task) => Err(reason),
            proof = proof(client, any) => proof,
        };
        if proof.as_ref().is_err_and(|reason| reason == REPLICA) {
            connection.place.refute();
        }
        proof.map(|()| connection)
    }

    /// Waits for the end of the connection and says why it came. One that neither answers nor says anything (`heard`
    /// counts that) for a while is ended, and so is one to a server that is the right one no more.
    pub async fn end(&mut self, heard: &AtomicU64) -> String {
        let Self { client, place, any, task } = self;
        tokio::select! {
            reason = ended(task) => reason,
            reason = pulse(client, *any, heard) => reason,
            () = place.past() => "Sentinel names another master".into(),
        }
    }
}

async fn ended(task: &mut AbortOnDropHandle<Result<(), Error>>) -> String {
    match task.await {
        Ok(Ok(())) => "the connection was closed".into(),
        Ok(Err(error)) => reason(&error),
        Err(error) => error.to_string(),
    }
}

async fn pulse(client: &Client, any: bool, heard: &AtomicU64) -> String {
    loop {
        tokio::time::sleep(PULSE).await;
        let before = heard.load(Ordering::Relaxed);
        match prove(client).await {
            Ok(()) => {}
            // fred reads before it writes, so a flood of messages may hold a PING back; the flood is proof enough.
            Err(error) if *error.kind() == ErrorKind::Timeout && heard.load(Ordering::Relaxed) != before => {}
            Err(error) => return reason(&error),
        }
        if !any && is_replica(client).await {
            return REPLICA.into();
        }
    }
}

/// What a connection must have shown before it is of use.
async fn proof(client: &Client, any: bool) -> Result<(), String> {
    prove(client).await.map_err(|error| reason(&error))?;
    if !any && is_replica(client).await { Err(REPLICA.into()) } else { Ok(()) }
}

const REPLICA: &str = "this Redis is a replica, which takes nothing (READONLY)";

/// Whether the server says that it is one: a master that was demoted keeps its connections, and behind the name that one
/// connected to there may be another server by now. HELLO says it as ROLE does, and needs no right.
async fn is_replica(client: &Client) -> bool {
    let hello = CustomCommand::new_static("HELLO", ClusterHash::Random, false);
    let Ok(Value::Map(facts)) = client.custom::<Value, Value>(hello, Vec::new()).await else { return false };
    facts.iter().any(|(name, value)| {
        name.as_str() == Some("role") && value.as_str().is_some_and(|role| role == "replica" || role == "slave")
    })
}

/// Proves that what was sent before was answered, in order: a PING whose answer can be no other command's.
///
/// fred gives a reply to the oldest command that waits for one. A refused SUBSCRIBE has a reply that nobody waits for, so
/// from then on everybody gets the reply before his: that shows here.
pub(super) async fn prove(client: &Client) -> Result<(), Error> {
    let nonce = format!("{:016x}", rand::random::<u64>());
    let options = Options { timeout: Some(SILENCE), ..Options::default() };
    let answer: String = client.with_options(&options).ping(Some(nonce.clone())).await?;
    if answer != nonce {
        return Err(Error::new(ErrorKind::Protocol, "replies do not match their commands"));
    }
    Ok(())
}

/// An error of fred or Redis as a sentence for people.
pub(super) fn reason(error: &Error) -> String {
    let details = error.details();
    match error.kind() {
        ErrorKind::Timeout => "Redis does not answer".into(),
        // fred writes the operating system's errors as Rust's debugger would.
        ErrorKind::IO => match details.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"')) {
            Some((message, _)) => message.to_owned(),
            None => details.to_owned(),
        },
        _ => details.to_owned(),
    }
}
