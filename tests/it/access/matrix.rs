//! Each request and each frame with each kind of credential: [`table`](super::table), cell by cell.

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::table::{CREDENTIALS, Sent, markdown, rows};
use super::world::{AUDIENCE, World, now};
use crate::latest::keeping;
use crate::support::events::order;
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::subscriber::Subscriber;
use crate::support::within;

pub const ORDERS: &str = "order-status";

async fn world() -> (World, Node, [Option<String>; 7]) {
    let world = World::new();
    let mut config = world.over(node::config(BrokerUrl::Memory));
    keeping(&mut config);
    let node = Node::start(config).await;
    let pin = json!([{"channel": ORDERS, "where": {"customerId": "u1"}}]);
    let credentials = [
        None,
        Some(world.token(json!({"exp": now() - 3600}))),
        Some(world.token(json!({}))),
        Some(world.granting(json!({"publish": [ORDERS]}))),
        Some(world.granting(json!({"subscribe": [ORDERS]}))),
        Some(world.granting(json!({"subscribe": pin}))),
        Some(world.granting(json!({"admin": ["nodes", "metrics", "connections", "revoke", "flows"]}))),
    ];
    (world, node, credentials)
}

/// The status of the response, whose challenge must fit (RFC 6750, section 3).
async fn status(node: &Node, method: &Method, path: &str, token: Option<&str>, body: Option<&Value>) -> String {
    if path.starts_with("/v1/stream") && token.is_some() {
        // A stream has no end.
        let request = node.request(method.clone(), path).bearer_auth(token.unwrap_or_default());
        let response = within("a response", request.send()).await.unwrap();
        if response.status() == 200 {
            return "200".into();
        }
    }
    let response = ask(node, method, path, token, body).await;
    let expected = match (response.status, token) {
        (401, None) => Some("Bearer"),
        (401, Some(_)) => Some(r#"Bearer error="invalid_token""#),
        (403, _) => Some(r#"Bearer error="insufficient_scope""#),
        _ => None,
    };
    assert_eq!(response.header("www-authenticate"), expected, "{method} {path}");
    response.status.to_string()
}

/// The answer to a frame after a handshake with this credential: the status of a handshake that fails, the type of the
/// next frame, the code of an `error`, or that of a close. Without a frame: the answer to the handshake alone.
async fn handshake(node: &Node, token: Option<&str>, frame: Option<&Value>) -> String {
    let mut client = match token {
        None => Subscriber::stranger(node, "/v1/ws").await,
        Some(token) => match tokio_tungstenite::connect_async(node.handshake("/v1/ws", token)).await {
            Err(Error::Http(response)) => return response.status().as_u16().to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) if frame.is_none() => return "welcome".into(),
            Ok(_) => Subscriber::with_token(node, "/v1/ws", token).await,
        },
    };
    if let Some(frame) = frame {
        client.say(frame.clone()).await;
    }
    match client.message().await.unwrap() {
        Message::Text(text) => {
            let frame: Value = serde_json::from_str(&text).unwrap();
            let name = if frame["type"] == "error" { &frame["code"] } else { &frame["type"] };
            name.as_str().unwrap().to_owned()
        }
        Message::Close(frame) => u16::from(frame.unwrap().code).to_string(),
        other => panic!("{other:?}"),
    }
}

async fn ask(node: &Node, method: &Method, path: &str, token: Option<&str>, body: Option<&Value>) -> Response {
    match token {
        Some(token) => node.ask(method.clone(), path, token, body).await,
        None => {
            let mut request = node.request(method.clone(), path);
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            Response::to(request).await
        }
    }
}

/// The table is generated: `TIDINGS_WRITE_DOCS=1 cargo test --test it documents` writes it.
#[test]
fn the_documents_have_the_table() {
    crate::documents::generated("docs/security.md", "access", &markdown());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_with_each_credential() {
    let (_world, node, credentials) = world().await;
    for row in rows() {
        for ((name, token), expected) in CREDENTIALS.iter().zip(&credentials).zip(row.answers) {
            let token = token.as_deref();
            let (what, answer) = match &row.sent {
                _ if expected.is_empty() => continue,
                Sent::Request(method, path, body) => {
                    (format!("{method} {path}"), status(&node, method, path, token, body.as_ref()).await)
                }
                Sent::Handshake => ("a handshake".into(), handshake(&node, token, None).await),
                Sent::FirstFrame => {
                    let frame = json!({"type": "auth", "token": token.unwrap_or_default()});
                    ("the first frame".into(), handshake(&node, None, Some(&frame)).await)
                }
                Sent::Frame(frame) => {
                    let text = frame.to_string().replace("TOKEN", token.unwrap_or_default());
                    let frame = serde_json::from_str(&text).unwrap();
                    (format!("{frame}"), handshake(&node, token, Some(&frame)).await)
                }
            };
            assert_eq!(answer, expected, "{what} with {name}");
        }
    }
    let events = |token: &Option<String>| {
        let token = token.clone();
        let node = &node;
        async move { ask(node, &Method::GET, "/v1/channels", token.as_deref(), None).await.json()["channels"].clone() }
    };
    assert_eq!(events(&credentials[2]).await, json!([]));
    assert_eq!(events(&credentials[3]).await, json!([]));
    let whole = events(&credentials[4]).await;
    assert_eq!((whole.as_array().unwrap().len(), &whole[0]["type"]), (1, &json!(ORDERS)));
    assert!(whole[0]["retained"].is_u64() && whole[0]["subscribers"].is_u64(), "{whole}");
    let part = events(&credentials[5]).await;
    assert!(part[0].get("retained").is_none() && part[0].get("subscribers").is_none(), "{part}");
    assert_eq!(events(&credentials[6]).await.as_array().unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_not_granted_and_one_that_does_not_exist_get_the_same_answer() {
    let (_world, node, credentials) = world().await;
    let masked =
        |response: Response| (response.status, response.header("www-authenticate").map(str::to_owned), response.text);
    for token in credentials.iter().flatten() {
        for path in ["/v1/events?channel=", "/v1/stream?channel=", "/v1/schemas/"] {
            let granted_to_nobody = node.get_as(token, &format!("{path}finance-change")).await;
            if granted_to_nobody.status == 200 {
                continue;
            }
            let unknown = node.get_as(token, &format!("{path}no-such-name12")).await;
            let mask = |text: String| text.replace("finance-change", "NAME").replace("no-such-name12", "NAME");
            let (one, other) = (masked(granted_to_nobody), masked(unknown));
            assert_eq!((one.0, one.1, mask(one.2)), (other.0, other.1, mask(other.2)), "{path}");
        }
    }
    for token in credentials.iter().skip(2).flatten() {
        let mut client = Subscriber::with_token(&node, "/v1/ws", token).await;
        let mut errors = Vec::new();
        for channel in ["finance-change", "no-such-channel", ""] {
            client.say(json!({"type": "subscribe", "sub": "s", "channel": channel, "where": {"no": 1}})).await;
            errors.push(client.frame_of("error").await);
        }
        assert!(errors.iter().all(|error| *error == errors[0] && error["code"] == "forbidden"), "{errors:?}");
    }
}

/// Whichever check fails, the answer is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_credential_gets_the_same_answer() {
    let (world, node, _) = world().await;
    let good = json!({"subscribe": [ORDERS]});
    let with = |name: &str, value: Value| {
        let mut claims = json!({"tidings": good});
        claims[name] = value;
        world.token(claims)
    };
    let valid = world.granting(good.clone());
    assert_eq!(node.get_as(&valid, "/v1/events").await.status, 200);
    let (head, rest) = valid.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let encoded = |text: &str| base64(text);
    let mut bad = vec![
        String::new(),
        "x".into(),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>()),
        format!("{}.{claims}.{signature}", encoded(r#"{"alg":"none"}"#)),
        format!("{}.{claims}.", encoded(r#"{"alg":"none"}"#)),
        format!("{}.{claims}.{signature}", encoded(r#"{"alg":"HS256"}"#)),
        format!("{}.{claims}.{signature}", encoded(r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#)),
        format!("{head}.{claims}.{signature}.x"),
        format!("{valid} {valid}"),
        "tdg_nokey_0123456789".into(),
        "x".repeat(17 << 10),
    ];
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!(now() - 3600)),
        ("exp", json!("9999999999")),
        ("exp", json!(now() + 48 * 3600)),
        ("nbf", json!(now() + 3600)),
        ("nbf", json!("x")),
        ("iss", json!("https://other.test/")),
        ("iss", Value::Null),
        ("aud", json!("https://other.test")),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("tidings", json!({"subscribe": [ORDERS], "more": []})),
        ("tidings", json!({"subscribe": [{"channel": ORDERS, "wehre": {"customerId": "u1"}}]})),
        ("tidings", json!({"subscribe": [{"channel": ORDERS, "where": {}}]})),
        ("tidings", json!({"subscribe": [{"channel": ORDERS, "where": {"customerid": "u1"}}]})),
        ("tidings", json!({"subscribe": ["a*b"]})),
        ("tidings", json!([])),
    ] {
        bad.push(with(name, value));
    }
    let expected = node.request(Method::GET, "/v1/events");
    let expected = Response::to(expected).await.problem(401, "unauthenticated");
    for token in &bad {
        let response = node.get_as(token, "/v1/events").await;
        assert_eq!(response.problem(401, "unauthenticated"), expected, "{token}");
        let refused = tokio_tungstenite::connect_async(node.handshake("/v1/ws", token)).await.unwrap_err().to_string();
        assert!(refused.contains("401"), "{token}: {refused}");
    }
    // Several audiences, one of which is ours, and decimal dates are fine.
    for (name, value) in [("aud", json!(["x", AUDIENCE])), ("exp", json!(now() as f64 + 60.5))] {
        assert_eq!(node.get_as(&with(name, value), "/v1/events").await.status, 200);
    }
    for headers in [vec!["Basic eDp5"], vec!["Bearer"], vec!["Bearer a", "Bearer b"], vec![""]] {
        let mut request = node.request(Method::GET, "/v1/events");
        for header in &headers {
            request = request.header("authorization", *header);
        }
        Response::to(request).await.problem(401, "unauthenticated");
    }
    for parameter in ["token", "access_token"] {
        let response = Response::to(node.request(Method::GET, &format!("/v1/events?{parameter}={valid}"))).await;
        let detail = response.problem(401, "unauthenticated")["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("Authorization: Bearer") && detail.contains(parameter) && !detail.contains(&valid),
            "{detail}"
        );
        assert_eq!(handshake_status(&node, &format!("/v1/ws?{parameter}={valid}")).await, 401);
    }
}

/// The status of a handshake.
async fn handshake_status(node: &Node, path: &str) -> u16 {
    let url = node.url(path).replacen("http", "ws", 1);
    match tokio_tungstenite::connect_async(url).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// `[anonymous]` grants what it says to who has no credential, and a bad credential never becomes anonymous.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_credential_has_what_is_granted_to_anonymous() {
    let world = World::with("", "[anonymous]\nsubscribe = [\"cache-invalidate\"]");
    let node = Node::start(world.over(node::config(BrokerUrl::Memory))).await;
    let status = async |path: &str| Response::to(node.request(Method::GET, path)).await.status;
    assert_eq!(status("/v1/events?channel=cache-invalidate").await, 200);
    assert_eq!(status("/v1/events").await, 200, "those that are granted");
    assert_eq!(status("/v1/events?channel=order-status").await, 401);
    assert_eq!(status("/v1/nodes").await, 401);
    let published = ask(&node, &Method::POST, "/v1/events", None, Some(&order("1"))).await;
    assert_eq!(published.status, 401);
    let bad = world.token(json!({"exp": now() - 3600}));
    assert_eq!(node.get_as(&bad, "/v1/events?channel=cache-invalidate").await.status, 401);
    let mut client = Subscriber::connect(&node).await;
    client.subscribe("c", "cache-invalidate").await;
    client.say(json!({"type": "subscribe", "sub": "o", "channel": ORDERS})).await;
    assert_eq!(client.frame_of("error").await["code"], "unauthenticated");
    client.say(json!({"type": "auth", "token": world.granting(json!({"subscribe": ["*"]}))})).await;
    client.frame_of("authenticated").await;
    client.subscribe("o", ORDERS).await;
}
