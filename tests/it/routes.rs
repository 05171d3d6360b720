//! What every route has in common: methods, HEAD, HTTP/1.0, unknown paths; and the page at `/`.

use std::net::SocketAddr;

use reqwest::Method;
use tidings::config::BrokerUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::{Node, config};
use crate::support::{until, within};

/// Every route whose answer ends, and the status of a plain GET.
const GETS: [(&str, u16); 12] = [
    ("/", 200),
    ("/v1/events", 200),
    ("/v1/channels", 200),
    ("/v1/nodes", 200),
    ("/v1/schemas", 200),
    ("/v1/schemas/order-status", 200),
    ("/healthz", 200),
    ("/readyz", 200),
    ("/metrics", 200),
    ("/openapi.json", 200),
    ("/asyncapi.json", 200),
    ("/favicon.ico", 204),
];
/// The routes that open a stream.
const STREAMS: [&str; 2] = ["/v1/stream", "/v1/ws"];

async fn node() -> Node {
    Node::start(config(BrokerUrl::Memory)).await
}

#[tokio::test]
async fn allow_lists_exactly_the_methods_that_work() {
    let node = node().await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MADEUP"];
    for path in GETS.map(|(path, _)| path).into_iter().chain(STREAMS) {
        let mut working = Vec::new();
        let mut lists = Vec::new();
        for method in methods {
            if method == "GET" && path == "/v1/stream" {
                // It answers without end.
                working.push(method);
                continue;
            }
            let response = Response::to(node.request(Method::from_bytes(method.as_bytes()).unwrap(), path)).await;
            if response.status == 405 {
                lists.push(response.header("allow").unwrap_or_else(|| panic!("{method} {path}: no Allow")).to_owned());
                if method != "HEAD" {
                    response.problem(405, "method-not-allowed");
                }
            } else {
                working.push(method);
            }
        }
        assert!(
            !lists.is_empty() && lists.iter().all(|list| *list == working.join(", ")),
            "{path}: {lists:?} {working:?}"
        );
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let node = node().await;
    for (path, status) in GETS {
        let [get, head] = [Method::GET, Method::HEAD].map(|method| node.request(method, path));
        let (get, head) = (Response::to(get).await, Response::to(head).await);
        assert_eq!((get.status, head.status, head.text.as_str()), (status, status, ""), "{path}");
        assert_eq!(get.header("content-type"), head.header("content-type"), "{path}");
    }
    let head = Response::to(node.request(Method::HEAD, "/nope")).await;
    assert_eq!((head.status, head.text.as_str()), (404, ""));
}

/// Sends a request as it is, and reads until the daemon closes the connection.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the end of the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn every_route_answers_http_1_0_without_chunks_and_closes() {
    let node = node().await;
    let body = sale("1").to_string();
    let publish = format!(
        "POST /v1/events HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(raw(node.address, &publish).await.contains(" 202 "));
    let waits = "/v1/events?channel=order-status&since=now&wait=1";
    for host in ["", "Host: localhost\r\n"] {
        for (path, status) in GETS.into_iter().chain([(waits, 200), ("/v1/ws", 426), ("/nope", 404)]) {
            let answer = raw(node.address, &format!("GET {path} HTTP/1.0\r\n{host}\r\n")).await;
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.lines().next().unwrap().contains(&format!(" {status} ")), "{path}: {head}");
            assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{path}: {head}");
        }
    }
    // A client that asks for it keeps the connection.
    let twice = "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned() + "GET /healthz HTTP/1.0\r\n\r\n";
    let answers = raw(node.address, &twice).await;
    assert_eq!(answers.matches("{\"status\":\"alive\"}").count(), 2, "{answers}");
    assert!(answers.to_ascii_lowercase().contains("connection: keep-alive"), "{answers}");
}

#[tokio::test]
async fn an_event_stream_over_http_1_0_ends_with_the_connection() {
    let mut node = node().await;
    for channels in ["channel=inventory-change", "channel=inventory-change&channel=order-status"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let request = format!(
            "GET /v1/stream?{channels} HTTP/1.0\r\nLast-Event-ID: inventory-change=zzzz:3,order-status=zzzz:3\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut has = async |text: &str| {
            while !String::from_utf8_lossy(&answer).contains(text) {
                within(text, stream.read_buf(&mut answer)).await.unwrap();
            }
            String::from_utf8_lossy(&answer).into_owned()
        };
        has("event: cursor\n").await;
        node.publish(&sale("over 1.0")).await;
        let answer = has("over 1.0").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.contains("connection: close") && !head.contains("transfer-encoding"), "{head}");
        assert!(body.starts_with("retry: ") && !body.contains('\r'), "{body}");
        assert!(body.contains("event: gap\n"), "{body}");
        let fields = ["id", "event", "data", "retry"];
        let known = |line: &str| line.split_once(": ").is_some_and(|(field, _)| fields.contains(&field));
        let whole = body.rsplit_once('\n').unwrap().0;
        // A heartbeat is a comment, and may come between.
        assert!(whole.lines().all(|line| line.is_empty() || line.starts_with(':') || known(line)), "{body}");
    }
    // A drain ends it.
    let address = node.address;
    let ended = async { raw(address, "GET /v1/stream HTTP/1.0\r\n\r\n").await };
    let (answer, ()) = tokio::join!(ended, async {
        until("the stream is there", async || (node.metric("tidings_connections").await > 0.0).then_some(())).await;
        node.begin_stop();
    });
    let (_, last) = answer.rsplit_once("\n\n").unwrap();
    assert!(last.starts_with("retry: ") || last.starts_with(": heartbeat\nretry: "), "{answer}");
    assert!(
        last.ends_with("\ndata: {\"type\":\"closed\",\"code\":1012,\"reason\":\"this node is about to stop\"}\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_unknown_path_is_told_the_nearest_route() {
    let node = node().await;
    for (path, near) in [("/v1/event", "/v1/events"), ("/v1/stream/", "/v1/stream"), ("/metric", "/metrics")] {
        let problem = node.get(path).await.problem(404, "not-found");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("did you mean `{near}`?")) && detail.contains("GET /openapi.json"),
            "{detail}"
        );
        assert!(!detail.contains("admin_listen"), "{detail}");
    }
    for (path, near) in [("/v1/latest", "/v1/latest/{type}"), ("/v1/latest/", "/v1/latest/{type}")] {
        let problem = node.get(path).await.problem(404, "not-found");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("did you mean `{near}`?")), "{detail}");
    }
}

#[tokio::test]
async fn without_the_console_the_page_at_the_root_says_what_to_try_and_every_link_works() {
    let mut config = config(BrokerUrl::Memory);
    config.edge.console = false;
    let node = Node::start(config).await;
    node.get("/console/app.js").await.problem(404, "not-found");
    let text = node.get("/").await;
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = Response::to(node.request(Method::GET, "/").header("accept", accept)).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for shown in [&text.text, &page.text] {
        assert!(
            shown.contains(&format!("curl -N 'http://{}/v1/stream?channel=order-status'", node.address)),
            "{shown}"
        );
    }
    assert!(!page.text.contains("<script") && !page.text.contains("src="), "{}", page.text);
    let links: Vec<&str> = page.text.split("href=\"").skip(1).map(|link| link.split_once('"').unwrap().0).collect();
    assert!(links.len() > 5 && links.iter().all(|link| link.starts_with('/')), "{links:?}");
    for link in links {
        assert_eq!(node.get(link).await.status, 200, "{link}");
    }
    // A Host that is none gets no page.
    let odd = raw(node.address, "GET / HTTP/1.0\r\nHost: a<b>\r\nAccept: text/html\r\n\r\n").await;
    assert!(odd.starts_with("HTTP/1.0 421 ") && odd.contains("application/problem+json"), "{odd}");
}
