//! The counts of `GET /v1/channels`: published events, duplicates, refused events and the rate, by namespace.

use serde_json::{Value, json};
use tidings::client::{ChannelInfo, Client};
use tidings::config::BrokerUrl;

use super::SALES;
use crate::access::world::World;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, sale, with};
use crate::support::node::{Node, config};
use crate::support::until;

over_each_broker!(a_channel_counts_what_was_published_and_refused);

fn counts(channel: &Value) -> [&Value; 3] {
    ["published", "duplicates", "refused"].map(|name| &channel[name])
}

async fn a_channel_counts_what_was_published_and_refused(broker: TestBroker) {
    let node = broker.node().await;
    let one = with(sale("1"), "id", "a");
    node.publish(&json!([one, sale("2"), sale("3")])).await;
    node.publish(&json!([one, one, sale("4")])).await;
    let broken = json!({"type": SALES, "data": {"productId": 5}});
    assert_eq!(node.post(&json!([sale("5"), broken, broken])).await.status, 422);
    assert_eq!(node.post(&json!({"type": "no-such-type", "data": {}})).await.status, 422);
    assert_eq!(counts(&node.channel(SALES).await), [4, 2, 2]);
    assert_eq!(counts(&node.channel("order-status").await), [0, 0, 0]);
    assert_eq!(node.channel("order-status").await["ratePerSecond"], 0.0);
    // The console keeps numbers as they are written, and cannot calculate with `0.0`.
    assert!(node.get("/v1/channels").await.text.contains(r#""ratePerSecond":0,"#));
    until("the rate is known", async || {
        let rate = node.channel(SALES).await["ratePerSecond"].as_f64().expect("a number");
        assert!(rate <= 40.0, "four events in at least a tenth of a second, not {rate}");
        (rate > 0.0).then_some(())
    })
    .await;
    let client = Client::new(&node.url("")).unwrap();
    let listed = client.channels().await.unwrap();
    let sales = listed.iter().find(|channel| channel.name == SALES).unwrap();
    assert_eq!((sales.retained, sales.subscribers), (Some(4), Some(0)));
    assert_eq!((sales.published, sales.duplicates, sales.refused), (Some(4), Some(2), Some(2)));
    assert!(sales.rate_per_second.is_some_and(|rate| rate > 0.0), "{sales:?}");
}

/// The rate is of the whole bus, what was published is of the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_sees_the_rate_and_has_published_nothing() {
    let broker = TestBroker::redis();
    let (one, two) = (broker.node().await, broker.node_with(|config| config.server.node_id = "two".into()).await);
    for number in 0..20 {
        one.publish(&sale(&number.to_string())).await;
    }
    until("both see the rate", async || {
        let rates =
            [one.channel(SALES).await, two.channel(SALES).await].map(|channel| channel["ratePerSecond"].clone());
        rates.iter().all(|rate| rate.as_f64() > Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(counts(&one.channel(SALES).await), [20, 0, 0]);
    assert_eq!(counts(&two.channel(SALES).await), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_counts_in_its_namespace_and_a_pinned_subscriber_sees_no_counts() {
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"shop\", \"crm\"]", "");
    let node = Node::start(world.over(config(BrokerUrl::Memory))).await;
    let of = |tenant: &str, grants: Value| world.token(json!({"tenant": tenant, "tidings": grants}));
    let publisher = of("shop", json!({"publish": [SALES]}));
    node.publish_as(&publisher, &sale("1")).await;
    let response = node.ask(reqwest::Method::POST, "/v1/events", &publisher, Some(&order("1"))).await;
    response.problem(403, "forbidden");
    let channel = async |token: &str, name: &str| {
        let channels = node.get_as(token, "/v1/channels").await.json();
        channels["channels"].as_array().unwrap().iter().find(|one| one["type"] == name).unwrap().clone()
    };
    let [shop, crm] = ["shop", "crm"].map(|tenant| of(tenant, json!({"subscribe": ["*"]})));
    assert_eq!(counts(&channel(&shop, SALES).await), [1, 0, 0]);
    assert_eq!(counts(&channel(&shop, "order-status").await), [0, 0, 1]);
    assert_eq!(counts(&channel(&crm, SALES).await), [0, 0, 0]);
    assert_eq!(counts(&channel(&crm, "order-status").await), [0, 0, 0]);
    let pinned = of("shop", json!({"subscribe": [{"channel": SALES, "where": {"productId": "1"}}]}));
    let seen = channel(&pinned, SALES).await;
    assert_eq!(crate::support::http::members(&seen), ["position", "schema", "type"]);
    let listed = Client::new(&node.url("")).unwrap().with_token(&*pinned).channels().await.unwrap();
    let counts = |one: &ChannelInfo| [one.retained, one.subscribers, one.published, one.duplicates, one.refused];
    assert_eq!(listed.iter().map(counts).collect::<Vec<_>>(), [[None; 5]]);
    assert_eq!(listed[0].rate_per_second, None);
}
