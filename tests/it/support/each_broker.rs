//! The same test over every broker.
//!
//! A test is an `async fn name(broker: TestBroker)`, and `over_each_broker!(name, …)` makes of each one test for every
//! backend: a function that is not listed is dead code, which the lints refuse.

use tidings::config::{BrokerUrl, Config};

use super::broker::{redis_url, url};
use super::node::{self, Node};
use super::redis::Redis;

/// The broker of one test, that no other test shares.
pub enum TestBroker {
    Memory,
    Redis(Redis),
    /// A master, and the one sentinel that names it.
    Sentinel {
        sentinel: Redis,
        _master: Redis,
    },
}

impl TestBroker {
    pub fn redis() -> Self {
        Self::Redis(Redis::start())
    }

    pub fn sentinel() -> Self {
        let master = Redis::start();
        Self::Sentinel { sentinel: Redis::sentinel(master.port, 1), _master: master }
    }

    /// The configuration of a node on this broker.
    pub fn config(&self) -> Config {
        node::config(match self {
            Self::Memory => BrokerUrl::Memory,
            Self::Redis(redis) => redis_url(redis.port),
            Self::Sentinel { sentinel, .. } => url(&format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port)),
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

        mod redis {
            use $crate::support::each_broker::TestBroker;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(TestBroker::redis()).await;
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
