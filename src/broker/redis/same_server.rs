//! Whether two URLs reach the same Redis: for bridges, which do not send a message back to where it came from.
//!
//! The same Redis can be written in many ways: another user, database or host name, a socket, the TLS port, a proxy, the
//! sentinels. Pub/sub knows neither users nor databases. So the addresses are compared that the names stand for. If they
//! differ, the servers are asked who they are, where the users may do that.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, Value};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::pub_sub::{PubSub, PubSubConnection};
use crate::config::{Form, RedisUrl};

/// How long each server, and the lookup of its name, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of two URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub same: bool,
    /// `false`: a server did not answer, so the next attempt may find more.
    pub complete: bool,
}

/// What a URL reaches.
#[derive(Debug, Default)]
struct Reached {
    /// Socket addresses, and paths of sockets.
    addresses: BTreeSet<String>,
    /// What the server calls itself, its replication or its cluster.
    names: BTreeSet<String>,
    answered: bool,
}

/// Compares what two bridges reach, each a URL and the bridge's name.
pub async fn compare(one: (&RedisUrl, &str), other: (&RedisUrl, &str)) -> Compared {
    let (mut first, mut second) = tokio::join!(Reached::by_address(one.0), Reached::by_address(other.0));
    if !first.is_same(&second) {
        tokio::join!(first.ask(one.0, one.1), second.ask(other.0, other.1));
    }
    let same = first.is_same(&second);
    Compared { same, complete: same || first.answered && second.answered }
}

impl Reached {
    /// What the URL itself says. The servers of a Sentinel's URL are sentinels, not those that are reached.
    async fn by_address(url: &RedisUrl) -> Self {
        let mut reached = Self::default();
        match url.form {
            Form::Sentinel => {}
            Form::Socket => {
                let path = Path::new(&url.path);
                let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                reached.addresses.insert(path.display().to_string());
            }
            Form::Server | Form::Cluster | Form::Rest => {
                for (host, port) in &url.servers {
                    reached.add_address(host, *port).await;
                }
            }
        }
        reached
    }

    async fn add_address(&mut self, host: &str, port: u16) {
        if let Ok(Ok(found)) = timeout(PATIENCE, lookup_host((host, port))).await {
            self.addresses.extend(found.map(|found| format!("{} {port}", found.ip().to_canonical())));
        }
    }

    /// Asks the server who it is.
    async fn ask(&mut self, url: &RedisUrl, bridge: &str) {
        let Ok(mut redis) = PubSub::new(url, bridge) else { return };
        let Ok(connection) = redis.open_within(PATIENCE).await else { return };
        if let Some(master) = connection.named_master() {
            self.add_address(&master.host, master.port).await;
        }
        self.names = names(&connection).await;
        self.answered = true;
    }

    fn is_same(&self, other: &Self) -> bool {
        !self.addresses.is_disjoint(&other.addresses) || !self.names.is_disjoint(&other.names)
    }
}

/// The process, what it replicates, and the nodes of its cluster. Empty if the user may not ask.
async fn names(connection: &PubSubConnection) -> BTreeSet<String> {
    let run = async |command: &'static str, arguments: Vec<&str>| {
        let command = CustomCommand::new_static(command, ClusterHash::Random, false);
        connection.client().custom::<Value, _>(command, arguments).await.ok()?.into_string()
    };
    let info = run("INFO", Vec::new()).await.unwrap_or_default();
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (["run_id", "master_replid"].contains(&name) && !value.is_empty()).then(|| value.to_owned())
    };
    let mut names: BTreeSet<_> = info.lines().filter_map(|line| named(line.trim_end())).collect();
    if info.lines().any(|line| line.trim_end() == "cluster_enabled:1") {
        let nodes = run("CLUSTER", vec!["NODES"]).await.unwrap_or_default();
        names.extend(nodes.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    }
    names
}
