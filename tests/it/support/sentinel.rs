//! A real Redis master and its replica, monitored by three real sentinels.

use std::time::Instant;

use tokio::sync::mpsc;

use super::redis::Redis;
use super::{until, within};

/// A master, a replica, and three sentinels with a quorum of two.
pub struct Sentinels {
    pub servers: [Redis; 2],
    pub sentinels: [Redis; 3],
}

impl Sentinels {
    /// Starts all processes, and waits until the sentinels know each other and the replica.
    pub async fn start() -> Self {
        let master = Redis::start();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        until("the replica is in sync", async || replica.cli(&["role"]).contains("connected").then_some(())).await;
        let sentinels = [(); 3].map(|()| Redis::sentinel(master.port, 2));
        for sentinel in &sentinels {
            // Sentinels poll the servers every ten seconds, and demote an old master only after four of their hello
            // messages. Shorter periods make the tests faster; an old Redis refuses the command.
            let _ = sentinel.try_cli(&["sentinel", "debug", "info-period", "1000", "publish-period", "500"]);
            until("the sentinels know each other", async || {
                let known = |what: &str| fact(sentinel, what).parse::<u32>().ok();
                (known("num-slaves") == Some(1) && known("num-other-sentinels") == Some(2)).then_some(())
            })
            .await;
        }
        Self { servers: [master, replica], sentinels }
    }

    /// Cuts the replication: the replica does not get later writes of the master.
    pub fn cut_replication(&self) {
        self.servers[0].cli(&["acl", "setuser", "default", "-psync", "-sync"]);
        self.servers[0].cli(&["client", "kill", "type", "replica"]);
    }

    /// Waits until the first sentinel announces another master, and returns when that was.
    pub fn switched(&self) -> impl Future<Output = Instant> + use<> {
        let (sender, mut switched) = mpsc::channel(self.sentinels.len());
        for sentinel in &self.sentinels {
            let (watcher, sender) = (sentinel.watch("+switch-master"), sender.clone());
            std::thread::spawn(move || {
                watcher.message();
                // The receiver takes the first announcement only.
                let _ = sender.try_send(Instant::now());
            });
        }
        async move { within("Sentinel names another master", switched.recv()).await.expect("a running sentinel") }
    }

    /// Waits until the old master `server` is a replica.
    pub async fn demoted(&self, server: usize) {
        // Redis disconnects its clients during the demotion, so the command may fail.
        let is_replica = || self.servers[server].try_cli(&["role"]).is_some_and(|role| role.starts_with("slave"));
        until("the old master is demoted", async || is_replica().then_some(())).await;
    }

    /// The `redis-sentinel://` URL with all sentinels.
    pub fn url(&self) -> String {
        let sentinels = self.sentinels.each_ref().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        format!("redis-sentinel://{}/main", sentinels.join(","))
    }

    /// The index of the server that a sentinel names as the master.
    pub fn named(&self, sentinel: usize) -> usize {
        let answer = self.sentinels[sentinel].cli(&["sentinel", "get-master-addr-by-name", "main"]);
        let port = answer.lines().nth(1).expect("a port");
        self.servers.iter().position(|server| server.port.to_string() == port).expect("one of the servers")
    }
}

/// A field of a sentinel's reply to `SENTINEL MASTER`. Empty if there is no such field.
pub fn fact(sentinel: &Redis, name: &str) -> String {
    let answer = sentinel.cli(&["sentinel", "master", "main"]);
    let mut lines = answer.lines();
    lines.find(|line| *line == name).and_then(|_| lines.next()).unwrap_or_default().to_owned()
}
