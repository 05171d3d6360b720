//! What an operator sees of the webhooks and does with them. Every node answers: what it needs is in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Message, Outcome};
use super::state::{State, Stopped};
use super::{Webhook, message};
use crate::access::{AdminRight, Caller};
use crate::bus::{Bus, FlowStore};
use crate::flows::{ChannelReader, DeadLetter, DeadLetters, FlowError};
use crate::protocol::{ErrorCode, Problem};
use crate::suggest::{self, Known};

/// How long a replay takes at most. What is left is replayed by the next call.
const REPLAY: Duration = Duration::from_secs(20);

/// The webhooks of this node.
pub struct Webhooks {
    bus: Arc<Bus>,
    all: Vec<Arc<Webhook>>,
}

/// A webhook, and how it is.
#[derive(Debug)]
pub struct WebhookSummary {
    pub name: String,
    /// The URL without its query, which may have a secret.
    pub url: String,
    pub channels: Vec<String>,
    /// `waiting` before a node has taken it, `delivering`, `failing` if an event is tried again, or `stopped`.
    pub state: &'static str,
    /// The node that delivered last.
    pub node: Option<String>,
    /// Events that are not delivered yet.
    pub lag: u64,
    pub dead: usize,
    /// Why it is stopped, or why the last attempt failed, unless one succeeded since; and when that was, in milliseconds since
    /// 1970.
    pub trouble: Option<(String, u64)>,
}

/// What became of a test.
#[derive(Debug)]
pub struct Tested {
    /// The id of the event that was sent.
    pub id: String,
    /// `None`: it was delivered. Otherwise why not.
    pub failure: Option<String>,
    pub took: Duration,
}

/// What became of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The ids of the events that were delivered, and are no dead letters any more.
    pub delivered: Vec<String>,
    /// Those that failed again, and why.
    pub failed: Vec<(String, String)>,
    /// How many the time was too short for.
    pub remaining: usize,
}

impl Webhooks {
    pub fn new(bus: Arc<Bus>, all: Vec<Arc<Webhook>>) -> Self {
        Self { bus, all }
    }

    /// The webhooks of the caller's namespace, in the order of the configuration.
    ///
    /// # Errors
    /// `forbidden`, `broker-unavailable`.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<WebhookSummary>, Problem> {
        self.bus.require(caller, AdminRight::Nodes)?;
        let mut summaries = Vec::new();
        for webhook in self.of(caller) {
            summaries.push(webhook.summary().await.map_err(FlowError::problem)?);
        }
        Ok(summaries)
    }

    /// Sends an event of the type `tidings.test`, once.
    ///
    /// # Errors
    /// `forbidden`, `not-found`. A failed delivery is no error.
    pub async fn test(&self, caller: &Caller, name: &str) -> Result<Tested, Problem> {
        let (webhook, _) = self.find(caller, name)?;
        let (message, begun) = (message::test(name), Instant::now());
        let failure = webhook.failure_of(&message).await;
        Ok(Tested { id: message.id.to_string(), failure, took: begun.elapsed() })
    }

    /// The dead letters of a webhook, the oldest first.
    ///
    /// # Errors
    /// `forbidden`, `not-found`, `broker-unavailable`.
    pub async fn dead(&self, caller: &Caller, name: &str) -> Result<Vec<DeadLetter>, Problem> {
        let (_, store) = self.find(caller, name)?;
        DeadLetters::new(store).list(None).await.map_err(FlowError::problem)
    }

    /// Sends dead letters again, once each and in order: the one with this id, or all. What is delivered leaves the box.
    ///
    /// # Errors
    /// `forbidden`, `not-found`, also for an id that is not among the dead letters, `broker-unavailable`.
    pub async fn replay(&self, caller: &Caller, name: &str, id: Option<&str>) -> Result<Replayed, Problem> {
        let (webhook, store) = self.find(caller, name)?;
        let dead_letters = DeadLetters::new(store);
        let letters = dead_letters.list(id).await.map_err(FlowError::problem)?;
        if let Some(id) = id
            && letters.is_empty()
        {
            let detail = format!("the webhook {name} has no dead letter {}", suggest::quoted(id));
            return Err(Problem::new(ErrorCode::NotFound, detail));
        }
        let (end, mut replayed) = (Instant::now() + REPLAY, Replayed::default());
        for letter in letters {
            if Instant::now() >= end {
                replayed.remaining += 1;
                continue;
            }
            let message = Message { id: letter.id.as_str().into(), body: letter.body.clone().into() };
            match webhook.failure_of(&message).await {
                None => {
                    dead_letters.remove(&letter).await.map_err(FlowError::problem)?;
                    replayed.delivered.push(letter.id);
                }
                Some(reason) => replayed.failed.push((letter.id, reason)),
            }
        }
        Ok(replayed)
    }

    /// Lets a webhook go on that its receiver has stopped. Returns whether it was: one that is not stopped stays as it is.
    ///
    /// # Errors
    /// `forbidden`, `not-found`, `broker-unavailable`.
    pub async fn resume(&self, caller: &Caller, name: &str) -> Result<bool, Problem> {
        let (_, store) = self.find(caller, name)?;
        Stopped::remove(&store).await.map_err(FlowError::problem)
    }

    fn of(&self, caller: &Caller) -> impl Iterator<Item = &Arc<Webhook>> {
        self.all.iter().filter(move |webhook| webhook.id.is_of(caller))
    }

    /// The webhook of this name, for a caller who may work with it.
    fn find(&self, caller: &Caller, name: &str) -> Result<(&Webhook, FlowStore), Problem> {
        self.bus.require(caller, AdminRight::Flows)?;
        let webhook = self.of(caller).find(|webhook| &*webhook.id.name == name).ok_or_else(|| {
            let names = self.of(caller).map(|webhook| &*webhook.id.name);
            let known = Known { listed: "GET /v1/webhooks", ..Known::new("webhooks", names) };
            let refusal = format!("there is no webhook {} here", suggest::quoted(name));
            Problem::new(ErrorCode::NotFound, known.refuse(&refusal, name))
        })?;
        Ok((webhook, webhook.id.store(&self.bus)))
    }
}

impl Webhook {
    async fn summary(&self) -> Result<WebhookSummary, FlowError> {
        let store = self.id.store(&self.bus);
        let state = State::peek(&store).await?;
        let stopped = Stopped::get(&store).await?;
        let dead = DeadLetters::new(store).count().await?;
        let trouble = match (&stopped, &state) {
            (Some(stopped), _) => Some((stopped.reason.clone(), stopped.at)),
            (None, Some(state)) => state
                .failure
                .as_ref()
                // What was given up, and then delivered by a replay, is no trouble any more.
                .filter(|failure| !failure.given_up || dead > 0)
                .map(|failure| (failure.reason.clone(), failure.at)),
            (None, None) => None,
        };
        let is_failing =
            state.as_ref().and_then(|state| state.failure.as_ref()).is_some_and(|failure| !failure.given_up);
        let mut url = self.settings.url.clone();
        url.set_query(None);
        Ok(WebhookSummary {
            name: self.id.name.to_string(),
            url: url.into(),
            channels: self.settings.channels.iter().map(|channel| channel.name.to_string()).collect(),
            state: match (&stopped, &state) {
                (Some(_), _) => "stopped",
                (None, None) => "waiting",
                (None, Some(_)) if is_failing => "failing",
                (None, Some(_)) => "delivering",
            },
            lag: state.as_ref().map_or(0, |state| self.lag(state)),
            node: state.map(|state| state.node),
            dead,
            trouble,
        })
    }

    /// How many events this node knows of that the webhook has not delivered.
    pub(super) fn lag(&self, state: &State) -> u64 {
        let caller = self.id.caller();
        let channels = self.settings.channels.iter().filter_map(|channel| {
            let progress = state.channels.get(&*channel.name)?;
            let reader = ChannelReader::new(&self.bus, &caller, channel.id, progress.position().clone());
            Some(reader.behind(progress.position()).saturating_sub(progress.done_beyond()))
        });
        channels.sum()
    }

    /// Why a message could not be delivered now. `None`: it was.
    async fn failure_of(&self, message: &Message) -> Option<String> {
        match self.send(message, 1).await {
            Outcome::Delivered { .. } => None,
            Outcome::Gone => Some("the receiver answered 410".into()),
            Outcome::Failed(failure) => Some(failure.reason),
        }
    }
}
