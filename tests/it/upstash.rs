//! The broker `upstash+https://`, against an emulator of the REST interface over a real Redis. The suite in `broker.rs` runs
//! over it, too.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tidings::broker::BrokerError;
use tidings::event::{Catalog, Epoch};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::broker::{self, Next, config, redis_url, url};
use crate::support::certificates::Authority;
use crate::support::events::{epoch_and_offset, sale};
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;
use crate::support::upstash::{TOKEN, Upstash};
use crate::support::{until, within};

const STOCK: &str = "inventory-change";

async fn broker_node(upstash: &Upstash) -> broker::Node {
    broker::Node::ready(&config(upstash.url())).await
}

/// A daemon whose pulse is a second.
fn daemon_config(upstash: &Upstash) -> tidings::config::Config {
    let mut config = node::config(upstash.url());
    config.broker.pulse = Duration::from_secs(1);
    config
}

/// What the emulator does is what Upstash's own clients expect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emulator_serves_upstashs_own_clients() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (program, script, needs) in [
        ("node", "check.mjs", "tests/upstash/node_modules/@upstash/redis"),
        ("python3", "check.py", "target/python/upstash/upstash_redis"),
    ] {
        assert!(root.join(needs).exists(), "{needs} is missing: make setup installs it");
        let upstash = Upstash::start();
        let mut command = Command::new(program);
        command.arg(root.join("tests/upstash").join(script));
        command.args([&format!("http://127.0.0.1:{}", upstash.port), TOKEN]);
        command.env("PYTHONPATH", root.join("target/python/upstash"));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = within("the client ends", output).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.trim_end().ends_with("ok"), "{script}: {told}");
    }
}

/// How many commands the node sends in so many pulses, each of which begins with a probe.
async fn commands_in(upstash: &Upstash, pulses: usize) -> usize {
    upstash.take_commands();
    let (mut commands, mut probes) = (Vec::new(), Vec::new());
    while probes.len() <= pulses {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for command in upstash.take_commands() {
            // A node that starts reads its logs: it is not idle yet.
            if command.contains(" 262144") {
                (commands, probes) = (Vec::new(), Vec::new());
            }
            // The check of the rights names the probe's keys, too.
            if command.contains(":probe:") && !command.ends_with(" plain") {
                probes.push(commands.len());
            }
            commands.push(command);
        }
    }
    probes[pulses] - probes[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_makes_at_most_three_calls_a_pulse() {
    for types in [5, 100] {
        let upstash = Upstash::start();
        let mut catalog = Catalog::builtin();
        for number in catalog.types().len()..types {
            catalog.add(&format!("own-{number}"), r#"{"type": "object"}"#).expect("a schema");
        }
        let _node = Node::start_with(daemon_config(&upstash), catalog).await;
        let commands = within("the pulses", commands_in(&upstash, 11)).await;
        println!("{types} types: {commands} commands in 11 pulses");
        assert!(commands <= 3 * 11, "{types} types: {commands} commands in 11 pulses");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_over_rest_and_over_redis_form_one_bus() {
    let upstash = Upstash::start();
    let mut rest = broker_node(&upstash).await;
    let mut other = broker::Node::on_redis(upstash.redis.port).await;
    let position = rest.add(STOCK, "a").await;
    assert_eq!(other.add(STOCK, "b").await, position.next());
    while rest.hint().await.1 != Some(position.next()) {}
    while other.hint().await.1.as_ref() != Some(&position) {}
    assert!(rest.append(STOCK, "b").await.duplicate);
    // Bytes of any kind are one value for both.
    let value: Vec<u8> = (0..=255).collect();
    rest.broker.store().put("key", &value).await.unwrap();
    assert_eq!(other.broker.store().get("key").await.unwrap().as_deref(), Some(&*value));
    assert!(other.broker.store().compare_and_set("key", Some(&value), Some(b"\xff")).await.unwrap());
    assert_eq!(rest.broker.store().get("key").await.unwrap().as_deref(), Some(&b"\xff"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_scripts_gets_them_again() {
    let upstash = Upstash::start();
    let node = broker_node(&upstash).await;
    let position = node.add(STOCK, "a").await;
    upstash.redis.cli(&["script", "flush"]);
    assert_eq!(node.add(STOCK, "b").await, position.next());
    upstash.take_commands();
    node.add(STOCK, "c").await;
    let sent = upstash.take_commands();
    assert!(sent.iter().any(|command| command.starts_with("EVALSHA ") && command.contains(":id:c")), "{sent:?}");
    assert!(!sent.iter().any(|command| command.starts_with("EVAL ") && command.contains(":id:c")), "{sent:?}");
    upstash.redis.cli(&["flushall"]);
    let after = node.add(STOCK, "d").await;
    assert!(!after.same_epoch(&position), "{after} has the epoch of a log that was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_the_token_of_the_last_answer() {
    let upstash = Upstash::start();
    let node = broker_node(&upstash).await;
    let before = upstash.requests_without_token();
    for number in 0..10 {
        node.add(STOCK, &number.to_string()).await;
    }
    // The event stream has none: it reads nothing.
    assert_eq!(upstash.requests_without_token(), before);
}

/// Subscriptions end again and again while another node publishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_are_cut_lose_nothing() {
    let upstash = Upstash::start();
    let node = Node::start(daemon_config(&upstash)).await;
    let mut subscriber = Subscriber::to(&node, STOCK).await;
    let other = Node::start(node::config(redis_url(upstash.redis.port))).await;
    for number in 0..20 {
        if number % 4 == 1 {
            upstash.cut_streams();
        }
        let published = other.publish(&sale(&number.to_string())).await.remove(0);
        assert_eq!(subscriber.event().await.position, published.position);
    }
}

/// A subscription stays open and drops everything: the pulse finds the events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_drops_messages_loses_nothing() {
    let upstash = Upstash::start();
    let node = Node::start(daemon_config(&upstash)).await;
    let mut subscriber = Subscriber::to(&node, STOCK).await;
    let other = Node::start(node::config(redis_url(upstash.redis.port))).await;
    upstash.deaf.store(true, Ordering::Relaxed);
    for number in 0..3 {
        let published = other.publish(&sale(&number.to_string())).await.remove(0);
        assert_eq!(subscriber.event().await.position, published.position);
    }
    until("the node is not ready", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    upstash.deaf.store(false, Ordering::Relaxed);
    until("the node is ready", async || (node.get("/readyz").await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_one_channel_a_request_gets_several() {
    let upstash = Upstash::start();
    upstash.one_channel.store(true, Ordering::Relaxed);
    let mut node = broker_node(&upstash).await;
    node.hears(STOCK).await;
    node.hears("order-status").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_told_with_its_delay() {
    let upstash = Upstash::start();
    let node = broker_node(&upstash).await;
    upstash.limited.store(7, Ordering::Relaxed);
    let error = node.try_append(STOCK, "a").await.expect_err("a limit");
    let BrokerError::RateLimited { cause, retry_after: Some(delay) } = error else { panic!("{error:?}") };
    assert!(delay == Duration::from_secs(7) && cause.contains("max requests limit"), "{cause}");
    // A node that waits as long as the answer says would never come back.
    upstash.limited.store(u64::MAX, Ordering::Relaxed);
    let error = node.try_append(STOCK, "a").await.expect_err("a limit");
    let BrokerError::RateLimited { retry_after: Some(delay), .. } = error else { panic!("{error:?}") };
    assert_eq!(delay, Duration::from_secs(300));
    upstash.limited.store(0, Ordering::Relaxed);
    node.add(STOCK, "a").await;
}

/// An event of a type of the test's own, with a text of so many bytes.
fn note(id: &str, bytes: usize) -> Value {
    json!({"type": "note", "id": id, "data": {"text": "x".repeat(bytes)}})
}

/// A node whose scripts the server has, and then takes no request of more than 32 KiB.
async fn limited_node(upstash: &Upstash, too_large: u16) -> Node {
    let mut catalog = Catalog::builtin();
    catalog.add("note", r#"{"type": "object"}"#).expect("a schema");
    let node = Node::start_with(daemon_config(upstash), catalog).await;
    node.publish(&note("first", 1)).await;
    upstash.too_large.store(too_large, Ordering::Relaxed);
    upstash.max_request.store(32 << 10, Ordering::Relaxed);
    node
}

/// The server answers with the status 413, or with an error reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_larger_than_a_request_may_be_is_appended_in_parts() {
    for too_large in [413, 0] {
        let upstash = Upstash::start();
        let node = limited_node(&upstash, too_large).await;
        let mut subscriber = Subscriber::to(&node, "note").await;
        let ids: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let batch: Value = ids.iter().map(|id| note(id, 2000)).collect();
        // Others publish meanwhile.
        let small: Vec<_> = (0..20).map(|number| note(&format!("small-{number}"), 10)).collect();
        let (batch, small) =
            tokio::join!(node.publish(&batch), join_all(small.iter().map(|event| node.publish(event))));
        let offset = |position: &str| epoch_and_offset(position).1;
        assert!(batch.iter().is_sorted_by_key(|accepted| offset(&accepted.position)), "{batch:?}");
        let small = small.into_iter().flatten();
        let mut offsets: Vec<_> =
            batch.iter().cloned().chain(small).map(|accepted| offset(&accepted.position)).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (2..=121).collect::<Vec<_>>());
        for expected in offsets {
            let received = subscriber.event().await;
            assert_eq!(offset(&received.position), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_larger_than_a_request_may_be_is_refused_as_too_large() {
    let upstash = Upstash::start();
    let node = limited_node(&upstash, 413).await;
    let response = node.post(&note("large", 40_000)).await;
    assert!(response.text.contains("max_event_bytes"), "{}", response.text);
    response.problem(413, "payload-too-large");
    // The daemon refuses the whole batch: it publishes neither the events before the large one, nor those after it.
    let batch = [note("a", 20_000), note("b", 20_000), note("large", 40_000), note("c", 10)];
    node.post(&json!(batch)).await.problem(413, "payload-too-large");
    assert_eq!(epoch_and_offset(node.channel("note").await["position"].as_str().unwrap()).1, 1);
    let accepted = node.publish(&json!([note("a", 20_000), note("b", 20_000), note("c", 10)])).await;
    assert!(accepted.iter().all(|accepted| !accepted.duplicate), "{accepted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_refused_and_not_shown() {
    let upstash = Upstash::start();
    let address = format!("upstash+http://s3cret@127.0.0.1:{}", upstash.port);
    let node = broker::Node::open(&config(url(&address)));
    let error = node.try_append(STOCK, "a").await.expect_err("a wrong token");
    let BrokerError::Rejected(cause) = error else { panic!("{error:?}") };
    assert!(cause.contains("token") && cause.contains("401") && !cause.contains("s3cret"), "{cause}");
    let gone = broker::Node::open(&config(url("upstash+http://s3cret@127.0.0.1:1")));
    let error = gone.try_append(STOCK, "a").await.expect_err("nobody listens");
    assert!(matches!(&error, BrokerError::Unavailable(cause) if cause.contains("refused")), "{error:?}");
}

/// Passes on what clients send over TLS to a port on this machine. Returns its own port.
async fn tls_front(authority: &Authority, port: u16) -> u16 {
    let certificate = authority.certificate(&["localhost"]);
    let chain = vec![CertificateDer::from_pem_file(&certificate.cert).unwrap()];
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(chain, PrivateKeyDer::from_pem_file(&certificate.key).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await.ok()?;
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_interface_over_tls() {
    let (upstash, authority) = (Upstash::start(), Authority::new());
    let port = tls_front(&authority, upstash.port).await;
    let address = format!("upstash+https://{TOKEN}@localhost:{port}");
    let mut node = broker::Node::ready(&config(url(&format!("{address}?cacert={}", authority.cacert())))).await;
    node.hears(STOCK).await;
    let other = Authority::new();
    let stranger = broker::Node::open(&config(url(&format!("{address}?cacert={}", other.cacert()))));
    let error =
        stranger.try_append(STOCK, Epoch::random().as_str()).await.expect_err("an unknown authority").to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}
