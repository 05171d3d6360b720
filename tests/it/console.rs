//! The console: its page at `/` for browsers, and its files. What it does in a browser is tested in `console/test`.

use reqwest::Method;
use tidings::config::BrokerUrl;

use crate::support::http::Response;
use crate::support::node::{Node, config};

/// What a browser sends for a page.
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A GET with one header.
async fn get(node: &Node, path: &str, name: &str, value: &str) -> Response {
    Response::to(node.request(Method::GET, path).header(name, value)).await
}

#[tokio::test]
async fn browsers_get_the_console_with_all_its_files_and_others_get_text() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    assert_eq!(node.get("/").await.header("content-type"), Some("text/plain; charset=utf-8"));
    let page = get(&node, "/", "accept", PAGE).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    // A relative address leads below the path at which a proxy has the daemon.
    let files: Vec<&str> = page.text.split("\"console/").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert_eq!(files.len(), 2, "{}", page.text);
    for file in files {
        let answer = node.get(&format!("/console/{file}")).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{file}");
        let media_type = if file.ends_with(".js") { "text/javascript" } else { "text/css" };
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(answer.header("content-security-policy"), Some(policy));
    }
}

#[tokio::test]
async fn a_browser_that_has_a_file_gets_it_once() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let first = node.get("/console/licenses.txt").await;
    let tag = first.header("etag").unwrap();
    let again = get(&node, "/console/licenses.txt", "if-none-match", tag).await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", Some(tag)));
    let other = get(&node, "/console/licenses.txt", "if-none-match", "W/\"other\"").await;
    assert_eq!((other.status, &other.text), (200, &first.text));
    // The page is asked for again each time.
    let page = get(&node, "/", "accept", PAGE).await;
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(page.header("vary").unwrap().contains("accept, accept-encoding"));
}

#[tokio::test]
async fn an_unknown_file_is_no_file() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    for path in ["/console/app-00000000.js", "/console/..%2f..%2fCargo.toml", "/console/index.html"] {
        node.get(path).await.problem(404, "not-found");
    }
}
