//! Ways into Redis: users with few rights, sockets, TLS with authorities and certificates of one's own.

use tidings::config::BrokerConfig;
use tidings::event::{Epoch, Moment, Position};

use crate::support::broker::{Next, Node, config, redis_url, url};
use crate::support::certificates::Authority;
use crate::support::redis::{Redis, documented_user, free_port};
use crate::support::until;

const STOCK: &str = "inventory-change";

fn over(text: &str) -> BrokerConfig {
    config(url(text))
}

/// Why the broker at this URL takes nothing, once it says this.
async fn refused(text: &str, expected: &str) {
    let node = Node::open(&over(text));
    let mut said = String::new();
    let reason = async || {
        said = node.try_append(STOCK, Epoch::random().as_str()).await.expect_err("it is refused").to_string();
        assert!(!said.contains("s3cret"), "{said}");
        said.contains(expected).then_some(())
    };
    until(&format!("{text} to be refused: {expected}"), reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_do_little() {
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
    // One whose subscription is refused is not taken for one who hears.
    redis.cli(&["acl", "setuser", "bus", "resetchannels", "&tidings:default:order-status"]);
    let deaf = Node::open(&config(url(&format!("redis://bus:s3cret@127.0.0.1:{}/2", redis.port))));
    assert!(deaf.try_append(STOCK, "b").await.is_err());
    let wrong = Node::open(&config(url(&format!("redis://bus:wrong@127.0.0.1:{}", redis.port))));
    let reason = wrong.try_append(STOCK, "b").await.expect_err("refused").to_string();
    assert!(reason.contains("WRONGPASS") && !reason.contains("wrong@"), "{reason}");
    redis.cli(&["acl", "setuser", "bus", "allchannels"]);
    let mut deaf = deaf;
    deaf.hears(STOCK).await;
}

/// Uses every right: appends, a duplicate, a trimmed log, pages, an epoch that begins with a stream there, the store.
async fn everything(redis: &Redis, user: &Node) {
    let batch: Vec<_> = (0..300).map(|_| user.event(STOCK, Epoch::random().as_str())).collect();
    let start = user.broker.append(&batch).await.ok().map(|appended| appended[0].position.clone());
    let _ = user.try_append(STOCK, "same").await;
    let _ = user.try_append(STOCK, "same").await;
    let channel = user.channel(STOCK);
    let _ = user.broker.read(channel, start.as_ref(), 10).await;
    let _ = user.broker.position_at(channel, Moment::At(0)).await;
    redis.cli(&["del", "tidings:default:inventory-change:meta"]);
    let _ = user.try_append(STOCK, "same").await;
    // Somebody has been at the stream.
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
async fn the_documented_rights_are_those_that_are_needed() {
    let redis = Redis::start();
    let rights = documented_user(&redis, "~tidings:*");
    let mut config = over(&format!("redis://tidings:s3cret@127.0.0.1:{}", redis.port));
    config.log_max_age = std::time::Duration::from_millis(1);
    let mut user = Node::ready(&config).await;
    user.hears(STOCK).await;
    everything(&redis, &user).await;
    let denied = |what: &str| redis.cli(&["acl", "log"]).lines().any(|line| line == what);
    // What fred asks for its own sake, and does without.
    redis.cli(&["acl", "log", "reset"]);
    everything(&redis, &user).await;
    assert_eq!(redis.cli(&["acl", "log"]), "");
    drop(user);
    for right in rights {
        redis.cli(&["flushall"]);
        redis.cli(&["script", "flush"]);
        redis.cli(&["acl", "setuser", "tidings", &right.replacen('+', "-", 1)]);
        let user = Node::open(&config);
        until(&format!("{right} is missed"), async || {
            everything(&redis, &user).await;
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
    let mut first = Node::ready(&over(&format!("redis+unix://bus:s3cret@{socket}?db=2"))).await;
    let second = Node::ready(&over(&format!("redis+unix://{socket}?user=bus&pass=s3cret&db=2"))).await;
    let position = second.add(STOCK, "a").await;
    assert_eq!(first.hears(STOCK).await, position.next());
    let elsewhere = Node::ready(&over(&format!("redis+unix://:other@{socket}"))).await;
    assert!(!elsewhere.add(STOCK, "a").await.same_epoch(&position));
    refused(&format!("redis+unix://bus:s3cret%21@{socket}"), "WRONGPASS").await;
    refused(&format!("redis+unix://{socket}.not"), "No such file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_ipv6() {
    let redis = Redis::with(&["--bind", "127.0.0.1", "::1"]);
    let mut node = Node::ready(&over(&format!("redis://[::1]:{}", redis.port))).await;
    node.hears(STOCK).await;
}

/// A Redis with a TLS port, which is answered.
fn over_tls(authority: &Authority, names: &[&str], clients: &str) -> (Redis, u16) {
    let certificate = authority.certificate(names);
    let port = free_port();
    let options = ["--tls-port", &port.to_string(), "--tls-auth-clients", clients];
    let files = ["--tls-ca-cert-file", &authority.cacert()];
    let own = ["--tls-cert-file", &certificate.cert, "--tls-key-file", &certificate.key];
    (Redis::with(&[&options[..], &files, &own].concat()), port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_redis, port) = over_tls(&authority, &["localhost", "127.0.0.1"], "no");
    let (ours, theirs) = (authority.cacert(), other.cacert());
    for text in [
        format!("rediss://localhost:{port}?cacert={ours}"),
        format!("rediss://127.0.0.1:{port}/1?cacert={ours}"),
        format!("redis://localhost:{port}?tls=true&cacert={ours}"),
    ] {
        Node::ready(&over(&text)).await.hears(STOCK).await;
    }
    refused(&format!("rediss://localhost:{port}?cacert={theirs}"), "UnknownIssuer").await;
    let (_elsewhere, port) = over_tls(&authority, &["elsewhere"], "no");
    refused(&format!("rediss://localhost:{port}?cacert={ours}"), "elsewhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_ones_own() {
    let authority = Authority::new();
    let (_redis, port) = over_tls(&authority, &["localhost"], "yes");
    let (mine, cacert) = (authority.certificate(&["tidings"]), authority.cacert());
    let stranger = Authority::new().certificate(&["stranger"]);
    let server = format!("rediss://localhost:{port}?cacert={cacert}");
    let mut node = Node::ready(&over(&format!("{server}&cert={}&key={}", mine.cert, mine.key))).await;
    node.hears(STOCK).await;
    refused(&server, "ertificate").await;
    // The files are gone with their authority.
    let config = over(&format!("{server}&cert={}&key={}", stranger.cert, stranger.key));
    let error = tidings::broker::check(&config.broker).expect_err("there is no such file");
    assert!(error.contains("`cert`") && error.contains(&stranger.cert), "{error}");
    let config = over(&format!("{server}&cert={}&key={}", mine.cert, authority.certificate(&["other"]).key));
    let error = tidings::broker::check(&config.broker).expect_err("they do not belong together");
    assert!(error.contains("`key`") && error.contains(&mine.cert), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_their_master_over_tls() {
    let authority = Authority::new();
    let (redis, port) = over_tls(&authority, &["127.0.0.1"], "yes");
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
    let node = Node::ready(&over(&text)).await;
    let position = node.add(STOCK, "a").await;
    let plain = Node::ready(&config(redis_url(redis.port))).await;
    assert_eq!(plain.read(STOCK, Some(&Position { offset: 0, ..position }), 10).await.entries.len(), 1);
    drop(sentinel);
}
