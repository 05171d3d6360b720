//! The near cache: a hit, beside a hit in moka with a time to live, over the same keys and values; and an invalidation of a tag
//! that few or many entries have.
//!
//! The bus is within the process and proves at once, so that the cache alone is measured. Keys are read in a random order.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use futures_util::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tidings::cache::{Cache, Invalidation, Options};
use tidings::parts::LocalBus;
use tokio::runtime::Handle;

const ENTRIES: usize = 10_000;
const TTL: Duration = Duration::from_secs(3_600);
/// How many entries have the tag that many have.
const MANY: usize = 100_000;

/// What is cached.
#[derive(Debug, Clone)]
struct Product {
    _name: String,
    _cents: u64,
}

/// A key as the near cache of `product` takes it, as it is stored, and its tag.
struct Names {
    key: String,
    stored: String,
    tag: String,
}

pub fn benches(criterion: &mut Criterion) {
    // Where the caches load and wait for proofs.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    bench_hits(criterion);
    bench_invalidations(criterion);
}

fn bench_hits(criterion: &mut Criterion) {
    let mut names: Vec<Names> = (0..ENTRIES)
        .map(|number| Names {
            key: format!("{number:06}"),
            stored: format!("product:{number:06}"),
            tag: format!("products:{number:06}"),
        })
        .collect();
    let options = Options::default().ttl(TTL).max_entries(2 * ENTRIES);
    let (_bus, coherence) = LocalBus::start(&options).unwrap();
    let products = coherence.cache::<Product>("product");
    fill(&products, names.iter().map(|Names { key, tag, .. }| (key.as_str(), [tag.as_str()])));
    let capacity = 2 * ENTRIES as u64;
    let sync: moka::sync::Cache<String, Arc<Product>> =
        moka::sync::Cache::builder().max_capacity(capacity).time_to_live(TTL).build();
    let future: moka::future::Cache<String, Arc<Product>> =
        moka::future::Cache::builder().max_capacity(capacity).time_to_live(TTL).build();
    for Names { stored, .. } in &names {
        sync.insert(stored.clone(), Arc::new(product()));
        future.insert(stored.clone(), Arc::new(product())).now_or_never().unwrap();
    }
    names.shuffle(&mut StdRng::seed_from_u64(7));

    let mut group = criterion.benchmark_group("cache hit");
    group.measurement_time(Duration::from_secs(3)).sample_size(50);
    bench_hit(&mut group, "moka::sync get", &names, |names| sync.get(&names.stored).unwrap());
    bench_hit(&mut group, "moka::future get", &names, |names| {
        future.get(&names.stored).now_or_never().unwrap().unwrap()
    });
    // A read after a pause waits for a proof, and `peek` does not wait.
    Handle::current().block_on(async {
        let strict = products.entry(&names[0].key).strict();
        strict.get_or_load(|_| async { Ok::<_, Infallible>(product()) }).await.unwrap().unwrap();
    });
    bench_hit(&mut group, "peek", &names, |names| products.peek(&names.key));
    bench_hit(&mut group, "get_or_load", &names, |names| {
        let read = products.entry(&names.key).tags([names.tag.as_str()]).ttl(TTL);
        let read = read.get_or_load(|_| async { Ok::<Option<Product>, Infallible>(None) });
        read.now_or_never().unwrap().unwrap().unwrap()
    });
    group.finish();
    let hit_rate = coherence.stats().hit_rate;
    assert!(hit_rate > 0.99, "the reads of the benchmark are hits: {hit_rate}");
}

fn bench_hit<R>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, names: &[Names], hit: impl Fn(&Names) -> R) {
    let mut next = names.iter().cycle();
    group.bench_function(name, |bencher| bencher.iter(|| hit(next.next().unwrap())));
}

fn bench_invalidations(criterion: &mut Criterion) {
    let (bus, coherence) = LocalBus::start(&Options::default().ttl(TTL).max_entries(2 * MANY)).unwrap();
    let products = coherence.cache::<Product>("product");
    let names: Vec<(String, String)> =
        (0..MANY).map(|number| (format!("{number:06}"), format!("products:{number:06}"))).collect();
    fill(&products, names.iter().map(|(key, tag)| (key.as_str(), [tag.as_str(), "products:all"])));
    let mut group = criterion.benchmark_group("cache invalidation");
    group.measurement_time(Duration::from_secs(3)).sample_size(50);
    for (name, tag) in [("tag of 1 entry", "products:000007"), ("tag of 100000 entries", "products:all")] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| Invalidation::tag(tag), |what| bus.deliver(black_box(what)), BatchSize::SmallInput);
        });
    }
    assert!(names.iter().all(|(key, _)| products.peek(key).is_none()), "the tag of all has invalidated each entry");
}

fn product() -> Product {
    Product { _name: "a chair".to_owned(), _cents: 4_900 }
}

/// Loads an entry under each of these keys, with these tags.
fn fill<'a, const TAGS: usize>(products: &Cache<Product>, names: impl Iterator<Item = (&'a str, [&'a str; TAGS])>) {
    Handle::current().block_on(async {
        for (key, tags) in names {
            let read = products.entry(key).tags(tags).ttl(TTL);
            read.get_or_load(|_| async { Ok::<_, Infallible>(product()) }).await.unwrap().unwrap();
        }
    });
}
