//! A pinned client gets exactly the events inside its pins, whatever it asks for, on every path; and what happens outside of
//! them changes nothing that it sees.
//!
//! The oracle is the few lines of [`Filter::matches`], which share no code with the daemon.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::world::World;
use crate::stream::Stream;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::node::Node;
use crate::support::seed;
use crate::support::subscriber::Subscriber;

const ORDERS: &str = "order-status";
/// Events that are published at a time.
const BATCH: usize = 60;
/// Pins and filters that are tried on each broker.
const ROUNDS: usize = 24;

/// Conditions on fields, all of which must hold.
#[derive(Clone, Default)]
struct Filter(Vec<(&'static str, Condition)>);

#[derive(Clone)]
enum Condition {
    Is(&'static str),
    AnyOf(Vec<&'static str>),
    Prefix(&'static str),
}

const CUSTOMERS: [&str; 4] = ["u1", "u2", "v1", "*"];
const STATUSES: [&str; 3] = ["pending", "shipped", "completed"];

impl Filter {
    /// A filter of one or two conditions.
    fn random(random: &mut StdRng) -> Self {
        let mut conditions = Vec::new();
        let which = random.random_range(0..3);
        if which != 1 {
            conditions.push(("customerId", Condition::random(random, &CUSTOMERS, &["u", "v", "u1", "*"])));
        }
        if which != 0 {
            conditions.push(("newStatus", Condition::random(random, &STATUSES, &["pending"])));
        }
        Self(conditions)
    }

    fn json(&self) -> Value {
        let condition = |condition: &Condition| match condition {
            Condition::Is(value) => json!(value),
            Condition::AnyOf(values) => json!(values),
            Condition::Prefix(prefix) => json!({"prefix": prefix}),
        };
        self.0.iter().map(|(field, test)| ((*field).to_owned(), condition(test))).collect()
    }

    fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|(field, condition)| match (event["data"][field].as_str(), condition) {
            (None, _) => false,
            (Some(text), Condition::Is(value)) => text == *value,
            (Some(text), Condition::AnyOf(values)) => values.contains(&text),
            (Some(text), Condition::Prefix(prefix)) => text.starts_with(prefix),
        })
    }
}

impl Condition {
    fn random(random: &mut StdRng, values: &[&'static str], prefixes: &[&'static str]) -> Self {
        let mut any = |from: &[&'static str]| from[random.random_range(0..from.len())];
        let (one, other, prefix) = (any(values), any(values), any(prefixes));
        match random.random_range(0..3) {
            0 => Self::Is(one),
            // A status is one of few, so that a prefix of one is refused.
            1 if values.len() > 3 => Self::Prefix(prefix),
            _ => Self::AnyOf(vec![one, other]),
        }
    }
}

fn random_event(random: &mut StdRng, id: String) -> Value {
    let status = STATUSES[random.random_range(0..STATUSES.len())];
    let mut data = json!({"orderId": id, "newStatus": status});
    if random.random_bool(0.8) {
        data["customerId"] = CUSTOMERS[random.random_range(0..CUSTOMERS.len())].into();
    }
    json!({"type": ORDERS, "id": id, "data": data})
}

/// What one client may have, and asks for.
struct Asked {
    pins: Vec<Filter>,
    filter: Option<Filter>,
}

impl Asked {
    fn random(random: &mut StdRng) -> Self {
        let pins = (0..random.random_range(1..4)).map(|_| Filter::random(random)).collect();
        let filter = random.random_bool(0.7).then(|| Filter::random(random));
        Self { pins, filter }
    }

    fn token(&self, world: &World) -> String {
        let entries: Vec<_> = self.pins.iter().map(|pin| json!({"channel": "order-*", "where": pin.json()})).collect();
        world.granting(json!({"subscribe": entries}))
    }

    fn gets(&self, event: &Value) -> bool {
        self.pins.iter().any(|pin| pin.matches(event))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(event))
    }

    fn ids(&self, events: &[Value]) -> Vec<Value> {
        events.iter().filter(|event| self.gets(event)).map(|event| event["id"].clone()).collect()
    }

    /// The query of a URL.
    fn query(&self) -> String {
        let filter = self.filter.as_ref().map(|filter| filter.json().to_string());
        let filter = filter.map(|filter| url::form_urlencoded::byte_serialize(filter.as_bytes()).collect::<String>());
        let filter = filter.map(|filter| format!("&where={filter}")).unwrap_or_default();
        format!("channel={ORDERS}{filter}")
    }
}

async fn a_pinned_client_gets_exactly_the_events_inside_its_pins(broker: TestBroker) {
    let seed = seed();
    let random = &mut StdRng::seed_from_u64(seed);
    let world = World::new();
    let node = broker.node_with(|config| config.auth.file = Some(world.file())).await;
    let publisher = world.token(json!({"sub": "p", "tidings": {"publish": ["*"]}}));
    let mut log = Vec::new();
    let mut cases = 0;
    for round in 0..ROUNDS {
        // The live part needs an event that the client gets, to know that nothing else comes before it.
        let (asked, fence) = loop {
            let asked = Asked::random(random);
            let candidates = (0..40).map(|number| random_event(random, format!("{round} fence {number}")));
            if let Some(fence) = candidates.into_iter().find(|event| asked.gets(event)) {
                break (asked, fence);
            }
        };
        let other = Asked { pins: vec![Filter::random(random)], filter: asked.filter.clone() };
        let (token, query) = (asked.token(&world), asked.query());
        let batch: Vec<_> = (0..BATCH).map(|number| random_event(random, format!("{round} {number}"))).collect();

        // A subscription of each kind: live, and after the log's start.
        let mut live = Subscriber::with_token(&node, "/v1/ws", &token).await;
        let mut subscribe = json!({"type": "subscribe", "sub": "s", "channel": ORDERS});
        if let Some(filter) = &asked.filter {
            subscribe["where"] = filter.json();
        }
        live.say(subscribe.clone()).await;
        live.frame_of("subscribed").await;
        let mut renewed = Subscriber::with_token(&node, "/v1/ws", &other.token(&world)).await;
        renewed.say(subscribe).await;
        renewed.frame_of("subscribed").await;
        renewed.say(json!({"type": "auth", "token": token})).await;
        renewed.frame_of("authenticated").await;
        let mut replayed = Subscriber::with_token(&node, &format!("/v1/ws?{query}&since=start"), &token).await;
        let mut stream = Stream::with_token(&node, &format!("{query}&since=start"), &token).await;
        let poll = node.get_as(&token, &format!("/v1/events?{query}&since=now")).await.json();

        node.publish_as(&publisher, &json!(batch)).await;
        node.publish_as(&publisher, &fence).await;
        let new: Vec<_> = batch.into_iter().chain([fence]).collect();
        log.extend(new.iter().cloned());
        let (whole, recent) = (asked.ids(&log), asked.ids(&new));

        let what = format!("seed {seed}, round {round}, {query:?}");
        for (client, expected) in [(&mut live, &recent), (&mut renewed, &recent)] {
            assert_eq!(ids_of(client, expected.len()).await, *expected, "{what}");
            client.pong_is_next().await;
        }
        replayed.frame_of("subscribed").await;
        assert_eq!(ids_of(&mut replayed, whole.len()).await, whole, "{what}");
        let mut streamed = Vec::new();
        while streamed.len() < whole.len() {
            streamed.push(stream.event().await.data["id"].clone());
        }
        assert_eq!(streamed, whole, "{what}");
        assert_eq!(history(&node, &token, &format!("{query}&since=start")).await, whole, "{what}");
        let since = poll["cursor"].as_str().unwrap();
        assert_eq!(history(&node, &token, &format!("{query}&wait=10&since={since}")).await, recent, "{what}");
        // Who resumes where another client stands gets no more.
        let position =
            node.get_as(&publisher_and_reader(&world), &format!("/v1/events?channel={ORDERS}&limit=1")).await;
        let first = position.json()["events"][0]["position"].clone();
        let after = history(&node, &token, &format!("{query}&since={}", first.as_str().unwrap())).await;
        assert_eq!(after, asked.ids(&log[1..]), "{what}");
        cases += 4 * log.len() + 3 * new.len();
    }
    println!("seed {seed}: {cases} cases");
}

fn publisher_and_reader(world: &World) -> String {
    world.token(json!({"sub": "r", "tidings": {"subscribe": [ORDERS]}}))
}

async fn ids_of(client: &mut Subscriber, count: usize) -> Vec<Value> {
    client.events(count).await.into_iter().map(|delivered| delivered.event["id"].clone()).collect()
}

/// All ids that the history has, page by page.
async fn history(node: &Node, token: &str, query: &str) -> Vec<Value> {
    let (mut ids, mut path) = (Vec::new(), format!("/v1/events?limit=37&{query}"));
    let filter = query.split('&').filter(|part| part.starts_with("channel") || part.starts_with("where"));
    let filter = filter.collect::<Vec<_>>().join("&");
    loop {
        let page = node.get_as(token, &path).await.json();
        let events = page["events"].as_array().expect("events");
        if events.is_empty() {
            return ids;
        }
        ids.extend(events.iter().map(|entry| entry["event"]["id"].clone()));
        path = format!("/v1/events?limit=37&{filter}&since={}", page["cursor"].as_str().unwrap());
    }
}

/// Two runs that differ only in events outside of the pin give the same transcript, but for positions and times.
async fn what_happens_outside_of_a_pin_changes_nothing_inside(broker: TestBroker) {
    let seed = seed();
    let world = World::new();
    let mut transcripts = Vec::new();
    for outside in ["u2", "v1"] {
        let random = &mut StdRng::seed_from_u64(seed);
        let node = broker
            .node_with(|config| {
                config.auth.file = Some(world.file());
                config.broker.prefix = crate::support::each_broker::own_prefix();
            })
            .await;
        let publisher = world.token(json!({"sub": "p", "tidings": {"publish": ["*"]}}));
        let pin = json!([{"channel": ORDERS, "where": {"customerId": "u1"}}]);
        let token = world.granting(json!({"subscribe": pin}));
        let mut client = Subscriber::with_token(&node, "/v1/ws", &token).await;
        let mut transcript = vec![client.subscribe("s", ORDERS).await];
        let mut inside = 0;
        for number in 0..200 {
            let mut event = random_event(random, format!("{number}"));
            match random.random_bool(0.3) {
                true => {
                    event["data"]["customerId"] = "u1".into();
                    inside += 1;
                }
                // Other events, and in other numbers.
                false if outside == "v1" && number % 3 == 0 => continue,
                false => {
                    event["data"]["customerId"] = outside.into();
                    event["id"] = format!("{outside} {number}").into();
                }
            }
            node.ask(Method::POST, "/v1/events", &publisher, Some(&event)).await.accepted();
        }
        for _ in 0..inside {
            transcript.push(client.frame_of("event").await);
        }
        for path in [
            format!("/v1/events?channel={ORDERS}"),
            format!("/v1/events?channel={ORDERS}&where={{\"customerId\":\"u2\"}}"),
            format!("/v1/events?channel={ORDERS}&since=start&limit=7"),
            "/v1/events".to_owned(),
            "/v1/channels".to_owned(),
            "/v1/schemas".to_owned(),
            format!("/v1/schemas/{ORDERS}"),
        ] {
            transcript.push(node.get_as(&token, &path).await.json());
        }
        transcript.iter_mut().for_each(mask);
        transcripts.push(transcript);
    }
    assert_eq!(transcripts[0], transcripts[1], "seed {seed}");
}

/// Removes what positions and times show.
fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match &**name {
                    "position" | "cursor" | "time" => *value = "masked".into(),
                    _ => mask(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(mask),
        _ => {}
    }
}

over_each_broker!(
    a_pinned_client_gets_exactly_the_events_inside_its_pins,
    what_happens_outside_of_a_pin_changes_nothing_inside,
);
