//! Runs one test against every broker: memory, file, Redis, Redis Cluster and Sentinel. `make check-brokers` runs those of
//! Redis over other servers, too.
//!
//! A test is an `async fn name(broker: TestBroker)`. `over_each_broker!(name, …)` generates from it the tests `memory::name`,
//! `file::name` and so on. A function that is missing from the list is dead code, which the lints refuse.

use tempfile::TempDir;
use tidings::config::{BrokerUrl, BusMessage, Config};

use super::broker::{file_url, redis_url, url};
use super::cluster::Cluster;
use super::node::{self, Node};
use super::raw::Reader;
use super::redis::Redis;
use super::upstash::Upstash;

/// A broker whose events and keys belong to one test. Nodes of a test reach it by [`node`](Self::node).
pub enum TestBroker {
    Memory,
    /// As `Memory`; hyper reads the handshakes of [`RawConnection`](super::raw::RawConnection)s.
    MemoryByHyper,
    /// As `Memory`; all connections have TLS, of both versions in turn.
    MemoryOverTls,
    File(TempDir),
    Redis(Redis),
    /// The REST interface of Upstash, instead of `Redis` if `TIDINGS_TEST_BROKER` is `upstash`.
    Upstash(Upstash),
    /// The Cluster is shared by all tests of this process; the prefix keeps their keys apart.
    Cluster(&'static Cluster, String),
    /// A Redis master and one sentinel that monitors it. The nodes publish positions only.
    Sentinel {
        sentinel: Redis,
        _master: Redis,
    },
}

impl TestBroker {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn redis() -> Self {
        if std::env::var("TIDINGS_TEST_BROKER").is_ok_and(|broker| broker == "upstash") {
            return Self::Upstash(Upstash::start());
        }
        Self::Redis(Redis::start())
    }

    pub fn cluster() -> Self {
        Self::Cluster(Cluster::shared(), own_prefix())
    }

    pub fn sentinel() -> Self {
        let master = Redis::start();
        Self::Sentinel { sentinel: Redis::sentinel(master.port, 1), _master: master }
    }

    /// The configuration of a node on this broker.
    pub fn config(&self) -> Config {
        match self {
            Self::Memory | Self::MemoryByHyper | Self::MemoryOverTls => node::config(BrokerUrl::Memory),
            // A file log has exactly one daemon, so each node gets a log of its own, as in memory.
            Self::File(folder) => {
                node::config(file_url(&tempfile::tempdir_in(folder).expect("room for another node").keep()))
            }
            Self::Redis(redis) => node::config(redis_url(redis.port)),
            Self::Upstash(upstash) => node::config(upstash.url()),
            Self::Sentinel { sentinel, .. } => {
                let mut config = node::config(url(&format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port)));
                config.broker.bus_message = BusMessage::Position;
                config
            }
            Self::Cluster(cluster, prefix) => {
                let mut config = node::config(cluster.url());
                config.broker.prefix.clone_from(prefix);
                config
            }
        }
    }

    /// Starts a node with the default configuration, and waits until it is ready.
    pub async fn node(&self) -> Node {
        self.node_with(|_| {}).await
    }

    /// Starts a node with a changed configuration, and waits until it is ready.
    pub async fn node_with(&self, change: impl FnOnce(&mut Config)) -> Node {
        let mut config = self.config();
        change(&mut config);
        if matches!(self, Self::MemoryOverTls) {
            return Node::start_with_tls(config).await;
        }
        let mut node = Node::start(config).await;
        if matches!(self, Self::MemoryByHyper) {
            node.reader = Reader::Hyper;
        }
        node
    }
}

/// A random key prefix, so that tests on one Redis share no keys.
pub fn own_prefix() -> String {
    format!("test-{:x}:", rand::random::<u64>())
}

macro_rules! over_each_broker {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::Memory).await;
                }
            )+
        }

        mod file {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::file()).await;
                }
            )+
        }

        mod redis {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::redis()).await;
                }
            )+
        }

        mod cluster {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::cluster()).await;
                }
            )+
        }

        mod sentinel {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::sentinel()).await;
                }
            )+
        }
    };
}
pub(crate) use over_each_broker;

/// The same, and once more over TLS: the module `over_tls`.
macro_rules! over_each_broker_and_tls {
    ($($name:ident),+ $(,)?) => {
        $crate::support::each_broker::over_each_broker!($($name),+);

        mod over_tls {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::MemoryOverTls).await;
                }
            )+
        }
    };
}
pub(crate) use over_each_broker_and_tls;

/// The same, and once more with handshakes that hyper reads: the module `by_hyper`.
macro_rules! over_each_broker_and_reader {
    ($($name:ident),+ $(,)?) => {
        $crate::support::each_broker::over_each_broker_and_tls!($($name),+);

        mod by_hyper {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::MemoryByHyper).await;
                }
            )+
        }
    };
}
pub(crate) use over_each_broker_and_reader;
