//! A virtual clock and a fake source, with which a test drives a cache step by step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::cache::clock::{Clock, Clocks, Environment, Nanos, nanos};
use crate::cache::error::{BoxError, Error};
use crate::cache::l2::{L2, L2Entry};
use crate::cache::source::{DeliveredInvalidation, Publication, Source, SourceHandler};
use crate::client::Error as ClientError;
use crate::event::{CacheInvalidate, Epoch, Position};

pub const MS: Nanos = 1_000_000;

/// Lets everything run that waits for no timer.
pub async fn settle() {
    for _ in 0..60 {
        tokio::task::yield_now().await;
    }
}

/// Two clocks that move only when the test says so.
#[derive(Debug, Clone)]
pub struct TestClocks(pub Arc<(AtomicI64, AtomicI64)>);

impl Clocks for TestClocks {
    fn monotonic(&self) -> Nanos {
        self.0.0.load(Ordering::SeqCst)
    }

    fn wall(&self) -> Nanos {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// When each timer is due, and whom it wakes.
type Timers = Mutex<Vec<(Nanos, oneshot::Sender<()>)>>;

pub struct VirtualEnvironment {
    clocks: TestClocks,
    clock: Clock<TestClocks>,
    timers: Timers,
    /// What `random` returns. In the middle at first, so that nothing is spread.
    pub random: Mutex<f64>,
}

impl VirtualEnvironment {
    pub fn new() -> Arc<Self> {
        let clocks = TestClocks(Arc::new((AtomicI64::new(1_000 * MS), AtomicI64::new(1_700_000_000_000 * MS))));
        let clock = Clock::new(clocks.clone());
        Arc::new(Self { clocks, clock, timers: Mutex::default(), random: Mutex::new(0.5) })
    }

    pub fn move_clocks(&self, monotonic: Nanos, wall: Nanos) {
        self.clocks.0.0.fetch_add(monotonic, Ordering::SeqCst);
        self.clocks.0.1.fetch_add(wall, Ordering::SeqCst);
    }

    /// Moves both clocks, and lets timers fire at their times.
    pub async fn advance(&self, by: Nanos) {
        let until = self.clocks.monotonic() + by;
        settle().await;
        loop {
            let due = {
                let mut timers = self.timers.lock().unwrap();
                timers.retain(|(_, timer)| !timer.is_closed());
                let first = timers.iter().enumerate().min_by_key(|(_, (at, _))| *at);
                let first = first.filter(|(_, (at, _))| *at <= until).map(|(index, _)| index);
                first.map(|index| timers.remove(index))
            };
            let to = due.as_ref().map_or(until, |(at, _)| *at).max(self.clocks.monotonic());
            let by = to - self.clocks.monotonic();
            self.move_clocks(by, by);
            // A reading at each step, as a running program has them.
            self.clock.now();
            let Some((_, timer)) = due else { return };
            let _ = timer.send(());
            settle().await;
        }
    }
}

impl Environment for VirtualEnvironment {
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn monotonic(&self) -> Nanos {
        self.clocks.monotonic()
    }

    fn random(&self) -> f64 {
        *self.random.lock().unwrap()
    }

    fn sleep(&self, delay: Duration) -> BoxFuture<'static, ()> {
        let (timer, fired) = oneshot::channel();
        self.timers.lock().unwrap().push((self.clocks.monotonic() + nanos(delay), timer));
        fired.map(drop).boxed()
    }
}

/// What happens to a sync.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Syncs {
    Answered,
    Silent,
    Failing,
}

/// What happens to a publication.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Publications {
    Delivered,
    Acknowledged,
    Lost,
}

/// A bus whose log, connection and answers a test controls.
pub struct FakeSource(Mutex<FakeState>);

pub struct FakeState {
    pub is_connected: bool,
    pub syncs: Syncs,
    pub publications: Publications,
    epoch: Epoch,
    head: u64,
    undelivered: Vec<DeliveredInvalidation>,
    pub published: Vec<CacheInvalidate>,
    outstanding: Vec<u64>,
    handler: Option<Weak<dyn SourceHandler>>,
    ids: u64,
}

impl FakeSource {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(FakeState {
            is_connected: true,
            syncs: Syncs::Answered,
            publications: Publications::Delivered,
            epoch: "e".parse().unwrap(),
            head: 0,
            undelivered: vec![],
            published: vec![],
            outstanding: vec![],
            handler: None,
            ids: 0,
        })))
    }

    pub fn set(&self, change: impl FnOnce(&mut FakeState)) {
        change(&mut self.0.lock().unwrap());
    }

    fn handler(&self) -> Arc<dyn SourceHandler> {
        self.0.lock().unwrap().handler.as_ref().unwrap().upgrade().unwrap()
    }

    fn position(&self) -> Position {
        let state = self.0.lock().unwrap();
        Position::new(state.epoch.clone(), state.head)
    }

    fn next(&self) -> Position {
        self.set(|state| state.head += 1);
        self.position()
    }

    pub fn outstanding(&self) -> usize {
        self.0.lock().unwrap().outstanding.len()
    }

    pub fn published(&self) -> Vec<CacheInvalidate> {
        self.0.lock().unwrap().published.clone()
    }

    /// Answers every outstanding sync, or refuses it.
    pub fn answer(&self, is_answered: bool) {
        let position = self.position();
        let outstanding = std::mem::take(&mut self.0.lock().unwrap().outstanding);
        for number in outstanding {
            self.handler().synced(number, is_answered.then_some(&position));
        }
    }

    /// An invalidation of another instance arrives.
    pub fn invalidate(&self, data: CacheInvalidate, id: Option<&str>, cause: Option<&str>) {
        let position = self.next();
        self.set(|state| state.ids += 1);
        let id = id.map_or_else(|| format!("other-{}", self.0.lock().unwrap().ids), str::to_owned);
        self.handler().invalidated(&DeliveredInvalidation { position, id, cause: cause.map(str::to_owned), data });
    }

    /// What was published arrives.
    pub fn deliver(&self) {
        let undelivered = std::mem::take(&mut self.0.lock().unwrap().undelivered);
        undelivered.iter().for_each(|delivered| self.handler().invalidated(delivered));
    }

    /// The next `count` events are lost.
    pub fn lose(&self, count: u64) {
        self.set(|state| state.head += count);
        self.handler().lost(&self.position());
    }

    /// The log is a new one.
    pub fn begin(&self, epoch: &str) {
        self.set(|state| (state.epoch, state.head) = (epoch.parse().unwrap(), 0));
        self.handler().lost(&self.position());
    }
}

impl Source for FakeSource {
    fn start(&self, handler: Weak<dyn SourceHandler>, _: bool) {
        self.set(|state| state.handler = Some(handler));
    }

    fn is_connected(&self) -> bool {
        self.0.lock().unwrap().is_connected
    }

    fn sync(&self, number: u64) {
        let syncs = self.0.lock().unwrap().syncs;
        match syncs {
            Syncs::Silent => self.set(|state| state.outstanding.push(number)),
            Syncs::Answered => self.handler().synced(number, Some(&self.position())),
            Syncs::Failing => self.handler().synced(number, None),
        }
    }

    fn stop(&self) {}

    fn publish(&self, publication: Publication) -> BoxFuture<'static, Result<Position, Error>> {
        let Publication { data, id, cause, limit } = publication;
        let publications = self.0.lock().unwrap().publications;
        if publications == Publications::Lost {
            return match limit {
                Some(_) => std::future::pending().boxed(),
                None => async { Err(ClientError::Url("cannot be reached".into()).into()) }.boxed(),
            };
        }
        let position = self.next();
        let delivered = DeliveredInvalidation { position: position.clone(), id, cause, data: data.clone() };
        self.set(|state| state.published.push(data));
        match publications {
            Publications::Delivered => self.handler().invalidated(&delivered),
            _ => self.set(|state| state.undelivered.push(delivered)),
        }
        async { Ok(position) }.boxed()
    }
}

/// A second level in memory, as the cases describe it.
#[derive(Default)]
pub struct MemoryL2 {
    pub entries: Mutex<HashMap<String, L2Entry>>,
    pub locks: Mutex<HashMap<String, String>>,
    pub mode: Mutex<String>,
}

impl MemoryL2 {
    async fn reach(&self) -> Result<(), BoxError> {
        let mode = self.mode.lock().unwrap().clone();
        match mode.as_str() {
            "down" => Err("L2 is down".into()),
            "slow" => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl L2 for MemoryL2 {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<L2Entry>, BoxError>> {
        async move {
            self.reach().await?;
            Ok(self.entries.lock().unwrap().get(key).cloned())
        }
        .boxed()
    }

    fn set<'a>(&'a self, key: &'a str, entry: L2Entry) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            self.reach().await?;
            let mut entries = self.entries.lock().unwrap();
            let is_newer = entries.get(key).is_some_and(|stored| {
                stored.fence.same_epoch(&entry.fence) && stored.fence.offset > entry.fence.offset
            });
            if !is_newer {
                entries.insert(key.to_owned(), entry);
            }
            Ok(())
        }
        .boxed()
    }

    fn lock<'a>(&'a self, key: &'a str, token: &'a str, _: Duration) -> BoxFuture<'a, Result<bool, BoxError>> {
        async move {
            self.reach().await?;
            let mut locks = self.locks.lock().unwrap();
            let is_free = !locks.contains_key(key);
            if is_free {
                locks.insert(key.to_owned(), token.to_owned());
            }
            Ok(is_free)
        }
        .boxed()
    }

    fn extend<'a>(&'a self, _: &'a str, _: &'a str, _: Duration) -> BoxFuture<'a, Result<(), BoxError>> {
        async { Ok(()) }.boxed()
    }

    fn unlock<'a>(&'a self, key: &'a str, token: &'a str) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            let mut locks = self.locks.lock().unwrap();
            if locks.get(key).is_some_and(|holder| holder == token) {
                locks.remove(key);
            }
            Ok(())
        }
        .boxed()
    }
}
