//! A log that is lost while no publisher is active: the next request that reads the log detects the loss, and the node then
//! reports it to all subscribers and long-polls.

use serde_json::{Value, json};

use crate::support::broker::redis_url;
use crate::support::events::{epoch_and_offset, sale};
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

const CHANNEL: &str = "inventory-change";

/// The JSON of a 200 response.
async fn get(node: &Node, path: &str) -> Value {
    let response = node.get(path).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_read_that_detects_a_lost_log_reports_the_gap_to_all_subscribers() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    for question in ["/v1/channels", "/v1/events?channel=inventory-change", "/v1/events?since=10m"] {
        let head = node.publish(&json!([sale("1"), sale("2")])).await.remove(1).position;
        subscriber.events(2).await;
        let waiting = format!("/v1/events?channel={CHANNEL}&since={head}&wait=30");
        let (detecting, polling) = (
            async {
                until("the long-poll is waiting", async || {
                    (node.metric("tidings_long_polls").await > 0.0).then_some(())
                })
                .await;
                redis.cli(&["flushall"]);
                get(&node, question).await;
            },
            get(&node, &waiting),
        );
        let ((), page) = within("a response to the long-poll", async { tokio::join!(detecting, polling) }).await;
        let gap = subscriber.frame_of("gap").await;
        assert_eq!((&gap["from"], &gap["channel"]), (&json!(head), &json!(CHANNEL)), "{question}");
        let position = gap["position"].as_str().unwrap();
        assert!(
            epoch_and_offset(position).0 != epoch_and_offset(&head).0 && epoch_and_offset(position).1 == 0,
            "{gap}"
        );
        assert_eq!(page["gap"], json!([{"channel": CHANNEL, "from": head, "position": position}]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_in_a_new_epoch_does_not_poll_redis_continuously() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    node.publish(&json!(vec![sale("1"); 50])).await;
    redis.cli(&["flushall"]);
    // The number of script calls that Redis has executed.
    let script_calls = || {
        let info = redis.cli(&["info", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = script_calls();
    let page = get(&node, &format!("/v1/events?channel={CHANNEL}&wait=2")).await;
    assert_eq!((&page["events"], &page["gap"]), (&json!([]), &json!(false)));
    let calls = script_calls() - before;
    assert!(calls < 60, "{calls} script calls during a long-poll of two seconds");
}
