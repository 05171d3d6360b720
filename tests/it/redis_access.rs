//! Access to Redis: users with few rights, Unix sockets, and TLS with private certificate authorities and client
//! certificates.

use tidings::broker::BrokerError;
use tidings::config::BrokerConfig;
use tidings::event::{Epoch, Moment, Position};

use crate::support::broker::{Next, Node, config, redis_url, url};
use crate::support::certificates::Authority;
use crate::support::redis::{Redis, documented_user, free_port};
use crate::support::until;

const STOCK: &str = "inventory-change";

/// The configuration of a broker at this URL.
fn at_url(text: &str) -> BrokerConfig {
    config(url(text))
}

/// Waits until an append at this URL fails with the `expected` text. No error may contain the password.
async fn expect_error(text: &str, expected: &str) {
    let node = Node::open(&at_url(text));
    let fails = async || {
        let error = node.try_append(STOCK, Epoch::random().as_str()).await.expect_err("no access").to_string();
        assert!(!error.contains("s3cret"), "{error}");
        error.contains(expected).then_some(())
    };
    until(&format!("an append at {text} fails: {expected}"), fails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_the_right_to_a_channel_is_rejected() {
    let redis = Redis::start();
    redis.cli(&[
        "acl",
        "setuser",
        "bus",
        "on",
        ">s3cret",
        "~tidings:*",
        "&tidings:*",
        "+@all",
        "-@dangerous",
        "-@admin",
    ]);
    let mut node = Node::ready(&config(url(&format!("redis://bus:s3cret@127.0.0.1:{}/2", redis.port)))).await;
    node.hears(STOCK).await;
    // A node that must not subscribe gets no signals.
    redis.cli(&["acl", "setuser", "bus", "resetchannels", "&tidings:default:order-status"]);
    let restricted = Node::open(&config(url(&format!("redis://bus:s3cret@127.0.0.1:{}/2", redis.port))));
    let error = restricted.try_append(STOCK, "b").await.expect_err("no right to publish");
    assert!(matches!(error, BrokerError::Rejected(_)), "{error:?}");
    let wrong = Node::open(&config(url(&format!("redis://bus:wrong@127.0.0.1:{}", redis.port))));
    let error = wrong.try_append(STOCK, "b").await.expect_err("a wrong password");
    let BrokerError::Rejected(cause) = error else { panic!("{error:?}") };
    assert!(cause.contains("WRONGPASS") && !cause.contains("wrong@"), "{cause}");
    redis.cli(&["acl", "setuser", "bus", "allchannels"]);
    let mut restricted = restricted;
    restricted.hears(STOCK).await;
}

/// Uses every right: appends, a duplicate, a trimmed log, pages, a new epoch above an existing stream, the probe, the
/// registry and the store.
async fn use_every_right(redis: &Redis, user: &Node) {
    let batch: Vec<_> = (0..300).map(|_| user.event(STOCK, Epoch::random().as_str())).collect();
    let start = user.broker.append(&batch).await.ok().map(|appended| appended[0].position.clone());
    let _ = user.try_append(STOCK, "same").await;
    let _ = user.try_append(STOCK, "same").await;
    let channel = user.channel(STOCK);
    let _ = user.broker.read(channel, start.as_ref(), 10).await;
    let _ = user.broker.position_at(channel, Moment::At(0)).await;
    redis.cli(&["del", "tidings:default:inventory-change:meta"]);
    let _ = user.try_append(STOCK, "same").await;
    // Somebody else adds to the stream.
    redis.cli(&["xadd", "tidings:default:inventory-change:log", "*", "some", "thing"]);
    let _ = user.try_append(STOCK, Epoch::random().as_str()).await;
    let _ = user.broker.probe(1).await;
    let _ = user.registered("somebody").await;
    let store = user.broker.store();
    let _ = store.put("key", b"value").await;
    let _ = store.get("key").await;
    let _ = store.compare_and_set("key", Some(b"value"), None).await;
    let _ = store.lease("name", "holder", std::time::Duration::from_secs(1)).await;
    let _ = store.release("name", "holder").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_exactly_those_that_are_needed() {
    let redis = Redis::start();
    let rights = documented_user(&redis, "~tidings:*");
    let mut config = at_url(&format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port));
    config.log_max_age = std::time::Duration::from_millis(1);
    let mut user = Node::ready(&config).await;
    user.hears(STOCK).await;
    use_every_right(&redis, &user).await;
    let denied = |what: &str| redis.cli(&["acl", "log"]).lines().any(|line| line == what);
    // fred asks for more when it connects, and works without it.
    redis.cli(&["acl", "log", "reset"]);
    use_every_right(&redis, &user).await;
    assert_eq!(redis.cli(&["acl", "log"]), "");
    drop(user);
    for right in rights {
        redis.cli(&["flushall"]);
        redis.cli(&["script", "flush"]);
        redis.cli(&["acl", "setuser", "tidings", &right.replacen('+', "-", 1)]);
        let user = Node::open(&config);
        until(&format!("a command needs {right}"), async || {
            use_every_right(&redis, &user).await;
            denied(&right[1..]).then_some(())
        })
        .await;
        redis.cli(&["acl", "setuser", "tidings", right]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket() {
    let redis = Redis::start();
    redis.cli(&["acl", "setuser", "bus", "on", ">s3cret", "allkeys", "allchannels", "+@all"]);
    redis.cli(&["acl", "setuser", "default", "resetpass", ">other"]);
    let socket = redis.directory.path().join("redis.sock").display().to_string();
    let mut first = Node::ready(&at_url(&format!("redis+unix://bus:s3cret@{socket}?db=2"))).await;
    let second = Node::ready(&at_url(&format!("redis+unix://{socket}?user=bus&pass=s3cret&db=2"))).await;
    let position = second.add(STOCK, "a").await;
    assert_eq!(first.hears(STOCK).await, position.next());
    let elsewhere = Node::ready(&at_url(&format!("redis+unix://:other@{socket}"))).await;
    assert!(!elsewhere.add(STOCK, "a").await.same_epoch(&position));
    expect_error(&format!("redis+unix://bus:s3cret%21@{socket}"), "WRONGPASS").await;
    expect_error(&format!("redis+unix://{socket}.not"), "No such file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ipv6_address() {
    let redis = Redis::with(&["--bind", "127.0.0.1", "::1"]);
    let mut node = Node::ready(&at_url(&format!("redis://[::1]:{}", redis.port))).await;
    node.hears(STOCK).await;
}

/// A Redis with a TLS port, and that port. `clients` says whether clients need a certificate.
fn redis_with_tls(authority: &Authority, names: &[&str], clients: &str) -> (Redis, u16) {
    let certificate = authority.certificate(names);
    let port = free_port();
    let options = ["--tls-port", &port.to_string(), "--tls-auth-clients", clients];
    let files = ["--tls-ca-cert-file", &authority.cacert()];
    let own = ["--tls-cert-file", &certificate.cert, "--tls-key-file", &certificate.key];
    (Redis::with(&[&options[..], &files, &own].concat()), port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_certificate_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_redis, port) = redis_with_tls(&authority, &["localhost", "127.0.0.1"], "no");
    let (ours, theirs) = (authority.cacert(), other.cacert());
    for text in [
        format!("rediss://localhost:{port}?cacert={ours}"),
        format!("rediss://127.0.0.1:{port}/1?cacert={ours}"),
        format!("redis://localhost:{port}?tls=true&cacert={ours}"),
    ] {
        Node::ready(&at_url(&text)).await.hears(STOCK).await;
    }
    expect_error(&format!("rediss://localhost:{port}?cacert={theirs}"), "UnknownIssuer").await;
    let (_elsewhere, port) = redis_with_tls(&authority, &["elsewhere"], "no");
    expect_error(&format!("rediss://localhost:{port}?cacert={ours}"), "elsewhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate() {
    let authority = Authority::new();
    let (_redis, port) = redis_with_tls(&authority, &["localhost"], "yes");
    let (mine, cacert) = (authority.certificate(&["tidings"]), authority.cacert());
    let stranger = Authority::new().certificate(&["stranger"]);
    let server = format!("rediss://localhost:{port}?cacert={cacert}");
    let mut node = Node::ready(&at_url(&format!("{server}&cert={}&key={}", mine.cert, mine.key))).await;
    node.hears(STOCK).await;
    expect_error(&server, "ertificate").await;
    // The directory of the stranger's authority is deleted, and its files with it.
    let config = at_url(&format!("{server}&cert={}&key={}", stranger.cert, stranger.key));
    let error = tidings::broker::check(&config.broker).expect_err("the file does not exist");
    assert!(error.contains("`cert`") && error.contains(&stranger.cert), "{error}");
    let config = at_url(&format!("{server}&cert={}&key={}", mine.cert, authority.certificate(&["other"]).key));
    let error = tidings::broker::check(&config.broker).expect_err("the key belongs to another certificate");
    assert!(error.contains("`key`") && error.contains(&mine.cert), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_and_its_master_over_tls() {
    let authority = Authority::new();
    let (redis, port) = redis_with_tls(&authority, &["127.0.0.1"], "yes");
    let (own, tls_port) = (authority.certificate(&["127.0.0.1"]), free_port());
    let lines = format!(
        "tls-port {tls_port}\ntls-replication yes\ntls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}",
        authority.cacert(),
        own.cert,
        own.key
    );
    let sentinel = Redis::sentinel_with(port, 1, &lines);
    let text = format!(
        "redis-sentinel://127.0.0.1:{tls_port}/main?cacert={}&cert={}&key={}",
        authority.cacert(),
        own.cert,
        own.key
    );
    let node = Node::ready(&at_url(&text)).await;
    let position = node.add(STOCK, "a").await;
    let plain = Node::ready(&config(redis_url(redis.port))).await;
    assert_eq!(plain.read(STOCK, Some(&Position { offset: 0, ..position }), 10).await.entries.len(), 1);
    drop(sentinel);
}
