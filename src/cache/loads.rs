//! Runs a load: asks L2, takes the lock, calls the loader, and stores the value if nothing invalidated it meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::clock::{NEVER, Nanos, duration, nanos};
use super::coherence::State;
use super::core::Core;
use super::error::Error;
use super::events::Event;
use super::flights::{Flight, Landed, Outcome, Start};
use super::l2::{Codec, GuardedL2, KeyLock, L2Entry, Write};
use super::proof::Demand;
use super::store::{NewEntry, Value};
use crate::event::Position;

/// Loads a value.
pub type Loader = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// What all values of one cache have in common.
#[derive(Clone, Default)]
pub struct Kind {
    /// How values are written to L2. `None`: they are not.
    pub codec: Option<Arc<dyn Codec>>,
    /// The size of a value.
    pub size_of: Option<Arc<SizeOf>>,
    /// The part of the hits that is loaded again, and whether two values are the same.
    pub verify: Option<(f64, Arc<Equal>)>,
}

/// The size of a value, in bytes.
pub type SizeOf = dyn Fn(&Value) -> u64 + Send + Sync;
/// Whether two values are the same.
pub type Equal = dyn Fn(&Value, &Value) -> bool + Send + Sync;

/// How one instance loads while the others wait for its result in L2.
#[derive(Debug, Clone, Copy)]
pub struct Lock {
    pub wait: Duration,
    pub lease: Duration,
}

/// Finds tags in a value.
pub type TagsOf = Arc<dyn Fn(&Value) -> Vec<String> + Send + Sync>;

/// The options of a read.
#[derive(Clone)]
pub struct ReadOptions {
    pub ttl: Nanos,
    pub absent_ttl: Option<Nanos>,
    pub stale: Nanos,
    pub stale_if_error: Nanos,
    pub bound: Nanos,
    /// The tags that are known before the load.
    pub tags: Vec<String>,
    pub tags_of: Option<TagsOf>,
    pub lock: Option<Lock>,
    pub kind: Kind,
}

/// What a loader gets.
#[derive(Clone)]
pub struct Context {
    pub key: Arc<str>,
    /// The last value of the key, which may not be served any more, if it is still there.
    pub previous: Value,
    /// `None` while a value is verified.
    flight: Option<Arc<Flight>>,
    said: Arc<Mutex<Said>>,
}

/// What a loader says about its value.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    ttl: Option<Nanos>,
    is_skipped: bool,
}

impl Context {
    pub fn new(key: &str, previous: Value, flight: Option<Arc<Flight>>) -> Self {
        Self { key: key.into(), previous, flight, said: Arc::default() }
    }

    pub fn tag(&self, names: impl IntoIterator<Item = String>) {
        if let Some(flight) = &self.flight {
            flight.add_tags(names);
        }
    }

    pub fn ttl(&self, ttl: Duration) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).ttl = Some(nanos(ttl));
    }

    pub fn skip(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).is_skipped = true;
    }

    fn said(&self) -> Said {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the absence of a value is kept by default.
const ABSENT_TTL: Nanos = 30_000_000_000;
/// How often a reader that waits for a lock looks into L2: at first, and at last.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Removes a load when it ends, also if it panics.
struct Landing(Arc<Core>, Arc<Flight>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.lock().flights.remove(&self.1);
    }
}

/// One load, and what it needs.
struct Load {
    core: Arc<Core>,
    flight: Arc<Flight>,
    loader: Loader,
    options: Arc<ReadOptions>,
    demand: Demand,
    previous: Value,
}

impl Core {
    /// Begins a load, which readers of the key may join from now on.
    pub fn begin_load(
        self: &Arc<Self>,
        state: &mut State,
        key: &str,
        loader: &Loader,
        options: &Arc<ReadOptions>,
        demand: Demand,
    ) -> Arc<Flight> {
        let previous = state.store.get(key).and_then(|entry| entry.value.clone());
        let (flight, sender) = state.flights.begin(key, &options.tags, self.start_now());
        let (core, loader, options) = (self.clone(), loader.clone(), options.clone());
        let load = Load { core, flight: flight.clone(), loader, options, demand, previous };
        // A task of its own: the readers that wait may leave. It ends when all have left.
        tokio::spawn(load.fly(sender));
        flight
    }

    fn start_now(&self) -> Start {
        Start {
            at: self.environment.now(),
            held_from: self.environment.monotonic(),
            fence: self.current.number(),
            generation: self.current.generation(),
        }
    }

    /// Writes a value to L2. `None` if it is not written there.
    pub fn to_l2(
        &self,
        key: &str,
        value: &Value,
        tags: &[String],
        fence: Position,
        ttl: Nanos,
        kind: &Kind,
    ) -> Option<Write> {
        let (l2, codec) = (self.l2.clone()?, kind.codec.as_ref()?);
        let value = l2.encode(value, &**codec)?;
        let ttl = Duration::from_nanos(u64::try_from(ttl).ok()?);
        Some(l2.write(key, L2Entry { value, tags: tags.to_vec(), fence, ttl }))
    }
}

/// What a loader has returned, and how it is written to L2.
type Loaded = (Outcome, Option<Write>);

impl Load {
    async fn fly(self, sender: watch::Sender<Landed>) {
        let landing = Landing(self.core.clone(), self.flight.clone());
        let outcome = tokio::select! {
            biased;
            () = self.flight.cancelled() => None,
            outcome = self.run() => Some(outcome),
        };
        // First: who gets the outcome may begin the next load.
        drop(landing);
        if outcome.is_some() {
            sender.send_replace(outcome);
        }
    }

    async fn run(&self) -> Result<Outcome, Error> {
        let with_l2 = self.core.l2.as_ref().zip(self.options.kind.codec.as_ref());
        let Some((l2, codec)) = with_l2 else { return self.load().await.map(|(outcome, _)| outcome) };
        if let Some(found) = self.find_in_l2(l2, &**codec).await {
            return Ok(found);
        }
        match self.options.lock {
            Some(lock) => self.locked(l2, &**codec, lock).await,
            None => self.load_and_write().await,
        }
    }

    async fn load_and_write(&self) -> Result<Outcome, Error> {
        let (outcome, write) = self.load().await?;
        if let Some(write) = write {
            tokio::spawn(write);
        }
        Ok(outcome)
    }

    /// Loads while no other instance does, or takes what it has loaded.
    async fn locked(&self, l2: &Arc<GuardedL2>, codec: &dyn Codec, lock: Lock) -> Result<Outcome, Error> {
        let environment = &self.core.environment;
        let mut held = KeyLock::new(l2, &self.flight.key, lock.lease);
        let until = environment.now() + nanos(lock.wait);
        let mut delay = POLL.0;
        loop {
            let is_free = held.take().await;
            if delay > POLL.0
                && let Some(found) = self.find_in_l2(l2, codec).await
            {
                return Ok(found);
            }
            match is_free {
                Some(true) => break,
                Some(false) if environment.now() < until => {}
                // L2 does not answer, or the other instance takes too long: a lock saves work and is no condition.
                _ => return self.load_and_write().await,
            }
            environment.sleep(delay).await;
            delay = (2 * delay).min(POLL.1);
        }
        let (outcome, write) = tokio::select! {
            biased;
            loaded = self.load() => loaded?,
            never = held.renew() => match never {},
        };
        held.release(write);
        Ok(outcome)
    }

    /// The entry of L2, if it may be served.
    async fn find_in_l2(&self, l2: &GuardedL2, codec: &dyn Codec) -> Option<Outcome> {
        let Self { core, flight, options, demand, .. } = self;
        let key = &*flight.key;
        let entry = l2.get(key, codec).await?;
        // Its age is known only by the clock of another machine. So it may be served only if the bus has proved what is valid.
        if !core.reaches(*demand).await {
            return None;
        }
        let now = core.environment.now();
        let mut state = core.lock();
        if !state.is_current_in_l2(key, &entry.tags, &entry.fence, core.environment.monotonic()) {
            return None;
        }
        // One that was loaded here meanwhile, such as by `put`, has an age that is known.
        let is_known = state.store.get(key).is_some_and(|stored| {
            state.validity.is_valid(key, &stored.validated, now) && now < stored.validated.fresh_until()
        });
        let ttl = core.limited(entry.ttl).min(options.ttl);
        if !is_known && ttl > 0 {
            let size = size_of(&entry.value, options);
            let (value, tags) = (entry.value.clone(), &entry.tags);
            state.keep(NewEntry { key, value, tags, loaded_at: NEVER, expires_at: now + ttl, size });
        }
        Some(Outcome { value: entry.value, is_from_l2: true, is_fenced: false, is_held: false })
    }

    /// Calls the loader, and stores what it returns.
    async fn load(&self) -> Result<Loaded, Error> {
        let Self { core, flight, loader, options, previous, .. } = self;
        let key = &*flight.key;
        let (started_at, fence) = {
            let mut state = core.lock();
            let start = core.start_now();
            state.flights.restart(flight, start);
            (start.at, state.applied())
        };
        let context = Context::new(key, previous.clone(), Some(flight.clone()));
        core.counters.loads.count();
        let loaded = loader(context.clone()).await;
        core.counters.events.tell(|| Event::Loaded {
            key: key.to_owned(),
            duration: duration(core.environment.now() - started_at),
            error: loaded.as_ref().err().cloned(),
        });
        let value = loaded?;
        if let Some(tags_of) = &options.tags_of {
            flight.add_tags(tags_of(&value));
        }
        let tags = flight.tags();
        let Said { ttl, is_skipped } = context.said();
        let size = size_of(&value, options);
        let mut state = core.lock();
        let is_fenced = !state.is_current(key, &tags, flight.fence(), flight.generation());
        let is_held = state.is_held(key, &tags, flight.held_from());
        let outcome = Outcome { value: value.clone(), is_from_l2: false, is_fenced, is_held };
        if is_fenced || is_held {
            core.counters.fenced.count();
            core.counters.events.tell(|| Event::Fenced { key: key.to_owned(), tags });
            return Ok((outcome, None));
        }
        let wanted = match (ttl, &value) {
            (Some(ttl), _) => ttl,
            (None, Some(_)) => options.ttl,
            (None, None) => options.absent_ttl.unwrap_or(options.ttl.min(ABSENT_TTL)),
        };
        let ttl = core.spread(wanted);
        let now = core.environment.now();
        // A load that began later may have finished first: its value is the newer one.
        let has_newer = state.store.get(key).is_some_and(|stored| {
            stored.loaded_at > started_at && state.validity.is_valid(key, &stored.validated, now)
        });
        if is_skipped || ttl <= 0 || has_newer {
            return Ok((outcome, None));
        }
        let stored = value.clone();
        state.keep(NewEntry {
            key,
            value: stored,
            tags: &tags,
            loaded_at: started_at,
            expires_at: now.saturating_add(ttl),
            size,
        });
        drop(state);
        let write = fence.and_then(|fence| core.to_l2(key, &value, &tags, fence, ttl, &options.kind));
        Ok((outcome, write))
    }
}

/// The size of a value, if the application knows it.
fn size_of(value: &Value, options: &ReadOptions) -> u64 {
    options.kind.size_of.as_ref().map_or(0, |size_of| size_of(value))
}
