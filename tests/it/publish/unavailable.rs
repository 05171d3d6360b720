//! What a publisher is told when the broker is not there, and what the operator.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::events::sale;
use crate::support::http::Answer;

#[tokio::test]
async fn why_the_broker_failed_is_for_the_log() {
    let flags = ["--listen", "127.0.0.1:0", "--broker", "redis://bus:s3cret@127.0.0.1:1"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", daemon.url);
    for (id, request, told) in [
        (
            "request-1",
            client.post(url("/v1/events")).header("content-type", "application/json").body(sale("1").to_string()),
            "the broker is unavailable; whether the events were taken is not known: sending the same ids again is safe",
        ),
        ("request-2", client.get(url("/v1/channels")), "the broker is unavailable"),
    ] {
        let answer = Answer::of(request.header("x-request-id", id)).await;
        assert_eq!(answer.problem(503, "broker-unavailable")["detail"], told);
        let line = daemon.process.said(&format!("\"request_id\":\"{id}\""));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{line}");
        assert!(!line.to_string().contains("s3cret"), "{line}");
    }
    let ready = Answer::of(client.get(url("/readyz"))).await;
    ready.problem(503, "broker-unavailable");
    assert!(!ready.text.contains("s3cret"), "{ready:?}");
}
