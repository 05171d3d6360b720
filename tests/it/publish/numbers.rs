//! Numbers are delivered, filtered and printed as their publisher wrote them.

use serde_json::json;
use tidings::event::Catalog;
use tokio_tungstenite::tungstenite::Message;

use crate::support::daemon::{Daemon, run};
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{sale, with};
use crate::support::node::Node;
use crate::support::subscriber::Subscriber;

over_each_broker!(numbers_reach_every_reader_as_they_were_written, filters_compare_the_written_values);

const NUMBERS: [&str; 9] = [
    "18446744073709551616",
    "18446744073709551617",
    "1e-400",
    "1E5",
    "1e+400",
    "1.10",
    "-0",
    "0.1000000000000000055511151231257827",
    "5.0",
];

/// The type `own`, with any field, a numeric field `n` and the key `k`.
const OWN: &str = r#"{"type":"object","x-tidings-key":"k","properties":{"n":{"type":"number"},"k":{"type":"integer"},
    "list":{"type":"array","items":{"type":"number"}}}}"#;

fn numbers() -> Vec<String> {
    NUMBERS.iter().map(ToString::to_string).chain(["7".repeat(400)]).collect()
}

async fn node(broker: &TestBroker) -> Node {
    let mut catalog = Catalog::builtin();
    catalog.add("own", OWN).unwrap();
    Node::start_with(broker.config(), catalog).await
}

fn event(number: &str) -> String {
    format!(r#"{{"type":"own","extension":1E2,"data":{{"n":{number},"deep":[{{"n":[{number}]}}],"text":"\u00e9"}}}}"#)
}

async fn text(subscriber: &mut Subscriber) -> String {
    loop {
        if let Message::Text(text) = subscriber.message().await.expect("the connection is open")
            && text.contains(r#""type":"event""#)
        {
            return text.to_string();
        }
    }
}

async fn numbers_reach_every_reader_as_they_were_written(broker: TestBroker) {
    let node = node(&broker).await;
    let mut subscriber = Subscriber::to(&node, "own").await;
    let end =
        |number: &str| format!(r#""extension":1E2,"data":{{"n":{number},"deep":[{{"n":[{number}]}}],"text":"é"}}}}"#);
    for number in numbers() {
        node.post_as("application/json", event(&number)).await.accepted();
        let frame = text(&mut subscriber).await;
        assert!(frame.ends_with(&format!("{}}}", end(&number))), "{frame}");
    }
    let batch: Vec<String> = numbers().iter().map(|number| event(number)).collect();
    node.post_as("application/json", format!("[{}]", batch.join(" , "))).await.accepted();
    let binary = node.request(reqwest::Method::POST, "/v1/events").header("ce-type", "own").body(r#"{"n":1E5}"#);
    crate::support::http::Response::to(binary).await.accepted();
    let history = node.get("/v1/events?channel=own&since=start").await.text;
    for number in numbers() {
        assert_eq!(history.matches(&end(&number)).count(), 2, "{number}: {history}");
    }
    assert!(history.contains(r#""data":{"n":1E5}"#), "{history}");
}

async fn filters_compare_the_written_values(broker: TestBroker) {
    let node = node(&broker).await;
    let large = "18446744073709551616";
    let mut live = Subscriber::connect(&node).await;
    live.send(Message::text(format!(r#"{{"type":"subscribe","sub":"s","channel":"own","where":{{"n":{large}}}}}"#)))
        .await;
    live.frame_of("subscribed").await;
    let mut listed = Subscriber::connect(&node).await;
    listed.send(Message::text(r#"{"type":"subscribe","sub":"s","channel":"own","where":{"list":[1e400,5.0]}}"#)).await;
    listed.frame_of("subscribed").await;
    let post = async |data: &str| {
        node.post_as("application/json", format!(r#"{{"type":"own","data":{data}}}"#)).await.accepted();
    };
    for number in ["18446744073709551617", "18446744073709551615", "1.8446744073709552e19", "18446744073709551616.0"] {
        post(&format!(r#"{{"n":{number}}}"#)).await;
    }
    for list in ["[1e401]", "[10e399, 6]", "[0.5e1]", "[5.000000000000000000001]"] {
        post(&format!(r#"{{"list":{list}}}"#)).await;
    }
    assert!(text(&mut live).await.contains(r#""data":{"n":18446744073709551616.0}"#));
    live.pong_is_next().await;
    assert!(text(&mut listed).await.contains("[10e399,6]"));
    assert!(text(&mut listed).await.contains("[0.5e1]"));
    listed.pong_is_next().await;
    // History and replays read the log with code of their own.
    let history = node.get(&format!("/v1/events?channel=own&since=start&where=%7B%22n%22:{large}%7D")).await.text;
    assert!(history.contains("18446744073709551616.0") && !history.contains("18446744073709551617"), "{history}");
    let mut replay = Subscriber::connect(&node).await;
    replay
        .send(Message::text(format!(
            r#"{{"type":"subscribe","sub":"s","channel":"own","since":"start","where":{{"n":[{large},1e99]}}}}"#
        )))
        .await;
    replay.frame_of("subscribed").await;
    assert!(text(&mut replay).await.contains("18446744073709551616.0"));
    replay.pong_is_next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_an_event_is_that_of_its_text() {
    let node = TestBroker::Memory.node_with(|config| config.limits.max_event_bytes = 400).await;
    let bare = with(sale("1"), "pad", "").to_string();
    let sized = |size: usize| bare.replace(r#""pad":"""#, &format!(r#""pad":"{}""#, "x".repeat(size - bare.len())));
    for body in [sized(400), format!("[{}]", sized(400)), format!(" [ {} , {} ] ", sized(400), sized(390))] {
        node.post_as("application/json", body).await.accepted();
    }
    for body in [sized(401), format!("[{}]", sized(401)), format!(" [ {} , {} ] ", sized(300), sized(401))] {
        node.post_as("application/json", body).await.problem(413, "payload-too-large");
    }
}

#[test]
fn the_command_line_keeps_numbers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("types")).unwrap();
    std::fs::write(folder.path().join("types/own.schema.json"), OWN).unwrap();
    let daemon = Daemon::with(&["--schemas", "types"], folder);
    let large = "18446744073709551616";
    let tail = daemon.tail(&["own", "--json", "--where", &format!("n={large}"), "--count", "3"]);
    for arguments in [
        &["publish", "own", "n=18446744073709551617"][..],
        &["publish", "own", "n=18446744073709551616.0", "k=1E5"],
        &["publish", "own", "--data", r#"{"n":18446744073709551616,"x":[1.10]}"#],
    ] {
        let published = daemon.run(arguments);
        assert_eq!(published.code, Some(0), "{published:?}");
    }
    let lines = format!("{}\n", event("18446744073709551616e0").replace(r#""extension":1E2,"#, ""));
    let published = run(daemon.command(&["publish", "-"]), &lines);
    assert_eq!(published.code, Some(0), "{published:?}");
    for expected in [
        r#""subject":"100000","#,
        r#""data":{"n":18446744073709551616,"x":[1.10]}}"#,
        r#""data":{"n":18446744073709551616e0,"deep":[{"n":[18446744073709551616e0]}],"#,
    ] {
        let line = tail.line();
        assert!(line.contains(expected), "{expected}: {line}");
    }
    let history = daemon.run(&["history", "own", "--json", "--where", &format!("n={large}")]);
    assert_eq!(history.out.lines().count(), 3, "{history:?}");
    assert!(history.out.contains(r#""data":{"n":18446744073709551616.0,"k":1E5}"#), "{history:?}");
    let readable = daemon.run(&["history", "own", "--where", "k=100000"]);
    assert!(readable.out.contains(" n=18446744073709551616.0 k=1E5 "), "{readable:?}");
    assert_eq!(json!(readable.code), json!(0));
}
