//! Restarts: positions, events and ids survive, and a lost or replaced log begins a new epoch.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use tidings::broker::{self, Signal};
use tidings::event::{Epoch, Event, Position};

use super::{copy_log, log_in};
use crate::support::broker::{Next, Node, offsets};
use crate::support::daemon::{Daemon, run, tidings};
use crate::support::until;

const STOCK: &str = "inventory-change";
const ORDERS: &str = "order-status";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_events_and_ids_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(&log_in(folder.path())).await;
    let mut before = Vec::new();
    for i in 0..100 {
        before.push(node.add([STOCK, ORDERS][i % 2], &i.to_string()).await);
    }
    let start = Position::new(before[0].epoch.clone(), 0);
    let pages = [node.read(STOCK, Some(&start), 100).await, node.read(ORDERS, Some(&start), 100).await];
    node.broker.close().await;

    for _ in 0..2 {
        let node = Node::ready(&log_in(folder.path())).await;
        assert_eq!(node.read(STOCK, Some(&start), 100).await, pages[0]);
        assert_eq!(node.read(ORDERS, Some(&start), 100).await, pages[1]);
        for (i, position) in before.iter().enumerate() {
            let again = node.append([STOCK, ORDERS][i % 2], &i.to_string()).await;
            assert_eq!((again.position, again.duplicate), (position.clone(), true));
        }
        node.broker.close().await;
    }
    let node = Node::ready(&log_in(folder.path())).await;
    assert_eq!(node.add(STOCK, "next").await, before[98].next());
    assert_eq!(node.add(ORDERS, "next").await, before[99].next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclosed_log_survives_a_restart() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::ready(&log_in(folder.path())).await;
    let batch: Vec<_> = (0..1000).map(|i| node.event(STOCK, &i.to_string())).collect();
    let appended = node.broker.append(&batch).await.unwrap();
    node.broker.store().put("key", b"value").await.unwrap();
    copy_log(folder.path(), copy.path());

    let again = Node::ready(&log_in(copy.path())).await;
    assert_eq!(again.broker.store().get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    let found = again.broker.append(&batch).await.unwrap();
    assert!(found.iter().zip(&appended).all(|(found, first)| found.duplicate && found.position == first.position));
    assert_eq!(again.add(STOCK, "next").await, appended[999].position.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_limits_apply_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = log_in(folder.path());
    let node = Node::ready(&config).await;
    let batch: Vec<_> = (1..=500).map(|i| node.event(STOCK, &i.to_string())).collect();
    let last = node.broker.append(&batch).await.unwrap().pop().unwrap().position;
    let start = Position::new(last.epoch.clone(), 0);
    node.broker.close().await;

    config.log_max_events = 3;
    let node = Node::ready(&config).await;
    let page = node.read(STOCK, Some(&start), 100).await;
    assert_eq!((page.bounds.head, page.bounds.oldest, offsets(&page)), (500, 498, vec![498, 499, 500]));
    // An id may outlive its event.
    assert_eq!(node.append(STOCK, "1").await.position.offset, 1);
    node.broker.close().await;

    config.log_max_age = Duration::from_millis(1);
    let node = Node::ready(&config).await;
    let page = node.read(STOCK, Some(&start), 100).await;
    assert_eq!((page.bounds.epoch, page.bounds.head, page.bounds.oldest), (last.epoch.clone(), 500, 501));
    node.broker.close().await;

    // Larger limits do not bring deleted events back, and the head stays.
    let node = Node::ready(&log_in(folder.path())).await;
    let page = node.read(STOCK, Some(&start), 1000).await;
    assert_eq!(offsets(&page), (page.bounds.oldest..=500).collect::<Vec<_>>());
    assert_eq!(node.add(STOCK, "next").await, last.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_shrinks_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = log_in(folder.path());
    let node = Node::ready(&config).await;
    let json: Arc<str> = format!("\"{}\"", "x".repeat(20_000)).into();
    for batch in 0..10 {
        let events = (0..100).map(|i| Event { json: json.clone(), ..node.event(STOCK, &format!("{batch} {i}")) });
        node.broker.append(&events.collect::<Vec<_>>()).await.unwrap();
    }
    node.broker.close().await;
    let size = || fs::metadata(folder.path().join("log/log.sqlite")).unwrap().len();
    assert!(size() > 20_000_000);

    config.log_max_events = 10;
    let node = Node::ready(&config).await;
    until("the file shrinks", async || (size() < 10_000_000).then_some(())).await;
    let page = node.read(STOCK, Some(&Position::new(Epoch::random(), 0)), 100).await;
    assert_eq!(offsets(&page), (991..=1000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_user_of_the_daemon_reads_the_events() {
    let folder = tempfile::tempdir().unwrap();
    // A directory that an operator has made for it, which others may read.
    let log = folder.path().join("log");
    DirBuilder::new().mode(0o755).create(&log).unwrap();
    let node = Node::ready(&log_in(folder.path())).await;
    node.add(STOCK, "confidential").await;
    for name in ["log.sqlite", "log.sqlite-wal", "log.sqlite-shm"] {
        assert_eq!(fs::metadata(log.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_directory_begins_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(&log_in(folder.path())).await;
    let before = node.add(STOCK, "same").await;
    node.broker.close().await;
    fs::remove_dir_all(folder.path().join("log")).unwrap();

    let node = Node::ready(&log_in(folder.path())).await;
    let page = node.read(STOCK, Some(&before), 10).await;
    assert_eq!((page.bounds.head, page.bounds.oldest), (0, 1));
    let after = node.add(STOCK, "same").await;
    assert!(after.offset == 1 && !after.same_epoch(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_removed_under_a_daemon_begins_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::ready(&log_in(folder.path())).await;
    let before = node.add(STOCK, "same").await;
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    while node.signal().await != Signal::Missed {}
    let after = node.add(STOCK, "same").await;
    assert!(after.offset == 1 && !after.same_epoch(&before));
    assert!(folder.path().join("log/log.sqlite").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_ahead_of_the_log_begins_a_new_epoch() {
    let (folder, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::ready(&log_in(folder.path())).await;
    for id in ["a", "b", "c"] {
        node.add(STOCK, id).await;
    }
    node.add(ORDERS, "a").await;
    copy_log(folder.path(), older.path());
    let known = node.add(STOCK, "d").await;

    // An older copy replaced the log.
    let mut node = Node::ready(&log_in(older.path())).await;
    let page = node.read(STOCK, Some(&known), 10).await;
    assert!(page.bounds.epoch != known.epoch);
    // The copy may have got other events since, so that the page has all of them.
    assert_eq!((page.bounds.head, offsets(&page)), (3, vec![1, 2, 3]));
    while node.signal().await != Signal::Missed {}
    // A kept id is a duplicate, and a lost id is new.
    assert_eq!(node.append(STOCK, "a").await.position, Position::new(page.bounds.epoch.clone(), 1));
    assert_eq!(node.add(STOCK, "d").await, Position::new(page.bounds.epoch.clone(), 4));
    // Other channels keep their epoch.
    assert_eq!(node.append(ORDERS, "a").await.position, Position::new(known.epoch, 1));
    node.broker.close().await;
    let again = Node::ready(&log_in(older.path())).await.read(STOCK, None, 0).await;
    assert_eq!((again.bounds.epoch, again.bounds.head, again.bounds.oldest), (page.bounds.epoch, 4, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_copy_without_its_marker_begins_a_new_epoch() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::ready(&log_in(folder.path())).await;
    node.add(STOCK, "kept").await;
    copy_log(folder.path(), copy.path());
    let known = node.add(STOCK, "lost").await;

    fs::remove_file(copy.path().join("log/mark")).unwrap();
    let node = Node::ready(&log_in(copy.path())).await;
    let after = node.add(STOCK, "after").await;
    assert!(after.offset == known.offset && !after.same_epoch(&known), "{after} and {known} would name two events");
    let page = node.read(STOCK, Some(&known), 10).await;
    assert_eq!((page.bounds.epoch, page.bounds.oldest, page.entries.len()), (after.epoch.clone(), 1, 2));
    assert_eq!(node.append(STOCK, "kept").await.position, Position { offset: 1, ..after });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_cannot_open_the_log() {
    let daemon = Daemon::with(
        &["--listen", "127.0.0.1:0", "--broker", "file:./a/b/log"],
        tempfile::tempdir().expect("a temporary directory"),
    );
    let folder = daemon.folder.path();
    let other = run(tidings(folder, &["serve", "--listen", "127.0.0.1:0", "--broker", "file:a/b/log"]), "");
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.err.contains("a/b/log is in use by another daemon, process "), "{}", other.err);
    let mut config = log_in(folder);
    config.broker = tidings::config::BrokerUrl::File(folder.join("a/b/log"));
    let refused = broker::open(&config, &Arc::new(tidings::event::Catalog::builtin())).map(drop);
    assert!(refused.is_err_and(|reason| reason.contains("is in use by another daemon")));
}
