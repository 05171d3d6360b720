//! Newest events within grants: a pin hides what it does not match, and tenants are apart.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::World;
use crate::latest::{ORDERS, keeping};
use crate::stream::Stream;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, with_data};
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;
use crate::support::within;

over_each_broker!(a_pin_hides_newest_events, the_newest_events_of_tenants_are_apart);

fn of(id: &str, customer: &str) -> Value {
    with_data(order(id), "customerId", customer)
}

fn path(id: &str) -> String {
    format!("/v1/latest/{ORDERS}/{id}")
}

/// The orders of a list.
async fn listed(node: &Node, token: &str) -> Vec<String> {
    let list = node.get_as(token, &format!("/v1/latest/{ORDERS}")).await.json();
    let id = |event: &Value| event["event"]["data"]["orderId"].as_str().unwrap().to_owned();
    list["events"].as_array().unwrap().iter().map(id).collect()
}

async fn a_pin_hides_newest_events(broker: TestBroker) {
    let world = World::new();
    let node = broker
        .node_with(|config| {
            keeping(config);
            config.auth.file = Some(world.file());
        })
        .await;
    let all = world.granting(json!({"publish": [ORDERS], "subscribe": [ORDERS]}));
    let pinned = world.granting(json!({"subscribe": [{"channel": ORDERS, "where": {"customerId": "u1"}}]}));
    node.publish_as(&all, &json!([of("o1", "u1"), of("o2", "u2"), of("o3", "u1")])).await;
    let mine = node.get_as(&pinned, &path("o1")).await;
    assert_eq!(mine.header("cache-control"), Some("private, max-age=2, stale-while-revalidate=10"));
    assert_eq!(mine.json()["event"]["data"]["customerId"], json!("u1"));
    let hidden = node.get_as(&pinned, &path("o2")).await;
    let none = node.get_as(&pinned, &path("none")).await;
    let text = |response: &Response| response.text.replace("o2", "none");
    assert_eq!((hidden.status, text(&hidden)), (404, text(&none)), "the same as nothing");
    assert_eq!((listed(&node, &pinned).await, listed(&node, &all).await.len()), (vec!["o1".into(), "o3".into()], 3));
    // An order that goes to another customer is gone, and nothing is told of the new one.
    let tag = mine.header("etag").unwrap().to_owned();
    let waiting = node.request(Method::GET, &format!("{}?wait=2", path("o1"))).bearer_auth(&pinned);
    let waiting = tokio::spawn(Response::to(waiting.header("if-none-match", &tag)));
    node.publish_as(&all, &of("o1", "u2")).await;
    within("an answer", waiting).await.unwrap().problem(404, "not-found");
    assert_eq!(listed(&node, &pinned).await, ["o3"]);
    // A stream begins with what the pin lets through.
    let mut client = Subscriber::with_token(&node, &format!("/v1/ws?channel={ORDERS}&since=latest"), &pinned).await;
    client.frame_of("subscribed").await;
    let mut stream = Stream::with_token(&node, &format!("channel={ORDERS}&since=latest"), &pinned).await;
    assert_eq!(client.event().await.event["data"]["orderId"], json!("o3"));
    assert_eq!(stream.event().await.data["data"]["orderId"], json!("o3"));
    node.publish_as(&all, &json!([of("o4", "u2"), of("o5", "u1")])).await;
    assert_eq!(client.event().await.event["data"]["orderId"], json!("o5"));
    assert_eq!(stream.event().await.data["data"]["orderId"], json!("o5"));
}

async fn the_newest_events_of_tenants_are_apart(broker: TestBroker) {
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"shop\", \"crm\"]", "");
    let node = broker
        .node_with(|config| {
            keeping(config);
            config.auth.file = Some(world.file());
        })
        .await;
    let grants = json!({"publish": ["*"], "subscribe": ["*"]});
    let of = |tenant: &str| world.token(json!({"tenant": tenant, "tidings": grants}));
    let (shop, crm) = (of("shop"), of("crm"));
    node.publish_as(&shop, &order("o1")).await;
    assert_eq!(node.get_as(&shop, &path("o1")).await.status, 200);
    node.get_as(&crm, &path("o1")).await.problem(404, "not-found");
    assert_eq!((listed(&node, &shop).await, listed(&node, &crm).await), (vec!["o1".into()], vec![]));
}
