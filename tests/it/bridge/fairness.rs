//! A bridge with one busy event type and one quiet one: the backlog of the one does not hold up the other.

use serde_json::{Value, json};

use super::{metric, node};
use crate::support::redis::Redis;
use crate::support::until;

/// Events of the busy type that wait: many pages of the log.
const BACKLOG: usize = 3_000;
/// How many of them may go out before the one event of the quiet type.
const MAX_BEFORE: usize = 1_000;

const OUT: &str = r#"
[[bridge]]
name = "out"
direction = "out"
redis = "redis://sender:secret@127.0.0.1:PORT"
channels = ["elsewhere"]
type_from = "/type"
types = { "busy" = "data-update", "quiet" = "inventory-change" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_quiet_type_does_not_wait_for_the_backlog_of_a_busy_one() {
    let redis = Redis::start();
    // The bridge cannot log in until the backlog is there.
    redis.cli(&["acl", "setuser", "sender", "off", ">secret", "allchannels", "+@all"]);
    let node = node(&redis, &OUT.replace("PORT", &redis.port.to_string())).await;
    let busy = |number| json!({"type": "data-update", "data": {"resource": "a", "id": number, "action": "update"}});
    let all: Vec<_> = (0..BACKLOG).map(|number| busy(number.to_string())).collect();
    for batch in all.chunks(100) {
        let (status, answer) = crate::file_log::load::post(&node.url, &batch.into()).await.unwrap();
        assert_eq!(status, 202, "{answer}");
    }
    let quiet = json!({"productId": "p1", "oldQuantity": 5, "newQuantity": 4, "reason": "sale"});
    let quiet = json!({"type": "inventory-change", "data": quiet});
    crate::file_log::load::post(&node.url, &quiet).await.unwrap();
    let waiting = async || (metric(&node, "tidings_flow_lag_events").await == (BACKLOG + 1) as f64).then_some(());
    until("all of them wait", waiting).await;
    let heard = redis.watch("elsewhere");
    redis.cli(&["acl", "setuser", "sender", "on"]);
    let types = (0..=BACKLOG).map(|_| serde_json::from_str::<Value>(&heard.message().1).unwrap()["type"].clone());
    let before = types.take_while(|name| name == "busy").count();
    assert!(before <= MAX_BEFORE, "{before} events of the busy type came before the one of the quiet type");
}
