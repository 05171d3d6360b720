//! The probe: a message that this node sends to itself by the way that events take, to prove that it can write to Redis
//! and hears what is published there. In a cluster it goes through every master that has channels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::commands::{Commands, Script, silent};
use super::{BrokerError, Epoch};

/// The message of the bus's own probes, which nobody waits for by number.
const BEAT: &str = "beat";

/// How long a server may take to publish one, and how long that may take to come back before it is said that it does not.
/// Shorter than who waits for a probe waits, so that it is said which server it was.
const PATIENCE: Duration = Duration::from_millis(1500);

/// This node's probe.
pub(super) struct Probe {
    commands: Arc<Commands>,
    script: Script,
    /// What all keys of the namespace begin with, and what tells this node's from those of others.
    base: String,
    token: Epoch,
    sharded: AtomicBool,
    /// Held for a comparison.
    state: Mutex<State>,
}

/// A server through which the probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Post {
    /// For people. None where there is one server.
    pub server: Option<String>,
    /// The key that is written there, and the sharded channel.
    pub key: String,
}

struct State {
    /// Empty where there is one server, and for as long as it is not known who has which slots.
    posts: Vec<Post>,
    /// The newest number, when it was sent, and through whom it has not come back.
    number: u64,
    sent: Instant,
    waiting: Vec<Post>,
    /// The newest number that has come back from anywhere.
    heard: u64,
}

impl Probe {
    /// `base` is what all keys of the namespace begin with.
    pub fn new(base: String, commands: Arc<Commands>) -> Self {
        let token = Epoch::random();
        let script = Script::new(include_str!("probe.lua"));
        let state = State { posts: Vec::new(), number: 0, sent: Instant::now(), waiting: Vec::new(), heard: 0 };
        Self { commands, script, base, token, sharded: AtomicBool::new(true), state: Mutex::new(state) }
    }

    /// The key where there is one server.
    pub fn own_key(&self) -> String {
        self.key(&self.base)
    }

    /// The key in the slot of a channel of this name.
    pub fn key(&self, name: &str) -> String {
        format!("{name}:probe:{}", self.token)
    }

    /// The channel for a Redis without sharded ones (before 7.0). It is outside of the prefix, so that it is not among
    /// the events there either; such a Redis restricts no user's channels unless told to.
    pub fn plain(&self, key: &str) -> String {
        format!("probe:{key}")
    }

    /// Where it goes from now on.
    pub fn set_posts(&self, posts: Vec<Post>) {
        self.lock().posts = posts;
    }

    /// Which of the two channels is listened to.
    pub fn set_sharded(&self, sharded: bool) {
        self.sharded.store(sharded, Ordering::Relaxed);
    }

    /// Sends the number through all.
    ///
    /// # Errors
    /// The server that did not take it, or from which the one before did not come back.
    pub async fn send(&self, number: u64) -> Result<(), BrokerError> {
        let (posts, deaf) = self.begin(number);
        let text = number.to_string();
        let sent = posts.iter().map(async |post| {
            let sent = tokio::time::timeout(PATIENCE, self.publish(&post.key, &text)).await;
            let sent = sent.unwrap_or_else(|_| Err(silent()));
            sent.map_err(|error| match &post.server {
                Some(server) => error.at(server),
                None => error,
            })
        });
        join_all(sent).await.into_iter().collect::<Result<(), _>>()?;
        match deaf {
            Some(post) => {
                let server = post.server.as_deref().unwrap_or("the broker");
                Err(BrokerError::Unavailable(format!("what is published does not come back from {server}")))
            }
            None => Ok(()),
        }
    }

    /// Sends one that only shows that something comes back.
    pub async fn beat(&self, key: &str) -> Result<(), BrokerError> {
        self.publish(key, BEAT).await
    }

    /// What came on a channel that is none of the events'; the number where it has come back from everywhere.
    pub fn heard(&self, channel: &str, message: &[u8]) -> Option<u64> {
        let number: u64 = std::str::from_utf8(message).ok()?.parse().ok()?;
        let mut state = self.lock();
        if number != state.number {
            return None;
        }
        state.heard = number;
        state.waiting.retain(|post| !channel.ends_with(&post.key));
        state.waiting.is_empty().then_some(number)
    }

    /// Whether this number or a later one came back from anywhere.
    pub fn came_back_in_part(&self, number: u64) -> bool {
        self.lock().heard >= number
    }

    /// Where this number is to be sent, and from where the one before did not come back.
    fn begin(&self, number: u64) -> (Vec<Post>, Option<Post>) {
        let mut state = self.lock();
        let late = state.sent.elapsed() > PATIENCE;
        let deaf =
            state.waiting.iter().find(|post| late && (post.server.is_none() || state.posts.contains(post))).cloned();
        let posts = match state.posts.is_empty() {
            true => vec![Post { server: None, key: self.own_key() }],
            false => state.posts.clone(),
        };
        (state.number, state.sent, state.waiting) = (number, Instant::now(), posts.clone());
        (posts, deaf)
    }

    async fn publish(&self, key: &str, message: &str) -> Result<(), BrokerError> {
        let (publish, channel) = match self.sharded.load(Ordering::Relaxed) {
            true => ("SPUBLISH", key.to_owned()),
            false => ("PUBLISH", self.plain(key)),
        };
        let arguments = |_| (vec![key.into()], vec![message.into(), publish.into(), channel.as_str().into()]);
        self.commands.run(&self.script, key, arguments).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::broker::redis::routes::Routes;

    #[test]
    fn a_number_has_come_back_when_it_has_from_everywhere() {
        let probe = Probe::new("t:n".into(), Arc::new(Commands::new(watch::channel(Routes::Unasked).1, None)));
        let post = |server: &str| Post { server: Some(server.into()), key: format!("{{{server}}}:probe") };
        probe.set_posts(vec![post("a"), post("b")]);
        assert_eq!(probe.begin(1), (vec![post("a"), post("b")], None));
        assert!(!probe.came_back_in_part(1));
        assert_eq!(probe.heard("{a}:probe", b"1"), None);
        assert!(probe.came_back_in_part(1));
        assert_eq!(probe.heard("{b}:probe", b"beat"), None);
        assert_eq!(probe.heard("{b}:probe", b"1"), Some(1));
        probe.begin(2);
        assert_eq!(probe.heard("{b}:probe", b"1"), None, "it is an old one");
        assert_eq!(probe.heard("{b}:probe", b"2"), None);
        assert_eq!(probe.begin(3).1, None, "there was no time yet");
        probe.heard("{b}:probe", b"3");
        probe.lock().sent -= PATIENCE * 2;
        assert_eq!(probe.begin(4).1, Some(post("a")));
    }
}
