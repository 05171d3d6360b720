//! `tidings top`: what is going on, now: events per second by channel, subject and source, subscribers, slow consumers, and
//! the nodes.
//!
//! It counts the events of a subscription of its own (`tally`), and asks the daemon every few seconds for the rest. `screen`
//! draws it; with `--json` it is looked at once.

mod screen;
mod tally;

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, stdout};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::candidates;
use super::failure::Failure;
use super::fields::Field;
use super::follow::{Following, Seen};
use super::interrupt::Stops;
use super::output::Output;
use super::remote::Remote;
use crate::client::{ChannelInfo, Client, ConnectionInfo, Error, NodeInfo, Subscription, Update};
use crate::config;
use screen::Screen;
use tally::Tally;

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(500);
/// How often the daemon is asked for what events do not tell.
const ASK: Duration = Duration::from_secs(3);
/// The most subjects and sources that are shown.
const MOST: usize = 100;
/// The most slow consumers that are shown.
const MOST_SLOW: usize = 10;

/// Watch rates by channel, subject and source, subscribers, slow consumers, and the nodes.
///
/// Counts the events that come while it runs, and averages over 10 s. Press q to leave, p to pause.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings top\n  tidings top inventory-change --where productId=123\n  tidings top --json --time 5s | jq .subjects"
)]
pub struct Top {
    /// Channels to count [default: all].
    #[arg(value_name = "CHANNEL", add = candidates::channels())]
    channels: Vec<String>,
    /// Count only events whose data has this value in this field. Repeat a field to match any of several values.
    #[arg(long = "where", value_name = "FIELD=VALUE", add = candidates::fields())]
    filter: Vec<Field>,
    /// Count for a while, print one JSON object, and end.
    #[arg(long)]
    json: bool,
    /// How long to count with --json: at most 10s.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = time, requires = "json")]
    time: Duration,
    #[command(flatten)]
    remote: Remote,
}

fn time(text: &str) -> Result<Duration, String> {
    match config::duration_or_zero(text) {
        Ok(time) if (Duration::from_millis(100)..=Duration::from_secs(10)).contains(&time) => Ok(time),
        Ok(_) => Err("expected 100ms to 10s, the time over which rates are averaged".into()),
        Err(expected) => Err(format!("expected {expected}")),
    }
}

/// The attributes of an event that are counted.
#[derive(Deserialize)]
struct Counted<'a> {
    #[serde(borrow, default)]
    subject: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<std::borrow::Cow<'a, str>>,
}

/// One look at the bus.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    pub url: String,
    /// All events, per second.
    pub rate: f64,
    pub channels: Vec<Channel>,
    pub subjects: Vec<Subject>,
    pub sources: Vec<Source>,
    /// The connections of the node with bytes in their send buffers, the largest first. `None`: the token has no right to
    /// see them.
    pub slow_consumers: Option<Vec<ConnectionInfo>>,
    /// `None`: the token has no right to see them.
    pub nodes: Option<Vec<NodeInfo>>,
    /// What is wrong with the connection, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    pub channel: String,
    pub rate: f64,
    pub retained: Option<u64>,
    pub subscribers: Option<u64>,
    pub position: String,
}

#[derive(Debug, Serialize)]
pub struct Subject {
    pub channel: Arc<str>,
    pub subject: String,
    pub rate: f64,
}

#[derive(Debug, Serialize)]
pub struct Source {
    pub source: String,
    pub rate: f64,
}

/// What is known of the bus.
struct State {
    url: String,
    tally: Tally,
    /// The channels that are counted. `None`: all of them.
    counted: Option<HashSet<Arc<str>>>,
    channels: Vec<ChannelInfo>,
    slow: Option<Vec<ConnectionInfo>>,
    nodes: Option<Vec<NodeInfo>>,
    /// What is wrong with the subscription.
    trouble: Option<String>,
    /// Why the last question was not answered.
    unanswered: Option<String>,
}

/// What events do not tell, as far as the daemon answered.
struct Answers {
    channels: Result<Vec<ChannelInfo>, Error>,
    connections: Result<Vec<ConnectionInfo>, Error>,
    nodes: Result<Vec<NodeInfo>, Error>,
}

/// Counts for a while, and prints one look.
async fn look_once(
    client: &Client,
    mut following: Following,
    subscriptions: Vec<Subscription>,
    mut state: State,
    time: Duration,
) -> Result<(), Failure> {
    let mut subscriber = client.subscribe(subscriptions);
    let mut end = pin!(sleep(time));
    loop {
        tokio::select! {
            () = &mut end => break,
            update = subscriber.next() => state.saw(following.saw(update)?),
        }
    }
    subscriber.close().await;
    state.learn(answers(client, Duration::ZERO).await);
    let mut output = Output::ndjson();
    output.json(&state.look())?;
    output.flush()
}

/// Asks the daemon after a while.
async fn answers(client: &Client, after: Duration) -> Answers {
    sleep(after).await;
    let (channels, connections, nodes) = tokio::join!(client.channels(), client.connections(MOST_SLOW), client.nodes());
    Answers { channels, connections, nodes }
}

impl Top {
    /// The channels that were named.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    pub async fn run(self) -> Result<(), Failure> {
        if !self.json && !stdout().is_terminal() {
            return Err(Failure::Message("stdout is no terminal: use --json for one look".into()));
        }
        let client = self.remote.client()?;
        let is_chosen = !(self.channels.is_empty() && self.filter.is_empty());
        let beginning = async {
            let (following, subscriptions) = Following::begin(client.clone(), self.channels, self.filter, None).await?;
            let counted = is_chosen.then(|| subscriptions.iter().map(|one| one.channel.clone()).collect());
            Ok::<_, Failure>((following, subscriptions, State::new(&client, counted).await?))
        };
        if self.json {
            let (following, subscriptions, state) = beginning.await?;
            return look_once(&client, following.silent(), subscriptions, state, self.time).await;
        }
        let mut stops = Stops::new()?;
        let (following, subscriptions, mut state) = tokio::select! {
            begun = beginning => begun?,
            _ = stops.next() => return Ok(()),
        };
        let mut subscriber = client.subscribe(subscriptions);
        let mut screen = Screen::new()?;
        let mut following = following.silent();
        let mut events = terminal_events();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Keys and frames do not wait for an answer: the daemon may hang.
        let mut asked = pin!(answers(&client, ASK));
        let mut is_paused = false;
        loop {
            tokio::select! {
                update = subscriber.next() => state.saw(following.saw(update)?),
                more = following.more() => for subscription in more {
                    if let Some(counted) = &mut state.counted {
                        counted.insert(subscription.channel.clone());
                    }
                    subscriber.add(subscription);
                },
                _ = frames.tick() => {
                    if screen.is_gone() {
                        break;
                    }
                    if !is_paused {
                        screen.draw(&state.look(), false)?;
                    }
                }
                answers_now = &mut asked => {
                    state.learn(answers_now);
                    asked.set(answers(&client, ASK));
                }
                // So that the terminal is left as it was.
                _ = stops.next() => break,
                event = events.recv() => match event {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => break,
                        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => break,
                        KeyCode::Char('p' | ' ') => {
                            is_paused = !is_paused;
                            screen.draw(&state.look(), is_paused)?;
                        }
                        _ => {}
                    },
                    Some(Event::Resize(..)) => screen.draw(&state.look(), is_paused)?,
                    Some(_) => {}
                    None => break,
                },
            }
        }
        drop(screen);
        subscriber.close().await;
        Ok(())
    }
}

/// The keys that the user presses, and the terminal's new sizes.
///
/// A thread of its own reads, because crossterm reads for ever once the terminal is gone. It ends with the process.
fn terminal_events() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    receiver
}

impl State {
    async fn new(client: &Client, counted: Option<HashSet<Arc<str>>>) -> Result<Self, Failure> {
        let mut state = Self {
            url: client.url(),
            tally: Tally::new(Instant::now()),
            counted,
            channels: Vec::new(),
            slow: None,
            nodes: None,
            trouble: None,
            unanswered: None,
        };
        let answers = answers(client, Duration::ZERO).await;
        if let Err(error) = &answers.channels {
            return Err(error.clone().into());
        }
        state.learn(answers);
        Ok(state)
    }

    /// Counts an event, or notes what became of the connection. A channel that the token may not follow is shown without a rate.
    fn saw(&mut self, seen: Seen) {
        let Seen::Update(update) = seen else { return };
        match update {
            Update::Event(delivery) => {
                let Ok(Counted { subject, source }) = serde_json::from_str(delivery.event.get()) else { return };
                self.tally.add(Instant::now(), &delivery.channel, subject.as_deref(), source.as_deref());
            }
            Update::Disconnected { reason, .. } | Update::Delayed { reason, .. } => self.trouble = Some(reason),
            Update::Connected { .. } | Update::Subscribed { .. } => self.trouble = None,
            _ => {}
        }
    }

    /// Notes what the daemon answered. What it did not answer stays as it was.
    fn learn(&mut self, answers: Answers) {
        self.unanswered = match answers.channels {
            Ok(mut channels) => {
                if let Some(counted) = &self.counted {
                    channels.retain(|channel| counted.contains(&*channel.name));
                }
                self.channels = channels;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Ok(connections) = answers.connections {
            self.slow = Some(slow(connections));
        }
        if let Ok(nodes) = answers.nodes {
            self.nodes = Some(nodes);
        }
    }

    fn look(&mut self) -> Look {
        let now = Instant::now();
        let rates: HashMap<Arc<str>, f64> = self.tally.channels(now);
        let mut channels: Vec<_> = self
            .channels
            .iter()
            .map(|channel| Channel {
                channel: channel.name.clone(),
                rate: rates.get(&*channel.name).copied().unwrap_or_default(),
                retained: channel.retained,
                subscribers: channel.subscribers,
                position: channel.position.to_string(),
            })
            .collect();
        channels.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        let subjects = self.tally.subjects(now, MOST).into_iter();
        let sources = self.tally.sources(now, MOST).into_iter();
        Look {
            url: self.url.clone(),
            rate: self.tally.total(now),
            channels,
            subjects: subjects.map(|((channel, subject), rate)| Subject { channel, subject, rate }).collect(),
            sources: sources.map(|(source, rate)| Source { source, rate }).collect(),
            slow_consumers: self.slow.clone(),
            nodes: self.nodes.clone(),
            trouble: self.trouble.as_ref().or(self.unanswered.as_ref()).cloned(),
        }
    }
}

/// The connections that have not taken everything.
fn slow(connections: Vec<ConnectionInfo>) -> Vec<ConnectionInfo> {
    connections.into_iter().filter(|connection| connection.buffered_bytes > 0).collect()
}
