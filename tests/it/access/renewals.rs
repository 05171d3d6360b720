//! Renewals while publishers publish: nothing is lost, repeated or out of order, and the pin of each moment decides.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::Config;
use tokio::task::JoinSet;

use super::world::{World, now};
use crate::stream::Stream;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{epoch_and_offset, order, with_data};
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;

const ORDERS: &str = "order-status";
/// Publishers at the same time.
const PUBLISHERS: usize = 3;
const CUSTOMERS: [&str; 3] = ["u1", "u2", "u3"];

over_each_broker!(
    a_renewed_subscriber_has_every_event_once,
    each_event_is_judged_by_the_pin_of_its_moment,
    streams_and_polls_go_on_with_the_next_token,
);

/// Publishes `each` orders from each of several publishers at the same time.
fn publish(node: &Arc<Node>, token: &str, each: usize) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (node, token) = (node.clone(), token.to_owned());
        publishers.spawn(async move {
            for number in 0..each {
                let customer = CUSTOMERS[(publisher + number) % CUSTOMERS.len()];
                let event = with_data(order(&format!("{publisher}-{number}")), "customerId", customer);
                node.ask(Method::POST, "/v1/events", &token, Some(&event)).await.accepted();
            }
        });
    }
    publishers
}

async fn start(broker: &TestBroker, world: &World) -> (Arc<Node>, String) {
    let change = |config: &mut Config| {
        config.auth.file = Some(world.file());
        // A client sends a token after each answer, for as long as the publishers take.
        config.edge.frame_rate = 1_000_000;
    };
    let node = broker.node_with(change).await;
    (Arc::new(node), world.token(json!({"sub": "p", "tidings": {"publish": ["*"]}})))
}

/// The offset of an `event` frame, and the order in it.
fn read(frame: &Value) -> (u64, String) {
    let (_, offset) = epoch_and_offset(frame["position"].as_str().unwrap());
    (offset, frame["event"]["data"]["orderId"].as_str().unwrap().to_owned())
}

/// Asserts that these are all orders, each once, without a hole between their positions.
fn assert_whole(received: &[(u64, String)], each: usize) {
    let offsets: Vec<u64> = received.iter().map(|(offset, _)| *offset).collect();
    let expected: Vec<u64> = (1..=(PUBLISHERS * each) as u64).collect();
    assert_eq!(offsets, expected);
    let mut orders: Vec<_> = received.iter().map(|(_, order)| order.clone()).collect();
    let mut expected: Vec<_> =
        (0..PUBLISHERS).flat_map(|publisher| (0..each).map(move |number| format!("{publisher}-{number}"))).collect();
    orders.sort();
    expected.sort();
    assert_eq!(orders, expected);
}

async fn a_renewed_subscriber_has_every_event_once(broker: TestBroker) {
    const EACH: usize = 150;
    let world = World::new();
    let (node, publisher) = start(&broker, &world).await;
    let grants = json!({"subscribe": [ORDERS]});
    let token = |number: usize| world.token(json!({"jti": format!("t{number}"), "tidings": grants}));
    let mut client = Subscriber::with_token(&node, "/v1/ws", &token(0)).await;
    // Live, and from the log: the replay and its change to live are renewed, too.
    client.subscribe("live", ORDERS).await;
    let mut publishers = publish(&node, &publisher, EACH);
    let mut replayed = Subscriber::with_token(&node, "/v1/ws", &token(1)).await;
    replayed.say(json!({"type": "subscribe", "sub": "log", "channel": ORDERS, "since": "start"})).await;
    replayed.frame_of("subscribed").await;

    let mut number = 2;
    for client in [&mut client, &mut replayed] {
        let mut received = Vec::new();
        while received.len() < PUBLISHERS * EACH || number < 30 {
            client.say(json!({"type": "auth", "token": token(number)})).await;
            number += 1;
            loop {
                let frame = client.frame().await;
                match frame["type"].as_str().unwrap() {
                    "authenticated" => break,
                    "event" => received.push(read(&frame)),
                    other => panic!("{other}: {frame}"),
                }
            }
        }
        client.pong_is_next().await;
        assert_whole(&received, EACH);
    }
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
}

async fn each_event_is_judged_by_the_pin_of_its_moment(broker: TestBroker) {
    const EACH: usize = 150;
    /// The pins in turn: narrower, wider, another one, all, and none of the customers.
    const PINS: [&[&str]; 6] = [&["u1", "u2"], &["u1"], &["u1", "u2", "u3"], &["u3"], &["*"], &["u9"]];
    let world = World::new();
    let (node, publisher) = start(&broker, &world).await;
    let token = |round: usize| {
        let pin = PINS[round % PINS.len()];
        let entry = if pin == ["*"] { json!(ORDERS) } else { json!({"channel": ORDERS, "where": {"customerId": pin}}) };
        world.granting(json!({"subscribe": [entry]}))
    };
    let mut all = Subscriber::with_token(&node, "/v1/ws", &world.granting(json!({"subscribe": [ORDERS]}))).await;
    all.subscribe("all", ORDERS).await;
    let mut client = Subscriber::with_token(&node, "/v1/ws", &token(0)).await;
    client.say(json!({"type": "subscribe", "sub": "s", "channel": ORDERS, "since": "start"})).await;
    client.frame_of("subscribed").await;

    let mut publishers = publish(&node, &publisher, EACH);
    // What came under each pin.
    let mut received: Vec<Vec<u64>> = vec![Vec::new()];
    let mut done = false;
    while !done || received.len() < 3 * PINS.len() || received.len() % PINS.len() != 5 {
        done = publishers.is_empty();
        let _ended = publishers.try_join_next();
        client.say(json!({"type": "auth", "token": token(received.len())})).await;
        loop {
            let frame = client.frame().await;
            match frame["type"].as_str().unwrap() {
                "authenticated" => break,
                "event" => received.last_mut().unwrap().push(read(&frame).0),
                other => panic!("{other}: {frame}"),
            }
        }
        received.push(Vec::new());
    }
    // Under the last pin, which matches all, the rest comes.
    let last = with_data(order("last"), "customerId", "u1");
    node.publish_as(&publisher, &last).await;
    let mut log = Vec::new();
    loop {
        let event = all.event().await;
        let (_, offset) = epoch_and_offset(&event.position);
        log.push((offset, event.event["data"]["customerId"].as_str().unwrap().to_owned()));
        if event.event["data"]["orderId"] == "last" {
            break;
        }
    }
    assert_eq!(log.len(), PUBLISHERS * EACH + 1);
    assert_eq!(received.len() % PINS.len(), 5, "the last pin is the one of all");
    loop {
        let (offset, _) = read(&client.frame_of("event").await);
        received.last_mut().unwrap().push(offset);
        if offset == log.last().unwrap().0 {
            break;
        }
    }
    client.pong_is_next().await;
    let matches =
        |round: usize, customer: &str| PINS[round % PINS.len()].iter().any(|pin| [customer, "*"].contains(pin));
    assert!(is_explained(&log, &received, matches), "{received:?}");
}

/// Whether there are positions at which the pins changed so that each event of the log came if, and only if, the pin of its
/// moment matches. A state is a pin, and how many events have come under it.
fn is_explained(log: &[(u64, String)], received: &[Vec<u64>], matches: impl Fn(usize, &str) -> bool) -> bool {
    let mut states = vec![(0, 0)];
    for (offset, customer) in log {
        let mut index = 0;
        while let Some((round, count)) = states.get(index).copied() {
            // The pin may have changed here, if all has come that came under it.
            if count == received[round].len() && round + 1 < received.len() && !states.contains(&(round + 1, 0)) {
                states.push((round + 1, 0));
            }
            index += 1;
        }
        states = states
            .into_iter()
            .filter_map(|(round, count)| match matches(round, customer) {
                true => (received[round].get(count) == Some(offset)).then_some((round, count + 1)),
                false => Some((round, count)),
            })
            .collect();
    }
    states.iter().any(|(round, count)| round + 1 == received.len() && *count == received[*round].len())
}

/// An event stream and a long-poll have no renewal: they end with their token, and go on with another one.
async fn streams_and_polls_go_on_with_the_next_token(broker: TestBroker) {
    const EACH: usize = 100;
    /// Tokens that end while the stream is open.
    const ENDS: usize = 2;
    let world = World::new();
    let text = std::fs::read_to_string(world.file()).unwrap();
    std::fs::write(world.file(), format!("clock_skew = \"0s\"\n{text}")).unwrap();
    let (node, publisher) = start(&broker, &world).await;
    let token = |seconds| world.token(json!({"exp": now() + seconds, "tidings": {"subscribe": [ORDERS]}}));
    let mut publishers = publish(&node, &publisher, EACH);
    let all = PUBLISHERS * EACH;

    let polls = async {
        let (mut received, mut since) = (Vec::new(), "start".to_owned());
        while received.len() < all {
            let page =
                node.get_as(&token(3), &format!("/v1/events?channel={ORDERS}&limit=7&wait=5&since={since}")).await;
            let page = page.json();
            received.extend(page["events"].as_array().unwrap().iter().map(read));
            since = page["cursor"].as_str().unwrap().to_owned();
        }
        received
    };
    let streams = async {
        let (mut received, mut id, mut ends) = (Vec::new(), String::new(), 0);
        while received.len() < all || ends < ENDS {
            let request = node.request(Method::GET, &format!("/v1/stream?channel={ORDERS}&since=start"));
            let mut stream = Stream::open_with(request.bearer_auth(token(3)), &id).await;
            loop {
                let event = stream.event().await;
                match event.kind.as_str() {
                    "error" => break,
                    ORDERS => received
                        .push((offset_of(&stream.last_id), event.data["data"]["orderId"].as_str().unwrap().to_owned())),
                    other => panic!("{other}"),
                }
            }
            id = stream.last_id;
            ends += 1;
        }
        received
    };
    let (polled, streamed) = tokio::join!(polls, streams);
    assert_whole(&polled, EACH);
    assert_whole(&streamed, EACH);
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
}

/// The offset in the id of an event stream of one channel.
fn offset_of(id: &str) -> u64 {
    epoch_and_offset(id.split_once('=').expect("an id is CHANNEL=POSITION").1).1
}
