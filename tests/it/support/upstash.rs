//! An emulator of the REST interface of Upstash over a real Redis server. `upstash_clients.rs` proves it by Upstash's own clients.
//!
//! What it does is from <https://upstash.com/docs/redis/features/restapi> and from the sources of `@upstash/redis` 1.39:
//! commands in the path or as JSON, `/pipeline` and `/multi-exec`, answers in Base64 for `Upstash-Encoding: base64`,
//! `Upstash-Sync-Token`, and subscriptions as event streams.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::redis::Redis;
use super::resp::{Connection, Reply};

/// The token of every emulator.
pub const TOKEN: &str = "t0ken";

/// A Redis server with the REST interface before it.
pub struct Upstash {
    pub redis: Redis,
    pub port: u16,
    state: Arc<Emulator>,
    _server: AbortOnDropHandle<()>,
}

/// What the tests set and count.
#[derive(Default)]
pub struct Emulator {
    redis: u16,
    /// The commands that clients sent, each as its words, cut off after 2,000 characters.
    commands: Mutex<Vec<String>>,
    /// How many requests did not have the newest token, though one was given out.
    without_token: AtomicU64,
    token: AtomicU64,
    /// Seconds in `Retry-After`; not 0 while requests are answered with 429.
    pub limited: AtomicU64,
    /// The most bytes of a request; 0 for any number.
    pub max_request: AtomicUsize,
    /// The status of the answer to a larger request; 0 for that of an error reply, which Upstash's documentation has.
    pub too_large: AtomicU16,
    /// A subscription drops what is published.
    pub deaf: AtomicBool,
    /// A subscription is to the first channel of its path only.
    pub one_channel: AtomicBool,
    /// Changed to end all streams.
    streams: watch::Sender<u64>,
}

impl Upstash {
    pub fn start() -> Self {
        Self::over(Redis::start())
    }

    /// The interface of this server.
    pub fn over(redis: Redis) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Emulator { redis: redis.port, ..Emulator::default() });
        let router = axum::Router::new().fallback(answer).with_state(state.clone());
        let server = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let _ = axum::serve(listener, router).await;
        };
        Self { redis, port, state, _server: AbortOnDropHandle::new(tokio::spawn(server)) }
    }

    /// The broker's URL.
    pub fn url(&self) -> BrokerUrl {
        super::broker::url(&format!("upstash+http://{TOKEN}@127.0.0.1:{}", self.port))
    }

    /// Ends all subscriptions.
    pub fn cut_streams(&self) {
        self.state.streams.send_modify(|cut| *cut += 1);
    }

    /// The commands that clients have sent since the last call.
    pub fn take_commands(&self) -> Vec<String> {
        std::mem::take(&mut self.state.commands.lock().expect("no panic"))
    }
}

impl std::ops::Deref for Upstash {
    type Target = Emulator;

    fn deref(&self) -> &Emulator {
        &self.state
    }
}

impl Emulator {
    /// How many requests did not have a token of an earlier answer.
    pub fn requests_without_token(&self) -> u64 {
        self.without_token.load(Ordering::Relaxed)
    }

    fn count(&self, command: &[Vec<u8>]) {
        let words = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        let words = words.chars().take(2000).collect();
        self.commands.lock().expect("no panic").push(words);
    }
}

async fn answer(State(state): State<Arc<Emulator>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let authorized = header(&head.headers, "authorization") == Some(&format!("Bearer {TOKEN}"))
        || query.split('&').any(|parameter| parameter.strip_prefix("_token=") == Some(TOKEN));
    if !authorized {
        return error(StatusCode::UNAUTHORIZED, "WRONGPASS invalid or missing auth token");
    }
    let limited = state.limited.load(Ordering::Relaxed);
    if limited > 0 {
        let mut response = error(StatusCode::TOO_MANY_REQUESTS, "ERR max requests limit exceeded");
        response.headers_mut().insert("retry-after", limited.into());
        return response;
    }
    let most = state.max_request.load(Ordering::Relaxed);
    if most > 0 && body.len() > most {
        let status = StatusCode::from_u16(state.too_large.load(Ordering::Relaxed)).unwrap_or(StatusCode::BAD_REQUEST);
        let actual = body.len();
        return error(status, &format!("ERR max request size exceeded. Limit: {most} bytes, Actual: {actual} bytes"));
    }
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).collect::<Vec<u8>>();
    let path: Vec<_> = head.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let kind = path.first().map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).unwrap_or_default();
    let base64 = header(&head.headers, "upstash-encoding") == Some("base64");
    if state.token.load(Ordering::Relaxed) > 0 && header(&head.headers, "upstash-sync-token").is_none_or(str::is_empty)
    {
        state.without_token.fetch_add(1, Ordering::Relaxed);
    }
    let (status, json) = match &*kind {
        "subscribe" | "psubscribe" => return subscribe(state, path).await,
        "pipeline" | "multi-exec" => match commands(&body) {
            Some(commands) => run_all(&state, commands, kind == "multi-exec", base64).await,
            None => (StatusCode::BAD_REQUEST, json!({ "error": "ERR failed to parse pipeline request" })),
        },
        "" => match serde_json::from_slice(&body).ok().and_then(command) {
            Some(command) => run_one(&state, command, base64).await,
            None => (StatusCode::BAD_REQUEST, json!({ "error": "ERR failed to parse command" })),
        },
        _ => {
            let body = (!body.is_empty()).then(|| body.to_vec());
            run_one(&state, path.into_iter().chain(body).collect(), base64).await
        }
    };
    let token = state.token.fetch_add(1, Ordering::Relaxed) + 1;
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.header("upstash-sync-token", token).body(json.to_string().into()).expect("a response")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn error(status: StatusCode, text: &str) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(json!({ "error": text }).to_string().into()).expect("a response")
}

fn command(json: Value) -> Option<Vec<Vec<u8>>> {
    let word = |word: &Value| match word {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    json.as_array().filter(|words| !words.is_empty()).map(|words| words.iter().map(word).collect())
}

fn commands(body: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    serde_json::from_slice::<Vec<Value>>(body).ok()?.into_iter().map(command).collect()
}

fn down() -> (StatusCode, Value) {
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": "ERR the database is down" }))
}

async fn run_one(state: &Emulator, command: Vec<Vec<u8>>, base64: bool) -> (StatusCode, Value) {
    state.count(&command);
    let Some(mut redis) = Connection::open(state.redis).await else { return down() };
    let reply = redis.call(&command).await;
    let status = if matches!(reply, Reply::Error(_)) { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    (status, result(&reply, base64))
}

/// Runs the commands of a pipeline, or of a transaction.
async fn run_all(state: &Emulator, commands: Vec<Vec<Vec<u8>>>, atomic: bool, base64: bool) -> (StatusCode, Value) {
    let Some(mut redis) = Connection::open(state.redis).await else { return down() };
    let mut replies = Vec::new();
    if atomic {
        redis.call(&[b"MULTI".to_vec()]).await;
    }
    for command in commands {
        state.count(&command);
        replies.push(redis.call(&command).await);
    }
    if atomic {
        match redis.call(&[b"EXEC".to_vec()]).await {
            Reply::Array(executed) => replies = executed,
            other => return (StatusCode::BAD_REQUEST, result(&other, base64)),
        }
    }
    (StatusCode::OK, replies.iter().map(|reply| result(reply, base64)).collect())
}

fn result(reply: &Reply, base64: bool) -> Value {
    match reply {
        Reply::Error(text) => json!({ "error": text }),
        reply => json!({ "result": value(reply, base64) }),
    }
}

fn value(reply: &Reply, base64: bool) -> Value {
    let text = |bytes: &[u8]| match base64 {
        true => STANDARD.encode(bytes).into(),
        false => String::from_utf8_lossy(bytes).into(),
    };
    match reply {
        Reply::Status(status) if status == "OK" => status.as_str().into(),
        Reply::Status(status) => text(status.as_bytes()),
        Reply::Error(error) => text(error.as_bytes()),
        Reply::Integer(number) => (*number).into(),
        Reply::Bulk(bytes) => text(bytes),
        Reply::Null => Value::Null,
        Reply::Array(replies) => replies.iter().map(|reply| value(reply, base64)).collect(),
    }
}

/// Answers with an event stream of what the server pushes.
async fn subscribe(state: Arc<Emulator>, mut command: Vec<Vec<u8>>) -> Response {
    if state.one_channel.load(Ordering::Relaxed) {
        command.truncate(2);
    }
    state.count(&command);
    let Some(mut redis) = Connection::open(state.redis).await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "ERR the database is down");
    };
    redis.send(&command).await;
    let mut cut = state.streams.subscribe();
    let (lines, stream) = mpsc::channel::<Result<Bytes, Infallible>>(16);
    tokio::spawn(async move {
        let pushed = async {
            while let Reply::Array(parts) = redis.reply().await {
                let texts: Vec<_> = parts.iter().map(Reply::text).collect();
                let is_message = !texts.first().is_some_and(|kind| kind.ends_with("subscribe"));
                if is_message && state.deaf.load(Ordering::Relaxed) {
                    continue;
                }
                if lines.send(Ok(format!("data: {}\n\n", texts.join(",")).into())).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = pushed => {}
            _ = cut.changed() => {}
            () = lines.closed() => {}
        }
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Body::from_stream(ReceiverStream::new(stream))).expect("a response")
}
