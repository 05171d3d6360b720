//! A database that another process has locked: calls are rejected, have no effect, and work again afterwards.

use rusqlite::Connection;
use tidings::broker::BrokerError;

use super::log_in;
use crate::support::broker::{Next, Node};

const STOCK: &str = "inventory-change";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_rejects_calls_without_an_effect() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(&log_in(folder.path())).await;
    let store = node.broker.store();
    let before = node.add(STOCK, "before").await;
    store.put("key", b"before").await.unwrap();

    let other = Connection::open(folder.path().join("log/log.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let rejected = [node.try_append(STOCK, "locked").await.map(drop), store.put("key", b"locked").await];
    assert!(rejected.iter().all(|rejected| matches!(rejected, Err(BrokerError::Rejected(_)))), "{rejected:?}");
    assert!(node.broker.probe(1).await.is_err(), "the probe reports it too");
    assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&b"before"[..]), "reads go on");

    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(node.add(STOCK, "locked").await, before.next(), "the id is new and the offset the next");
    store.put("key", b"after").await.unwrap();
    node.broker.probe(2).await.unwrap();
}
