//! The cache beside a naive model, which keeps the whole history and looks at all of it for each read. Many random schedules.
//!
//! `TIDINGS_SEED` is the first seed and `TIDINGS_SCHEDULES` their number. A failure prints its seed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use super::planned::{FakeSource, MS, Syncs, VirtualEnvironment, settle};
use crate::cache::clock::{Environment, Nanos};
use crate::cache::core::Core;
use crate::cache::history::{HALF_SIZE, History, names};
use crate::cache::{Cache, Coherence, LoadContext, Options};
use crate::event::CacheInvalidate;

const BOUND: Nanos = 2_000 * MS;
const TTL: Nanos = 5_000 * MS;
const KEYS: [&str; 3] = ["a:1", "a:2", "b:1"];
const TAGS: [&str; 3] = ["t", "u", "v"];

struct Applied {
    number: u64,
    at: Nanos,
    /// `None`: a loss.
    what: Option<CacheInvalidate>,
}

struct Stored {
    value: u64,
    tags: Vec<String>,
    loaded_at: Nanos,
    fence: u64,
    expires_at: Nanos,
}

/// Everything that ever happened, and what may be served by it.
#[derive(Default)]
struct Model {
    history: Vec<Applied>,
    stored: HashMap<&'static str, Stored>,
    /// What is held, by whom, until when.
    holds: Vec<(CacheInvalidate, String, Nanos)>,
    proven_at: Nanos,
}

impl Model {
    fn number(&self) -> u64 {
        self.history.len() as u64
    }

    fn apply(&mut self, what: Option<CacheInvalidate>, at: Nanos) {
        self.history.push(Applied { number: self.number() + 1, at, what });
    }

    fn after(&self, fence: u64, key: &str, tags: &[String]) -> impl Iterator<Item = &Applied> {
        let matches = move |what: &Option<CacheInvalidate>| what.as_ref().is_none_or(|what| names(what, key, tags));
        self.history.iter().filter(move |applied| applied.number > fence && matches(&applied.what))
    }

    /// The value that may be served, and whether an invalidation allows it for some time only.
    fn may_serve(&self, key: &str, now: Nanos) -> Option<(u64, bool)> {
        let entry = self.stored.get(key)?;
        if now >= entry.expires_at || now - entry.loaded_at.max(self.proven_at) > BOUND {
            return None;
        }
        let mut is_soft = false;
        for applied in self.after(entry.fence, key, &entry.tags) {
            is_soft = true;
            let stale_for = applied.what.as_ref().and_then(|what| what.stale_for_ms).unwrap_or_default() as Nanos * MS;
            if now >= applied.at + stale_for {
                return None;
            }
        }
        Some((entry.value, is_soft))
    }
}

/// A load in progress.
struct Load {
    key: &'static str,
    value: u64,
    early: Vec<String>,
    late: Vec<String>,
    at: Nanos,
    fence: u64,
    end: oneshot::Sender<()>,
}

struct Schedule {
    dice: StdRng,
    environment: Arc<VirtualEnvironment>,
    source: Arc<FakeSource>,
    core: Arc<Core>,
    cache: Cache<u64>,
    model: Model,
    loads: Vec<Load>,
    holders: Vec<(String, CacheInvalidate)>,
    values: u64,
    /// When the outstanding sync was sent.
    last_sent: Nanos,
}

impl Schedule {
    fn start(seed: u64) -> Self {
        let (environment, source) = (VirtualEnvironment::new(), FakeSource::new());
        let options = Options::default().ttl(Duration::from_secs(5)).jitter(0.0).max_entries(100);
        let core = Core::start(&options, source.clone(), environment.clone(), History::new(HALF_SIZE)).unwrap();
        source.set(|state| state.syncs = Syncs::Silent);
        let model = Model { proven_at: environment.now(), ..Model::default() };
        Self {
            dice: StdRng::seed_from_u64(seed),
            cache: Coherence::of(core.clone()).cache(""),
            environment,
            source,
            core,
            model,
            loads: vec![],
            holders: vec![],
            values: 0,
            last_sent: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.dice.random_range(0..limit)
    }

    fn some(&mut self, names: &[&str]) -> Vec<String> {
        names.iter().filter(|_| self.dice.random_range(0..3) == 0).map(|name| (*name).to_owned()).collect()
    }

    async fn begin(&mut self) {
        let key = KEYS[self.below(3) as usize];
        // Each load is a leader: what joins is in the cases.
        if self.core.lock().flights.get(key).is_some() {
            return;
        }
        let (early, late) = (self.some(&TAGS), self.some(&TAGS));
        self.values += 1;
        let value = self.values;
        let (end, ended) = oneshot::channel();
        let ended = std::sync::Mutex::new(Some(ended));
        let (before, at, fence) = (self.core.stats().loads, self.environment.now(), self.model.number());
        let (cache, tags, more) = (self.cache.clone(), early.clone(), late.clone());
        tokio::spawn(async move {
            let load = move |context: LoadContext<u64>| {
                let (ended, more) = (ended.lock().unwrap().take(), more.clone());
                async move {
                    if let Some(ended) = ended {
                        ended.await.ok();
                    }
                    context.tag(more);
                    Ok::<_, String>(value)
                }
            };
            cache.entry(key).tags(tags).bound(Duration::from_secs(1_000_000)).get_or_load(load).await.unwrap();
        });
        settle().await;
        if self.core.stats().loads > before {
            self.loads.push(Load { key, value, early, late, at, fence, end });
        }
    }

    async fn end(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        let index = self.below(self.loads.len() as u64) as usize;
        let Load { key, value, early, late, at, fence, end } = self.loads.remove(index);
        end.send(()).unwrap();
        settle().await;
        let tags = [early, late].concat();
        let is_held = self.model.holds.iter().any(|(what, _, until)| *until > at && names(what, key, &tags));
        if is_held || self.model.after(fence, key, &tags).next().is_some() {
            return;
        }
        let expires_at = self.environment.now() + TTL;
        self.model.stored.insert(key, Stored { value, tags, loaded_at: at, fence, expires_at });
    }

    fn invalidate(&mut self, step: u64) {
        let now = self.environment.now();
        let mut what = CacheInvalidate {
            tags: self.some(&TAGS),
            keys: self.some(&KEYS),
            prefixes: if self.below(6) == 0 { vec![["a:", "b"][self.below(2) as usize].into()] } else { vec![] },
            reason: None,
            stale_for_ms: (self.below(3) == 0).then(|| 500 + self.dice.random_range(0..1_500)),
            hold_ms: None,
        };
        let id = format!("i{step}");
        let mut cause = None;
        match self.below(6) {
            0 => {
                self.holders.push((id.clone(), what.clone()));
                let hold = 100 + self.below(2_000);
                what.hold_ms = Some(hold);
                self.model.holds.push((what.clone(), id.clone(), now + hold as Nanos * MS));
            }
            1 => {
                if let Some((holder, held)) = self.holders.pop() {
                    self.model.holds.retain(|(_, by, _)| *by != holder);
                    (what, cause) = (held, Some(holder));
                }
            }
            _ => {}
        }
        self.model.apply(Some(what.clone()), now);
        self.source.invalidate(what, Some(&id), cause.as_deref());
    }

    async fn step(&mut self, step: u64) {
        let now = self.environment.now();
        match self.below(12) {
            0..=3 => self.begin().await,
            4..=5 => self.end().await,
            6..=8 => self.invalidate(step),
            9 if self.below(4) == 0 => {
                match self.below(2) {
                    0 => self.source.lose(1 + self.dice.random_range(0..3)),
                    _ => self.source.begin(&format!("e{step}")),
                }
                self.model.apply(None, now);
            }
            10 if self.source.outstanding() > 0 => {
                self.source.answer(true);
                self.model.proven_at = self.model.proven_at.max(self.last_sent);
            }
            _ => {
                let by = self.dice.random_range(0..900);
                self.environment.advance(by * MS).await;
            }
        }
    }

    /// Compares what is served of each key. Returns how many were.
    fn compare(&mut self, context: &str) -> u64 {
        let now = self.environment.now();
        let mut served = 0;
        for key in KEYS {
            let before = self.source.outstanding();
            let found = self.cache.peek(key).map(|value| *value);
            if self.source.outstanding() > before {
                self.last_sent = now;
            }
            let wanted = self.model.may_serve(key, now);
            match (found, wanted) {
                (Some(found), wanted) => assert_eq!(Some(found), wanted.map(|(value, _)| value), "{context}, {key}"),
                // After several invalidations that allow some time, the cache may be harder than it has to be.
                (None, wanted) => assert!(wanted.is_none_or(|(_, is_soft)| is_soft), "{context}, {key}: {wanted:?}"),
            }
            served += u64::from(found.is_some());
        }
        served
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn the_cache_serves_what_the_model_serves() {
    let first = number("TIDINGS_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let schedules = number("TIDINGS_SCHEDULES").unwrap_or(100);
    let mut served = 0;
    for seed in first..first + schedules {
        let mut schedule = Schedule::start(seed);
        for step in 0..60 {
            schedule.step(step).await;
            served += schedule.compare(&format!("TIDINGS_SEED={seed}, step {step}"));
        }
        schedule.core.close().await;
    }
    println!("{schedules} schedules from seed {first} on: {served} hits");
    assert!(served / schedules > 5, "{served} hits in {schedules} schedules from seed {first} on");
}
