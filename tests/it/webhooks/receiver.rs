//! A receiver of webhooks: answers as the test says, and records every request. And daemons that send to it.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::daemon::{Daemon, run};
use crate::support::until;

/// The secret of all webhooks here.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver answers.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub location: Option<String>,
    /// How long the answer takes.
    pub delay: Duration,
}

/// A status without more.
pub fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub headers: HashMap<String, String>,
    pub body: String,
    pub event: Value,
    /// The status that it was answered with. `None` until then: the sender may have gone before.
    pub answered: Option<u16>,
}

impl Received {
    pub fn id(&self) -> &str {
        self.event["id"].as_str().unwrap()
    }
}

type Decide = dyn Fn(&Value, usize) -> Answer + Send + Sync;

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    decide: Arc<Mutex<Arc<Decide>>>,
}

/// A receiver on a port of its own.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Answers each event as `decide` says, which is told how often the event's id came before.
    pub async fn start(decide: impl Fn(&Value, usize) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Shared { received: Arc::default(), decide: Arc::new(Mutex::new(Arc::new(decide))) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// Answers from now on as `decide` says.
    pub fn answer(&self, decide: impl Fn(&Value, usize) -> Answer + Send + Sync + 'static) {
        *self.shared.decide.lock().unwrap() = Arc::new(decide);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The ids of the requests that were answered with 2xx, in order.
    pub fn taken(&self) -> Vec<String> {
        let taken = |one: &Received| one.answered.is_some_and(|status| status / 100 == 2);
        self.received().iter().filter(|one| taken(one)).map(|one| one.id().to_owned()).collect()
    }

    /// Waits until so many requests were answered with 2xx.
    pub async fn took(&self, count: usize) -> Vec<String> {
        until(&format!("the receiver took {count} events"), async || {
            let taken = self.taken();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }

    /// Waits until so many requests came.
    pub async fn came(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests came"), async || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let event: Value = serde_json::from_str(&body).unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let (number, before) = {
        let mut received = shared.received.lock().unwrap();
        let before = received.iter().filter(|one| one.event["id"] == event["id"]).count();
        received.push(Received { at: Instant::now(), headers, body, event: event.clone(), answered: None });
        (received.len() - 1, before)
    };
    let decide = shared.decide.lock().unwrap().clone();
    let Answer { status, retry_after, location, delay } = decide(&event, before);
    tokio::time::sleep(delay).await;
    // The handler is dropped with its connection, so a sender that has gone gets no answer.
    shared.received.lock().unwrap()[number].answered = Some(status);
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    for (name, value) in [(header::RETRY_AFTER, retry_after), (header::LOCATION, location)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}

/// The lines of a `[[webhook]]` table named `hook`. `more` replaces and adds lines.
pub fn table(url: &str, channels: &str, more: &str) -> String {
    format!(
        "[[webhook]]\nname = \"hook\"\nurl = \"{url}\"\nchannels = {channels}\nsecret_file = \"hook.secret\"\n{more}\n"
    )
}

/// A folder with a configuration of these tables, and their secret.
pub fn folder(tables: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidings.toml"), tables).unwrap();
    std::fs::write(folder.path().join("hook.secret"), SECRET).unwrap();
    folder
}

/// A daemon with these tables and flags, that is ready.
pub async fn daemon(tables: &str, flags: &[&str]) -> Daemon {
    ready(Daemon::with(&[&["--listen", "127.0.0.1:0"], flags].concat(), folder(tables))).await
}

/// Waits until a daemon is ready.
pub async fn ready(daemon: Daemon) -> Daemon {
    until("the daemon is ready", async || {
        let answer = reqwest::get(format!("{}/readyz", daemon.url)).await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    daemon
}

/// Publishes events, which the daemon must accept.
pub async fn publish(daemon: &Daemon, events: &[Value]) {
    let request = reqwest::Client::new().post(format!("{}/v1/events", daemon.url)).json(&events);
    assert_eq!(request.send().await.unwrap().status(), 202);
}

/// A sale of a product, with this id.
pub fn sale(id: &str, product: &str) -> Value {
    let data = json!({"productId": product, "oldQuantity": 1, "newQuantity": 0, "reason": "sale"});
    json!({"type": "inventory-change", "id": id, "data": data})
}

/// What `tidings webhooks --json` says of the only webhook.
pub fn listed(daemon: &Daemon) -> Value {
    let ended = daemon.run(&["webhooks", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

/// Waits until `tidings webhooks` says this of the only webhook.
pub async fn state(daemon: &Daemon, expected: &str) -> Value {
    until(&format!("the webhook is {expected}"), async || {
        let listed = listed(daemon);
        (listed["state"] == expected).then_some(listed)
    })
    .await
}

/// The sum of a metric's samples.
pub async fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = reqwest::get(format!("{}/metrics", daemon.url)).await.unwrap().text().await.unwrap();
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with([' ', '{']));
    let samples: Vec<f64> = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!samples.is_empty(), "there is no metric {name}");
    samples.iter().sum()
}

/// What a reference library says of each request.
pub fn verified(library: &str, secret: &str, received: &[Received]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut lines = Vec::new();
    for one in received {
        writeln!(lines, "{}", json!({"secret": secret, "headers": one.headers, "body": one.body})).unwrap();
    }
    let (program, script, packages) = match library {
        "npm" => ("node", "tests/webhooks/verify.mjs", "tests/webhooks/node_modules"),
        _ => ("python3", "tests/webhooks/verify.py", "target/python/clients"),
    };
    let packages = root.join(packages);
    assert!(packages.exists(), "{} is missing: make setup installs it", packages.display());
    let mut command = Command::new(program);
    command.arg(root.join(script)).env("PYTHONPATH", packages);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ended = run(command, &String::from_utf8(lines).unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    ended.out.lines().map(str::to_owned).collect()
}
