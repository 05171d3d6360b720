//! What /readyz says of a Redis that cannot be used.

use tidings::config::BrokerUrl;

use super::table::Table;
use crate::support::broker::url;
use crate::support::certificates::Authority;
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::until;

pub async fn provoke(table: &mut Table) {
    table.section("Redis: what /readyz says");
    let server = Redis::start();
    let guarded = Redis::start();
    guarded.cli(&["config", "set", "requirepass", "secret"]);
    let (open, closed, authority) = (server.port, guarded.port, Authority::new());
    let without_tls = format!("rediss://127.0.0.1:{open}?cacert={}", authority.cacert());
    for (what, broker, expected) in [
        ("rediss:// to a port without TLS", without_tls, "rediss"),
        ("redis:// where nothing listens", "redis://127.0.0.1:1".to_owned(), "no connection"),
        ("redis:// without the password", format!("redis://127.0.0.1:{closed}"), "NOAUTH"),
        ("redis:// with a wrong password", format!("redis://:wrong@127.0.0.1:{closed}"), "WRONGPASS"),
        ("redis-cluster:// to a single server", format!("redis-cluster://127.0.0.1:{open}"), "cluster"),
        ("redis-sentinel:// to a server that is none", format!("redis-sentinel://127.0.0.1:{open}/main"), "sentinel"),
    ] {
        let broker: BrokerUrl = url(&broker);
        let node = Node::unready(node::config(broker)).await;
        let response = until("the reason is known", async || {
            let response = node.get("/readyz").await;
            response.json()["detail"].as_str().is_some_and(|detail| detail.contains(expected)).then_some(response)
        });
        table.problem(what, &response.await);
    }
}
