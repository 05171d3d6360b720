//! `GET /v1/events`: history in pages with cursors, filters and gaps, and long-polling with `wait`.

use serde_json::{Value, json};

use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, offset, order, sale};
use crate::support::http::Response;
use crate::support::node::Node;
use crate::support::{until, within};

over_each_broker_and_tls!(
    pages_follow_each_other_by_their_cursor,
    a_page_is_shared_between_channels,
    only_matching_events_are_returned,
    events_that_the_log_dropped_are_reported_as_a_gap,
    an_age_that_the_log_no_longer_reaches_is_reported_as_a_gap,
    a_long_poll_waits_for_a_matching_event,
    long_polls_that_follow_each_other_return_every_event_once,
    a_long_poll_that_times_out_returns_an_empty_page,
    invalid_parameters_are_refused,
);

/// The JSON of a 200 response to `GET /v1/events` with these parameters.
async fn history(node: &Node, query: &[(&str, &str)]) -> Value {
    let query = encode_query(query);
    let response = node.get(&format!("/v1/events?{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Encodes query parameters.
fn encode_query(query: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()
}

/// The offsets of a page's events.
fn offsets(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|one| offset(one["position"].as_str().unwrap())).collect()
}

/// Publishes `count` events in one batch, and returns their positions.
async fn publish(node: &Node, count: usize) -> Vec<String> {
    let events: Vec<Value> = (0..count).map(|n| sale(&n.to_string())).collect();
    node.publish(&json!(events)).await.into_iter().map(|accepted| accepted.position).collect()
}

async fn pages_follow_each_other_by_their_cursor(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 250).await;
    let mut since = "start".to_owned();
    let mut found = Vec::new();
    for expected in [100, 100, 50, 0] {
        let page = history(&node, &[("channel", "inventory-change"), ("since", &since)]).await;
        assert_eq!((offsets(&page).len(), &page["gap"]), (expected, &json!(false)));
        found.extend(offsets(&page));
        since = page["cursor"].as_str().unwrap().to_owned();
    }
    assert_eq!(found, (1..=250).collect::<Vec<_>>());
    // The cursor of an empty page is the head; a later call continues there.
    publish(&node, 1).await;
    assert_eq!(offsets(&history(&node, &[("channel", "inventory-change"), ("since", &since)]).await), [251]);
    let event = &history(&node, &[("channel", "inventory-change"), ("limit", "1")]).await["events"][0]["event"];
    assert_eq!((&event["type"], &event["data"]["productId"]), (&json!("inventory-change"), &json!("0")));
}

async fn a_page_is_shared_between_channels(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 30).await;
    node.publish(&json!([order("1"), order("2")])).await;
    let page = history(&node, &[("limit", "10")]).await;
    let types: Vec<_> = page["events"].as_array().unwrap().iter().map(|one| one["event"]["type"].clone()).collect();
    assert_eq!(types.len(), 10);
    assert_eq!(
        types.iter().filter(|kind| **kind == "order-status").count(),
        2,
        "a busy channel does not crowd out another"
    );
    let rest = history(&node, &[("since", page["cursor"].as_str().unwrap()), ("limit", "1000")]).await;
    assert_eq!(offsets(&rest).len(), 22);
}

async fn only_matching_events_are_returned(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 600).await;
    let page = history(&node, &[("channel", "inventory-change"), ("where", r#"{"productId":["7","599"]}"#)]).await;
    assert_eq!(offsets(&page), [8, 600]);
    // Without a channel, the filter selects the channels whose schema has the field.
    let page = history(&node, &[("where", r#"{"productId":"7"}"#)]).await;
    assert_eq!(offsets(&page), [8]);
    // If that is one channel, a position says where to begin.
    let position = page["events"][0]["position"].as_str().unwrap();
    let page = history(&node, &[("where", r#"{"productId":["7","599"]}"#), ("since", position)]).await;
    assert_eq!(offsets(&page), [600]);
}

async fn events_that_the_log_dropped_are_reported_as_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 50).await;
    let first = publish(&node, 1).await.remove(0);
    publish(&node, 299).await;
    let page = history(&node, &[("channel", "inventory-change"), ("since", &first)]).await;
    let position = format!("{}:250", epoch_and_offset(&first).0);
    assert_eq!(page["gap"], json!([{ "channel": "inventory-change", "from": first, "position": position }]));
    assert_eq!(offsets(&page), (251..=300).collect::<Vec<_>>());
}

async fn an_age_that_the_log_no_longer_reaches_is_reported_as_a_gap(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 5).await;
    let head = publish(&node, 10).await.remove(9);
    let [from, position] = [0, 5].map(|offset| format!("{}:{offset}", epoch_and_offset(&head).0));
    let gap = json!([{ "channel": "inventory-change", "from": from, "position": position }]);
    for wait in ["0", "30"] {
        let page = history(&node, &[("channel", "inventory-change"), ("since", "10m"), ("wait", wait)]).await;
        assert_eq!((&page["gap"], offsets(&page)), (&gap, (6..=10).collect()));
    }
    // Only the channel that lacks events has a gap.
    let page = history(&node, &[("since", "10m")]).await;
    assert_eq!(page["gap"], gap);
    // A cursor without the channel is older than the channel's first event.
    let older = history(&node, &[("channel", "order-status")]).await["cursor"].clone();
    assert_eq!(history(&node, &[("since", older.as_str().unwrap())]).await["gap"], gap);
    // The next page does not repeat the gap.
    let page = history(&node, &[("since", page["cursor"].as_str().unwrap())]).await;
    assert_eq!((&page["gap"], offsets(&page)), (&json!(false), vec![]));
}

async fn a_long_poll_waits_for_a_matching_event(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 1).await.remove(0);
    let query = [("channel", "inventory-change"), ("since", &*head), ("wait", "30"), ("where", r#"{"productId":"b"}"#)];
    let waiting = history(&node, &query);
    let publishing = async {
        // The first event does not match the filter, the second one does.
        node.publish(&sale("a")).await;
        node.publish(&sale("b")).await;
    };
    let (page, ()) = within("the answer", async { tokio::join!(waiting, publishing) }).await;
    assert_eq!(offsets(&page), [3]);
}

async fn long_polls_that_follow_each_other_return_every_event_once(broker: TestBroker) {
    let node = broker.node().await;
    let poll = async |filter: &str, expected: &[u64]| {
        let (mut since, mut found) = ("now".to_owned(), Vec::new());
        while found.len() < expected.len() {
            let mut query = vec![("channel", "inventory-change"), ("since", &since), ("wait", "30"), ("limit", "7")];
            query.extend((!filter.is_empty()).then_some(("where", filter)));
            let page = history(&node, &query).await;
            assert_eq!(page["gap"], json!(false));
            assert!(offsets(&page).len() <= 7);
            for entry in page["events"].as_array().unwrap() {
                assert_eq!(entry["event"]["type"], "inventory-change", "{entry}");
            }
            found.extend(offsets(&page));
            since = page["cursor"].as_str().unwrap().to_owned();
        }
        assert_eq!(found, expected, "{filter}");
    };
    let (all, of_one): (Vec<u64>, Vec<u64>) = ((1..=400).collect(), (0..20).map(|batch| batch * 20 + 4).collect());
    let polls = [("", &*all), ("", &*all), (r#"{"productId":"3"}"#, &*of_one)];
    let polling = futures_util::future::join_all(polls.map(|(filter, expected)| poll(filter, expected)));
    let publishing = async {
        // All polls wait for the first event, so that none begins after it.
        until("three polls wait", async || (node.metric("tidings_long_polls").await == 3.0).then_some(())).await;
        for _ in 0..20 {
            publish(&node, 20).await;
        }
    };
    within("all events", async { tokio::join!(polling, publishing) }).await;
}

async fn a_long_poll_that_times_out_returns_an_empty_page(broker: TestBroker) {
    let node = broker.node().await;
    let page = history(&node, &[("channel", "inventory-change"), ("since", "now"), ("wait", "1")]).await;
    assert_eq!((offsets(&page).len(), &page["gap"]), (0, &json!(false)));
    publish(&node, 1).await;
    let page = history(&node, &[("channel", "inventory-change"), ("since", page["cursor"].as_str().unwrap())]).await;
    assert_eq!(offsets(&page), [1]);
}

async fn invalid_parameters_are_refused(broker: TestBroker) {
    let node = broker.node().await;
    for (query, status, code) in [
        (&[("channel", "inventory-chang")][..], 422, "unknown-channel"),
        (&[("channel", "inventory-change"), ("since", "yesterday")], 422, "invalid-position"),
        (&[("channel", "inventory-change"), ("since", "order-status=k3:1")], 422, "invalid-position"),
        (&[("since", "k3:1")], 422, "invalid-position"),
        (&[("channel", "inventory-change"), ("where", r#"{"nope":1}"#)], 422, "unknown-field"),
        (&[("where", r#"{"nope":1}"#)], 422, "unknown-field"),
        (&[("channel", "inventory-change"), ("where", "[]")], 422, "invalid-filter"),
        (&[("channel", "inventory-change"), ("where", "{")], 422, "invalid-filter"),
        (&[("limit", "1001")], 400, "bad-request"),
        (&[("limit", "0")], 400, "bad-request"),
        (&[("wait", "31")], 400, "bad-request"),
        (&[("were", "{}")], 400, "bad-request"),
        // The last one would win, and an unfiltered stream come of it.
        (&[("where", r#"{"newStatus":"shipped"}"#), ("where", "{}")], 400, "bad-request"),
        (&[("since", "start"), ("since", "now")], 400, "bad-request"),
        (&[("limit", "1"), ("limit", "2")], 400, "bad-request"),
    ] {
        let response: Response = node.get(&format!("/v1/events?{}", encode_query(query))).await;
        response.problem(status, code);
    }
}
