//! The parts of flows over the in-process broker. `tests/it/webhooks/` has the tests with several nodes on Redis.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::admission::Admission;
use crate::broker::{self, Backend};
use crate::bus::{Lifecycle, Namespace, Revocations, TakenBack};
use crate::config::{BrokerConfig, BrokerUrl, BusMessage, FileSync};
use crate::event::Catalog;
use crate::health::Health;
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn backend() -> Arc<dyn Backend> {
    let hour = Duration::from_secs(3600);
    let config = BrokerConfig {
        broker: BrokerUrl::Memory,
        file_sync: FileSync::Os,
        pulse: hour,
        bus_message: BusMessage::Event,
        prefix: "tidings:".into(),
        namespace: "default".into(),
        log_max_events: 10,
        log_max_age: hour,
        types: BTreeMap::new(),
        latest_max_subjects: 100,
        dedup_window: hour,
    };
    broker::open(&config, &Arc::new(Catalog::builtin())).unwrap().0
}

/// An application layer over this backend, without a relay.
fn bus(backend: Arc<dyn Backend>, metrics: &Arc<Metrics>) -> Arc<Bus> {
    let catalog = Arc::new(Catalog::builtin());
    let admission = Admission::new(100, metrics.pending_connections.clone());
    let revocations = Arc::new(Revocations::new(backend.clone(), || Duration::ZERO));
    let guard = Arc::new(TakenBack::new(None, revocations.clone()));
    let health = watch::channel(Health::default()).1;
    let namespace = Namespace::new(backend, &catalog, admission.clone(), health, metrics, revocations, guard);
    let lifecycle = Lifecycle::default();
    Arc::new(Bus::new(catalog, vec![Arc::new(namespace)], admission, metrics.clone(), lifecycle, None, None))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

fn turn(store: &FlowStore, lease: Lease) -> Turn {
    Turn { store: store.clone(), lease: Some(lease), stopping: CancellationToken::new() }
}

#[tokio::test]
async fn one_holder_at_a_time_has_the_lease_and_a_released_one_is_taken_with_a_higher_token() {
    let store = FlowStore::for_test(backend(), "webhook/a");
    let first = Lease::take(&store, "one").await;
    assert!(first.is_held());
    let mut second = Box::pin(Lease::take(&store, "two"));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err());
    let other = Lease::take(&FlowStore::for_test(backend(), "webhook/b"), "two").await;
    assert!(other.is_held(), "each flow has a lease of its own");
    first.release(&store).await;
    assert!(!first.is_held());
    let second = within("the second takes it", second).await;
    assert!(second.token() > first.token());
    assert!(matches!(within("the first notices", first.keep(&store)).await, FlowError::LeaseLost));
}

#[tokio::test]
async fn a_checkpoint_is_not_set_back_by_an_earlier_holder() {
    let store = FlowStore::for_test(backend(), "webhook/a");
    let lease = Lease::take(&store, "one").await;
    lease.release(&store).await;
    let early = turn(&store, lease);
    let (mut old, found) = Checkpoint::<u32>::claim(&early, "at").await.unwrap();
    assert_eq!(found, None);
    old.save(&1).await.unwrap();
    let late = turn(&store, Lease::take(&store, "two").await);
    let (mut new, found) = Checkpoint::<u32>::claim(&late, "at").await.unwrap();
    assert_eq!(found, Some(1));
    assert!(matches!(old.save(&2).await, Err(FlowError::LeaseLost)));
    new.save(&3).await.unwrap();
    assert!(matches!(old.save(&4).await, Err(FlowError::LeaseLost)));
    assert!(matches!(Checkpoint::<u32>::claim(&early, "at").await, Err(FlowError::LeaseLost)));
    assert_eq!(checkpoint::peek::<u32>(&store, "at").await.unwrap(), Some(3));
    // A broker that lost the value gets it again.
    let lost = store.get("at").await.unwrap();
    assert!(store.compare_and_set("at", lost.as_deref(), None).await.unwrap());
    new.save(&5).await.unwrap();
    assert_eq!(checkpoint::peek::<u32>(&store, "at").await.unwrap(), Some(5));
    store.put("at", b"{").await.unwrap();
    assert!(matches!(new.save(&6).await, Err(FlowError::Damaged { .. })));
}

fn letter(id: &str, body: String) -> DeadLetter {
    let at = dead_letters::now();
    DeadLetter { id: id.into(), reason: "refused".into(), at, attempts: 3, position: Some("a:1".into()), body }
}

#[tokio::test]
async fn dead_letters_are_bounded_in_number_size_and_age() {
    let letters = DeadLetters::new(FlowStore::for_test(backend(), "webhook/a"));
    assert_eq!(letters.list(None).await.unwrap(), []);
    for number in 0..dead_letters::MAX_LETTERS + 3 {
        letters.add(letter(&number.to_string(), "{}".into())).await.unwrap();
    }
    let all = letters.list(None).await.unwrap();
    assert_eq!((all.len(), &*all[0].id), (dead_letters::MAX_LETTERS, "3"));
    assert_eq!(letters.count().await.unwrap(), dead_letters::MAX_LETTERS);
    // A long one is stored in parts. It is returned whole, and replaced by the same one.
    let long = letter("long", "x".repeat(200_000));
    letters.add(long.clone()).await.unwrap();
    assert_eq!(letters.list(Some("long")).await.unwrap(), std::slice::from_ref(&long));
    letters.add(DeadLetter { reason: "é".repeat(1_000), ..long }).await.unwrap();
    let found = letters.list(Some("long")).await.unwrap();
    assert_eq!((found.len(), found[0].body.len(), found[0].reason.chars().count()), (1, 200_000, 500));
    for number in 0..60 {
        letters.add(letter(&format!("big-{number}"), "x".repeat(150_000))).await.unwrap();
    }
    let sizes: usize = letters.list(None).await.unwrap().iter().map(|letter| letter.body.len()).sum();
    assert!((6_000_000..=dead_letters::MAX_BYTES).contains(&sizes), "{sizes}");
    let last = letters.list(Some("big-59")).await.unwrap().remove(0);
    letters.remove(&last).await.unwrap();
    letters.remove(&last).await.unwrap();
    assert_eq!(letters.list(Some("big-59")).await.unwrap(), []);
    let old = dead_letters::now() - dead_letters::MAX_AGE.as_millis() as u64;
    letters.add(DeadLetter { at: old, ..letter("old", "{}".into()) }).await.unwrap();
    assert_eq!(letters.list(Some("old")).await.unwrap(), []);
}

/// Panics in its first run, fails in its second, and then works until it is told to stop.
struct Moody {
    id: FlowId,
    runs: AtomicU32,
    said: mpsc::UnboundedSender<&'static str>,
}

#[async_trait]
impl Flow for Moody {
    fn id(&self) -> &FlowId {
        &self.id
    }

    async fn run(&self, turn: &Turn) -> Result<(), FlowError> {
        turn.check()?;
        match self.runs.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("on purpose"),
            1 => Err(BrokerError::Unavailable("on purpose".into()).into()),
            _ => {
                self.said.send("working").unwrap();
                turn.stopping.cancelled().await;
                self.said.send("stopped").unwrap();
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn a_flow_runs_again_after_a_panic_and_an_error_and_gives_its_lease_back_when_the_node_stops() {
    let (backend, metrics, stopping) = (backend(), Arc::new(Metrics::default()), CancellationToken::new());
    let (said, mut heard) = mpsc::unbounded_channel();
    let id = FlowId { kind: "webhook", name: "moody".into() };
    let flow = Arc::new(Moody { id: id.clone(), runs: AtomicU32::new(0), said });
    let bus = bus(backend, &metrics);
    let store = id.store(&bus);
    let grace = Duration::from_secs(1);
    let running = tokio::spawn(supervise(flow, bus, "one".into(), metrics.clone(), stopping.clone(), grace));
    assert_eq!(within("it works", heard.recv()).await, Some("working"));
    assert_eq!(store.lease("two", grace).await.unwrap(), None, "the node has the lease");
    assert_eq!(metrics.task_panics.get(), 1);
    assert_eq!(metrics.flows.restarts.get_or_create(&id.label()).get(), 2);
    assert_eq!(metrics.flows.running.get_or_create(&id.label()).get(), 1);
    stopping.cancel();
    within("it ends", running).await.unwrap();
    assert_eq!(heard.recv().await, Some("stopped"));
    assert!(store.lease("two", grace).await.unwrap().is_some(), "the lease is free");
    assert_eq!(metrics.flows.running.get_or_create(&id.label()).get(), 0);
}

#[tokio::test]
async fn a_node_whose_lease_another_one_has_shows_no_lag() {
    let (metrics, stopping) = (Arc::new(Metrics::default()), CancellationToken::new());
    let id = FlowId { kind: "webhook", name: "moody".into() };
    let flow = Arc::new(Moody { id: id.clone(), runs: AtomicU32::new(0), said: mpsc::unbounded_channel().0 });
    let bus = bus(backend(), &metrics);
    assert!(id.store(&bus).lease("two", 3 * PATIENCE).await.unwrap().is_some());
    let lag = metrics.flows.lag_events.get_or_create(&id.label()).clone();
    lag.set(40);
    let grace = Duration::from_secs(1);
    let running = tokio::spawn(supervise(flow, bus, "one".into(), metrics.clone(), stopping.clone(), grace));
    let none = async {
        while lag.get() != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the lag is another node's", none).await;
    stopping.cancel();
    within("it ends", running).await.unwrap();
}
