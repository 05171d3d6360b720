//! A bridge whose broker takes no call that is as large as an event: that event is kept, and the others are published.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{Publisher, events, listening, metric, node_on};
use crate::support::redis::Redis;
use crate::support::until;
use crate::support::upstash::{TOKEN, Upstash};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_broker_takes_in_no_call_is_kept_and_those_beside_it_are_published() {
    let (upstash, source) = (Upstash::start(), Redis::start());
    upstash.max_request.store(150 << 10, Ordering::Relaxed);
    let tables = format!(
        "max_event_bytes = \"256KiB\"\n[[bridge]]\nname = \"legacy\"\nredis = \"redis://127.0.0.1:{}\"\n\
         channels = [\"invalidations\"]\ntype = \"cache-invalidate\"\nid = \"/eventId\"\n",
        source.port
    );
    let node = node_on(&format!("upstash+http://{TOKEN}@127.0.0.1:{}", upstash.port), &tables).await;
    listening(&source, "invalidations", 1).await;
    let mut publisher = Publisher::to(&source);
    let message = |number: usize, keys: usize| {
        let keys: Vec<_> = (0..keys).map(|key| format!("{key:x<250}")).collect();
        json!({"eventId": format!("e{number}"), "keys": keys}).to_string()
    };
    // The node stands still meanwhile, so that it takes all of them together.
    node.process.signal("STOP");
    for number in 0..20 {
        publisher.publish("invalidations", message(number, if number == 7 { 700 } else { 1 }).as_bytes());
    }
    node.process.signal("CONT");
    until("the large one is refused", async || {
        (metric(&node, "tidings_bridge_refused_total").await == 1.0).then_some(())
    })
    .await;
    let all = async || Some(events(&node, "cache-invalidate").await).filter(|events| events.len() >= 19);
    let all = until("the others are events", all).await;
    let ids: Vec<_> = all.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..20).filter(|number| *number != 7).map(|number| format!("e{number}")).collect();
    assert_eq!(ids, expected);
    let kept = async || {
        let listed = node.run(&["bridge", "dead", "legacy", "--json"]);
        assert_eq!(listed.code, Some(0), "{}", listed.err);
        (!listed.out.is_empty()).then_some(listed.out)
    };
    let kept = until("the large one is kept", kept).await;
    let letter: Value = serde_json::from_str(kept.trim_end()).unwrap();
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.starts_with("invalidations: an event is larger than the broker takes in one call"), "{reason}");
    assert!(letter["message"].as_str().unwrap().starts_with(r#"{"eventId":"e7""#), "{letter}");
    assert_eq!(metric(&node, "tidings_flow_restarts_total").await, 0.0);
}
