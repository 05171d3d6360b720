//! A log that is lost while nobody publishes: the first who asks for something of it has everybody else told.

use serde_json::{Value, json};

use crate::support::broker::redis_url;
use crate::support::events::{place, sale};
use crate::support::node::{self, Node};
use crate::support::redis::Redis;
use crate::support::subscriber::Subscriber;
use crate::support::{until, within};

const CHANNEL: &str = "inventory-change";

async fn get(node: &Node, path: &str) -> Value {
    let answer = node.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_has_the_others_told() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    let mut subscriber = Subscriber::to(&node, CHANNEL).await;
    for question in ["/v1/channels", "/v1/events?channel=inventory-change", "/v1/events?since=10m"] {
        let head = node.publish(&json!([sale("1"), sale("2")])).await.remove(1).position;
        subscriber.events(2).await;
        let waiting = format!("/v1/events?channel={CHANNEL}&since={head}&wait=30");
        let (asked, told) = (
            async {
                until("the call to wait", async || (node.metric("tidings_long_polls").await > 0.0).then_some(())).await;
                redis.cli(&["flushall"]);
                get(&node, question).await;
            },
            get(&node, &waiting),
        );
        let ((), page) = within("a call that waits to be answered", async { tokio::join!(asked, told) }).await;
        let gap = subscriber.frame_of("gap").await;
        assert_eq!((&gap["from"], &gap["channel"]), (&json!(head), &json!(CHANNEL)), "{question}");
        let position = gap["position"].as_str().unwrap();
        assert!(place(position).0 != place(&head).0 && place(position).1 == 0, "{gap}");
        assert_eq!(page["gap"], json!([{"channel": CHANNEL, "from": head, "position": position}]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_a_new_epoch_does_not_ask_all_the_time() {
    let redis = Redis::start();
    let node = Node::start(node::config(redis_url(redis.port))).await;
    node.publish(&json!(vec![sale("1"); 50])).await;
    redis.cli(&["flushall"]);
    let asked = || {
        let info = redis.cli(&["info", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = asked();
    let page = get(&node, &format!("/v1/events?channel={CHANNEL}&wait=2")).await;
    assert_eq!((&page["events"], &page["gap"]), (&json!([]), &json!(false)));
    let times = asked() - before;
    assert!(times < 60, "{times} calls while one waits for two seconds");
}
