//! Python's clients of Server-Sent Events follow a channel and resume without loss. Those of npm, and the one of a browser,
//! are in the TypeScript client's tests.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{Daemon, Running};
use crate::support::events::{sale, with_data};
use crate::support::proxy::{Mode, Proxy};
use crate::support::until;

/// Characters at which Python splits lines, and Server-Sent Events do not.
const SEPARATORS: &str = "a\u{85}b\u{2028}c\u{2029}d";

/// A Python program that follows a stream and prints each message.
struct Follower {
    running: Running,
    messages: Vec<Value>,
}

impl Follower {
    fn start(client: &str, url: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = if client == "sseclient-py" { client } else { "clients" };
        let packages = root.join("target/python").join(packages);
        assert!(packages.exists(), "{} is missing: make setup installs it", packages.display());
        let mut command = Command::new("python3");
        command.arg(root.join("tests/python/follow.py")).args([client, url]).env("PYTHONPATH", packages);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { running: Running::start(command), messages: Vec::new() }
    }

    /// The next message that the client hands out. None may be empty.
    fn message(&mut self) -> Value {
        let line = self.running.line();
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let data = message["data"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(data).is_ok_and(|data| data.is_object()), "{message}");
        self.messages.push(message.clone());
        message
    }

    /// Reads until the client has handed out the event of this key, and returns the keys of all events up to there.
    fn keys_until(&mut self, last: &str) -> Vec<String> {
        let mut keys = Vec::new();
        while keys.last().is_none_or(|key| key != last) {
            let message = self.message();
            let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
            match message["event"].as_str().unwrap() {
                "inventory-change" => {
                    assert_eq!(data["data"]["reason"], SEPARATORS);
                    keys.push(data["subject"].as_str().unwrap().to_owned());
                }
                "cursor" | "closed" => {}
                other => panic!("{other}: {message}"),
            }
        }
        keys
    }
}

async fn resumes_without_loss(client: &str) {
    let folder = TempDir::new().unwrap();
    let flags = ["--broker", "file:log", "--heartbeat", "50ms", "--drain", "1s"];
    let daemon = Daemon::with(&[&["--listen", "127.0.0.1:0"], &flags[..]].concat(), folder);
    let port = |daemon: &Daemon| daemon.url.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let proxy = Proxy::start(port(&daemon)).await;
    let publish = async |daemon: &Daemon, keys: &[&str]| {
        let events: Vec<Value> = keys.iter().map(|key| with_data(sale(key), "reason", SEPARATORS)).collect();
        let request = reqwest::Client::new().post(format!("{}/v1/events", daemon.url)).json(&json!(events));
        assert_eq!(request.send().await.unwrap().status(), 202);
    };
    let subscribed = async |daemon: &Daemon, count: u64| {
        until("the number of subscribers", async || {
            let channels: Value = reqwest::get(format!("{}/v1/channels", daemon.url)).await.ok()?.json().await.ok()?;
            let channels = channels["channels"].as_array()?.clone();
            let channel = channels.into_iter().find(|channel| channel["type"] == "inventory-change")?;
            (channel["subscribers"] == count).then_some(())
        })
        .await;
    };
    let url = format!("http://127.0.0.1:{}/v1/stream?channel=inventory-change&channel=order-status", proxy.port);
    let mut follower = Follower::start(client, &url);
    subscribed(&daemon, 1).await;
    assert_eq!(follower.message()["event"], "cursor");

    // The connection breaks before the first event.
    proxy.set(Mode::Refuse);
    subscribed(&daemon, 0).await;
    publish(&daemon, &["before the first", "Ångström"]).await;
    proxy.set(Mode::Pass);
    assert_eq!(follower.keys_until("Ångström"), ["before the first", "Ångström"]);
    // The follower gets heartbeats as this stream does. None of them is a message.
    subscribed(&daemon, 1).await;
    let mut beside = reqwest::get(format!("{}/v1/stream?channel=inventory-change", daemon.url)).await.unwrap();
    let mut read = Vec::new();
    until("three heartbeats", async || {
        read.extend(beside.chunk().await.unwrap().unwrap());
        (String::from_utf8_lossy(&read).matches(": heartbeat").count() >= 3).then_some(())
    })
    .await;
    drop(beside);

    // The connection breaks again, and then the daemon drains.
    proxy.cut();
    publish(&daemon, &["a", "b"]).await;
    assert_eq!(follower.keys_until("b"), ["a", "b"]);
    daemon.process.signal("TERM");
    let folder = daemon.folder;
    assert_eq!(daemon.process.ended().code, Some(0));
    let again = Daemon::with(&[&["--listen", "127.0.0.1:0"], &flags[..]].concat(), folder);
    publish(&again, &["after the drain"]).await;
    proxy.redirect(port(&again));
    assert_eq!(follower.keys_until("after the drain"), ["after the drain"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sseclient_resumes_without_loss() {
    resumes_without_loss("sseclient").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sseclient_py_resumes_without_loss() {
    resumes_without_loss("sseclient-py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn httpx_sse_resumes_without_loss() {
    resumes_without_loss("httpx-sse").await;
}
