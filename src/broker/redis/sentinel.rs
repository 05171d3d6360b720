//! Where the master is, by the word of its sentinels.
//!
//! Each sentinel of the URL is asked again and again, and at once when it announces a switch: an announcement alone could
//! go unheard. They learn of a failover one after the other; each numbers what it says by the failover that it knows of,
//! so the highest number is the newest word, and who was away for a while cannot lead anybody back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, FromValue};
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::ANSWER;
use super::link::{Link, prove, reason};
use super::target::{Access, Target};
use crate::config::RedisUrl;

/// Between two questions to a sentinel.
const POLL: Duration = Duration::from_secs(1);

/// Announcements that wait for their question; one asks for all.
const ANNOUNCEMENTS: usize = 1;

/// The master, as the sentinels name it.
#[derive(Clone)]
pub(super) struct Master {
    service: Arc<str>,
    words: watch::Receiver<Words>,
    said: watch::Sender<Words>,
}

/// A server that was named.
#[derive(Clone)]
pub(super) struct Named {
    word: Word,
    words: watch::Receiver<Words>,
    said: watch::Sender<Words>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    /// The number of the failover that made it the master.
    failover: u64,
    server: Server,
}

struct Words {
    /// Each sentinel's last: it was right when it was said, whatever became of the sentinel, unless the server that it
    /// names says otherwise.
    said: Vec<Option<Word>>,
    /// Whether the sentinel answers now.
    here: Vec<bool>,
    /// Why there may be none.
    reason: String,
}

/// Reads the URL: how the master is got into and where it is named. The future follows the sentinels, for as long as it
/// is polled.
///
/// # Errors
/// What is wrong with the URL, as a sentence without its passwords.
pub(super) fn follow(url: &RedisUrl) -> Result<(Target, impl Future<Output = ()> + Send + use<>), String> {
    let service = url.path.trim_matches('/');
    if service.is_empty() || service.contains('/') {
        return Err(format!("{0}:// needs the name of the master: {0}://HOST:PORT,HOST:PORT/NAME", url.scheme));
    }
    let service: Arc<str> = service.into();
    let access = Access::of(url)?;
    let owned = |name| url.parameter(name).map(str::to_owned);
    let (username, password) = (owned("sentinel_username"), owned("sentinel_password"));
    let of_sentinels = Access { username, password, database: None, tls: access.tls.clone() };
    let (said, here) = (vec![None; url.servers.len()], vec![false; url.servers.len()]);
    let (sender, words) = watch::channel(Words { said, here, reason: "no sentinel has answered yet".into() });
    let sentinels = url.servers.iter().enumerate().map(|(index, (host, port))| {
        let target = Target::at(&of_sentinels, Server::new(host.as_str(), *port));
        Sentinel { index, service: service.clone(), words: sender.clone() }.watch(target)
    });
    let sentinels = join_all(sentinels.collect::<Vec<_>>());
    let followed = async move { drop(sentinels.await) };
    Ok((Target::followed(&access, Master { service, words, said: sender }, url.to_string()), followed))
}

impl Master {
    /// The server of the newest word; waits a while for the first.
    pub async fn named(&mut self) -> Result<Named, String> {
        let words = self.words.clone();
        let known = self.words.wait_for(|words| words.newest().is_some());
        let word = match tokio::time::timeout(ANSWER, known).await {
            Ok(known) => known.ok().and_then(|words| words.newest().cloned()),
            Err(_) => None,
        };
        match word {
            Some(word) => Ok(Named { word, words, said: self.said.clone() }),
            None => Err(format!("no sentinel names the master of {}: {}", self.service, words.borrow().reason)),
        }
    }

    /// Waits until there is something new since [`named`](Self::named).
    pub async fn changed(&mut self) {
        if self.words.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Named {
    pub fn server(&self) -> &Server {
        &self.word.server
    }

    /// Whether another one was named since.
    pub fn is_past(&self) -> bool {
        self.words.borrow().newest() != Some(&self.word)
    }

    /// The server says that it is no master. The word of a sentinel that is gone counts no more then, where there is
    /// another: nobody would ever take it back.
    pub fn refute(&self) {
        self.said.send_if_modified(|words| {
            let others = words.said.iter().flatten().any(|word| *word != self.word);
            let mut refuted = false;
            for (word, here) in words.said.iter_mut().zip(&words.here) {
                if others && !here && word.as_ref() == Some(&self.word) {
                    *word = None;
                    refuted = true;
                }
            }
            refuted
        });
    }

    /// Waits until another one is named.
    pub async fn past(&mut self) {
        let Self { word, words, .. } = self;
        if words.wait_for(|words| words.newest() != Some(word)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Words {
    fn newest(&self) -> Option<&Word> {
        self.said.iter().flatten().max_by_key(|word| word.failover)
    }
}

/// One sentinel.
struct Sentinel {
    /// Among those of the URL.
    index: usize,
    service: Arc<str>,
    words: watch::Sender<Words>,
}

impl Sentinel {
    async fn watch(self, target: Target) {
        let mut link = Link::new(target, "sentinel", ANNOUNCEMENTS);
        loop {
            let reason = match link.connect().await {
                Ok(mut connection) => {
                    let (client, heard) = (connection.client.clone(), AtomicU64::new(0));
                    let reason = tokio::select! {
                        reason = connection.end(&heard) => reason,
                        reason = self.listen(&client, &mut link) => reason,
                    };
                    link.lost(&reason);
                    reason
                }
                Err(reason) => reason,
            };
            self.words.send_if_modified(|words| {
                words.here[self.index] = false;
                words.reason = reason;
                false
            });
        }
    }

    /// Listens until that fails.
    async fn listen(&self, client: &Client, link: &mut Link) -> String {
        let mut announcements = client.message_rx();
        let subscribed = async {
            client.subscribe("+switch-master").await?;
            prove(client).await
        };
        if let Err(error) = subscribed.await {
            return reason(&error);
        }
        let mut stands = false;
        loop {
            match ask(client, &self.service).await {
                Ok(Some(word)) => self.say(word),
                Ok(None) => return format!("it knows no master of the name {}", self.service),
                Err(error) => return reason(&error),
            }
            if !std::mem::replace(&mut stands, true) {
                link.stands();
            }
            tokio::select! {
                announced = announcements.recv() => if let Err(RecvError::Closed) = announced {
                    return "the connection was closed".into();
                },
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    fn say(&self, word: Word) {
        self.words.send_if_modified(|words| {
            let before = words.newest().cloned();
            words.said[self.index] = Some(word);
            words.here[self.index] = true;
            let now = words.newest();
            if let Some(now) = now.filter(|now| Some(*now) != before.as_ref()) {
                tracing::info!(service = &*self.service, master = %now.server, failover = now.failover, "Sentinel names a master");
            }
            now != before.as_ref()
        });
    }
}

/// Which server is the master. The number comes first: one that is older than the server does no harm, and is mended by
/// the next question.
async fn ask(client: &Client, service: &str) -> Result<Option<Word>, Error> {
    let facts: HashMap<String, String> = sentinel(client, "MASTER", service).await?;
    let address: Option<(String, u16)> = sentinel(client, "GET-MASTER-ADDR-BY-NAME", service).await?;
    let failover = facts.get("config-epoch").and_then(|number| number.parse().ok()).unwrap_or_default();
    Ok(address.map(|(host, port)| Word { failover, server: Server::new(host, port) }))
}

async fn sentinel<R: FromValue>(client: &Client, question: &str, service: &str) -> Result<R, Error> {
    let command = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
    client.custom(command, vec![question, service]).await
}
