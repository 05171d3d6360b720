//! Keys from a URL: rotation, outage, floods, and answers of every kind, from a real HTTP server.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::auth::jwks::Jwks;
use crate::auth::keys::KeySet;

/// What the server sends: bytes, or nothing for ever.
type Answer = Option<Vec<u8>>;

/// An HTTP server with one answer.
struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let shared = (answer.clone(), requests.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, requests) = shared.clone();
                connections.spawn(async move {
                    let mut head = [0; 2048];
                    let _ = socket.read(&mut head).await;
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().unwrap().clone();
                    match answer {
                        Some(bytes) => {
                            let _ = socket.write_all(&bytes).await;
                            let _ = socket.shutdown().await;
                        }
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, answer, requests, _tasks: tasks }
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn url(&self) -> url::Url {
        format!("http://{}/keys", self.address).parse().unwrap()
    }
}

fn ok(body: &str) -> Answer {
    with_head("200 OK", "", body)
}

fn with_head(status: &str, more: &str, body: &str) -> Answer {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n{body}").into_bytes())
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// The keys at the server, kept fetched by a task, with this cooldown.
fn kept(server: &Server, cooldown: Duration) -> (Arc<Jwks>, JoinSet<()>) {
    let keys = Arc::new(Jwks::with_cooldown(server.url(), Arc::new(Metrics::default()), cooldown).unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(keys.clone().keep_fetched());
    (keys, tasks)
}

fn token(key: &PrivateKey, id: &str) -> String {
    key.sign(&format!(r#"{{"alg":"{}","kid":"{id}"}}"#, key.algorithm()), "{}")
}

/// Whether the signer of a token is among the keys.
async fn knows(keys: &Jwks, token: &str) -> Result<bool, String> {
    knows_at(keys, token, SystemTime::now()).await
}

async fn knows_at(keys: &Jwks, token: &str, now: SystemTime) -> Result<bool, String> {
    let jws = Jws::parse(token).unwrap();
    let set: Arc<KeySet> = keys.keys_for(&jws, now).await?;
    Ok(set.signer(&jws).is_some())
}

/// Waits for a fetch that began after the server had another answer.
async fn until_known(keys: &Jwks, token: &str) {
    for _ in 0..100 {
        if knows(keys, token).await == Ok(true) {
            return;
        }
    }
    panic!("the key was not found");
}

const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_new_key_is_found_when_a_token_has_it() {
    let [old, new] = [PrivateKey::ed25519(), PrivateKey::p256()];
    let server = Server::start(ok(&set(&[old.jwk("old")]))).await;
    let (keys, _task) = kept(&server, Duration::ZERO);
    assert_eq!(knows(&keys, &token(&old, "old")).await, Ok(true));
    assert_eq!(knows(&keys, &token(&new, "new")).await, Ok(false));
    server.answer(ok(&set(&[old.jwk("old"), new.jwk("new")])));
    assert_eq!(knows(&keys, &token(&new, "new")).await, Ok(true));
    let before = server.requests();
    assert_eq!(knows(&keys, &token(&old, "old")).await, Ok(true));
    assert_eq!(server.requests(), before, "a known key causes no fetch");
    // The old key is withdrawn: a token that was verified with it is not accepted any more.
    let jws = token(&old, "old");
    let jws = Jws::parse(&jws).unwrap();
    let signer = keys.keys_for(&jws, SystemTime::now()).await.unwrap().signer(&jws).cloned().unwrap();
    assert!(keys.accepts(&signer, SystemTime::now()));
    server.answer(ok(&set(&[new.jwk("new")])));
    assert_eq!(knows(&keys, &token(&new, "other")).await, Ok(false));
    assert!(!keys.accepts(&signer, SystemTime::now()));
    assert_eq!(knows(&keys, &token(&old, "old")).await, Ok(false));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch() {
    let key = PrivateKey::ed25519();
    let server = Server::start(ok(&set(&[key.jwk("k")]))).await;
    let (keys, _task) = kept(&server, NEVER);
    eventually("the first fetch", || server.requests() == 1).await;
    assert_eq!(knows(&keys, &token(&key, "k")).await, Ok(true));
    let mut flood = JoinSet::new();
    for n in 0..2_000 {
        let (keys, token) = (keys.clone(), token(&key, &format!("unknown-{n}")));
        flood.spawn(async move { knows(&keys, &token).await });
    }
    while let Some(result) = flood.join_next().await {
        assert_eq!(result.unwrap(), Ok(false));
    }
    assert_eq!(server.requests(), 1);
    assert_eq!(knows(&keys, &token(&key, "k")).await, Ok(true));
}

#[tokio::test]
async fn many_that_wait_share_one_fetch_and_known_keys_do_not_wait() {
    let key = PrivateKey::ed25519();
    let server = Server::start(ok(&set(&[key.jwk("k")]))).await;
    let (keys, _task) = kept(&server, Duration::ZERO);
    assert_eq!(knows(&keys, &token(&key, "k")).await, Ok(true));
    // From here on the server is silent.
    server.answer(None);
    let before = server.requests();
    let mut waiting = JoinSet::new();
    for n in 0..300 {
        let (keys, token) = (keys.clone(), token(&key, &format!("unknown-{n}")));
        waiting.spawn(async move { knows(&keys, &token).await });
    }
    eventually("the fetch", || server.requests() == before + 1).await;
    assert_eq!(knows(&keys, &token(&key, "k")).await, Ok(true));
    // It ends after five seconds; nobody knows then whether these keys are the issuer's.
    let mut refused = 0;
    while let Some(result) = waiting.join_next().await {
        refused += usize::from(result.unwrap().is_err());
    }
    assert_eq!(refused, 300);
    assert_eq!(knows(&keys, &token(&key, "k")).await, Ok(true));
}

#[tokio::test]
async fn an_outage_keeps_known_keys_for_a_day() {
    let key = PrivateKey::ed25519();
    let server = Server::start(ok(&set(&[key.jwk("k")]))).await;
    let (keys, _task) = kept(&server, Duration::ZERO);
    let known = token(&key, "k");
    assert_eq!(knows(&keys, &known).await, Ok(true));
    server.answer(with_head("500 Internal Server Error", "", ""));
    let unknown = knows(&keys, &token(&key, "unknown")).await.unwrap_err();
    assert!(unknown.contains("the answer has the status 500"), "{unknown}");
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(knows_at(&keys, &known, SystemTime::now() + 23 * hour).await, Ok(true));
    let late = knows_at(&keys, &known, SystemTime::now() + 24 * hour).await.unwrap_err();
    assert!(late.contains("cannot be fetched"), "{late}");
    // A clock that is put back makes no key stale.
    assert_eq!(knows_at(&keys, &known, SystemTime::now() - 48 * hour).await, Ok(true));
    server.answer(ok(&set(&[key.jwk("k"), key.jwk("next")])));
    until_known(&keys, &token(&key, "next")).await;
}

#[tokio::test]
async fn without_a_first_answer_nobody_can_tell() {
    let key = PrivateKey::ed25519();
    let server = Server::start(None).await;
    let (keys, _task) = kept(&server, Duration::ZERO);
    assert!(knows(&keys, &token(&key, "k")).await.is_err());
    server.answer(ok(&set(&[key.jwk("k")])));
    until_known(&keys, &token(&key, "k")).await;
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_a_failed_fetch() {
    let key = PrivateKey::ed25519();
    let good = set(&[key.jwk("k")]);
    let large = format!("{}{}", " ".repeat(256 << 10), good);
    for (answer, failure) in [
        (
            with_head("302 Found", "location: http://127.0.0.1:1/keys\r\n", ""),
            "a redirect (302), which is not followed",
        ),
        (with_head("404 Not Found", "", &good), "the status 404"),
        (with_head("201 Created", "", &good), "the status 201"),
        (ok(&large), "more than 262144 bytes"),
        (ok("<html>"), "it is not JSON"),
        (ok(&format!("{good}{good}")), "it is not JSON"),
        (ok(r#"{"keys":{}}"#), "it has no array `keys`"),
        (ok(r#"{"keys":[]}"#), "it has no key that can be used"),
        (ok(&set(&[json!({ "kty": "oct", "k": "AAAA", "kid": "k" })])), "this is a secret (`oct`)"),
        (Some(Vec::new()), "error"),
        (Some(b"nonsense\r\n\r\n".to_vec()), "error"),
    ] {
        let server = Server::start(answer).await;
        let (keys, _task) = kept(&server, NEVER);
        let error = knows(&keys, &token(&key, "k")).await.unwrap_err();
        assert!(error.contains(failure), "{failure}: {error}");
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn a_set_with_other_keys_keeps_its_good_ones() {
    let [good, other] = [PrivateKey::rsa(), PrivateKey::p256()];
    let with = |key: &PrivateKey, id: &str, more: Value| {
        let mut jwk = key.jwk(id);
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let all = set(&[
        json!({ "kty": "oct", "k": "AAAA" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({ "kty": "new" }),
        json!(7),
        with(&other, "enc", json!({ "use": "enc" })),
        with(&other, "ops", json!({ "key_ops": ["encrypt"] })),
        with(&other, "alg", json!({ "alg": "ES384" })),
        with(&other, "rs", json!({ "alg": "RS256" })),
        with(&other, "d", json!({ "d": "AA" })),
        with(&good, "good", json!({ "use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5c": ["AA"] })),
    ]);
    let server = Server::start(ok(&all)).await;
    let (keys, _task) = kept(&server, NEVER);
    assert_eq!(knows(&keys, &token(&good, "good")).await, Ok(true));
    for id in ["enc", "ops", "alg", "rs", "d"] {
        assert_eq!(knows(&keys, &token(&other, id)).await, Ok(false), "{id}");
    }
}

/// The whole way: the issuer is configured, its keys are fetched, and the token is accepted.
#[tokio::test]
async fn a_token_is_accepted_with_a_fetched_key() {
    let key = PrivateKey::rsa();
    let server = Server::start(ok(&set(&[key.jwk("k")]))).await;
    let text = format!("[[issuer]]\niss = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\njwks = \"{}\"\n", server.url());
    let setup = open(&[("auth.toml", &text)]).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(setup.auth.clone().run(stop.clone()));
    let token = key.sign(r#"{"alg":"RS256","kid":"k"}"#, &claims(json!({})).to_string());
    setup.principal(&token).await.unwrap();
    assert_eq!(server.requests(), 1);
    assert!(setup.auth.metrics.prometheus().contains("tidings_auth_jwks_fetches_total{result=\"ok\"} 1"));
    // The same keys under another issuer's name do not count.
    let other = claims(json!({ "iss": "https://other.example" })).to_string();
    assert_eq!(setup.refusal(&key.sign(r#"{"alg":"RS256","kid":"k"}"#, &other)).await, Reason::Issuer);
    stop.cancel();
    running.await.unwrap();
}
