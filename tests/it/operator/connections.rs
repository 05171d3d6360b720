//! `GET /v1/connections`: every transport, both orders, the limit, closes by code, grants and namespaces.

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::{BrokerUrl, networks};

use super::SALES;
use crate::access::world::World;
use crate::stream::Stream;
use crate::support::each_broker::TestBroker;
use crate::support::events::sale;
use crate::support::http::{Response, members};
use crate::support::node::{Node, config};
use crate::support::raw::{self, RawConnection, Reader, Target};
use crate::support::slow::{publish_batch, subscribe_without_reading};
use crate::support::subscriber::Subscriber;
use crate::support::until;

/// The answer to a question that is allowed and well-formed.
async fn list(node: &Node, query: &str) -> Value {
    let response = node.get(&format!("/v1/connections{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    let list = response.json();
    assert_eq!(members(&list), ["closed", "connections", "total"]);
    list
}

/// Waits until the list is like this, and returns it.
async fn list_like(node: &Node, query: &str, what: &str, like: impl Fn(&Value) -> bool) -> Value {
    until(what, async || Some(list(node, query).await).filter(|list| like(list))).await
}

fn rows(list: &Value) -> &Vec<Value> {
    list["connections"].as_array().expect("a list")
}

fn column<'a>(list: &'a Value, name: &str) -> Vec<&'a Value> {
    rows(list).iter().map(|row| &row[name]).collect()
}

/// Over plain sockets and TLS, with handshakes that the daemon and hyper read.
async fn websockets_streams_and_long_polls_are_listed(broker: TestBroker) {
    let node = broker.node().await;
    let before = jiff::Timestamp::now();
    assert_eq!(list(&node, "").await, json!({"connections": [], "total": 0, "closed": {}}));
    let mut socket = RawConnection::open(&node).await;
    socket.send(&raw::text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(socket.json().await["type"], "subscribed");
    let mut stream = Stream::open(&node, "channel=inventory-change&channel=order-status", "").await;
    list_like(&node, "", "two are listed", |list| list["total"] == 2).await;
    let poll = node.request(Method::GET, "/v1/events?channel=order-status&since=now&wait=30");
    let poll = tokio::spawn(Response::to(poll));
    list_like(&node, "", "three are listed", |list| list["total"] == 3).await;
    node.publish(&json!([sale("1"), sale("2")])).await;
    for _ in 0..2 {
        assert_eq!(socket.json().await["type"], "event");
        stream.event().await;
    }
    let both = |list: &Value| column(list, "delivered") == [&json!(2), &json!(2), &json!(0)];
    let listed = list_like(&node, "?sort=age", "the deliveries are counted", both).await;
    assert_eq!(column(&listed, "transport"), ["websocket", "sse", "long-poll"]);
    assert_eq!(column(&listed, "subscriptions"), [1, 2, 1]);
    assert_eq!(column(&listed, "bufferedBytes"), [0, 0, 0]);
    for row in rows(&listed) {
        assert_eq!(
            members(row),
            [
                "address",
                "bufferedBytes",
                "delivered",
                "id",
                "namespace",
                "principal",
                "since",
                "subscriptions",
                "transport"
            ]
        );
        assert_eq!((&row["principal"], &row["namespace"]), (&Value::Null, &json!("default")));
        let since: jiff::Timestamp = row["since"].as_str().unwrap().parse().unwrap();
        // Milliseconds are rounded down.
        assert!(since.as_millisecond() >= before.as_millisecond() && since <= jiff::Timestamp::now(), "{row}");
        assert!(row["address"].as_str().unwrap().starts_with("127.0.0.1"), "{row}");
    }
    if node.front.is_none() {
        assert_eq!(rows(&listed)[0]["address"], socket.stream.local_addr().unwrap().to_string());
    }
    // A long-poll that is answered is not listed any more.
    node.publish(&crate::support::events::order("1")).await;
    assert_eq!(poll.await.unwrap().status, 200);
    let listed = list_like(&node, "?sort=age", "the long-poll is gone", |list| list["total"] == 2).await;
    assert_eq!(column(&listed, "transport"), ["websocket", "sse"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transports_are_listed() {
    websockets_streams_and_long_polls_are_listed(TestBroker::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transports_are_listed_over_tls() {
    websockets_streams_and_long_polls_are_listed(TestBroker::MemoryOverTls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transports_are_listed_if_hyper_reads_the_handshake() {
    websockets_streams_and_long_polls_are_listed(TestBroker::MemoryByHyper).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_is_the_session_of_welcome_and_a_replay_counts_as_delivered() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    node.publish(&json!([sale("1"), sale("2"), sale("3")])).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(
        node.url("/v1/ws?channel=inventory-change&since=start").replacen("http", "ws", 1),
    )
    .await
    .expect("a connection");
    let welcome = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
    let welcome: Value = serde_json::from_str(welcome.to_text().unwrap()).unwrap();
    let listed = list_like(&node, "", "the replay is over", |list| column(list, "delivered") == [3]).await;
    assert_eq!(rows(&listed)[0]["id"], welcome["session"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_buffers_come_first_or_the_oldest_connections() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let mut subscribers = Vec::new();
    for _ in 0..5 {
        subscribers.push(Subscriber::connect(&node).await);
    }
    let slow = subscribe_without_reading(&node).await;
    let slow_address = slow.stream.local_addr().unwrap().to_string();
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(Subscriber::connect(&node).await);
    }
    let behind = until("its buffer fills", async || {
        publish_batch(&node).await;
        let listed = list(&node, "?limit=1").await;
        (rows(&listed)[0]["bufferedBytes"].as_u64() > Some(0)).then_some(listed)
    })
    .await;
    assert_eq!((rows(&behind).len(), &behind["total"]), (1, &json!(11)));
    assert_eq!(rows(&behind)[0]["address"], slow_address);
    let by_buffer = list(&node, "?sort=buffered").await;
    let by_age = list(&node, "?sort=age").await;
    let since = |list: &Value| column(list, "id").into_iter().cloned().collect::<Vec<_>>();
    // An id begins with the time.
    let mut sorted = since(&by_age);
    sorted.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    assert_eq!(since(&by_age), sorted);
    assert_eq!(column(&by_age, "address")[5], &slow_address);
    // Among equal buffers, the oldest come first.
    let slow_id = sorted.remove(5);
    assert_eq!(since(&by_buffer), [&[slow_id], &sorted[..]].concat());
    assert_eq!(since(&list(&node, "?sort=age&limit=3").await), since(&by_age)[..3]);
    let none = list(&node, "?limit=0").await;
    assert_eq!((&none["connections"], &none["total"]), (&json!([]), &json!(11)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_names_the_address() {
    let mut config = config(BrokerUrl::Memory);
    config.edge.trusted_proxies = networks("127.0.0.1").unwrap();
    let node = Node::start(config).await;
    for reader in [Reader::Direct, Reader::Hyper] {
        let lines = ["X-Forwarded-For: 192.0.2.7"];
        let _socket = RawConnection::open_with(Target { address: node.address, reader }, &lines).await;
        let listed = list_like(&node, "", "it is listed", |list| list["total"] == 1).await;
        assert_eq!(column(&listed, "address"), ["192.0.2.7"], "{reader:?}");
        drop(_socket);
        list_like(&node, "", "it is gone", |list| list["total"] == 0).await;
    }
    let request = node.request(Method::GET, "/v1/stream?channel=order-status").header("x-forwarded-for", "2001:db8::7");
    let _stream = request.send().await.unwrap();
    let listed = list_like(&node, "", "it is listed", |list| list["total"] == 1).await;
    assert_eq!(column(&listed, "address"), ["2001:db8::7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_are_counted_by_their_code() {
    let mut config = config(BrokerUrl::Memory);
    config.websocket.outbox_bytes = 128 << 10;
    let node = Node::start(config).await;
    for code in [1000, 1000, 4999] {
        let mut socket = RawConnection::open(&node).await;
        socket.send(&raw::close(code)).await;
        assert_eq!(socket.close_code().await, code);
    }
    // Without a code, without a Close, and an event stream by its client.
    RawConnection::open(&node).await.send(&raw::frame(0x88, b"")).await;
    drop(RawConnection::open(&node).await);
    drop(Stream::open(&node, "channel=order-status", "").await);
    let mut binary = RawConnection::open(&node).await;
    binary.send(&raw::frame(0x82, b"x")).await;
    assert_eq!(binary.close_code().await, 1003);
    let _slow = subscribe_without_reading(&node).await;
    let expected = json!({"1000": 2, "1003": 1, "1005": 2, "1006": 1, "4008": 1, "4999": 1});
    until("all are counted", async || {
        publish_batch(&node).await;
        let closed = list(&node, "?limit=0").await["closed"].clone();
        (closed == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    for (query, words) in [
        ("sort=size", "`sort` must be `buffered` or `age`, not \"size\""),
        ("sort=", "`sort` must be `buffered` or `age`"),
        ("limit=1001", "`limit` must be a whole number from 0 to 1000, not \"1001\""),
        ("limit=-1", "`limit` must be a whole number"),
        ("limit=ten", "`limit` must be a whole number"),
        ("limits=5", "there is no parameter \"limits\" here"),
    ] {
        let problem = node.get(&format!("/v1/connections?{query}")).await.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sees_the_connections_of_its_own_namespace_only() {
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"shop\", \"crm\"]", "");
    let node = Node::start(world.over(config(BrokerUrl::Memory))).await;
    let of =
        |tenant: &str, sub: &str, grants: Value| world.token(json!({"tenant": tenant, "sub": sub, "tidings": grants}));
    let reading = json!({"subscribe": ["*"]});
    let mut clients = Vec::new();
    for (tenant, sub) in [("shop", "s1"), ("shop", "s2"), ("crm", "c1")] {
        let token = of(tenant, sub, reading.clone());
        let mut client = Subscriber::with_token(&node, "/v1/ws", &token).await;
        client.subscribe("s", SALES).await;
        clients.push(client);
    }
    let stream = Stream::with_token(&node, "channel=order-status", &of("crm", "c2", reading.clone())).await;
    let poll = node.request(Method::GET, "/v1/events?channel=order-status&since=now&wait=30");
    let poll = tokio::spawn(Response::to(poll.bearer_auth(of("crm", "c3", reading.clone()))));
    for (tenant, names) in [("shop", &["s1", "s2"][..]), ("crm", &["c1", "c2", "c3"])] {
        let admin = of(tenant, "operator", json!({"admin": ["connections"]}));
        let listed = until("all are listed", async || {
            let listed = node.get_as(&admin, "/v1/connections?sort=age").await.json();
            (listed["total"] == names.len()).then_some(listed)
        })
        .await;
        assert_eq!(column(&listed, "principal"), names);
        assert!(column(&listed, "namespace").iter().all(|name| *name == tenant), "{listed}");
    }
    // So are the closes.
    drop(clients.remove(2));
    let closed = async |tenant: &str| {
        let admin = of(tenant, "operator", json!({"admin": ["connections"]}));
        node.get_as(&admin, "/v1/connections").await.json()["closed"].clone()
    };
    until("the close is counted", async || (closed("crm").await == json!({"1006": 1})).then_some(())).await;
    assert_eq!(closed("shop").await, json!({}));
    // The other admin rights are not enough, and nothing is said about the parameters.
    let others = of("shop", "operator", json!({"subscribe": ["*"], "admin": ["nodes", "metrics", "revoke", "flows"]}));
    for path in ["/v1/connections", "/v1/connections?sort=size"] {
        node.get_as(&others, path).await.problem(403, "forbidden");
        node.get(path).await.problem(401, "unauthenticated");
    }
    drop((stream, poll));
}
