//! Filters that never match, on built-in types and on a type with every kind of rule.

use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use super::table::Table;
use crate::support::node::{self, Node};

pub async fn provoke(table: &mut Table) {
    table.section("Filters (`where`), the same in frames");
    let own = json!({"type": "object", "properties": {
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "mail": {"type": "string", "format": "email"},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "maybe": {"anyOf": [{"enum": ["yes", "no"]}, {"type": "null"}]},
        "labels": {"type": "array", "items": {"enum": ["late", "urgent"]}},
        "buyer": {"type": "object", "properties": {"kind": {"const": "person"}}},
        "count": {"type": "integer", "multipleOf": 5, "exclusiveMinimum": 0, "exclusiveMaximum": 100},
    }});
    let mut catalog = Catalog::builtin();
    catalog.add("review", &own.to_string()).expect("a valid schema");
    let node = Node::start_with(node::config(BrokerUrl::Memory), catalog).await;
    let mut refused = async |query: String| {
        table.problem(&format!("GET /v1/events?{query}"), &node.get(&format!("/v1/events?{}", encoded(&query))).await);
    };
    refused("channel=order-status&where={newStatus:1}".into()).await;
    refused("channel=order-status&where=newStatus=shipped".into()).await;
    for (channel, filter) in [
        ("order-status", json!({"newStatus": "shippd"})),
        ("order-status", json!({"newStatus": ["shipped", "nonsense"]})),
        ("order-status", json!({"newStatus": {"prefix": "shipx"}})),
        ("order-status", json!({"newStatus": 7})),
        ("order-status", json!({"newStatus": null})),
        ("order-status", json!({"newStatus": "shippd", "orderId": ""})),
        ("order-status", json!({"orderid": "1"})),
        ("order-status", json!({"colour": "red"})),
        ("order-status", json!({"orderId": []})),
        ("order-status", json!({"orderId": [["1"]]})),
        ("order-status", json!({"orderId": {"suffix": "1"}})),
        ("order-status", json!({"orderId": {}})),
        ("order-status", json!({"orderId": {"prefix": 1}})),
        ("order-status", json!({"orderId": "x".repeat(1025)})),
        ("order-status", json!({"orderId": vec!["1"; 129]})),
        ("order-status", json!(["orderId"])),
        ("order-status", (0..17).map(|n| (n.to_string(), Value::from(n))).collect()),
        ("inventory-change", json!({"newQuantity": "many"})),
        ("cache-invalidate", json!({"tags": 7})),
        ("finance-change", json!({"currency": "eur"})),
        ("review", json!({"code": "abc"})),
        ("review", json!({"mail": "nobody"})),
        ("review", json!({"stars": 6})),
        ("review", json!({"stars": 0})),
        ("review", json!({"maybe": "perhaps"})),
        ("review", json!({"maybe": 7})),
        ("review", json!({"labels": "lat"})),
        ("review", json!({"buyer.kind": "company"})),
        ("review", json!({"buyer.knd": "person"})),
        ("review", json!({"count": 7})),
        ("review", json!({"count": 100})),
        ("review", json!({"count": -5})),
    ] {
        refused(format!("channel={channel}&where={filter}")).await;
    }
    refused(format!("where={}", json!({"newStatus": "shippd"}))).await;
    refused(format!("where={}", json!({"colour": "red"}))).await;
    refused(format!("where={}", json!({"orderId": "1", "productId": "2"}))).await;
}

/// The query with its values percent-encoded.
fn encoded(query: &str) -> String {
    let pairs = query.splitn(query.matches('&').count() + 1, '&').filter_map(|pair| pair.split_once('='));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
