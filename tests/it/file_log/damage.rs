//! Damaged files: each event is read as it was written, or readers get a gap; nothing panics.
//!
//! A test writes a log, damages a copy of its files, opens the copy and reads it as the relay does.

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

/// A log with [`EVENTS`] events.
struct WrittenLog {
    /// The log was closed once in between: older events are in the database's file, the newest in its WAL.
    folder: tempfile::TempDir,
    node: Node,
    events: HashMap<Position, Arc<str>>,
    newest: Position,
}

/// What a damage led to.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Outcome {
    /// The log does not open.
    Refused,
    /// All events are there.
    Complete,
    /// Events are lost, and readers get a gap.
    Gap,
}

async fn write_log() -> WrittenLog {
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
    WrittenLog { folder, node, events, newest: newest.unwrap() }
}

impl WrittenLog {
    /// Damages a copy of the files, opens it, and checks that no loss is silent and no position names two events.
    async fn damaged(&self, damage: impl FnOnce(&Path)) -> Outcome {
        let copy = tempfile::tempdir().unwrap();
        copy_log(self.folder.path(), copy.path());
        damage(&copy.path().join("log"));
        let Some(node) = Node::try_open(&log_in(copy.path())) else { return Outcome::Refused };
        // Damage that only a read finds makes the log begin empty; until then reads fail.
        let (gap, read) = until("the log can be read", async || self.read(&node).await).await;
        let event = node.event(STOCK, "new");
        let appended = until("it can be written", async || node.broker.append(std::slice::from_ref(&event)).await.ok());
        let new = appended.await.remove(0).position;
        assert!(!self.events.contains_key(&new), "{new} names two events");
        let new_epoch = new.epoch != self.newest.epoch;
        assert!(gap || new_epoch || read == EVENTS, "{read} events were read, and no gap was reported");
        node.broker.close().await;
        if gap || new_epoch { Outcome::Gap } else { Outcome::Complete }
    }

    /// Reads from the beginning as the relay does: whether there was a gap, and how many events there were. `None` while
    /// the log cannot be read.
    async fn read(&self, node: &Node) -> Option<(bool, usize)> {
        let (mut at, mut gap, mut read) = (Position::new(self.newest.epoch.clone(), 0), false, 0);
        loop {
            let page = node.broker.read(node.channel(STOCK), Some(&at), 300).await.ok()?;
            if page.bounds.epoch != at.epoch || page.bounds.oldest > at.offset + 1 {
                (gap, at) = (true, Position::new(page.bounds.epoch, page.bounds.oldest - 1));
            }
            let before = at.offset;
            for entry in page.entries {
                assert_eq!(entry.offset, at.offset + 1, "an event is missing without a gap");
                at.offset = entry.offset;
                read += 1;
                // Events keep their offsets in a new epoch.
                let written = Position::new(self.newest.epoch.clone(), at.offset);
                assert_eq!(self.events.get(&written), Some(&entry.json), "{at}");
            }
            if at.offset == page.bounds.head {
                return Some((gap, read));
            }
            assert!(at.offset > before || gap, "the log ends at {at}, its head is {}", page.bounds.head);
        }
    }
}

const FILES: [&str; 3] = ["log.sqlite", "log.sqlite-wal", "mark"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_damage_is_never_silent() {
    let written = write_log().await;
    assert_eq!(written.damaged(|_| {}).await, Outcome::Complete);
    let mut random = StdRng::seed_from_u64(seed());
    let mut outcomes: HashMap<Outcome, usize> = HashMap::new();
    for _ in 0..60 {
        let file = FILES[random.random_range(0..FILES.len())];
        let (kind, at, bit) = (random.random_range(0..4), random.random_range(0.0..1.0), random.random_range(0..8));
        let outcome = written.damaged(|log| {
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
    assert!(outcomes.contains_key(&Outcome::Gap), "{outcomes:?}");
    written.node.broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_foreign_or_empty_file_is_a_gap() {
    let written = write_log().await;
    for file in FILES {
        assert_eq!(
            written.damaged(|log| fs::remove_file(log.join(file)).unwrap()).await,
            Outcome::Gap,
            "without {file}"
        );
        let foreign = |log: &Path| fs::write(log.join(file), "not what you expect\n".repeat(1000)).unwrap();
        assert_eq!(written.damaged(foreign).await, Outcome::Gap, "{file} is something else");
        let empty = |log: &Path| fs::write(log.join(file), "").unwrap();
        assert_eq!(written.damaged(empty).await, Outcome::Gap, "{file} is empty");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_in_an_event_is_a_gap() {
    let written = write_log().await;
    written.node.broker.close().await;
    let path = |log: &Path| -> PathBuf { log.join("log.sqlite") };
    let outcome = written.damaged(|log| {
        fs::write(log.join("log.sqlite-wal"), "").unwrap();
        let mut bytes = fs::read(path(log)).unwrap();
        let at = bytes.windows(11).position(|text| text == b"\"id\":\"1234\"").expect("the event is in the file");
        bytes[at + 6] = b'9';
        fs::write(path(log), bytes).unwrap();
    });
    assert_eq!(outcome.await, Outcome::Gap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_under_a_running_daemon_begins_an_empty_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::ready(&log_in(folder.path())).await;
    let json: Arc<str> = format!("\"{}\"", "x".repeat(20_000)).into();
    let large = |id: usize| Event { json: json.clone(), ..node.event(STOCK, &id.to_string()) };
    let batch: Vec<_> = (0..1_000).map(large).collect();
    let last = node.broker.append(&batch).await.unwrap().pop().unwrap().position;
    let path = folder.path().join("log/log.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192..].fill(0xA5);
    // Overwrite the file that the daemon has open, instead of replacing it.
    File::options().write(true).open(&path).unwrap().write_all(&bytes).unwrap();

    let start = Position::new(last.epoch.clone(), 0);
    let page =
        until("the log can be read again", async || node.broker.read(node.channel(STOCK), Some(&start), 10).await.ok());
    let page = page.await;
    assert!(page.bounds.epoch != last.epoch && page.entries.is_empty(), "{page:?}");
    while node.signal().await != Signal::Missed {}
    assert_eq!(node.add(STOCK, "after").await, Position::new(page.bounds.epoch, 1));
    assert!(folder.path().join("log/damaged-1/log.sqlite").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_program_is_left_alone() {
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
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let before = fs::read(&path).unwrap();
    let refused = broker::open(&log_in(folder.path()), &Arc::new(Catalog::builtin())).map(drop);
    let reason = refused.expect_err("an older version");
    assert!(reason.contains("version 3") && reason.contains("version 5"), "{reason}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
