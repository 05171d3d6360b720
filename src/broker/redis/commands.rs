//! Runs Lua scripts on the server that has their key, with a timeout and a limit of concurrent calls.
//!
//! In a cluster a script whose slot has moved, or is moving, is tried again until the timeout. Nothing else is retried:
//! a publisher that got an error decides whether it sends its events again.

use std::sync::Arc;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::types::Value;
use fred::types::config::Server as Node;
use tokio::sync::{Semaphore, mpsc, watch};

use super::routes::Routes;
use super::server::{LiveConnection, OpenConnection, Server};
use super::transport::{Arguments, CallError, Transport};
use super::{BrokerError, CALL_TIMEOUT};

/// Concurrent calls. Further calls wait for a permit, and the wait counts towards their timeout.
pub(super) const MAX_CONCURRENT_CALLS: usize = 1024;

/// The longest wait for new routes before a redirected script is tried again.
const REDIRECT_RETRY_DELAY: Duration = Duration::from_millis(20);

/// A Lua script. Redis caches it under its SHA-1.
pub(super) struct Script {
    source: Str,
    hash: Str,
    /// The script assigns positions.
    appends: bool,
}

/// The error of a script that needs all nonces, and has appended nothing; see `log.lua`.
const SEND_NONCES: &str = "NONCES";

/// How a call is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// The id of the connection that carries the call.
    pub connection: u64,
    /// The script asked for all nonces that this node knows of the logs.
    pub all_nonces: bool,
}

/// Runs scripts.
pub(super) struct Commands {
    routes: watch::Receiver<Routes>,
    /// Asks [`Cluster`](super::cluster::Cluster) to look up the routes, at this node if one is given. `None` without a
    /// cluster.
    route_requests: Option<mpsc::Sender<Option<Node>>>,
    call_permits: Semaphore,
}

impl Script {
    /// A script that assigns no positions.
    pub fn new(source: &'static str) -> Self {
        Self { source: Str::from_static(source), hash: fred::util::sha1_hash(source).into(), appends: false }
    }

    /// Marks a script that assigns positions. On a new master it runs after the promotion grace; see
    /// [`Server::after_promotion_grace`].
    pub fn appending(self) -> Self {
        Self { appends: true, ..self }
    }

    async fn run(&self, transport: &dyn Transport, arguments: impl Fn() -> Arguments) -> Result<Value, CallError> {
        match transport.evalsha(&self.hash, arguments()).await {
            // A restarted Redis has an empty script cache. Nothing has run, so sending the source is safe.
            Err(error) if error.text.starts_with("NOSCRIPT") => transport.eval(&self.source, arguments()).await,
            answer => answer,
        }
    }
}

impl Commands {
    /// `route_requests` is given in a cluster only.
    pub fn new(routes: watch::Receiver<Routes>, route_requests: Option<mpsc::Sender<Option<Node>>>) -> Self {
        Self { routes, route_requests, call_permits: Semaphore::new(MAX_CONCURRENT_CALLS) }
    }

    /// Runs a script on the server that has `key` and returns its reply within [`CALL_TIMEOUT`]. Without a connection it
    /// fails at once.
    ///
    /// `arguments` is called for each attempt. A second attempt follows when the server does not know the script, when the
    /// key has moved to another server, or when the script asks for all nonces.
    ///
    /// # Errors
    /// See [`errors`](super::errors). Whether the script ran is not known after [`BrokerError::Unavailable`].
    pub async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: impl Fn(Sending) -> Arguments,
    ) -> Result<Value, BrokerError> {
        let mut redirected = None;
        let mut used: Option<OpenConnection> = None;
        let run = async {
            let mut all_nonces = false;
            let mut routes = self.routes.clone();
            loop {
                let server = Self::server(&mut routes, key).await?;
                let connection =
                    if script.appends { server.after_promotion_grace().await? } else { server.connection().await? };
                let LiveConnection { transport, id, open } = connection;
                used.clone_from(&open);
                let permit = self.call_permits.acquire().await.map_err(|_| BrokerError::closed())?;
                let sending = Sending { connection: id, all_nonces };
                let error = match script.run(&*transport, || arguments(sending)).await {
                    // What an old master answers after a failover may not be in the new master's log.
                    Ok(_) if open.is_some_and(|open| open.endpoint.is_superseded()) => {
                        return Err(BrokerError::Unavailable("Sentinel names another master".into()));
                    }
                    Ok(_) if !self.routes.borrow().serves(&server) => {
                        return Err(BrokerError::Unavailable("the server is no longer a master of the cluster".into()));
                    }
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.text.starts_with(SEND_NONCES) && !all_nonces => {
                        all_nonces = true;
                        continue;
                    }
                    Err(error) => error,
                };
                drop(permit);
                if error.timed_out {
                    // fred's own limit is as long as that of this call, and mostly comes first.
                    used.iter().for_each(|open| open.signs.doubt());
                }
                if !self.handle_redirect(&error.text) {
                    return Err(error.cause);
                }
                redirected = Some(error.cause);
                // A slot may finish its move without a change of the routes, so the wait is bounded.
                let _ = tokio::time::timeout(REDIRECT_RETRY_DELAY, routes.changed()).await;
            }
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, run).await;
        answer.unwrap_or_else(|_| {
            used.iter().for_each(|open| open.signs.doubt());
            Err(redirected.unwrap_or_else(timed_out))
        })
    }

    /// The routes as they are known now.
    pub fn routes(&self) -> watch::Ref<'_, Routes> {
        self.routes.borrow()
    }

    /// Makes health checks of the connections to all servers due.
    pub fn doubt(&self) {
        self.routes.borrow().servers().for_each(|server| server.doubt());
    }

    /// Reports that the server of `key` has appended a probe that came on this connection.
    pub fn proved(&self, key: &str, connection: u64) {
        if let Ok(server) = self.server_of(key) {
            server.proved(connection);
        }
    }

    /// The server that has `key`, as far as is known now.
    ///
    /// # Errors
    /// As [`Routes::server`].
    pub fn server_of(&self, key: &str) -> Result<Arc<Server>, BrokerError> {
        self.routes.borrow().server(key)
    }

    /// The server that has `key`, when the routes are known.
    ///
    /// # Errors
    /// As [`Routes::server`].
    pub async fn known_server_of(&self, key: &str) -> Result<Arc<Server>, BrokerError> {
        Self::server(&mut self.routes.clone(), key).await
    }

    async fn server(routes: &mut watch::Receiver<Routes>, key: &str) -> Result<Arc<Server>, BrokerError> {
        let known =
            routes.wait_for(|routes| !matches!(routes, Routes::Pending)).await.map_err(|_| BrokerError::closed())?;
        known.server(key)
    }

    /// Whether the text of an error says that a cluster node redirected the call, because it does not serve the key's slot
    /// now. The call did nothing then. Requests new routes if they have changed.
    pub fn handle_redirect(&self, error: &str) -> bool {
        let mut words = error.split(' ');
        match words.next() {
            _ if self.route_requests.is_none() => return false,
            Some("MOVED") => self.request_routes(words.nth(1).and_then(parse_node)),
            Some("READONLY") => self.request_routes(None),
            // The keys of the slot move one by one. The slot follows after the last of them.
            Some("TRYAGAIN" | "ASK") => {}
            _ => return false,
        }
        true
    }

    /// Asks for new routes, from this node if one is given.
    pub fn request_routes(&self, node: Option<Node>) {
        // One pending request serves all callers.
        let _ = self.route_requests.as_ref().map(|requests| requests.try_send(node));
    }
}

/// Parses the `HOST:PORT` of a redirection. A node leaves out the host if it is its own; that gives `None`.
fn parse_node(text: &str) -> Option<Node> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| Node::new(host, port))
}

/// Redis did not answer within the timeout.
pub(super) fn timed_out() -> BrokerError {
    BrokerError::Unavailable("Redis does not answer".into())
}

/// Redis sent a reply that none of our scripts returns.
pub(super) fn unreadable() -> BrokerError {
    BrokerError::Unavailable("Redis sent an unexpected reply to a script".into())
}
