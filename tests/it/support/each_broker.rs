//! The same test over every broker.
//!
//! A test is an `async fn name(broker: TestBroker)`, and `over_each_broker!(name, …)` makes of each one test for every
//! backend: a function that is not listed is dead code, which the lints refuse.

use tempfile::TempDir;
use tidings::config::{BrokerUrl, Config};

use super::broker::{file_url, redis_url};
use super::node::{self, Node};
use super::redis::Redis;

/// The broker of one test, that no other test shares.
pub enum TestBroker {
    Memory,
    File(TempDir),
    Redis(Redis),
}

impl TestBroker {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    /// The configuration of a node on this broker.
    pub fn config(&self) -> Config {
        node::config(match self {
            Self::Memory => BrokerUrl::Memory,
            // A log is one daemon's: like in memory, each node has its own.
            Self::File(folder) => file_url(&tempfile::tempdir_in(folder).expect("room for another node").keep()),
            Self::Redis(redis) => redis_url(redis.port),
        })
    }

    /// A node with the defaults, which is ready.
    pub async fn node(&self) -> Node {
        self.node_with(|_| {}).await
    }

    /// A node whose configuration the test changes, which is ready.
    pub async fn node_with(&self, change: impl FnOnce(&mut Config)) -> Node {
        let mut config = self.config();
        change(&mut config);
        Node::start(config).await
    }
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
    };
}
pub(crate) use over_each_broker;
