use futures_util::future::join_all;

use super::*;
use crate::broker;
use crate::config::{BrokerConfig, BrokerUrl, BusMessage, FileSync};
use crate::event::{Event, TypeSettings};

const ORDERS: &str = "order-status";

/// A log in memory that keeps the newest event of each subject, and a cache over it.
struct Bus {
    backend: Arc<dyn Backend>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    cache: LatestCache,
    _signals: broker::Signals,
}

fn bus() -> Bus {
    bus_over(BrokerUrl::Memory)
}

fn bus_over(broker: BrokerUrl) -> Bus {
    let hour = Duration::from_secs(3600);
    let config = BrokerConfig {
        broker,
        file_sync: FileSync::Os,
        bus_message: BusMessage::Event,
        pulse: Duration::from_secs(1),
        prefix: String::new(),
        namespace: "n".into(),
        log_max_events: 1000,
        log_max_age: hour,
        latest_max_subjects: 100_000,
        types: [(ORDERS.to_owned(), TypeSettings { latest: Some(hour), ..TypeSettings::default() })].into(),
        dedup_window: hour,
    };
    let (catalog, metrics) = (Arc::new(Catalog::builtin()), Arc::<Metrics>::default());
    let (backend, signals) = broker::open(&config, &catalog).unwrap();
    let cache = LatestCache::new(backend.clone(), &catalog, metrics.clone());
    Bus { backend, catalog, metrics, cache, _signals: signals }
}

impl Bus {
    fn channel(&self) -> ChannelId {
        self.catalog.channel(ORDERS).unwrap()
    }

    fn json(subject: &str, id: &str) -> String {
        format!(r#"{{"id":"{id}","subject":"{subject}","data":{{}}}}"#)
    }

    /// Appends an event that the relay does not deliver.
    async fn append(&self, subject: &str, id: &str) -> Position {
        let json = Self::json(subject, id).into();
        let event = Event { channel: self.channel(), id: id.into(), subject: Some(subject.into()), json };
        self.backend.append(&[event]).await.unwrap().pop().unwrap().position
    }

    /// Delivers an event as the relay does.
    fn deliver(&self, subject: &str, position: &Position, id: &str) {
        let json = Self::json(subject, id);
        self.cache.delivered(self.channel(), position, &json, || {
            Bytes::from(event_frame(position, &json)).slice(HISTORY_ENTRY..)
        });
    }

    async fn find(&self, subject: &str) -> Option<Position> {
        let asked = self.cache.subject(self.channel(), subject);
        let found = self.cache.find(self.channel(), subject, &asked).await.unwrap();
        found.event.map(|event| {
            assert_eq!(subject_of(event.json()).as_deref(), Some(subject));
            event.position.clone()
        })
    }

    /// Lets time pass for the answers of the broker.
    fn pass(&self, time: Duration) {
        for subject in self.cache.channels[self.channel()].lock().values() {
            if let Some((asked, _)) = &mut subject.lock().answer {
                *asked -= time;
            }
        }
    }

    /// Makes the answer for a subject good for this time more.
    fn prolong(&self, subject: &str, time: Duration) {
        let asked = self.cache.subject(self.channel(), subject);
        asked.lock().answer.as_mut().unwrap().0 += time;
    }

    fn reads(&self) -> u64 {
        self.metrics.latest_reads.get()
    }
}

#[tokio::test]
async fn a_thousand_clients_cost_one_read_in_two_seconds() {
    let bus = bus();
    let first = bus.append("o1", "1").await;
    for round in 1..=3 {
        let found = join_all((0..1000).map(|_| bus.find("o1"))).await;
        assert!(found.iter().all(|position| position.as_ref() == Some(&first)));
        assert_eq!(bus.reads(), round, "a read for all");
        bus.pass(GOOD_FOR);
    }
    // A subject without an event costs no more.
    join_all((0..1000).map(|_| bus.find("nothing"))).await;
    assert_eq!(bus.reads(), 4);
}

#[tokio::test]
async fn a_delivered_event_counts_at_once_and_wakes_those_who_wait() {
    let bus = bus();
    let (first, second) = (bus.append("o1", "1").await, bus.append("o1", "2").await);
    assert_eq!(bus.find("o1").await, Some(second.clone()));
    let asked = bus.cache.subject(bus.channel(), "o1");
    let changes = asked.changes();
    bus.deliver("o1", &first, "1");
    assert_eq!(bus.find("o1").await, Some(second.clone()), "the answer is newer than the event");
    let third = Position { offset: second.offset + 1, ..second.clone() };
    bus.deliver("o2", &third, "3");
    assert_eq!(bus.find("o1").await, Some(second.clone()), "an event of another subject");
    bus.deliver("o1", &third, "3");
    assert!(changes.has_changed().unwrap());
    assert_eq!((bus.find("o1").await, bus.reads()), (Some(third.clone()), 1));
    let elsewhere = Position::new("other".parse().unwrap(), 1);
    bus.deliver("o1", &elsewhere, "4");
    assert_eq!(bus.find("o1").await, Some(second), "an event of another epoch says nothing about this one");
    assert_eq!(bus.reads(), 1);
}

#[tokio::test]
async fn what_is_known_of_a_log_ends_with_it() {
    let bus = bus();
    let first = bus.append("o1", "1").await;
    let asked = bus.cache.subject(bus.channel(), "o1");
    assert_eq!(bus.find("o1").await, Some(first.clone()));
    bus.deliver("o1", &Position { offset: 7, ..first.clone() }, "7");
    let changes = asked.changes();
    bus.cache.clear(bus.channel());
    assert!(changes.has_changed().unwrap() && asked.last().is_none());
    assert_eq!((bus.find("o1").await, bus.reads()), (Some(first), 2));
    assert!(Arc::ptr_eq(&asked, &bus.cache.subject(bus.channel(), "o1")), "who waits is still told of changes");
}

#[tokio::test]
async fn a_bounded_number_of_subjects_is_held_and_those_that_somebody_waits_for_stay() {
    let bus = bus();
    let waited_for = bus.cache.subject(bus.channel(), "waited for");
    // All of them are asked for lately, however slow this machine is.
    let hour = Duration::from_secs(3600);
    for number in 0..MAX_SUBJECTS + 100 {
        let name = format!("s{number}");
        bus.find(&name).await;
        bus.prolong(&name, hour);
    }
    let held = bus.cache.channels[bus.channel()].lock().len();
    assert_eq!(held, MAX_SUBJECTS);
    assert!(Arc::ptr_eq(&waited_for, &bus.cache.subject(bus.channel(), "waited for")));
    bus.pass(hour + GOOD_FOR);
    bus.find("another").await;
    let held = bus.cache.channels[bus.channel()].lock().len();
    assert_eq!(held, 2, "the others were not asked for lately");
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_keeps_no_permit() {
    let folder = tempfile::tempdir().unwrap();
    // Its answers come from another thread, so that a read can be left in the middle.
    let bus = bus_over(BrokerUrl::File(folder.path().to_owned()));
    let first = bus.append("o1", "1").await;
    for number in 0..2 * CONCURRENT_READS {
        let _ = bus.find(&format!("s{number}")).now_or_never();
    }
    let found = tokio::time::timeout(Duration::from_secs(60), bus.find("o1")).await;
    assert_eq!(found.expect("reads that were left keep no permit"), Some(first));
    // Nor does one that was left stand for one that is asked for again.
    assert_eq!(bus.find("s0").await, None);
}

#[tokio::test]
async fn the_bytes_of_held_events_are_counted() {
    let bus = bus();
    let bytes = |bus: &Bus| bus.cache.channels[bus.channel()].bytes.load(Ordering::Relaxed);
    let first = bus.append("o1", "1").await;
    bus.find("o1").await;
    let once = bytes(&bus);
    assert!(once > 0);
    for offset in 2..10 {
        bus.deliver("o1", &Position { offset, ..first.clone() }, "2");
    }
    assert_eq!(bytes(&bus), 2 * once);
    bus.cache.clear(bus.channel());
    assert_eq!(bytes(&bus), 0);
}
