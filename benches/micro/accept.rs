//! Validation: from a publisher's bytes to an event. The document is parsed, checked against the schema of its type,
//! and completed with the missing attributes; or it is refused.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use serde_json::{Value, json};
use tidings::event::{Catalog, Defaults, Event, Json, MAX_MISTAKES, Refusal};

const DEFAULTS: Defaults<'_> = Defaults { source: "/shop", time: "2026-01-31T12:00:00.000Z" };

const OWN: &str = r#"{"type":"object","x-tidings-key":"sku","properties":{"sku":{"type":"string"},
    "cents":{"type":"integer","minimum":0},"labels":{"type":"object","additionalProperties":{"type":"string"}}},
    "required":["sku","cents"],"additionalProperties":false}"#;

const LIST: &str = r#"{"type":"object","properties":{"lines":{"type":"array","items":{"type":"object","properties":{
    "sku":{"type":"string"},"count":{"type":"integer","minimum":0},"price":{"type":"number","minimum":0}},
    "required":["sku","count","price"],"additionalProperties":false}}},"required":["lines"]}"#;

pub fn benches(criterion: &mut Criterion) {
    let mut catalog = Catalog::builtin();
    catalog.add("price-change", OWN).unwrap();
    catalog.add("price-list", LIST).unwrap();
    let mut group = criterion.benchmark_group("accept");
    for (name, data) in documents() {
        let text = json!({ "type": name, "data": data }).to_string();
        assert!(validate(&catalog, &text).is_ok(), "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| validate(&catalog, black_box(&text)).unwrap()));
    }
    for size in [300, 10_000] {
        let text = json!({ "type": "price-list", "data": { "lines": price_list(size) } }).to_string();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("price-list, {size} bytes"), |bencher| {
            bencher.iter(|| validate(&catalog, black_box(&text)).unwrap());
        });
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
            let documents = Json::parse_elements(black_box(&batch).as_bytes(), 100, usize::MAX).unwrap();
            let validate = |document| catalog.validate(document, "", MAX_MISTAKES, DEFAULTS).unwrap();
            documents.into_iter().map(validate).collect::<Vec<_>>()
        });
    });
}

fn validate(catalog: &Catalog, text: &str) -> Result<Event, Refusal> {
    catalog.validate(Json::parse(text).unwrap(), "", MAX_MISTAKES, DEFAULTS)
}

/// Lines of a price list: about `size` bytes of JSON, with two numbers in 45 bytes.
fn price_list(size: usize) -> Vec<Value> {
    (0..size / 45)
        .map(|line| json!({ "sku": format!("sku-{line:05}"), "count": line * 7, "price": line as f64 + 0.99 }))
        .collect()
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
