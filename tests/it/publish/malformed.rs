//! What the daemon says of JSON that it refuses: in bodies, frames, parameters, schemas and on the command line.

use reqwest::Method;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::support::daemon::{Daemon, run, tidings};
use crate::support::each_broker::TestBroker;
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::subscriber::Subscriber;

fn assert_said(problem: &Value, fragments: &[&str]) {
    let detail = problem["detail"].as_str().expect("a detail");
    for fragment in fragments {
        assert!(detail.contains(fragment), "{fragment:?} is not in {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_occurs_twice_is_malformed() {
    let node = TestBroker::Memory.node().await;
    let sale = sale("1").to_string();
    let with = |member: &str| sale.replacen('{', &format!("{{{member},"), 1);
    let within = sale.replace(r#""reason""#, r#""productId":"2","reason""#);
    for (body, pointer) in [
        (with(r#""type":"order-status""#), "/type"),
        (with(r#""t\u0079pe":"order-status""#), "/type"),
        (within.clone(), "/data/productId"),
        (format!("[{sale},{within}]"), "/1/data/productId"),
        (with(r#""x":[{"a":1,"a":1}]"#), "/x/0/a"),
    ] {
        let problem = node.post_as("application/json", body.clone()).await.problem(400, "malformed-json");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        assert_said(&problem, &["occurs twice", pointer, "line 1, column "]);
    }
    let binary = node.request(Method::POST, "/v1/events").header("ce-type", "inventory-change");
    let problem = Response::to(binary.body(r#"{"a":1,"a":2}"#)).await.problem(400, "malformed-json");
    assert_eq!(problem["errors"][0]["pointer"], "/a");

    for path in ["/v1/events", "/v1/stream"] {
        let path = format!("{path}?channel=inventory-change&where=%7B%22reason%22:%22a%22,%22reason%22:%22b%22%7D");
        assert_said(&node.get(&path).await.problem(400, "malformed-json"), &["`where`", "\"reason\" occurs twice"]);
    }
    let query = "/v1/ws?channel=inventory-change&where=%7B%22reason%22:%22a%22,%22reason%22:%22b%22%7D";
    let mut subscriber = Subscriber::connect_to(&node, query).await;
    assert_eq!(subscriber.frame_of("error").await["code"], "malformed-json");
    for frame in [
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"subscribe","sub":"s","channel":"inventory-change","channel":"order-status"}"#,
        r#"{"type":"subscribe","sub":"s","channel":"inventory-change","where":{"reason":"a","r\u0065ason":"b"}}"#,
    ] {
        subscriber.send(Message::text(frame)).await;
        let error = subscriber.frame_of("error").await;
        assert_eq!(error["code"], "malformed-json", "{frame}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains("occurs twice")), "{error}");
    }
    subscriber.pong_is_next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_body_is_answered_with_what_is_wrong_and_where() {
    let node = TestBroker::Memory.node().await;
    let sale = sale("1").to_string();
    let lone = sale.replace(r#""reason":""#, r#""reason":"\ud800"#);
    for (body, fragments) in [
        (
            format!("[{sale},\n{lone}]").into_bytes(),
            &["half of a surrogate pair", "line 2, column ", "/1/data/reason"][..],
        ),
        (format!("\u{feff}{sale}").into_bytes(), &["byte order mark", "line 1, column 1"]),
        (format!("{sale}\n{sale}\n").into_bytes(), &["another value follows", "array", "line 2, column 1"]),
        (sale.encode_utf16().flat_map(u16::to_le_bytes).collect(), &["UTF-16", "UTF-8"]),
        ([b"\xff\xfe", &*sale.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat(), &["UTF-16"]),
        (sale.replace("sale", "caf\u{e9}").chars().map(|letter| letter as u8).collect(), &["is not UTF-8", "column "]),
        (sale.replace(":100", ":NaN").into_bytes(), &["NaN and Infinity are not JSON", "/data/oldQuantity"]),
        (sale.replace('"', "'").into_bytes(), &["double quotes"]),
        (sale.replace("}}", ",}}").into_bytes(), &["comma before the closing bracket"]),
        (sale[..sale.len() - 2].to_owned().into_bytes(), &["the text ends", "is it complete?"]),
        (b"type=inventory-change&data=x".to_vec(), &["form"]),
        (b"".to_vec(), &["the text is empty"]),
        (format!("{}{}", "[".repeat(130), "]".repeat(130)).into_bytes(), &["128 levels"]),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let response = node.post_as("application/json", body).await;
        assert_eq!(response.status, 400, "{shown}: {response:?}");
        assert_said(&response.problem(400, "malformed-json"), fragments);
    }
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.send(Message::text("{\"type\":\"subscribe\",\n \"sub\":'s'}")).await;
    let error = subscriber.frame_of("error").await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("double quotes") && message.contains("line 2, column 8, at /sub"), "{error}");
    let refused = node.get("/v1/events?where=%7B%22a%22:NaN%7D").await.problem(422, "invalid-filter");
    assert_said(&refused, &["`where` is not JSON", "NaN", "column 6", "/a"]);
}

#[test]
fn the_command_line_names_the_line_and_the_mistake() {
    let daemon = Daemon::start();
    let sale = sale("1").to_string();
    for (line, fragments) in [
        (sale.replace("sale", r"\ud800"), &["line 3: not JSON", "half of a surrogate pair", "/data/reason"][..]),
        (sale.replace(r#""reason""#, r#""productId":"2","reason""#), &["line 3: not JSON", "occurs twice"]),
        (format!("{sale},"), &["line 3: not JSON", "after the end of the value"]),
    ] {
        let ended = run(daemon.command(&["publish", "-"]), &format!("{sale}\n\n{line}\n"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for fragment in fragments {
            assert!(ended.err.contains(fragment), "{fragment:?} is not in {}", ended.err);
        }
    }
    let twice = daemon.run(&["publish", "inventory-change", "--data", r#"{"reason":1,"reason":2}"#]);
    assert_eq!(twice.code, Some(2), "{twice:?}");
    assert!(twice.err.contains("\"reason\" occurs twice"), "{twice:?}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.schema.json"), "{\"type\":\"object\",\n\"type\":\"array\"}").unwrap();
    for arguments in
        [&["schema", "check", "own.schema.json"][..], &["serve", "--listen", "127.0.0.1:0", "--schemas", "."]]
    {
        let ended = run(tidings(folder.path(), arguments), "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("line 2, column 1") && ended.err.contains("occurs twice"), "{ended:?}");
    }
}
