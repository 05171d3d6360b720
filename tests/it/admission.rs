//! Too many who come at once: some are asked to come later, nobody who is there is worse off.

use std::collections::HashSet;

use reqwest::Method;
use tidings::client::{Client, Subscription, Update};

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::http::Answer;
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(who_is_too_many_is_asked_to_come_later, all_of_many_who_come_at_once_get_everything);

async fn who_is_too_many_is_asked_to_come_later(broker: TestBroker) {
    // One that is full without anybody there.
    let node = broker.node_with(|config| config.limits.max_pending_connections = 0).await;
    let mut times = HashSet::new();
    for path in ["/v1/ws", "/v1/stream?channel=order-status", "/v1/events?wait=1"].repeat(20) {
        let mut request = node.request(Method::GET, path);
        if path == "/v1/ws" {
            request = request.header("connection", "upgrade").header("upgrade", "websocket");
        }
        let answer = Answer::of(request).await;
        answer.problem(503, "overloaded");
        let seconds: u32 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        assert!((1..=5).contains(&seconds), "{seconds}");
        times.insert(seconds);
    }
    assert!(times.len() > 2, "{times:?}");
    // Who does not stay is no part of it.
    node.publish(&sale("1")).await;
    assert_eq!(node.get("/v1/events?channel=inventory-change").await.status, 200);
    assert_eq!(node.get("/readyz").await.status, 200);
    assert_eq!(node.metric(r#"tidings_refusals_total{code="overloaded"}"#).await, 60.0);
}

async fn all_of_many_who_come_at_once_get_everything(broker: TestBroker) {
    const CLIENTS: usize = 100;
    const EVENTS: usize = 200;
    let node = broker.node_with(|config| config.limits.max_pending_connections = 5).await;
    let mut there = Subscriber::to(&node, "inventory-change").await;
    let events: Vec<_> = (0..EVENTS).map(|number| sale(&number.to_string())).collect();
    node.publish(&events.into()).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = Client::new(&node.url("")).expect("a client");
            tokio::spawn(async move {
                let mut subscriber = client.subscribe([Subscription::to("inventory-change").since("start")]);
                let mut got = 0;
                while got < EVENTS {
                    match subscriber.next().await.expect("it is let in, sooner or later") {
                        Update::Event(_) => got += 1,
                        Update::Gap { .. } => panic!("nothing is lost"),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    // All the while, who is there gets what is published.
    there.events(EVENTS).await;
    for number in 0..20 {
        node.publish(&sale(&number.to_string())).await;
        there.event().await;
    }
    for client in clients {
        within("everything", client).await.expect("it does not panic");
    }
    there.pong_is_next().await;
}
