//! Compressed bodies: which content codings are taken, and how the others are refused.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::Method;

use crate::support::each_broker::TestBroker;
use crate::support::events::sale;
use crate::support::http::Response;
use crate::support::node::Node;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

async fn post(node: &Node, codings: &[&str], body: Vec<u8>) -> Response {
    let request = node.request(Method::POST, "/v1/events").header("content-type", "application/json");
    Response::to(codings.iter().fold(request, |request, coding| request.header("content-encoding", *coding)).body(body))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_bodies_are_inflated() {
    let node = TestBroker::Memory.node().await;
    let event = sale("1").to_string().into_bytes();
    let spaced = [&vec![b' '; 1 << 20], &*event].concat();
    for (codings, body) in [
        (&["gzip"][..], gzip(&event)),
        (&["GZip"], gzip(&spaced)),
        (&["x-gzip"], gzip(&event)),
        (&["deflate"], zlib(&event)),
        (&["zstd"], zstd(&spaced)),
        (&["identity"], event.clone()),
        (&["identity ,zstd"], zstd(&event)),
        (&["deflate", "identity"], zlib(&event)),
    ] {
        let response = post(&node, codings, body).await;
        assert_eq!(response.status, 202, "{codings:?}: {response:?}");
    }
    let request = node.request(Method::POST, "/v1/events").header("ce-type", "inventory-change");
    let data = gzip(sale("1")["data"].to_string().as_bytes());
    Response::to(request.header("content-encoding", "gzip").body(data)).await.accepted();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_codings_broken_bodies_and_bombs_are_refused() {
    let node = TestBroker::Memory.node().await;
    let event = sale("1").to_string().into_bytes();
    for codings in [&["br"][..], &["compress"], &["gzip, br"], &["gzip, gzip"], &["deflate", "gzip"]] {
        let response = post(&node, codings, gzip(&event)).await;
        response.problem(415, "unsupported-media-type");
        assert_eq!(response.header("accept-encoding"), Some("gzip, deflate, zstd"), "{codings:?}");
    }
    let other = node.post_as("text/plain", "x").await;
    other.problem(415, "unsupported-media-type");
    assert_eq!(other.header("accept-encoding"), None, "the media type is refused, not a coding");

    for (coding, body) in
        [("gzip", &event), ("zstd", &gzip(&event)), ("deflate", &gzip(&event)), ("gzip", &gzip(&event)[..30].to_vec())]
    {
        let problem = post(&node, &[coding], body.clone()).await.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("decompressed as {coding}")), "{problem}");
    }
    let problem = post(&node, &[], gzip(&event)).await.problem(400, "malformed-json");
    assert!(problem["detail"].as_str().unwrap().contains("Content-Encoding"), "{problem}");

    let bomb = vec![b' '; 200 << 20];
    for (coding, body) in [("gzip", gzip(&bomb)), ("deflate", zlib(&bomb)), ("zstd", zstd(&bomb))] {
        assert!(body.len() < 1 << 20);
        let problem = post(&node, &[coding], body).await.problem(413, "payload-too-large");
        assert!(problem["detail"].as_str().unwrap().contains("the decompressed body has more"), "{problem}");
    }
    assert_eq!(node.channel("inventory-change").await["retained"], 0);
}
