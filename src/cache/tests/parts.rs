//! What the cases do not reach: parts of their own, types, and callers who leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::planned::{FakeSource, MS, MemoryL2, VirtualEnvironment, settle};
use crate::cache::core::Core;
use crate::cache::history::{HALF_SIZE, History};
use crate::cache::store::{NewEntry, Store};
use crate::cache::validity::Validity;
use crate::cache::{Coherence, Event, Invalidation, L2Entry, Options};

fn start(options: Options) -> (Arc<VirtualEnvironment>, Arc<FakeSource>, Arc<Core>, Coherence) {
    let (environment, source) = (VirtualEnvironment::new(), FakeSource::new());
    let core = Core::start(&options.jitter(0.0), source.clone(), environment.clone(), History::new(HALF_SIZE)).unwrap();
    (environment, source, core.clone(), Coherence::of(core))
}

#[test]
fn memory_does_not_grow_with_the_tags_ever_seen() {
    let (mut validity, mut store) = (Validity::default(), Store::new(10, u64::MAX));
    for number in 0..1_000 {
        let (key, tags) = (format!("k{number}"), [format!("t{number}"), "common".to_owned()]);
        let new = NewEntry { key: &key, value: None, tags: &tags, loaded_at: 0, expires_at: 1, size: 1 };
        store.set(&mut validity, new);
    }
    assert_eq!(validity.tags(), 11);
    store.clear(&mut validity);
    assert_eq!(validity.tags(), 0);
}

#[test]
fn the_store_is_bounded_in_bytes() {
    let (mut validity, mut store) = (Validity::default(), Store::new(10, 5));
    let mut set = |key: &str, size| {
        store.set(&mut validity, NewEntry { key, value: None, tags: &[], loaded_at: 0, expires_at: 1, size });
        ["a", "b", "c"].map(|key| store.get(key).is_some())
    };
    assert_eq!(set("a", 3), [true, false, false]);
    assert_eq!(set("b", 2), [true, true, false]);
    assert_eq!(set("c", 1), [false, true, true]);
    assert_eq!(set("c", 6), [false, true, false], "larger than the whole store");
}

#[test]
fn a_history_that_is_full_forgets_the_older_half() {
    let mut history = History::new(2);
    let what = |tag: &str| crate::event::CacheInvalidate::clone(&Invalidation::tag(tag).within(""));
    for number in 1..=6_i64 {
        history.record(&what(&format!("t{number}")), number as u64, number);
    }
    assert!(history.matches_since(1, "k", &[]), "what is not known counts as invalidated");
    assert!(!history.matches_since(4, "k", &["x".into()]));
    assert!(history.matches_since(4, "k", &["t5".into()]));
    assert!(history.matches_after(1, "k", &[]));
    assert!(!history.matches_after(4, "k", &["x".into()]));
}

#[tokio::test]
async fn a_value_of_another_type_is_loaded_again() {
    let (_, _, _, coherence) = start(Options::default());
    let (numbers, texts) = (coherence.cache::<u64>("n"), coherence.cache::<String>("n"));
    numbers.entry("a").get_or_load(|_| async { Ok::<_, String>(1) }).await.unwrap();
    assert_eq!(texts.peek("a"), None);
    let text = texts.entry("a").get_or_load(|_| async { Ok::<_, String>("one".to_owned()) }).await.unwrap();
    assert_eq!(text.as_deref().map(String::as_str), Some("one"));
}

#[tokio::test]
async fn keys_have_the_name_of_their_cache() {
    let (_, source, _, coherence) = start(Options::default());
    let cache = coherence.cache::<u64>("product").namespace("de");
    cache.entry("1").get_or_load(|_| async { Ok::<_, String>(1) }).await.unwrap();
    coherence.invalidate(Invalidation::keys(["product:en:1"])).await.unwrap();
    assert!(cache.peek("1").is_some());
    cache.invalidate(Invalidation::keys(["1"]).and_prefixes(["x"])).await.unwrap();
    assert_eq!(cache.peek("1"), None);
    let last = source.published().pop().unwrap();
    assert_eq!((last.keys, last.prefixes), (vec!["product:de:1".to_owned()], vec!["product:de:x".to_owned()]));
}

#[tokio::test]
async fn a_load_ends_when_nobody_waits_for_it() {
    let (_, _, core, coherence) = start(Options::default());
    let cache = coherence.cache::<u64>("");
    let ended = Arc::new(());
    let held = ended.clone();
    let load = move |_| {
        let held = held.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok::<_, String>(1)
        }
    };
    let reader = tokio::spawn(async move { cache.entry("a").get_or_load(load).await });
    settle().await;
    assert!(core.lock().flights.get("a").is_some());
    reader.abort();
    settle().await;
    assert!(core.lock().flights.get("a").is_none());
    assert_eq!(Arc::strong_count(&ended), 1);
}

#[tokio::test]
async fn a_mutate_whose_caller_leaves_invalidates_all_the_same() {
    let (_, source, _, coherence) = start(Options::default());
    let writer = tokio::spawn(async move {
        let write = async || std::future::pending::<Result<(), String>>().await;
        coherence.mutate(Invalidation::tag("t"), write).await
    });
    settle().await;
    assert_eq!(source.published().len(), 1);
    writer.abort();
    settle().await;
    let published = source.published();
    assert_eq!((published.len(), published[1].hold_ms), (2, None));
}

#[tokio::test]
async fn verify_finds_what_changed_without_an_invalidation() {
    let (environment, _, _, coherence) = start(Options::default().bound(Duration::from_secs(1)));
    let cache = coherence.cache::<u64>("").verify(1.0);
    let truth = Arc::new(AtomicU64::new(1));
    let read = async || {
        let truth = truth.clone();
        let load = move |_| std::future::ready(Ok::<_, String>(truth.load(Ordering::SeqCst)));
        *cache.entry("a").tags(["t"]).get_or_load(load).await.unwrap().unwrap()
    };
    assert_eq!((read().await, read().await), (1, 1));
    environment.advance(3_000 * MS).await;
    assert_eq!(coherence.stats().mismatches, 0);
    truth.store(2, Ordering::SeqCst);
    // The first read waits for a proof. A hit is sampled.
    assert_eq!((read().await, read().await), (1, 1));
    environment.advance(3_000 * MS).await;
    assert_eq!(coherence.stats().mismatches, 1);
    assert_eq!(read().await, 2);
}

#[tokio::test]
async fn a_lock_is_given_back_when_its_readers_leave() {
    let l2 = Arc::new(MemoryL2::default());
    let (_, _, _, coherence) = start(Options { l2: Some(l2.clone()), ..Options::default() });
    let cache = coherence.shared_cache::<u64>("");
    let load = |_| std::future::pending::<Result<u64, String>>();
    let reader = tokio::spawn(async move { cache.entry("a").lock().get_or_load(load).await });
    settle().await;
    assert!(l2.locks.lock().unwrap().contains_key("a"));
    reader.abort();
    settle().await;
    assert!(l2.locks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_loader_does_not_wait_for_the_renewal_of_its_lock() {
    let l2 = Arc::new(MemoryL2::default());
    let (environment, _, _, coherence) = start(Options { l2: Some(l2.clone()), ..Options::default() });
    let cache = coherence.shared_cache::<u64>("");
    let (end, ended) = tokio::sync::oneshot::channel::<u64>();
    let ended = std::sync::Mutex::new(Some(ended));
    let load = move |_| {
        let ended = ended.lock().unwrap().take().unwrap();
        async move { ended.await.map_err(|error| error.to_string()) }
    };
    let reader = tokio::spawn(async move {
        cache.entry("a").lock_with(Duration::from_secs(1), Duration::from_secs(3)).get_or_load(load).await
    });
    settle().await;
    // L2 does not answer from now on.
    "slow".clone_into(&mut l2.mode.lock().unwrap());
    environment.advance(1_000 * MS).await;
    end.send(1).unwrap();
    settle().await;
    assert!(reader.is_finished());
}

#[tokio::test]
async fn close_waits_for_l2_within_a_limit() {
    let l2 = Arc::new(MemoryL2::default());
    let (_, _, _, coherence) = start(Options { l2: Some(l2.clone()), ..Options::default() });
    let cache = coherence.shared_cache::<u64>("");
    cache.entry("a").get_or_load(|_| async { Ok::<_, String>(1) }).await.unwrap();
    coherence.close().await;
    assert!(matches!(l2.entries.lock().unwrap().get("a"), Some(L2Entry { value: Some(_), .. })));

    let (environment, _, _, coherence) = start(Options { l2: Some(l2.clone()), ..Options::default() });
    let cache = coherence.shared_cache::<u64>("");
    cache.entry("b").get_or_load(|_| async { Ok::<_, String>(1) }).await.unwrap();
    "slow".clone_into(&mut l2.mode.lock().unwrap());
    let closing = tokio::spawn(async move { coherence.close().await });
    settle().await;
    environment.advance(1_000 * MS).await;
    assert!(closing.is_finished());
}

#[tokio::test]
async fn who_listens_is_told_what_happens() {
    let l2 = Arc::new(MemoryL2::default());
    let (environment, source, core, coherence) = start(Options { l2: Some(l2.clone()), ..Options::default() });
    let mut events = coherence.events();
    let cache = coherence.shared_cache::<u64>("n");
    let load = |_| async { Ok::<_, String>(1) };
    cache.entry("a").tags(["t"]).get_or_load(load).await.unwrap();
    cache.entry("b").get_or_load(|_| async { Err::<u64, _>("no") }).await.unwrap_err();
    coherence.invalidate(Invalidation::tag("t")).await.unwrap();
    source.invalidate(Invalidation::tag("u").within(""), None, None);
    source.lose(2);
    source.set(|state| state.is_connected = false);
    cache.entry("c").get_or_load(load).await.unwrap();
    environment.advance(2_001 * MS).await;
    cache.entry("c").get_or_load(load).await.unwrap();
    core.counters.events.tell(|| Event::Missed { count: 0 });
    let mut told = Vec::new();
    loop {
        told.push(match events.next().await.unwrap() {
            Event::Loaded { key, error, .. } => format!("loaded {key} {}", error.is_none()),
            Event::Invalidated { position, matched, .. } => format!("invalidated {} {matched}", position.is_some()),
            Event::Gap { position } => format!("gap {position}"),
            Event::Unproven { key, proven, .. } => format!("unproven {key} {proven}"),
            Event::Missed { .. } => break,
            other => panic!("{other:?}"),
        });
    }
    let wanted = [
        "loaded n:a true",
        "loaded n:b false",
        "invalidated false true",
        "invalidated true false",
        "gap e:4",
        "loaded n:c true",
        "unproven n:c false",
        "loaded n:c true",
    ];
    assert_eq!(told, wanted);
    // One that does not listen in time is told so.
    (0..300).for_each(|_| core.counters.events.tell(|| Event::Missed { count: 0 }));
    assert!(matches!(events.next().await, Some(Event::Missed { count: 44.. })));
}
