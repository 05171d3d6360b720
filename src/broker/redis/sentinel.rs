//! Sentinel: finds the master of a service, and notices when another server becomes the master.
//!
//! Each sentinel of the URL is polled, and asked at once when it announces a failover. Announcements alone are not enough,
//! because one may be lost. Sentinels learn of a failover one after the other. Each reply carries the number of the last
//! failover that the sentinel knows (`config-epoch`), and the reply with the highest number counts. So a sentinel that was
//! away cannot lead a node back to an old master.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, FromValue};
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::BrokerError;
use super::errors::{from_fred, from_special_server};
use super::link::{Link, SignsOfLife, verified_ping};
use super::sentinel_replies::{SentinelReplies, SentinelReply, SentinelService};
use super::target::{ConnectOptions, Target};
use crate::config::RedisUrl;

/// Between two polls of a sentinel. It is no part of the pulse: a node must follow a failover within 3 s, even if the
/// announcement was lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Announcements that are buffered. One is enough, since one poll answers all of them.
const ANNOUNCEMENT_BUFFER: usize = 1;

/// Reads the URL: returns the target that leads to the current master, and the future that polls the sentinels while it
/// is polled.
///
/// # Errors
/// What is wrong with the URL, as a sentence without its passwords.
pub(super) fn follow(url: &RedisUrl) -> Result<(Target, impl Future<Output = ()> + Send + use<>), String> {
    let name = url.path.trim_matches('/');
    if name.is_empty() || name.contains('/') {
        return Err(format!("{0}:// needs the name of the master: {0}://HOST:PORT,HOST:PORT/NAME", url.scheme));
    }
    let name: Arc<str> = name.into();
    let options = ConnectOptions::of(url)?;
    let owned = |name| url.parameter(name).map(str::to_owned);
    let (username, password) = (owned("sentinel_username"), owned("sentinel_password"));
    let sentinel_options = ConnectOptions { username, password, tls: options.tls.clone(), ..ConnectOptions::default() };
    let (updates, replies) = watch::channel(SentinelReplies {
        last: vec![None; url.servers.len()],
        online: vec![false; url.servers.len()],
        failure: BrokerError::Unavailable("no sentinel has answered yet".into()),
    });
    let sentinels = url.servers.iter().enumerate().map(|(index, (host, port))| {
        let target = Target::at(&sentinel_options, Server::new(host.as_str(), *port));
        Sentinel { index, service: name.clone(), updates: updates.clone() }.watch(target)
    });
    let sentinels = join_all(sentinels.collect::<Vec<_>>());
    let polling = async move { drop(sentinels.await) };
    Ok((Target::behind_sentinel(&options, SentinelService { name, replies, updates }, url.to_string()), polling))
}

/// One sentinel.
struct Sentinel {
    /// Its index in the URL.
    index: usize,
    service: Arc<str>,
    updates: watch::Sender<SentinelReplies>,
}

impl Sentinel {
    /// Polls the sentinel, and connects again whenever that fails.
    async fn watch(self, target: Target) {
        let mut link = Link::new(target, "sentinel", ANNOUNCEMENT_BUFFER).resp3_only();
        loop {
            let failure = match link.connect().await {
                Ok(mut connection) => {
                    let (client, signs) = (connection.client.clone(), SignsOfLife::after_each(POLL_INTERVAL));
                    let failure = tokio::select! {
                        cause = connection.ended(&signs) => BrokerError::Unavailable(cause),
                        failure = self.poll(&client, &mut link, &signs) => failure,
                    };
                    link.failed(&failure.to_string());
                    failure
                }
                Err(failure) => failure,
            };
            self.updates.send_if_modified(|replies| {
                replies.online[self.index] = false;
                replies.failure = failure;
                false
            });
        }
    }

    /// Polls the sentinel on this connection until that fails. Returns the failure.
    async fn poll(&self, client: &Client, link: &mut Link, signs: &SignsOfLife) -> BrokerError {
        let mut announcements = client.message_rx();
        let subscribed = async {
            client.subscribe("+switch-master").await?;
            verified_ping(client).await
        };
        if let Err(error) = subscribed.await {
            return from_fred(&error);
        }
        let mut established = false;
        loop {
            match query_master(client, &self.service).await {
                Ok(Some(reply)) => self.update(reply),
                Ok(None) => {
                    return BrokerError::Unavailable(format!("the sentinel knows no master named {}", self.service));
                }
                Err(error) => return from_special_server(&error),
            }
            signs.proved();
            if !std::mem::replace(&mut established, true) {
                link.established();
            }
            tokio::select! {
                announced = announcements.recv() => if let Err(RecvError::Closed) = announced {
                    return BrokerError::Unavailable("the connection was closed".into());
                },
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    fn update(&self, reply: SentinelReply) {
        self.updates.send_if_modified(|replies| {
            let before = replies.newest().cloned();
            replies.last[self.index] = Some(reply);
            replies.online[self.index] = true;
            let now = replies.newest();
            if let Some(now) = now.filter(|now| Some(*now) != before.as_ref()) {
                tracing::info!(service = &*self.service, master = %now.server, failover = now.failover, "Sentinel names a master");
            }
            now != before.as_ref()
        });
    }
}

/// Asks a sentinel for the master. The failover's number is read before the address: a number that is older than the
/// address does no harm, and the next poll corrects it.
async fn query_master(client: &Client, service: &str) -> Result<Option<SentinelReply>, Error> {
    let facts: HashMap<String, String> = sentinel(client, "MASTER", service).await?;
    let address: Option<(String, u16)> = sentinel(client, "GET-MASTER-ADDR-BY-NAME", service).await?;
    let failover = facts.get("config-epoch").and_then(|number| number.parse().ok()).unwrap_or_default();
    Ok(address.map(|(host, port)| SentinelReply { failover, server: Server::new(host, port) }))
}

async fn sentinel<R: FromValue>(client: &Client, subcommand: &str, service: &str) -> Result<R, Error> {
    let command = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
    client.custom(command, vec![subcommand, service]).await
}
