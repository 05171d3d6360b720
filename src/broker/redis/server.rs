//! One Redis server on which scripts run: keeps a connection to it open and hands it to callers. Behind the REST interface
//! there is none to keep: each call is on its own.
//!
//! After a promotion of another server, appends wait for a moment, the [`PromotionGrace`]: the nodes of the bus use it to
//! report what they know of the logs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::BrokerError;
use super::attempts::Pulse;
use super::link::{Link, ProofInterval, SignsOfLife};
use super::target::{Endpoint, Target};
use super::transport::Transport;

/// How long appends wait on a server that has become the master.
///
/// The last events that the old master acknowledged may be missing on the new one. Every node sends its log fingerprints
/// as soon as it is connected, and the scripts detect the loss by them. A node that does not know the lost events must
/// not append before that: its event would get a position that another event had.
const PROMOTION_GRACE: Duration = Duration::from_secs(1);

/// A Redis server and the state of the connection to it.
pub(super) struct Server {
    state: watch::Receiver<ConnectionState>,
    grace: PromotionGrace,
    pulse: Pulse,
    proof_interval: ProofInterval,
}

/// A server without probes is checked so many times less often: hardly any call uses it, and one that gets no answer makes a
/// check due at once.
const UNPROBED: u32 = 10;

/// When the grace of the last promotion ends. `None` if the server was the master from the start.
#[derive(Clone, Default)]
struct PromotionGrace(Arc<Mutex<Option<Instant>>>);

/// An open connection, or one call over the REST interface.
#[derive(Clone)]
pub(super) struct LiveConnection {
    pub transport: Arc<dyn Transport>,
    /// Unique among this node's connections. A connection no longer answers when its successor is announced.
    pub id: u64,
    /// `None` over the REST interface.
    pub open: Option<OpenConnection>,
}

/// What is known of a connection that is kept open.
#[derive(Clone)]
pub(super) struct OpenConnection {
    pub endpoint: Arc<Endpoint>,
    pub signs: Arc<SignsOfLife>,
}

#[derive(Clone)]
enum ConnectionState {
    /// The outcome of the attempt is not known yet. Callers wait for it.
    Connecting,
    Connected(LiveConnection),
    /// There is no connection. Each call counts as one of its own, because the server may be another one each time.
    Unconnected(Arc<dyn Transport>),
    Failed(BrokerError),
}

impl Server {
    /// A server, and the future that keeps the connection open while it is polled. A probe [proves](Self::proved) the
    /// connection after each `pulse`.
    pub fn new(target: Target, pulse: Pulse) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, state) = watch::channel(ConnectionState::Connecting);
        let grace = PromotionGrace::default();
        let proof_interval = ProofInterval::from(pulse.interval);
        let link = Link::new(target, "commands", 1).proven_by(pulse.clone());
        let keep_connected = keep_connected(link, proof_interval.clone(), sender, grace.clone());
        (Self { state, grace, pulse, proof_interval }, keep_connected)
    }

    /// A server that is reached anew with each call.
    pub fn unconnected(transport: Arc<dyn Transport>, pulse: Pulse) -> Self {
        let state = watch::channel(ConnectionState::Unconnected(transport)).1;
        Self { state, grace: PromotionGrace::default(), proof_interval: ProofInterval::from(pulse.interval), pulse }
    }

    /// Sets whether probes go through the server.
    pub fn set_probed(&self, probed: bool) {
        self.proof_interval.set(if probed { self.pulse.interval } else { self.pulse.interval * UNPROBED });
        self.doubt();
    }

    /// Makes a health check of the connection due.
    pub fn doubt(&self) {
        if let ConnectionState::Connected(LiveConnection { open: Some(open), .. }) = &*self.state.borrow() {
            open.signs.doubt();
        }
    }

    /// Reports that the server has appended a probe that came on this connection.
    pub fn proved(&self, connection: u64) {
        if let ConnectionState::Connected(LiveConnection { id, open: Some(open), .. }) = &*self.state.borrow()
            && *id == connection
        {
            open.signs.proved();
        }
    }

    /// Whether the connection is open.
    pub fn is_connected(&self) -> bool {
        matches!(*self.state.borrow(), ConnectionState::Connected(_) | ConnectionState::Unconnected(_))
    }

    /// Reports that this server has replaced another master: starts the promotion grace.
    pub fn promoted(&self) {
        self.grace.start();
    }

    /// The connection, after the end of the promotion grace. Appends use this.
    ///
    /// # Errors
    /// As [`connection`](Self::connection).
    pub async fn after_promotion_grace(&self) -> Result<LiveConnection, BrokerError> {
        loop {
            let connection = self.connection().await?;
            match self.grace.end() {
                Some(end) if end > Instant::now() => tokio::time::sleep_until(end).await,
                _ => return Ok(connection),
            }
        }
    }

    /// The connection. While the first attempt runs, this waits for its outcome.
    ///
    /// # Errors
    /// Why the last attempt to connect failed.
    pub async fn connection(&self) -> Result<LiveConnection, BrokerError> {
        let mut state = self.state.clone();
        let known = state
            .wait_for(|state| !matches!(state, ConnectionState::Connecting))
            .await
            .map_err(|_| BrokerError::closed())?;
        match &*known {
            ConnectionState::Connected(connection) => Ok(connection.clone()),
            ConnectionState::Unconnected(transport) => {
                Ok(LiveConnection { transport: transport.clone(), id: rand::random(), open: None })
            }
            ConnectionState::Failed(error) => Err(error.clone()),
            ConnectionState::Connecting => Err(BrokerError::closed()),
        }
    }
}

impl PromotionGrace {
    fn start(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PROMOTION_GRACE);
    }

    fn end(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_connected(
    mut link: Link,
    proof_interval: ProofInterval,
    state: watch::Sender<ConnectionState>,
    grace: PromotionGrace,
) {
    let mut master = None;
    loop {
        let mut connection = match link.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                state.send_replace(ConnectionState::Failed(error));
                continue;
            }
        };
        link.established();
        let named = connection.endpoint.named_master().cloned();
        if master.is_some() && named != master {
            grace.start();
        }
        master = named;
        let (transport, endpoint) = (Arc::new(connection.client.clone()), Arc::new(connection.endpoint.clone()));
        let signs = Arc::new(SignsOfLife::after_each(proof_interval.clone()));
        let open = OpenConnection { endpoint, signs: signs.clone() };
        let live = LiveConnection { transport, id: rand::random(), open: Some(open) };
        state.send_replace(ConnectionState::Connected(live));
        let cause = connection.ended(&signs).await;
        state.send_replace(ConnectionState::Connecting);
        link.failed(&cause);
    }
}
