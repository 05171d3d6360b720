//! Validation: from a publisher's bytes to an event. The document is parsed, checked against the schema of its type,
//! and completed with the missing attributes; or it is refused.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use serde_json::{Value, json};
use tidings::event::{Catalog, Defaults, Event, MAX_MISTAKES, Refusal};

const DEFAULTS: Defaults<'_> = Defaults { source: "/shop", time: "2026-01-31T12:00:00.000Z" };

const OWN: &str = r#"{"type":"object","x-tidings-key":"sku","properties":{"sku":{"type":"string"},
    "cents":{"type":"integer","minimum":0},"labels":{"type":"object","additionalProperties":{"type":"string"}}},
    "required":["sku","cents"],"additionalProperties":false}"#;

pub fn benches(criterion: &mut Criterion) {
    let mut catalog = Catalog::builtin();
    catalog.add("price-change", OWN).unwrap();
    let mut group = criterion.benchmark_group("accept");
    for (name, data) in documents() {
        let text = json!({ "type": name, "data": data }).to_string();
        assert!(validate(&catalog, &text).is_ok(), "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| validate(&catalog, black_box(&text)).unwrap()));
    }
    let wrong = r#"{"type":"inventory-change","data":{"productid":"1","oldQuantity":"many","newQuantity":1.5}}"#;
    group.throughput(Throughput::Bytes(wrong.len() as u64));
    group.bench_function("refused", |bencher| bencher.iter(|| validate(&catalog, black_box(wrong)).unwrap_err()));
    let batch: Vec<Value> = documents()
        .iter()
        .cycle()
        .take(100)
        .enumerate()
        .map(|(number, (name, data))| json!({ "type": name, "id": number.to_string(), "data": data }))
        .collect();
    let batch = json!(batch).to_string();
    group.throughput(Throughput::Elements(100));
    group.bench_function("a batch of 100", |bencher| {
        bencher.iter(|| {
            let documents: Vec<Value> = serde_json::from_str(black_box(&batch)).unwrap();
            let validate = |document| catalog.validate(document, "", MAX_MISTAKES, DEFAULTS).unwrap();
            documents.into_iter().map(validate).collect::<Vec<_>>()
        });
    });
}

fn validate(catalog: &Catalog, text: &str) -> Result<Event, Refusal> {
    catalog.validate(serde_json::from_str(text).unwrap(), "", MAX_MISTAKES, DEFAULTS)
}

fn documents() -> [(&'static str, Value); 6] {
    [
        ("cache-invalidate", json!({ "tags": ["product:123", "shelf"], "keys": ["page:/p/123"], "reason": "sale" })),
        ("data-update", json!({ "resource": "products", "id": "123", "action": "update", "version": 7 })),
        (
            "inventory-change",
            json!({ "productId": "123", "variantId": "red", "oldQuantity": 100, "newQuantity": 95, "reason": "sale" }),
        ),
        (
            "order-status",
            json!({ "orderId": "o-1", "oldStatus": "processing", "newStatus": "shipped", "customerId": "c-9" }),
        ),
        (
            "finance-change",
            json!({ "entity": "payment", "id": "p-1", "amountMinor": 4_999, "currency": "EUR", "status": "settled" }),
        ),
        ("price-change", json!({ "sku": "a-1", "cents": 1_999, "labels": { "shop": "north" } })),
    ]
}
