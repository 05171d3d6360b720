//! Admission control: when too many clients connect at once, the daemon refuses some with 503 `overloaded` and a Retry-After.
//! Connections that are already open are served as before.

use std::collections::HashSet;

use reqwest::Method;
use tidings::client::{Client, Subscription, Update};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker_and_tls!(
    a_connection_over_the_limit_is_refused_with_a_random_retry_after,
    all_of_many_simultaneous_clients_receive_every_event
);

async fn a_connection_over_the_limit_is_refused_with_a_random_retry_after(broker: TestBroker) {
    // With no permits at all, every new connection is one too many.
    let node = broker.node_with(|config| config.limits.max_pending_connections = 0).await;
    let mut retry_after = HashSet::new();
    for path in ["/v1/ws", "/v1/stream?channel=order-status", "/v1/events?wait=1"].repeat(20) {
        let mut request = node.request(Method::GET, path);
        if path == "/v1/ws" {
            request = request.header("connection", "upgrade").header("upgrade", "websocket");
        }
        let response = Response::to(request).await;
        response.problem(503, "overloaded");
        let seconds: u32 = response.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        assert!((1..=5).contains(&seconds), "{seconds}");
        retry_after.insert(seconds);
    }
    assert!(retry_after.len() > 2, "{retry_after:?}");
    // Requests that do not wait for events need no permit.
    node.publish(&sale("1")).await;
    assert_eq!(node.get("/v1/events?channel=inventory-change").await.status, 200);
    assert_eq!(node.get("/readyz").await.status, 200);
    assert_eq!(node.metric(r#"tidings_refusals_total{code="overloaded"}"#).await, 60.0);
}

async fn all_of_many_simultaneous_clients_receive_every_event(broker: TestBroker) {
    const CLIENTS: usize = 100;
    const EVENTS: usize = 200;
    let node = broker.node_with(|config| config.limits.max_pending_connections = 5).await;
    let mut existing = Subscriber::to(&node, "inventory-change").await;
    let events: Vec<_> = (0..EVENTS).map(|number| sale(&number.to_string())).collect();
    node.publish(&events.into()).await;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = Client::new(&node.url("")).expect("a client");
            tokio::spawn(async move {
                let mut subscriber = client.subscribe([Subscription::to("inventory-change").since("start")]);
                let mut received = 0;
                while received < EVENTS {
                    match subscriber.next().await.expect("the client is admitted eventually") {
                        Update::Event(_) => received += 1,
                        Update::Gap { .. } => panic!("nothing is lost"),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    // Meanwhile the existing subscriber receives every event.
    existing.events(EVENTS).await;
    for number in 0..20 {
        node.publish(&sale(&number.to_string())).await;
        existing.event().await;
    }
    for client in clients {
        within("all events", client).await.expect("the client does not panic");
    }
    existing.pong_is_next().await;
}
