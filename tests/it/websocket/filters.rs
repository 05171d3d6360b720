//! Filters (`where`): which events a subscriber gets, for every kind of condition and field, and with many filters at once.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::filter_model::matches;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::subscriber::Subscriber;

over_each_broker!(
    only_matching_events_are_delivered,
    an_event_that_no_filter_matches_sends_nothing,
    each_of_thousands_of_equality_filters_gets_exactly_its_events,
    random_filters_agree_with_the_reference_implementation,
);

async fn only_matching_events_are_delivered(broker: TestBroker) {
    let node = broker.node().await;
    let stock = |product: &str, quantity: i64| {
        json!({"type": "inventory-change",
            "data": {"productId": product, "oldQuantity": 0, "newQuantity": quantity, "reason": "x"}})
    };
    let cache = |data: Value| json!({"type": "cache-invalidate", "data": data});
    let mut subscriber = Subscriber::connect(&node).await;
    for (filter, matching, not_matching) in [
        (json!({}), vec![stock("1", 1)], vec![]),
        (json!({"productId": "1"}), vec![stock("1", 1)], vec![stock("2", 1), stock("11", 1)]),
        (json!({"productId": ["1", "3"]}), vec![stock("1", 1), stock("3", 1)], vec![stock("2", 1)]),
        (
            json!({"productId": {"prefix": "a-"}}),
            vec![stock("a-", 1), stock("a-1", 1)],
            vec![stock("a", 1), stock("ba-", 1)],
        ),
        (json!({"newQuantity": 0}), vec![stock("1", 0)], vec![stock("0", 1)]),
        (json!({"newQuantity": [0, 5.0]}), vec![stock("1", 0), stock("1", 5)], vec![stock("1", 50)]),
        (json!({"productId": "1", "newQuantity": 0}), vec![stock("1", 0)], vec![stock("1", 1), stock("2", 0)]),
        (json!({"variantId": "v"}), vec![], vec![stock("v", 1)]),
        (json!({"tags": "a"}), vec![cache(json!({"tags": ["b", "a"]}))], vec![cache(json!({"tags": ["ab"]}))]),
        (
            json!({"tags": ["a", "c"]}),
            vec![cache(json!({"tags": ["c"]})), cache(json!({"tags": ["x", "a", "c"]}))],
            vec![cache(json!({"tags": ["b"]})), cache(json!({"keys": ["a"]}))],
        ),
        (
            json!({"keys": {"prefix": "user:"}}),
            vec![cache(json!({"keys": ["x", "user:1"]}))],
            vec![cache(json!({"keys": ["users"]})), cache(json!({"prefixes": ["user:1"]}))],
        ),
    ] {
        let channel = if filter.to_string().contains("s\":") { "cache-invalidate" } else { "inventory-change" };
        let (end, at_end) = match channel {
            "cache-invalidate" => (cache(json!({"tags": ["end"]})), json!({"tags": "end"})),
            _ => (stock("end", 9), json!({"productId": "end"})),
        };
        subscriber.subscribe_where("s", channel, filter.clone()).await;
        for event in not_matching.iter().chain(&matching) {
            node.publish(event).await;
        }
        for event in &matching {
            assert_eq!(subscriber.event().await.event["data"], event["data"], "{filter}");
        }
        subscriber.subscribe_where("end", channel, at_end).await;
        node.publish(&end).await;
        assert_eq!(subscriber.event().await.event["data"], end["data"], "{filter}: no other event passed");
        for sub in ["s", "end"] {
            subscriber.say(json!({"type": "unsubscribe", "sub": sub})).await;
            subscriber.frame_of("unsubscribed").await;
        }
    }
}

async fn an_event_that_no_filter_matches_sends_nothing(broker: TestBroker) {
    let node = broker.node().await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "inventory-change", json!({"productId": "mine"})).await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    let not_matching: Vec<Value> = (0..100).map(|n| sale(&n.to_string())).collect();
    node.publish(&json!(not_matching)).await;
    witness.events(100).await;
    subscriber.pong_is_next().await;
    node.publish(&sale("mine")).await;
    assert_eq!(subscriber.event().await.event["subject"], "mine");
}

async fn each_of_thousands_of_equality_filters_gets_exactly_its_events(broker: TestBroker) {
    const CONNECTIONS: usize = 20;
    const EACH: usize = 100;
    let node = broker.node().await;
    let mut subscribers = Vec::new();
    for n in 0..CONNECTIONS {
        let mut subscriber = Subscriber::connect(&node).await;
        for m in 0..EACH {
            let filter = json!({"productId": format!("{}", n * EACH + m)});
            subscriber.subscribe_where(&m.to_string(), "inventory-change", filter).await;
        }
        subscribers.push(subscriber);
    }
    let events: Vec<Value> = (0..CONNECTIONS * EACH).rev().step_by(7).map(|n| sale(&n.to_string())).collect();
    node.publish(&json!(events)).await;
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        let mine: Vec<&Value> = events
            .iter()
            .map(|event| &event["data"]["productId"])
            .filter(|product| product.as_str().unwrap().parse::<usize>().unwrap() / EACH == n)
            .collect();
        for product in mine {
            assert_eq!(&subscriber.event().await.event["data"]["productId"], product);
        }
        subscriber.pong_is_next().await;
    }
}

async fn random_filters_agree_with_the_reference_implementation(broker: TestBroker) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let node = broker.node().await;
    let mut subscribers = Vec::new();
    for _ in 0..40 {
        let mut subscriber = Subscriber::connect(&node).await;
        let count = dice.random_range(1..=5);
        let filters: Vec<_> = (0..count).map(|_| filter(&mut dice)).collect();
        for (n, filter) in filters.iter().enumerate() {
            subscriber.subscribe_where(&n.to_string(), "cache-invalidate", filter.clone()).await;
        }
        subscribers.push((subscriber, filters));
    }
    let mut events: Vec<Value> = (0..300).map(|_| data(&mut dice)).collect();
    events.push(json!({"tags": ["end"]}));
    for (subscriber, _) in &mut subscribers {
        subscriber.subscribe_where("end", "cache-invalidate", json!({"tags": "end"})).await;
    }
    let batch: Vec<_> = events.iter().map(|data| json!({"type": "cache-invalidate", "data": data})).collect();
    node.publish(&json!(batch)).await;
    for (subscriber, filters) in &mut subscribers {
        let expected_by_model =
            |data: &&Value| data["tags"] == json!(["end"]) || filters.iter().any(|filter| matches(filter, data));
        for expected in events.iter().filter(expected_by_model) {
            let delivered = subscriber.event().await.event;
            assert_eq!(&delivered["data"], expected, "{filters:?}");
        }
    }
}

/// Words that share prefixes, so that random filters often match.
const WORDS: [&str; 8] = ["a", "ab", "abc", "b", "ba", "é", "éa", "x.y"];

/// One to three random words.
fn words(dice: &mut StdRng) -> Vec<&'static str> {
    (0..dice.random_range(1..=3)).map(|_| *WORDS.choose(dice).unwrap()).collect()
}

/// Random `data` of a `cache-invalidate`: arrays and a scalar, each present or absent.
fn data(dice: &mut StdRng) -> Value {
    let mut data = Map::new();
    data.insert(["tags", "keys", "prefixes"].choose(dice).unwrap().to_string(), json!(words(dice)));
    for name in ["tags", "keys"] {
        if dice.random() {
            data.insert(name.into(), json!(words(dice)));
        }
    }
    if dice.random() {
        data.insert("reason".into(), json!(WORDS.choose(dice)));
    }
    data.into()
}

/// A random filter on fields of a `cache-invalidate`.
fn filter(dice: &mut StdRng) -> Value {
    let mut filter = Map::new();
    for _ in 0..dice.random_range(0..=3) {
        let name = ["tags", "keys", "prefixes", "reason"].choose(dice).unwrap().to_string();
        let condition = match dice.random_range(0..3) {
            0 => json!(WORDS.choose(dice)),
            1 => json!(words(dice)),
            _ => json!({"prefix": (["", "a", "ab", "é", "z"].choose(dice))}),
        };
        filter.insert(name, condition);
    }
    filter.into()
}
