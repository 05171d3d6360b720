//! Runs the cases of `tests/cache/cases.json`, which describes its steps at its top.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::planned::{FakeSource, MS, MemoryL2, Publications, Syncs, VirtualEnvironment, settle};
use crate::cache::clock::nanos;
use crate::cache::core::Core;
use crate::cache::error::Error;
use crate::cache::history::{HALF_SIZE, History};
use crate::cache::l2::L2Entry;
use crate::cache::{Cache, Coherence, Invalidation, LoadContext, Options, Stats};
use crate::event::CacheInvalidate;

const CASES: &str = include_str!("../../../tests/cache/cases.json");

/// What a loader waits for.
struct PendingLoad {
    context: LoadContext<Value>,
    end: oneshot::Sender<Result<Value, String>>,
}

#[derive(Default)]
struct Loads {
    pending: HashMap<String, VecDeque<PendingLoad>>,
    begun: HashMap<String, u64>,
}

/// What has become of a call. `None`: it is in progress.
type Results = Arc<Mutex<HashMap<String, Option<Value>>>>;

struct Run {
    environment: Arc<VirtualEnvironment>,
    source: Arc<FakeSource>,
    l2: Arc<MemoryL2>,
    coherence: Coherence,
    cache: Cache<Value>,
    loads: Arc<Mutex<Loads>>,
    results: Results,
    writes: Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>,
}

fn ms(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap() / 1_000.0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|values| values.iter().map(text).collect()).unwrap_or_default()
}

fn data(value: &Value) -> CacheInvalidate {
    serde_json::from_value(value.clone()).unwrap()
}

/// The outcome of a call as the cases write it.
fn outcome(result: Result<Value, Error>) -> Value {
    match result {
        Ok(value) => json!({ "is": value }),
        Err(error) => json!({ "fails": error.to_string() }),
    }
}

fn expected(step: &Value) -> Option<Value> {
    let member = |name: &str| step.get(name).map(|value| json!({ name: value }));
    member("is").or_else(|| member("fails"))
}

fn value_of(loaded: Option<Arc<Value>>) -> Value {
    loaded.map_or(Value::Null, |value| (*value).clone())
}

fn stats_of(stats: &Stats) -> Value {
    json!({
        "hitsL1": stats.hits_l1, "hitsL2": stats.hits_l2, "misses": stats.misses, "loads": stats.loads, "joined": stats.joined,
        "fenced": stats.fenced, "unproven": stats.unproven, "gaps": stats.gaps, "applied": stats.applied,
        "unmatched": stats.unmatched, "mismatches": stats.mismatches, "l2Errors": stats.l2_errors,
    })
}

impl Run {
    fn start(case: &Value) -> Self {
        let environment = VirtualEnvironment::new();
        let source = FakeSource::new();
        if case["unbegun"] == true {
            source.set(|state| state.syncs = Syncs::Silent);
        }
        let l2 = Arc::new(MemoryL2::default());
        let mut options = Options::default().ttl(Duration::from_secs(60)).jitter(0.0).max_entries(100);
        for (name, value) in case["options"].as_object().into_iter().flatten() {
            match name.as_str() {
                "bound" => options.bound = ms(value),
                "ttl" => options.ttl = ms(value),
                "jitter" => options.jitter = value.as_f64().unwrap(),
                "maxTtl" => options.max_ttl = Some(ms(value)),
                "maxEntries" => options.max_entries = usize::try_from(value.as_u64().unwrap()).unwrap(),
                "settle" => options.settle = ms(value),
                "l2" => options.l2 = Some(l2.clone()),
                _ => panic!("there is no option {name}"),
            }
        }
        let core = Core::start(&options, source.clone(), environment.clone(), History::new(HALF_SIZE)).unwrap();
        let coherence = Coherence::of(core);
        let cache = coherence.shared_cache("");
        let (loads, results, writes) = Default::default();
        Self { environment, source, l2, coherence, cache, loads, results, writes }
    }

    fn keep(&self, name: &str, call: impl Future<Output = Result<Value, Error>> + Send + 'static) {
        self.results.lock().unwrap().insert(name.to_owned(), None);
        let (results, name) = (self.results.clone(), name.to_owned());
        tokio::spawn(async move {
            let result = outcome(call.await);
            results.lock().unwrap().insert(name, Some(result));
        });
    }

    fn next(&self, key: &str) -> PendingLoad {
        let mut loads = self.loads.lock().unwrap();
        loads.pending.get_mut(key).and_then(VecDeque::pop_front).expect("a load in progress")
    }

    fn compare_result(&self, name: &str, wanted: Option<Value>) {
        assert_eq!(self.results.lock().unwrap()[name], wanted);
    }

    fn read(&self, step: &Value) {
        let key = text(&step["read"]);
        let name = step["as"].as_str().unwrap_or(&key).to_owned();
        let (cache, loads) = (self.cache.clone(), self.loads.clone());
        let given = step.clone();
        let load_key = key.clone();
        let load = move |context: LoadContext<Value>| {
            let mut loads = loads.lock().unwrap();
            *loads.begun.entry(load_key.clone()).or_default() += 1;
            let (end, ended) = oneshot::channel();
            if let Some(value) = given.get("value") {
                end.send(Ok(value.clone())).unwrap();
            } else if let Some(error) = given.get("throws") {
                end.send(Err(text(error))).unwrap();
            } else {
                loads.pending.entry(load_key.clone()).or_default().push_back(PendingLoad { context, end });
            }
            async move {
                let value = ended.await.unwrap_or_else(|_| Err("the test is over".into()))?;
                Ok::<_, String>(Some(value).filter(|value| !value.is_null()))
            }
        };
        let step = step.clone();
        self.keep(&name, async move {
            let mut read = cache.entry(&key).tags(texts(&step["tags"]));
            if let Some(member) = step["tagsOf"].as_str() {
                let member = member.to_owned();
                read = read.tags_of(move |value| texts(&value[&member]));
            }
            for (name, value) in step.as_object().unwrap() {
                read = match name.as_str() {
                    "ttl" => read.ttl(ms(value)),
                    "absentTtl" => read.absent_ttl(ms(value)),
                    "staleWhileRevalidate" => read.stale_while_revalidate(ms(value)),
                    "staleIfError" => read.stale_if_error(ms(value)),
                    "bound" => read.bound(ms(value)),
                    "lock" => {
                        read.lock_with(value.get("wait").map_or(Duration::from_secs(5), ms), Duration::from_secs(10))
                    }
                    _ => read,
                };
            }
            read.get_or_load(load).await.map(value_of)
        });
    }

    fn put(&self, step: &Value) {
        let name = step["as"].as_str().unwrap_or("put").to_owned();
        let (cache, step) = (self.cache.clone(), step.clone());
        let written = self.written(&name);
        self.keep(&name, async move {
            let key = text(&step["put"]);
            let mut call = cache.entry(&key).tags(texts(&step["tags"]));
            if let Some(ttl) = step.get("ttl") {
                call = call.ttl(ms(ttl));
            }
            let save = async |_: &Value| written.await.map(drop);
            call.put(step["value"].clone(), save).await.map(|position| json!({ "position": position }))
        });
    }

    fn written(&self, name: &str) -> oneshot::Receiver<Value> {
        let (end, written) = oneshot::channel();
        self.writes.lock().unwrap().insert(name.to_owned(), end);
        written
    }

    async fn step(&self, step: &Value) {
        let members = step.as_object().unwrap();
        let (name, value) = members.iter().next().unwrap();
        let member = |name: &str| step[name].as_str();
        match name.as_str() {
            "advance" => self.environment.advance(nanos(ms(value))).await,
            "clocks" => {
                let by = |name: &str| value[name].as_i64().unwrap_or_default() * MS;
                self.environment.move_clocks(by("monotonic"), by("wall"));
            }
            "random" => *self.environment.random.lock().unwrap() = value.as_f64().unwrap(),
            "invalidate" => self.source.invalidate(data(value), member("id"), member("cause")),
            "gap" => self.source.lose(value.as_u64().unwrap()),
            "epoch" => self.source.begin(value.as_str().unwrap()),
            "bus" => self.source.set(|state| {
                state.is_connected = value != "disconnected";
                state.syncs = match value.as_str().unwrap() {
                    "up" => Syncs::Answered,
                    "failing" => Syncs::Failing,
                    _ => Syncs::Silent,
                };
            }),
            "publications" => self.source.set(|state| {
                state.publications = match value.as_str().unwrap() {
                    "delivered" => Publications::Delivered,
                    "acknowledged" => Publications::Acknowledged,
                    _ => Publications::Lost,
                };
            }),
            "answer" => self.source.answer(true),
            "fail" => self.source.answer(false),
            "deliver" => self.source.deliver(),
            "outstanding" => assert_eq!(self.source.outstanding() as u64, value.as_u64().unwrap()),
            "read" => {
                self.read(step);
                settle().await;
                if let Some(wanted) = expected(step) {
                    self.compare_result(member("as").unwrap_or(value.as_str().unwrap()), Some(wanted));
                }
            }
            "loaded" => {
                let PendingLoad { context, end } = self.next(value.as_str().unwrap());
                context.tag(texts(&step["tags"]));
                if let Some(ttl) = step.get("ttl") {
                    context.ttl(ms(ttl));
                }
                if step["skip"] == true {
                    context.skip();
                }
                let _ = end.send(Ok(step["value"].clone()));
            }
            "failed" => {
                let message = member("message").unwrap_or("failed").to_owned();
                let _ = self.next(value.as_str().unwrap()).end.send(Err(message));
            }
            "result" => self.compare_result(value.as_str().unwrap(), expected(step)),
            "peek" => {
                let wanted = step.get("is").filter(|value| !value.is_null());
                assert_eq!(self.cache.peek(value.as_str().unwrap()).as_deref(), wanted);
            }
            "previous" => {
                let loads = self.loads.lock().unwrap();
                let load = loads.pending[value.as_str().unwrap()].front().unwrap();
                assert_eq!(load.context.previous().as_deref(), step.get("is"));
            }
            "own" => {
                let name = member("as").unwrap_or("own");
                let (coherence, what) = (self.coherence.clone(), Invalidation::from(data(value)));
                self.keep(name, async move {
                    coherence.invalidate(what).await.map(|position| json!({ "position": position }))
                });
                settle().await;
                if let Some(wanted) = expected(step) {
                    self.compare_result(name, Some(wanted));
                }
            }
            "put" => self.put(step),
            "mutate" => {
                let name = member("as").unwrap_or("mutate");
                let hold = step.get("hold").map_or(Duration::from_secs(5), ms);
                let (coherence, what) = (self.coherence.clone(), Invalidation::from(data(value)));
                let written = self.written(name);
                self.keep(name, async move { coherence.mutate_with_hold(what, hold, async || written.await).await });
            }
            "written" => {
                let end = self.writes.lock().unwrap().remove(value.as_str().unwrap()).unwrap();
                end.send(step["value"].clone()).unwrap();
            }
            "reached" => {
                let (coherence, position) = (self.coherence.clone(), text(value).parse().unwrap());
                let timeout = step.get("timeout").map_or(Duration::from_secs(5), ms);
                let reached = async move { Ok(json!(coherence.reached(&position, timeout).await)) };
                self.keep(member("as").unwrap_or("reached"), reached);
            }
            "l2" => self.l2(step),
            "loads" => {
                for (key, count) in value.as_object().unwrap() {
                    let begun = self.loads.lock().unwrap().begun.get(key).copied().unwrap_or_default();
                    assert_eq!(begun, count.as_u64().unwrap(), "loads of {key}");
                }
            }
            "published" => {
                let published = self.source.published();
                let wanted = value.as_array().unwrap();
                let last = &published[published.len() - wanted.len()..];
                assert_eq!(&last.iter().map(|data| json!(data)).collect::<Vec<_>>(), wanted);
            }
            "stats" => {
                let found = stats_of(&self.coherence.stats());
                for (name, count) in value.as_object().unwrap() {
                    assert_eq!(found[name], *count, "{name}");
                }
            }
            _ => panic!("there is no step {name}"),
        }
    }

    fn l2(&self, step: &Value) {
        let key = step["key"].as_str().unwrap_or_default().to_owned();
        match step["l2"].as_str().unwrap() {
            "set" => {
                let entry = L2Entry {
                    value: Some(step["value"].to_string().into_bytes()),
                    tags: texts(&step["tags"]),
                    fence: text(&step["fence"]).parse().unwrap(),
                    ttl: step.get("ttl").map_or(Duration::from_secs(60), ms),
                };
                self.l2.entries.lock().unwrap().insert(key, entry);
            }
            "holds" => {
                let entries = self.l2.entries.lock().unwrap();
                let bytes = entries.get(&key).and_then(|entry| entry.value.clone());
                let value: Option<Value> = bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap());
                assert_eq!(value.as_ref(), step.get("is"));
            }
            "locked" => drop(self.l2.locks.lock().unwrap().insert(key, "other".into())),
            "unlocked" => drop(self.l2.locks.lock().unwrap().remove(&key)),
            mode => mode.clone_into(&mut self.l2.mode.lock().unwrap()),
        }
    }
}

async fn run(case: &Value) {
    let run = Run::start(case);
    settle().await;
    for step in case["steps"].as_array().unwrap() {
        run.step(step).await;
        settle().await;
    }
    let coherence = run.coherence.clone();
    let closing = tokio::spawn(async move { coherence.close().await });
    // An L2 that does not answer is waited for.
    run.environment.advance(1_000 * MS).await;
    closing.await.unwrap();
}

/// The case and the step are printed by the panic hook of the test, since an assertion does not know them.
#[test]
fn the_cache_passes_the_cases_of_both_languages() {
    let file: Value = serde_json::from_str(CASES).unwrap();
    let only = std::env::var("TIDINGS_CASE").ok();
    let mut failed = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(case))));
        if passed.is_err() {
            failed.push(name.to_owned());
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
}

#[tokio::test]
#[should_panic(expected = "assertion `left == right` failed")]
async fn a_case_that_does_not_hold_fails() {
    run(&json!({"steps": [{"read": "a", "value": 1}, {"invalidate": {"keys": ["a"]}}, {"peek": "a", "is": 1}]})).await;
}
