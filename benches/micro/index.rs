//! The filter index: from an event's frame to the matching subscriptions, for each kind of filter; and the cost to add
//! and to remove a subscription.
//!
//! Events come in a random order of their products. So with many filters the memory of each is as cold as in a daemon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidings::event::{Catalog, Defaults, Filter, Json};
use tidings::parts::{ChannelStep, Index, Member, StepKind};

/// The number of different events that are matched in turn.
const EVENTS: usize = 2_000;

pub fn benches(criterion: &mut Criterion) {
    let catalog = Catalog::builtin();
    let mut dice = StdRng::seed_from_u64(7);
    let mut group = criterion.benchmark_group("index");
    group.measurement_time(Duration::from_secs(3)).sample_size(50);

    let stock = |product: String| json!({ "productId": product, "variantId": "red", "oldQuantity": 100, "newQuantity": 95, "reason": "sale" });
    let product = |number: usize| format!("product-{number:06}");
    let mut compare = |name: &str, channel: &str, filters: &[Value], data: &mut dyn FnMut(&mut StdRng) -> Value| {
        let mut index = Index::default();
        fill(&mut index, &parsed(&catalog, channel, filters));
        let events: Vec<String> = (0..EVENTS).map(|_| event(&catalog, channel, data(&mut dice))).collect();
        bench_matching(&mut group, name, &mut index, &events);
    };

    compare("one without a filter", "inventory-change", &[json!({})], &mut |dice| {
        stock(product(dice.random_range(0..100)))
    });
    for count in [100, 100_000] {
        let filters: Vec<Value> = (0..count).map(|number| json!({ "productId": product(number) })).collect();
        let name = format!("{count} that each watch another product");
        compare(&name, "inventory-change", &filters, &mut |dice| stock(product(dice.random_range(0..count))));
        compare(&format!("{name}, none this"), "inventory-change", &filters, &mut |_| stock("another".into()));
    }
    for (name, filter) in [("without a filter", json!({})), ("under one filter", json!({ "productId": "1" }))] {
        let filters = vec![filter; 10_000];
        compare(&format!("10000 {name}"), "inventory-change", &filters, &mut |_| stock("1".into()));
    }
    for count in [100, 10_000] {
        let filters: Vec<Value> =
            (0..count).map(|number| json!({ "productId": { "prefix": product(number) } })).collect();
        compare(&format!("{count} prefixes"), "inventory-change", &filters, &mut |dice| {
            stock(product(dice.random_range(0..count)) + "-red")
        });
    }
    let filters: Vec<Value> =
        (0..10_000).map(|number| json!({ "tags": [product(number), product(number + 1)] })).collect();
    compare(
        "10000 on an array of 8",
        "cache-invalidate",
        &filters,
        &mut |dice| json!({ "tags": (0..10_000).sample(dice, 8).into_iter().map(product).collect::<Vec<_>>() }),
    );
    let filters: Vec<Value> = (0..10_000)
        .map(|number| match number % 4 {
            0 => json!({ "productId": product(number) }),
            1 => json!({ "variantId": product(number) }),
            2 => json!({ "newQuantity": number }),
            _ => json!({ "reason": product(number) }),
        })
        .collect();
    compare("10000 by four fields", "inventory-change", &filters, &mut |dice| {
        let mut any = |kind: usize| dice.random_range(0..2_500) * 4 + kind;
        json!({ "productId": product(any(0)), "variantId": product(any(1)), "oldQuantity": 0, "newQuantity": any(2),
            "reason": product(any(3)) })
    });
    let filters: Vec<Value> =
        (0..10_000).map(|number| json!({ "newStatus": "shipped", "orderId": product(number) })).collect();
    compare(
        "10000 by two fields of which one is common",
        "order-status",
        &filters,
        &mut |dice| json!({ "orderId": product(dice.random_range(0..10_000)), "newStatus": "shipped" }),
    );
    let filters: Vec<Value> = (0..100).map(|number| json!({ "tags": product(number) })).collect();
    let keys: Vec<String> = (0..1_000).map(|number| format!("a page that shows product {number:06}")).collect();
    compare(
        "100 tags, an event of 36 KiB",
        "cache-invalidate",
        &filters,
        &mut |dice| json!({ "tags": [product(dice.random_range(0..100))], "keys": keys }),
    );

    let filters: Vec<Value> = (0..100_000).map(|number| json!({ "productId": product(number) })).collect();
    bench_subscriptions(&mut group, &catalog, &filters, &mut dice);
}

/// The cost of one event: its data is read, and its subscriptions are found.
fn bench_matching(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, index: &mut Index, events: &[String]) {
    let mut next = events.iter().cycle();
    let channel = Catalog::builtin().channels().next().unwrap();
    let mut deliver = || ChannelStep::event(channel, "k3:42".parse().unwrap(), next.next().unwrap());
    group.bench_function(name, |bencher| {
        bencher.iter_batched(&mut deliver, |step| match_event(index, &step), BatchSize::NumIterations(500));
    });
}

/// The cost to parse a filter, and to add and remove a subscription.
fn bench_subscriptions(
    group: &mut BenchmarkGroup<'_, WallTime>,
    catalog: &Catalog,
    filters: &[Value],
    dice: &mut StdRng,
) {
    let inventory = catalog.get(catalog.channel("inventory-change").unwrap());
    let documents: Vec<Json<'_>> = filters.iter().map(|filter| filter.clone().into()).collect();
    let mut next = documents.iter().cycle();
    group.bench_function("to read a filter", |bencher| {
        bencher.iter(|| Filter::parse(next.next().unwrap(), inventory).unwrap());
    });
    let filters = parsed(catalog, "inventory-change", filters);
    let each = |total: Duration, rounds: u64| total * rounds as u32 / filters.len() as u32;
    group.sample_size(10);
    group.bench_function("to subscribe, up to 100000", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut index = Index::default();
            let begun = Instant::now();
            fill(&mut index, &filters);
            each(begun.elapsed(), rounds)
        });
    });
    group.bench_function("to leave, from 100000", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut index = Index::default();
            let mut slots = fill(&mut index, &filters);
            slots.shuffle(dice);
            let begun = Instant::now();
            for slot in slots {
                index.remove(slot);
            }
            each(begun.elapsed(), rounds)
        });
    });
}

fn parsed(catalog: &Catalog, channel: &str, filters: &[Value]) -> Vec<Arc<Filter>> {
    let event_type = catalog.get(catalog.channel(channel).unwrap());
    filters.iter().map(|filter| Arc::new(Filter::parse(&filter.clone().into(), event_type).unwrap())).collect()
}

/// Adds one subscription for each filter.
fn fill(index: &mut Index, filters: &[Arc<Filter>]) -> Vec<tidings::parts::IndexSlot> {
    let members = (0..).map(|peer| Member { peer, sub: 0 });
    filters.iter().zip(members).map(|(filter, member)| index.insert(filter, member)).collect()
}

/// The JSON of an event with this `data`.
fn event(catalog: &Catalog, channel: &str, data: Value) -> String {
    let defaults = Defaults { source: "/shop", time: "2026-01-31T12:00:00.000Z" };
    let event = catalog.validate(json!({ "type": channel, "data": data }).into(), "", 1, defaults).unwrap();
    event.json.to_string()
}

/// The sum of the numbers of the matching connections.
fn match_event(index: &mut Index, step: &ChannelStep) -> u64 {
    let StepKind::Event(event) = &step.kind else { return 0 };
    let data = if index.has_filters() { event.data() } else { None };
    let mut sum = 0;
    index.matching(data, |member| sum += u64::from(member.peer));
    sum
}
