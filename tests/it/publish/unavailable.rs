//! While the broker is unreachable: the client gets a 503 without details, and the log has the cause under the request id.
//! Neither contains the broker's password.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::events::sale;
use crate::support::http::Response;

#[tokio::test]
async fn the_cause_of_a_broker_failure_is_logged_and_not_sent_to_the_client() {
    let flags = ["--listen", "127.0.0.1:0", "--broker", "redis://bus:s3cret@127.0.0.1:1"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", daemon.url);
    for (id, request, detail) in [
        (
            "request-1",
            client.post(url("/v1/events")).header("content-type", "application/json").body(sale("1").to_string()),
            "the broker is unavailable, and the events may have been published or not: try again; sending the same ids again is safe",
        ),
        (
            "request-2",
            client.get(url("/v1/channels")),
            "the broker is unavailable: try again; the reason is in this node's log",
        ),
    ] {
        let response = Response::to(request.header("x-request-id", id)).await;
        assert_eq!(response.problem(503, "broker-unavailable")["detail"], detail);
        let line = daemon.process.said(&format!("\"request_id\":\"{id}\""));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{line}");
        assert!(!line.to_string().contains("s3cret"), "{line}");
    }
    let ready = Response::to(client.get(url("/readyz"))).await;
    ready.problem(503, "broker-unavailable");
    assert!(!ready.text.contains("s3cret"), "{ready:?}");
}
