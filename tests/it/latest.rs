//! Latest over HTTP: the newest event of a subject and lists of them, on every broker.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::{BrokerUrl, Config};
use tidings::event::TypeSettings;
use tokio::task::JoinSet;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, with, with_data};
use crate::support::http::Response;
use crate::support::node::{Node, config};
use crate::support::redis::Redis;
use crate::support::{until, within};

mod command;
mod lost;
mod seam;
mod slots;

pub const ORDERS: &str = "order-status";

/// Has the type `order-status` keep the newest event of each subject for an hour.
pub fn keeping(config: &mut Config) {
    let settings = TypeSettings { latest: Some(Duration::from_secs(3600)), ..TypeSettings::default() };
    config.broker.types = [(ORDERS.to_owned(), settings)].into();
}

async fn ask(node: &Node, path: &str, etag: Option<&str>) -> Response {
    let mut request = node.request(Method::GET, path);
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    Response::to(request).await
}

fn path(subject: &str) -> String {
    format!("/v1/latest/{ORDERS}/{subject}")
}

async fn publish(node: &Node, event: Value) -> String {
    node.publish(&event).await.remove(0).position
}

/// The orders of a list, each with its status, and the rest of the answer.
fn orders(list: &Value) -> Vec<(String, String)> {
    let text = |event: &Value, name: &str| event["event"]["data"][name].as_str().unwrap().to_owned();
    let events = list["events"].as_array().unwrap();
    events.iter().map(|event| (text(event, "orderId"), text(event, "newStatus"))).collect()
}

over_each_broker!(
    the_newest_event_of_a_subject_has_a_tag,
    a_long_poll_ends_with_a_newer_event,
    lists_are_read_in_pages,
    any_subject_can_be_asked_for,
    a_type_that_keeps_none_says_so,
);

async fn the_newest_event_of_a_subject_has_a_tag(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    ask(&node, &path("o1"), None).await.problem(404, "not-found");
    publish(&node, order("o1")).await;
    let newest = publish(&node, with_data(order("o1"), "newStatus", "shipped")).await;
    let found = until("the new event is there", async || {
        let found = ask(&node, &path("o1"), None).await;
        (found.status == 200).then_some(found)
    })
    .await;
    assert_eq!(found.header("cache-control"), Some("max-age=2, stale-while-revalidate=10"));
    assert_eq!(found.header("content-type"), Some("application/json"));
    let tag = format!("\"{newest}\"");
    assert_eq!(found.header("etag"), Some(&*tag));
    let body = found.json();
    assert_eq!((&body["position"], &body["event"]["data"]["newStatus"]), (&json!(newest), &json!("shipped")));
    for tag in [&*tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
        let same = ask(&node, &path("o1"), Some(tag)).await;
        assert_eq!((same.status, same.text.as_str()), (304, ""), "{tag}");
        assert_eq!(same.header("cache-control"), Some("max-age=2, stale-while-revalidate=10"));
    }
    assert_eq!(ask(&node, &path("o1"), Some("\"x\"")).await.status, 200);
    let head = Response::to(node.request(Method::HEAD, &path("o1"))).await;
    assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, Some(&*format!("\"{newest}\"")), ""));
    ask(&node, &format!("{}?no=such", path("o1")), None).await.problem(400, "bad-request");
    ask(&node, &format!("{}?wait=31", path("o1")), None).await.problem(400, "bad-request");
    ask(&node, &format!("{}?wait=1&wait=0", path("o1")), None).await.problem(400, "bad-request");
    let twice = format!("/v1/latest/{ORDERS}?where=%7B%22newStatus%22%3A%22shipped%22%7D&where=%7B%7D");
    ask(&node, &twice, None).await.problem(400, "bad-request");
    ask(&node, "/v1/latest/no-such-type/o1", None).await.problem(422, "unknown-channel");
}

async fn a_long_poll_ends_with_a_newer_event(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    let first = publish(&node, order("o1")).await;
    let waiting = format!("{}?wait=30", path("o1"));
    let tag = format!("\"{first}\"");
    let mut polls = JoinSet::new();
    for _ in 0..20 {
        let request = node.request(Method::GET, &waiting).header("if-none-match", &tag);
        polls.spawn(Response::to(request));
    }
    // A subject without an event, which a long-poll waits for.
    let request = node.request(Method::GET, &format!("{}?wait=30", path("o2")));
    let other = tokio::spawn(Response::to(request));
    until("all wait", async || (node.metric("tidings_long_polls").await >= 21.0).then_some(())).await;
    let second = publish(&node, with_data(order("o1"), "newStatus", "shipped")).await;
    while let Some(found) = within("an answer", polls.join_next()).await {
        let found = found.unwrap();
        assert_eq!((found.status, &found.json()["position"]), (200, &json!(second)));
        assert_eq!(found.header("cache-control"), Some("no-store, no-transform"));
    }
    let third = publish(&node, order("o2")).await;
    assert_eq!(within("an answer", other).await.unwrap().json()["position"], json!(third));
    let unchanged = ask(&node, &format!("{}?wait=1", path("o1")), Some(&format!("\"{second}\""))).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some(&*format!("\"{second}\""))));
    ask(&node, &format!("{}?wait=1", path("o3")), None).await.problem(404, "not-found");
}

async fn lists_are_read_in_pages(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    let empty = ask(&node, &format!("/v1/latest/{ORDERS}"), None).await.json();
    assert_eq!((&empty["events"], &empty["more"], &empty["gap"]), (&json!([]), &json!(false), &json!(false)));
    for id in ["o1", "o2", "o3", "o4"] {
        publish(&node, order(id)).await;
    }
    let last = publish(&node, with_data(order("o2"), "newStatus", "shipped")).await;
    let expected = [("o1", "pending"), ("o3", "pending"), ("o4", "pending"), ("o2", "shipped")];
    let expected = expected.map(|(id, status)| (id.to_owned(), status.to_owned()));
    for limit in ["0", "1001", "-1", "x"] {
        ask(&node, &format!("/v1/latest/{ORDERS}?limit={limit}"), None).await.problem(400, "bad-request");
    }
    for limit in [1, 3, 100] {
        let (mut cursor, mut found) = (String::new(), Vec::new());
        loop {
            let list = ask(&node, &format!("/v1/latest/{ORDERS}?limit={limit}{cursor}"), None).await.json();
            found.extend(orders(&list));
            assert_eq!(list["gap"], json!(false));
            let at = list["cursor"].as_str().unwrap();
            if list["more"] == json!(false) {
                assert_eq!(at, last, "the cursor is a position of the log");
                break;
            }
            cursor = format!("&cursor={at}");
        }
        assert_eq!(found, expected, "{limit}");
    }
    let filtered = format!("/v1/latest/{ORDERS}?where={{\"newStatus\":\"shipped\"}}");
    assert_eq!(orders(&ask(&node, &filtered, None).await.json()), expected[3..]);
    // A cursor of another log: the list begins anew, and says so.
    let other = ask(&node, &format!("/v1/latest/{ORDERS}?cursor=other:3"), None).await.json();
    assert_eq!(orders(&other), expected);
    assert_eq!((&other["gap"][0]["channel"], &other["gap"][0]["from"]), (&json!(ORDERS), &json!("other:3")));
    for (query, code) in
        [("cursor=x", "invalid-position"), ("where=x", "invalid-filter"), ("where={\"no\":1}", "unknown-field")]
    {
        ask(&node, &format!("/v1/latest/{ORDERS}?{query}"), None).await.problem(422, code);
    }
    ask(&node, &format!("/v1/latest/{ORDERS}?since=now"), None).await.problem(400, "bad-request");
}

async fn any_subject_can_be_asked_for(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    for (subject, written) in [
        ("a/b", "a%2Fb"),
        ("a/b/c", "a/b/c"),
        ("/", "%2F"),
        ("ü 1?#%", "%C3%BC%201%3F%23%25"),
        ("{x}", "%7Bx%7D"),
        ("*", "*"),
    ] {
        let position = publish(&node, with(order("o"), "subject", subject)).await;
        let found = until("the event is there", async || {
            let found = ask(&node, &path(written), None).await;
            (found.status == 200).then_some(found)
        })
        .await
        .json();
        assert_eq!((&found["position"], &found["event"]["subject"]), (&json!(position), &json!(subject)));
    }
    ask(&node, &path("%FF"), None).await.problem(400, "bad-request");
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_told_what_is_wrong() {
    let mut config = config(BrokerUrl::Memory);
    keeping(&mut config);
    let node = Node::start(config).await;
    let problem = node.get(&format!("/v1/latest/{ORDERS}/o%FF")).await.problem(400, "bad-request");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the subject \"o%FF\" is not UTF-8"), "{detail}");
    for path in ["/v1/latest/%FF/o1", "/v1/latest/%FF", "/v1/latest/%FF/%FF"] {
        let problem = node.get(path).await.problem(422, "unknown-channel");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("there is no channel \"\u{fffd}\" here"), "{detail}");
    }
}

async fn a_type_that_keeps_none_says_so(broker: TestBroker) {
    let node = broker.node_with(keeping).await;
    node.publish(&json!({"type": "data-update", "data": {"resource": "a", "id": "1", "action": "update"}})).await;
    for path in ["/v1/latest/data-update/1", "/v1/latest/data-update"] {
        let problem = ask(&node, path, None).await.problem(422, "latest-not-kept");
        assert!(problem["detail"].as_str().unwrap().contains("[types.data-update]"), "{problem}");
    }
}

/// Redis shows every command that it runs. How long the requests take depends on the machine, so the test counts windows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_cost_the_broker_one_read_in_two_seconds() {
    let redis = Redis::start();
    let mut config = config(BrokerUrl::parse(&format!("redis://127.0.0.1:{}", redis.port)).unwrap());
    keeping(&mut config);
    let node = Node::start(config).await;
    publish(&node, order("o1")).await;
    let commands = redis.monitor();
    let begun = std::time::Instant::now();
    let reads = async || node.metric("tidings_latest_reads_total").await;
    let before = reads().await;
    let mut clients = JoinSet::new();
    for _ in 0..1000 {
        let request = node.request(Method::GET, &path("o1"));
        clients.spawn(async move { Response::to(request).await.status });
    }
    while let Some(status) = within("an answer", clients.join_next()).await {
        assert_eq!(status.unwrap(), 200);
    }
    // As many windows of two seconds as the requests took, on a machine of any speed.
    let most = 1 + begun.elapsed().as_secs() / 2;
    let counted = reads().await - before;
    redis.cli(&["ping", "the end"]);
    // The script that reads one subject reads the hash of the newest events. Redis shows what a script does.
    let mut asked = 0;
    loop {
        let line = commands.line();
        if line.contains("the end") {
            break;
        }
        let is_read = line.contains(" lua]") && line.contains(":latest\"") && line.contains("\"o1\"");
        asked += u64::from(is_read);
    }
    assert!(asked >= 1 && asked <= most, "{asked} reads that Redis saw, at most {most}");
    assert_eq!(counted, asked as f64, "the node's own metric");
}
