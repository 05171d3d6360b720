//! The scripts, which run where the key is that they are about.

use std::sync::Arc;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::config::Server as Node;
use fred::types::{Key, Value};
use tokio::sync::{Semaphore, mpsc, watch};

use super::link::reason;
use super::routes::Routes;
use super::server::{Server, Up};
use super::{ANSWER, BrokerError};

/// Calls in flight at a time: what is beyond waits its turn, within the time for its answer.
pub(super) const CALLS: usize = 1024;

/// Before a script that did not run, because its slot is elsewhere or on its way, is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A script, which Redis knows by its hash.
pub(super) struct Script {
    source: Str,
    hash: Str,
    /// It gives positions.
    appends: bool,
}

/// A script's KEYS and ARGV.
pub(super) type Arguments = (Vec<Key>, Vec<Value>);

/// Runs scripts.
pub(super) struct Commands {
    routes: watch::Receiver<Routes>,
    /// In a cluster: asks for the routes to be looked up anew, at a node that may know better.
    outdated: Option<mpsc::Sender<Option<Node>>>,
    calls: Semaphore,
}

impl Script {
    pub fn new(source: &'static str) -> Self {
        Self { source: Str::from_static(source), hash: fred::util::sha1_hash(source).into(), appends: false }
    }

    /// On a new master it waits until the other nodes have said what they know.
    pub fn appending(self) -> Self {
        Self { appends: true, ..self }
    }

    async fn run(&self, client: &Client, arguments: impl Fn() -> Arguments) -> Result<Value, Error> {
        let (keys, args) = arguments();
        match client.evalsha(self.hash.clone(), keys, args).await {
            // A Redis that was restarted knows no scripts; nothing has run, so it is safe to say it again in full.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let (keys, args) = arguments();
                client.eval(self.source.clone(), keys, args).await
            }
            answer => answer,
        }
    }
}

impl Commands {
    pub fn new(routes: watch::Receiver<Routes>, outdated: Option<mpsc::Sender<Option<Node>>>) -> Self {
        Self { routes, outdated, calls: Semaphore::new(CALLS) }
    }

    /// Runs a script where `key` is and answers within [`ANSWER`], at once where there is no connection. `arguments` are
    /// made each time that it is sent, for the connection of this number: again where Redis does not know the script, or
    /// where the key is elsewhere now.
    ///
    /// # Errors
    /// It is not known whether the script ran, unless Redis itself says no.
    pub async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: impl Fn(u64) -> Arguments,
    ) -> Result<Value, BrokerError> {
        let mut refused = None;
        let run = async {
            let mut routes = self.routes.clone();
            loop {
                let server = Self::server(&mut routes, key).await?;
                let up = if script.appends { server.heard().await? } else { server.up().await? };
                let Up { client, place, number } = up;
                let turn = self.calls.acquire().await.map_err(|_| closed())?;
                let error = match script.run(&client, || arguments(number)).await {
                    // What a master says after another one was named may be lost with it.
                    Ok(_) if place.is_past() => {
                        return Err(BrokerError::Unavailable("Sentinel names another master".into()));
                    }
                    Ok(_) if !self.routes.borrow().has(&server) => {
                        return Err(BrokerError::Unavailable("it is a master of the cluster no more".into()));
                    }
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                drop(turn);
                let reason = BrokerError::Unavailable(reason(&error));
                if !self.elsewhere(&error) {
                    return Err(reason);
                }
                refused = Some(reason);
                // Done when the routes are new, or when it is time to look whether the move is over.
                let _ = tokio::time::timeout(RETRY, routes.changed()).await;
            }
        };
        let answer = tokio::time::timeout(ANSWER, run).await;
        answer.unwrap_or_else(|_| Err(refused.unwrap_or_else(silent)))
    }

    async fn server(routes: &mut watch::Receiver<Routes>, key: &str) -> Result<Arc<Server>, BrokerError> {
        let known = routes.wait_for(|routes| !matches!(routes, Routes::Unasked)).await.map_err(|_| closed())?;
        known.server(key)
    }

    /// Whether this is what a node of a cluster says where it is not, or not yet or no more, the one to ask; then nothing
    /// has run.
    pub fn elsewhere(&self, error: &Error) -> bool {
        let mut words = error.details().split(' ');
        match words.next() {
            _ if self.outdated.is_none() => return false,
            Some("MOVED") => self.look_up(words.nth(1).and_then(node)),
            Some("READONLY") => self.look_up(None),
            // The keys of the slot are on their way, one by one. When all have arrived, the slot itself follows.
            Some("TRYAGAIN" | "ASK") => {}
            _ => return false,
        }
        true
    }

    /// Has the routes looked up, at this node where one is given.
    pub fn look_up(&self, node: Option<Node>) {
        // One request is enough for all.
        let _ = self.outdated.as_ref().map(|outdated| outdated.try_send(node));
    }
}

/// `HOST:PORT`; the host is left out where it is the one that was asked.
fn node(text: &str) -> Option<Node> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| Node::new(host, port))
}

pub(super) fn closed() -> BrokerError {
    BrokerError::Unavailable("it is closed".into())
}

pub(super) fn silent() -> BrokerError {
    BrokerError::Unavailable("Redis does not answer".into())
}

/// For a reply that none of our scripts gives.
pub(super) fn unreadable() -> BrokerError {
    BrokerError::Unavailable("Redis answered what none of the scripts answers".into())
}
