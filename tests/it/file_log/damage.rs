//! Files that are damaged: what is read is what was written, or it is told that something is gone; nothing panics.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings::broker::{self, Signal};
use tidings::event::{Catalog, Event, Position};

use super::{copy_log, log_in};
use crate::support::broker::Node;
use crate::support::{seed, until};

const STOCK: &str = "inventory-change";
const EVENTS: usize = 2_000;

/// What was written.
struct Written {
    /// Closed, and written to again: some events are in the database, the newest in SQLite's own log.
    folder: tempfile::TempDir,
    node: Node,
    events: HashMap<Position, Arc<str>>,
    newest: Position,
}

/// What came of a damage.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Outcome {
    /// The log does not open, and says so.
    Refused,
    /// Everything is there.
    Whole,
    /// Something is gone, and whoever reads is told.
    Told,
}

async fn written() -> Written {
    let folder = tempfile::tempdir().unwrap();
    let (mut node, mut events, mut newest) = (Node::ready(&log_in(folder.path())).await, HashMap::new(), None);
    for begin in (0..EVENTS).step_by(50) {
        if begin == EVENTS / 2 {
            node.broker.close().await;
            node = Node::ready(&log_in(folder.path())).await;
        }
        let batch: Vec<_> = (begin..begin + 50).map(|id| node.event(STOCK, &id.to_string())).collect();
        for (event, appended) in batch.iter().zip(node.broker.append(&batch).await.unwrap()) {
            newest = Some(appended.position.clone());
            events.insert(appended.position, event.json.clone());
        }
    }
    Written { folder, node, events, newest: newest.unwrap() }
}

impl Written {
    /// Damages a copy of the files, opens it, and sees to it that no promise is broken.
    async fn judge(&self, damage: impl FnOnce(&Path)) -> Outcome {
        let copy = tempfile::tempdir().unwrap();
        copy_log(self.folder.path(), copy.path());
        damage(&copy.path().join("log"));
        let Some(node) = Node::try_open(&log_in(copy.path())) else { return Outcome::Refused };
        // Damage that is only found by reading ends in a new log.
        let (told, read) = until("the log can be read", async || self.read(&node).await).await;
        let event = node.event(STOCK, "new");
        let appended = until("it can be written", async || node.broker.append(std::slice::from_ref(&event)).await.ok());
        let new = appended.await.remove(0).position;
        assert!(!self.events.contains_key(&new), "{new} stands for two events");
        let lost = new.epoch != self.newest.epoch;
        assert!(told || lost || read == EVENTS, "{read} events were read, and nobody was told of the others");
        node.broker.close().await;
        if told || lost { Outcome::Told } else { Outcome::Whole }
    }

    /// Reads as the relay does, from the beginning: whether something was said to be gone, and how many events there were.
    async fn read(&self, node: &Node) -> Option<(bool, usize)> {
        let (mut at, mut told, mut read) = (Position::new(self.newest.epoch.clone(), 0), false, 0);
        loop {
            let page = node.broker.read(node.channel(STOCK), Some(&at), 300).await.ok()?;
            if page.bounds.epoch != at.epoch || page.bounds.oldest > at.offset + 1 {
                (told, at) = (true, Position::new(page.bounds.epoch, page.bounds.oldest - 1));
            }
            let before = at.offset;
            for entry in page.entries {
                assert_eq!(entry.offset, at.offset + 1, "a hole that nobody is told of");
                at.offset = entry.offset;
                read += 1;
                // In a new epoch too.
                let written = Position::new(self.newest.epoch.clone(), at.offset);
                assert_eq!(self.events.get(&written), Some(&entry.json), "{at}");
            }
            if at.offset == page.bounds.head {
                return Some((told, read));
            }
            assert!(at.offset > before || told, "the log ends at {at}, its head is {}", page.bounds.head);
        }
    }
}

const FILES: [&str; 3] = ["log.sqlite", "log.sqlite-wal", "mark"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_random() {
    let written = written().await;
    assert_eq!(written.judge(|_| {}).await, Outcome::Whole);
    let mut random = StdRng::seed_from_u64(seed());
    let mut outcomes: HashMap<Outcome, usize> = HashMap::new();
    for _ in 0..60 {
        let file = FILES[random.random_range(0..FILES.len())];
        let (kind, at, bit) = (random.random_range(0..4), random.random_range(0.0..1.0), random.random_range(0..8));
        let outcome = written.judge(|log| {
            let path = log.join(file);
            let mut bytes = fs::read(&path).unwrap();
            let at = (bytes.len() as f64 * at) as usize;
            match kind {
                0 => bytes[at] ^= 1 << bit,
                1 => bytes[at / 4096 * 4096..].iter_mut().take(4096).for_each(|byte| *byte = 0),
                2 => bytes.truncate(at),
                _ => bytes[at..].iter_mut().take(100).for_each(|byte| *byte = !*byte),
            }
            println!("damage {kind} to {file} at {at}, bit {bit}");
            fs::write(path, bytes).unwrap();
        });
        *outcomes.entry(outcome.await).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(outcomes.contains_key(&Outcome::Told), "{outcomes:?}");
    written.node.broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_kind() {
    let written = written().await;
    for file in FILES {
        assert_eq!(
            written.judge(|log| fs::remove_file(log.join(file)).unwrap()).await,
            Outcome::Told,
            "without {file}"
        );
        let foreign = |log: &Path| fs::write(log.join(file), "not what you expect\n".repeat(1000)).unwrap();
        assert_eq!(written.judge(foreign).await, Outcome::Told, "{file} is something else");
        let empty = |log: &Path| fs::write(log.join(file), "").unwrap();
        assert_eq!(written.judge(empty).await, Outcome::Told, "{file} is empty");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_costs_one_event() {
    let written = written().await;
    written.node.broker.close().await;
    let path = |log: &Path| -> PathBuf { log.join("log.sqlite") };
    let outcome = written.judge(|log| {
        fs::write(log.join("log.sqlite-wal"), "").unwrap();
        let mut bytes = fs::read(path(log)).unwrap();
        let at = bytes.windows(11).position(|text| text == b"\"id\":\"1234\"").expect("the event is in the file");
        bytes[at + 6] = b'9';
        fs::write(path(log), bytes).unwrap();
    });
    assert_eq!(outcome.await, Outcome::Told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_daemon_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::ready(&log_in(folder.path())).await;
    let json: Arc<str> = format!("\"{}\"", "x".repeat(20_000)).into();
    let large = |id: usize| Event { json: json.clone(), ..node.event(STOCK, &id.to_string()) };
    let batch: Vec<_> = (0..1_000).map(large).collect();
    let last = node.broker.append(&batch).await.unwrap().pop().unwrap().position;
    let path = folder.path().join("log/log.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192..].fill(0xA5);
    // In place: it is the file that the daemon has open.
    File::options().write(true).open(&path).unwrap().write_all(&bytes).unwrap();

    let start = Position::new(last.epoch.clone(), 0);
    let page =
        until("it can be read again", async || node.broker.read(node.channel(STOCK), Some(&start), 10).await.ok());
    let page = page.await;
    assert!(page.bounds.epoch != last.epoch && page.entries.is_empty(), "{page:?}");
    while node.signal().await != Signal::Missed {}
    assert_eq!(node.add(STOCK, "after").await, Position::new(page.bounds.epoch, 1));
    assert!(folder.path().join("log/damaged-1/log.sqlite").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    fs::create_dir(&log).unwrap();
    let other = rusqlite::Connection::open(log.join("log.sqlite")).unwrap();
    other.execute_batch("CREATE TABLE other (x); INSERT INTO other VALUES (1)").unwrap();
    drop(other);
    let before = fs::read(log.join("log.sqlite")).unwrap();
    let refused = broker::open(&log_in(folder.path()), &Arc::new(Catalog::builtin())).map(drop);
    assert!(refused.is_err_and(|reason| reason.contains("log.sqlite is no log of tidings")));
    assert_eq!(fs::read(log.join("log.sqlite")).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_older_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Node::ready(&log_in(folder.path())).await.broker.close().await;
    let path = folder.path().join("log/log.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = broker::open(&log_in(folder.path()), &Arc::new(Catalog::builtin())).map(drop);
    let reason = refused.expect_err("it is of an older version");
    assert!(reason.contains("version 2") && reason.contains("version 3"), "{reason}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
