//! Lists that the documents have from the program: error codes, metrics and routes.

use std::fmt::Write;

use tidings::parts::Metrics;
use tidings::protocol::ErrorCode;

use super::generated;
use crate::support::daemon::Daemon;

#[test]
fn the_documented_error_codes_are_those_of_the_daemon() {
    let mut table = "| `code` | status | title | when |\n|---|--:|---|---|\n".to_owned();
    for code in ErrorCode::ALL {
        writeln!(table, "| `{code}` | {} | {} | {} |", code.status(), code.title(), code.meaning()).unwrap();
    }
    table.push('\n');
    generated("docs/errors.md", "codes", &table);
}

#[test]
fn the_documented_metrics_are_those_of_the_daemon() {
    let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in Metrics::default().descriptions() {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(", "), metric.help).unwrap();
    }
    table.push('\n');
    generated("docs/metrics.md", "metrics", &table);
}

#[tokio::test]
async fn the_http_page_lists_every_route() {
    let daemon = Daemon::start();
    let openapi: serde_json::Value =
        reqwest::get(format!("{}/openapi.json", daemon.url)).await.unwrap().json().await.unwrap();
    let routes = include_str!("../../../docs/http.md").split("\n## ").find(|part| part.starts_with("Routes")).unwrap();
    let mut listed = 0;
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        for method in ["get", "post"].into_iter().filter(|method| operations.get(method).is_some()) {
            let route = format!("`{} {path}`", method.to_uppercase());
            assert!(routes.contains(&route), "docs/http.md, Routes, lacks {route}");
            listed += 1;
        }
    }
    assert!(listed > 15, "{listed} routes");
}
