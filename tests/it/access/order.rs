//! A channel that is not granted is refused before anything else of a request is looked at: a mistake beside it changes no
//! answer.

use serde_json::json;
use tidings::config::BrokerUrl;

use super::world::World;
use crate::latest::keeping;
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;

/// Mistakes that a query can have, percent-encoded.
const MISTAKES: [&str; 5] =
    ["since=!!", "where=%7B", "where=%7B%22a%22:1,%22a%22:2%7D", "chanel=x", "since=1m&since=2m"];

async fn world() -> (World, Node, String) {
    let world = World::new();
    let mut config = world.over(node::config(BrokerUrl::Memory));
    keeping(&mut config);
    let node = Node::start(config).await;
    let token = world.granting(json!({"subscribe": ["order-status"]}));
    (world, node, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_beside_an_ungranted_channel_is_not_told() {
    let (_world, node, token) = world().await;
    for path in [
        "/v1/events?channel=finance-change",
        "/v1/events?channel=order-status&channel=finance-change",
        "/v1/stream?channel=finance-change",
        "/v1/latest/finance-change?limit=1",
        "/v1/latest/finance-change/x?",
    ] {
        let refused = node.get_as(&token, path).await;
        refused.problem(403, "forbidden");
        for mistake in MISTAKES.iter().chain(&["limit=many", "wait=long", "lastEventId=!!"]) {
            let answer = node.get_as(&token, &format!("{path}&{mistake}")).await;
            assert_eq!((answer.status, &answer.text), (403, &refused.text), "{path} {mistake}");
        }
    }
    let problem = node.get_as(&token, "/v1/events?channel=order-status&since=!!").await;
    problem.problem(422, "invalid-position");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_a_handshake_is_told_inside_a_grant_only() {
    let (_world, node, token) = world().await;
    for mistake in MISTAKES {
        let path = format!("/v1/ws?channel=finance-change&{mistake}");
        let by_header = Subscriber::with_token(&node, &path, &token).await;
        let mut by_frame = Subscriber::stranger(&node, &path).await;
        by_frame.say(json!({"type": "auth", "token": token})).await;
        by_frame.frame_of("welcome").await;
        for mut client in [by_header, by_frame] {
            let error = client.frame_of("error").await;
            assert_eq!((&error["code"], &error["sub"]), (&json!("forbidden"), &json!("finance-change")), "{mistake}");
            client.pong_is_next().await;
        }
    }
    // The mistake is told for the channel that is granted.
    let path = "/v1/ws?channel=finance-change&channel=order-status&since=!!";
    let mut client = Subscriber::with_token(&node, path, &token).await;
    let codes = [client.frame_of("error").await["code"].clone(), client.frame_of("error").await["code"].clone()];
    assert_eq!(codes, [json!("forbidden"), json!("invalid-position")]);
}
