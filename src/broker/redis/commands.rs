//! The scripts, and the connection on which they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value};
use tokio::sync::{Semaphore, watch};

use super::link::{Link, reason};
use super::target::{Place, Target};
use super::{ANSWER, Unavailable};

/// Calls in flight at a time: what is beyond waits its turn, within the time for its answer.
pub(super) const CALLS: usize = 1024;

/// A script, which Redis knows by its hash.
pub(super) struct Script {
    source: Str,
    hash: Str,
}

/// A script's KEYS and ARGV.
pub(super) type Arguments = (Vec<Key>, Vec<Value>);

/// Runs scripts.
pub(super) struct Commands {
    state: watch::Receiver<State>,
    calls: Semaphore,
    connections: Arc<AtomicU64>,
}

#[derive(Clone)]
enum State {
    /// Nothing is known yet: who asks waits for the outcome.
    Connecting,
    Up(Client, Arc<Place>),
    Down(Arc<str>),
}

impl Script {
    pub fn new(source: &'static str) -> Self {
        Self { source: Str::from_static(source), hash: fred::util::sha1_hash(source).into() }
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
    /// The connection is kept up by the future, for as long as it is polled.
    pub fn new(target: Target) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, state) = watch::channel(State::Connecting);
        let connections = Arc::<AtomicU64>::default();
        let kept = keep(target, sender, connections.clone());
        (Self { state, calls: Semaphore::new(CALLS), connections }, kept)
    }

    /// The number of the connection. `arguments` of [`run`](Self::run) that ask for it get that of the one on which the
    /// script runs, if it does run: by the time there is another, the one before answers nothing any more.
    pub fn connection(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Runs a script and answers within [`ANSWER`], at once where there is no connection. `arguments` are made again
    /// where Redis does not know the script.
    ///
    /// # Errors
    /// It is not known whether the script ran, unless Redis itself says no.
    pub async fn run(&self, script: &Script, arguments: impl Fn() -> Arguments) -> Result<Value, Unavailable> {
        let run = async {
            let (client, place) = self.up().await?;
            let _turn = self.calls.acquire().await.map_err(|_| closed())?;
            let answer = script.run(&client, arguments).await.map_err(|error| Unavailable(reason(&error)))?;
            // What a master says after another one was named may be lost with it.
            if place.is_past() { Err(Unavailable("Sentinel names another master".into())) } else { Ok(answer) }
        };
        tokio::time::timeout(ANSWER, run).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn up(&self) -> Result<(Client, Arc<Place>), Unavailable> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| closed())?;
        match &*known {
            State::Up(client, place) => Ok((client.clone(), place.clone())),
            State::Down(reason) => Err(Unavailable(reason.to_string())),
            State::Connecting => Err(closed()),
        }
    }
}

pub(super) fn closed() -> Unavailable {
    Unavailable("it is closed".into())
}

pub(super) fn silent() -> Unavailable {
    Unavailable("Redis does not answer".into())
}

async fn keep(target: Target, state: watch::Sender<State>, connections: Arc<AtomicU64>) {
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
        connections.fetch_add(1, Ordering::Release);
        state.send_replace(State::Up(connection.client.clone(), Arc::new(connection.place.clone())));
        let reason = connection.end(&Default::default()).await;
        state.send_replace(State::Connecting);
        link.lost(&reason);
    }
}

/// For a reply that none of our scripts gives.
pub(super) fn unreadable() -> Unavailable {
    Unavailable("Redis answered what none of the scripts answers".into())
}
