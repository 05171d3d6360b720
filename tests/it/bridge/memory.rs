//! A bridge whose broker stands still while messages come: how much of them the node keeps in its memory.

use serde_json::json;

use super::{Publisher, events, listening, metric, node};
use crate::support::redis::Redis;
use crate::support::until;

/// Messages that could be events: 46 MiB.
const LARGE: usize = 800;
/// Messages of a MiB, which are larger than any event.
const TOO_LARGE: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_wait_for_the_broker_are_bounded_in_bytes() {
    let broker = Redis::start();
    let source = Redis::with(&["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let tables = format!(
        "[[bridge]]\nname = \"legacy\"\nredis = \"redis://127.0.0.1:{}\"\nchannels = [\"invalidations\"]\n\
         type = \"cache-invalidate\"\nid = \"/eventId\"\n",
        source.port
    );
    let node = node(&broker, &tables).await;
    listening(&source, "invalidations", 1).await;
    let mut publisher = Publisher::to(&source);
    let keys: Vec<_> = (0..240).map(|key| format!("{key:x<250}")).collect();
    let mut publish = |number: usize| {
        let message = json!({"eventId": format!("e{number}"), "keys": keys}).to_string();
        publisher.publish("invalidations", message.as_bytes());
    };
    publish(0);
    let first = async || (metric(&node, "tidings_bridge_events_total").await == 1.0).then_some(());
    until("the first is an event", first).await;
    broker.pause();
    (1..=LARGE).for_each(&mut publish);
    let missed = async || Some(metric(&node, "tidings_bridge_missed_total").await).filter(|missed| *missed > 0.0);
    until("more wait than are kept", missed).await;
    let too_large = vec![b'x'; 1 << 20];
    for _ in 0..TOO_LARGE {
        publisher.publish("invalidations", &too_large);
    }
    let refused = async || (metric(&node, "tidings_bridge_refused_total").await == TOO_LARGE as f64).then_some(());
    until("what is too large is refused at once", refused).await;
    let missed = metric(&node, "tidings_bridge_missed_total").await as usize;
    let kept = LARGE - missed;
    assert!((400..=700).contains(&kept), "{kept} of these messages were kept, which have 60 kB each");
    broker.go_on();
    let all = async || Some(events(&node, "cache-invalidate").await).filter(|events| events.len() > kept);
    let all = until("those that were kept are events", all).await;
    let newest = all.last().and_then(|event| event["id"].as_str()).map(str::to_owned);
    assert_eq!((all.len(), newest), (kept + 1, Some(format!("e{LARGE}"))));
}
