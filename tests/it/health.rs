//! `/healthz`, `/readyz` and `/metrics` of a healthy node.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;

use crate::support::daemon::run;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, sale, with};
use crate::support::http::Response;
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    a_node_that_can_publish_and_receive_is_alive_and_ready,
    metrics_count_connections_events_and_deliveries,
    nodes_in_one_process_have_separate_metrics,
    promtool_finds_nothing_wrong_with_the_metrics,
    metrics_are_openmetrics_for_a_client_that_asks_for_it,
);

async fn a_node_that_can_publish_and_receive_is_alive_and_ready(broker: TestBroker) {
    let node = broker.node().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
}

async fn metrics_count_connections_events_and_deliveries(broker: TestBroker) {
    let node = broker.node().await;
    let mut one = Subscriber::to(&node, "inventory-change").await;
    let mut other = Subscriber::to(&node, "inventory-change").await;
    node.publish(&json!([with(sale("1"), "id", "x"), with(sale("1"), "id", "x"), order("1")])).await;
    node.publish(&sale("2")).await;
    one.events(2).await;
    other.events(2).await;
    let metrics = node.get("/metrics").await;
    assert!(metrics.header("content-type").is_some_and(|kind| kind.contains("text")), "{metrics:?}");
    for (line, value) in [
        ("tidings_connections", "2"),
        ("tidings_events_relayed_total{type=\"inventory-change\"}", "2"),
        ("tidings_events_published_total{type=\"order-status\"}", "1"),
        ("tidings_events_duplicate_total", "1"),
        ("tidings_outbox_bytes", "0"),
    ] {
        assert!(metrics.text.lines().any(|found| found == format!("{line} {value}")), "{line}\n{}", metrics.text);
    }
    assert_eq!(node.metric("tidings_broker_append_seconds_count").await, 2.0, "one for each request");
    until("deliveries are counted", async || (node.metric("tidings_deliveries_total").await == 4.0).then_some(()))
        .await;
}

async fn nodes_in_one_process_have_separate_metrics(broker: TestBroker) {
    let (one, other) = (broker.node().await, broker.node().await);
    let _subscriber = Subscriber::connect(&one).await;
    until("the connection is counted", async || (one.metric("tidings_connections").await == 1.0).then_some(())).await;
    assert_eq!(other.metric("tidings_connections").await, 0.0);
}

async fn promtool_finds_nothing_wrong_with_the_metrics(broker: TestBroker) {
    let node = broker.node().await;
    node.publish(&json!([sale("1"), order("1")])).await;
    node.get("/nope").await;
    let metrics = node.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let checked = run(command, &metrics.text);
    assert_eq!((checked.code, checked.out.as_str(), checked.err.as_str()), (Some(0), "", ""), "{}", metrics.text);
    for line in metrics.text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(metrics.text.contains(&format!("# HELP {family} ")), "{name} has no help");
    }
}

async fn metrics_are_openmetrics_for_a_client_that_asks_for_it(broker: TestBroker) {
    let node = broker.node().await;
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, openmetrics) in [
        (prometheus, true),
        ("application/openmetrics-text", true),
        ("text/plain", false),
        ("*/*", false),
        ("text/plain, application/openmetrics-text;q=0.5", false),
        ("application/openmetrics-text;q=0", false),
    ] {
        let metrics = Response::to(node.request(Method::GET, "/metrics").header("accept", accept)).await;
        let media_type = metrics.header("content-type").unwrap();
        assert_eq!(media_type.starts_with("application/openmetrics-text; version=1.0.0"), openmetrics, "{accept}");
        assert_eq!(metrics.text.ends_with("# EOF\n"), openmetrics, "{accept}");
    }
}
