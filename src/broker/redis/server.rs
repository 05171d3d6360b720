//! One Redis on which scripts run: a connection of its own, kept up.

use std::sync::Arc;

use fred::clients::Client;
use tokio::sync::watch;

use super::Unavailable;
use super::commands::closed;
use super::link::Link;
use super::target::{Place, Target};

/// A Redis, as far as it can be reached.
pub(super) struct Server {
    state: watch::Receiver<State>,
}

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
        (Self { state }, keep(target, sender))
    }

    /// The connection, or at once why there is none.
    pub async fn up(&self) -> Result<Up, Unavailable> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| closed())?;
        match &*known {
            State::Up(up) => Ok(up.clone()),
            State::Down(reason) => Err(Unavailable(reason.to_string())),
            State::Connecting => Err(closed()),
        }
    }
}

async fn keep(target: Target, state: watch::Sender<State>) {
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
        let (client, place) = (connection.client.clone(), Arc::new(connection.place.clone()));
        state.send_replace(State::Up(Up { client, place, number: rand::random() }));
        let reason = connection.end(&Default::default()).await;
        state.send_replace(State::Connecting);
        link.lost(&reason);
    }
}
