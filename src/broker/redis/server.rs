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

#[derive(Clone)]
enum State {
    /// Nothing is known yet: who asks waits for the outcome.
    Connecting,
    Up(Client, Arc<Place>),
    Down(Arc<str>),
}

impl Server {
    /// The connection is kept up by the future, for as long as it is polled.
    pub fn new(target: Target) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, state) = watch::channel(State::Connecting);
        (Self { state }, keep(target, sender))
    }

    /// The connection, or at once why there is none.
    pub async fn connection(&self) -> Result<(Client, Arc<Place>), Unavailable> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| closed())?;
        match &*known {
            State::Up(client, place) => Ok((client.clone(), place.clone())),
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
        state.send_replace(State::Up(connection.client.clone(), Arc::new(connection.place.clone())));
        let reason = connection.end(&Default::default()).await;
        state.send_replace(State::Connecting);
        link.lost(&reason);
    }
}
