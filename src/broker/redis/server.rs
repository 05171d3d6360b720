//! One Redis on which scripts run: a connection of its own, kept up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::BrokerError;
use super::commands::closed;
use super::link::Link;
use super::target::{Place, Target};

/// How long nothing is appended on a server that was made the master. What its predecessor answered last may not have
/// come to it. Every node says what it knows of the logs as soon as it is connected, and so finds that out; one that knows
/// less and appended before would give a position anew that another event had.
const HEARING: Duration = Duration::from_secs(1);

/// A Redis, as far as it can be reached.
pub(super) struct Server {
    state: watch::Receiver<State>,
    hearing: PromotionGrace,
}

/// Until when the nodes are heard; nothing where it was the master from the first.
#[derive(Clone, Default)]
struct PromotionGrace(Arc<Mutex<Option<Instant>>>);

/// A connection to it.
#[derive(Clone)]
pub(super) struct Up {
    pub client: Client,
    pub place: Arc<Place>,
    /// No other connection of this node has it. By the time there is another, this one answers nothing any more.
    pub number: u64,
}

#[derive(Clone)]
enum State {
    /// Nothing is known yet: who asks waits for the outcome.
    Connecting,
    Up(Up),
    Down(Arc<str>),
}

impl Server {
    /// The connection is kept up by the future, for as long as it is polled.
    pub fn new(target: Target) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, state) = watch::channel(State::Connecting);
        let hearing = PromotionGrace::default();
        (Self { state, hearing: hearing.clone() }, keep(target, sender, hearing))
    }

    /// It has taken the place of another.
    pub fn promoted(&self) {
        self.hearing.begin();
    }

    /// The connection, once nodes that know more have had the time to say so.
    pub async fn heard(&self) -> Result<Up, BrokerError> {
        loop {
            let up = self.up().await?;
            match self.hearing.end() {
                Some(end) if end > Instant::now() => tokio::time::sleep_until(end).await,
                _ => return Ok(up),
            }
        }
    }

    /// The connection, or at once why there is none.
    pub async fn up(&self) -> Result<Up, BrokerError> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| closed())?;
        match &*known {
            State::Up(up) => Ok(up.clone()),
            State::Down(reason) => Err(BrokerError::Unavailable(reason.to_string())),
            State::Connecting => Err(closed()),
        }
    }
}

impl PromotionGrace {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + HEARING);
    }

    fn end(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(target: Target, state: watch::Sender<State>, hearing: PromotionGrace) {
    let mut master = None;
    let mut link = Link::new(target, "commands", 1);
    loop {
        let mut connection = match link.connect().await {
            Ok(connection) => connection,
            Err(reason) => {
                state.send_replace(State::Down(reason.into()));
                continue;
            }
        };
        link.stands();
        let named = connection.place.named().cloned();
        if master.is_some() && named != master {
            hearing.begin();
        }
        master = named;
        let (client, place) = (connection.client.clone(), Arc::new(connection.place.clone()));
        state.send_replace(State::Up(Up { client, place, number: rand::random() }));
        let reason = connection.end(&Default::default()).await;
        state.send_replace(State::Connecting);
        link.lost(&reason);
    }
}
