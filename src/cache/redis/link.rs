//! The connection to Redis, which a task makes, and replaces when it ends, is silent, or leads to a replica.
//!
//! Each connection is a client of fred of its own, without fred's reconnecting: a new client never sends again what an older one
//! has sent, and ends with a task that fails for good or is stuck in a full socket. While there is no connection, calls
//! fail at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::config::{Config, ConnectionConfig, Options, PerformanceConfig, TcpConfig};
use fred::types::{ConnectHandle, Value};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::cache::error::BoxError;
use crate::cache::l2::LIMIT;

/// How long a connection may take to be opened.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a server may be silent. Longer than a fork or somebody else's slow command blocks Redis.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// The longest wait between two attempts to connect.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Concurrent calls. Further calls wait, within their limit of time.
const MAX_CALLS: usize = 1_024;
/// Commands that fred queues. So many that none is refused: fred stops flushing once it has refused one.
const COMMAND_BUFFER: usize = 8 * MAX_CALLS;

/// Why a connection may have to be replaced.
enum Doubt {
    /// A call for this key got no answer.
    Silent(String),
    /// The server takes no writes.
    Replica,
}

/// A connection that is replaced. Ends when it is dropped.
pub struct Link {
    current: Arc<Mutex<Option<Client>>>,
    doubts: mpsc::Sender<Doubt>,
    permits: Semaphore,
    task: AbortHandle,
}

impl Link {
    /// Begins to connect.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn to(config: Config) -> Self {
        let current: Arc<Mutex<Option<Client>>> = Arc::default();
        let (doubts, doubted) = mpsc::channel(1);
        let task = tokio::spawn(follow(config, current.clone(), doubted)).abort_handle();
        Self { current, doubts, permits: Semaphore::new(MAX_CALLS), task }
    }

    /// Runs a script with one key.
    ///
    /// # Errors
    /// Why it did not run, or may not have run.
    pub async fn run(&self, script: &'static str, key: String, values: Vec<Value>) -> Result<Value, BoxError> {
        let client = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = client.ok_or("there is no connection to Redis")?;
        let _permit = self.permits.acquire().await?;
        let mut unanswered = Unanswered { link: self, key: Some(key.clone()) };
        let answer: Result<Value, Error> = client.eval(Str::from_static(script), key, values).await;
        match answer {
            Ok(answer) => {
                unanswered.key = None;
                Ok(answer)
            }
            Err(error) => {
                if *error.kind() != ErrorKind::Timeout {
                    unanswered.key = None;
                }
                if error.details().starts_with("READONLY") {
                    self.doubt(Doubt::Replica);
                }
                Err(describe(&error).into())
            }
        }
    }

    /// One doubt at a time is enough.
    fn doubt(&self, doubt: Doubt) {
        let _ = self.doubts.try_send(doubt);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells of a call without an answer, also if its caller does not wait for it any more.
struct Unanswered<'a> {
    link: &'a Link,
    key: Option<String>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.link.doubt(Doubt::Silent(key));
        }
    }
}

/// An open connection. fred's task ends with it.
struct Connection {
    client: Client,
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects, and connects again.
async fn follow(config: Config, current: Arc<Mutex<Option<Client>>>, mut doubts: mpsc::Receiver<Doubt>) {
    let set = |client| *current.lock().unwrap_or_else(PoisonError::into_inner) = client;
    let (mut failures, mut last) = (0_u32, String::new());
    loop {
        let reason = match Connection::open(&config).await {
            Ok(mut connection) => {
                tracing::debug!("the second level of the cache is connected to Redis");
                // What was doubted is gone.
                while doubts.try_recv().is_ok() {}
                set(Some(connection.client.clone()));
                let reason = connection.ended(&mut doubts).await;
                set(None);
                (failures, last) = (0, String::new());
                reason
            }
            Err(reason) => reason,
        };
        if reason != last {
            tracing::warn!(reason, "the second level of the cache has no connection to Redis");
            last = reason;
        }
        let backoff = MAX_BACKOFF.min(Duration::from_millis(50) * 2_u32.pow(failures.min(8)));
        // Jitter: instances that lost the same Redis do not come back at the same moment.
        sleep(backoff.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        failures += 1;
    }
}

impl Connection {
    async fn open(config: &Config) -> Result<Self, String> {
        let performance = PerformanceConfig { default_command_timeout: LIMIT, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: CONNECT_LIMIT,
            internal_command_timeout: CONNECT_LIMIT,
            max_command_attempts: 1,
            max_command_buffer_len: COMMAND_BUFFER,
            // Without it, bytes that nobody acknowledges block fred's one task for ever.
            tcp: TcpConfig { nodelay: Some(true), user_timeout: Some(CONNECT_LIMIT), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let client = Client::new(config.clone(), Some(performance), Some(connection), None);
        let mut connection = Self { task: client.connect(), client };
        let options = Options { timeout: Some(CONNECT_LIMIT), ..Options::default() };
        let patient = connection.client.with_options(&options);
        // fred holds the PING back until it has connected.
        tokio::select! {
            reason = ended(&mut connection.task) => return Err(reason),
            pong = patient.ping::<Value>(None) => drop(pong.map_err(|error| describe(&error))?),
        }
        Ok(connection)
    }

    /// Waits until the connection cannot be used any more. Returns why.
    async fn ended(&mut self, doubts: &mut mpsc::Receiver<Doubt>) -> String {
        let options = Options { timeout: Some(SILENCE_LIMIT), ..Options::default() };
        loop {
            let doubt = tokio::select! {
                reason = ended(&mut self.task) => return reason,
                doubt = doubts.recv() => doubt,
            };
            match doubt {
                // It asks the server that has the key: the others of a cluster may be well.
                Some(Doubt::Silent(key)) => {
                    if let Err(error) = self.client.with_options(&options).exists::<i64, _>(key).await {
                        return describe(&error);
                    }
                }
                Some(Doubt::Replica) => return "this Redis is a replica, which takes no writes (READONLY)".into(),
                None => return "the cache is gone".into(),
            }
        }
    }
}

async fn ended(task: &mut ConnectHandle) -> String {
    match task.await {
        Ok(Ok(())) => "the connection was closed".into(),
        Ok(Err(error)) => describe(&error),
        Err(error) => error.to_string(),
    }
}

/// An error of fred for people.
fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Timeout => "Redis does not answer".into(),
        _ => error.details().to_owned(),
    }
}
