//! `GET /v1/schemas` and `GET /v1/channels`, with built-in and own event types, over each broker.

use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use crate::access::world::World;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{TYPES, epoch_and_offset, offset, one_of_each, sale};
use crate::support::http::members;
use crate::support::node::{Node, config};
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    every_type_has_a_schema_with_an_id,
    the_event_schema_accepts_what_the_daemon_accepts,
    every_channel_is_listed_with_its_position_and_counts,
    a_channel_counts_its_current_subscribers,
    a_trimmed_log_counts_what_it_retains_and_keeps_its_positions,
    an_own_type_is_validated_like_a_built_in_one,
    an_own_type_is_filtered_and_keyed_like_a_built_in_one,
    the_schema_of_an_own_type_is_served,
);

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

async fn every_type_has_a_schema_with_an_id(broker: TestBroker) {
    let node = broker.node().await;
    let all = node.get("/v1/schemas").await;
    assert_eq!(all.status, 200);
    let all = all.json();
    assert_eq!(members(&all), ["schemas"]);
    let mut names = TYPES.to_vec();
    names.sort_unstable();
    assert_eq!(members(&all["schemas"]).into_iter().filter(|name| *name != "event").collect::<Vec<_>>(), names);
    for name in TYPES {
        let schema = &all["schemas"][name];
        assert_eq!(&node.get(&format!("/v1/schemas/{name}")).await.json(), schema);
        assert_eq!(schema["$schema"], DRAFT);
        assert!(schema["$id"].as_str().is_some_and(|id| id.contains(':')), "an absolute URI: {schema}");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(node.channel(name).await["schema"], schema["$id"]);
    }
    assert!(node.get("/v1/schemas/event").await.json()["$id"].is_string());
}

async fn the_event_schema_accepts_what_the_daemon_accepts(broker: TestBroker) {
    let node = broker.node().await;
    let schema = node.get("/v1/schemas/event").await.json();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema without external references");
    for (event, _) in one_of_each() {
        assert!(validator.is_valid(&event), "{event}");
        assert_eq!(node.post(&event).await.status, 202);
        for name in members(&event["data"]) {
            let mut wrong = event.clone();
            wrong["data"][name] = json!({"wrong": []});
            assert!(!validator.is_valid(&wrong), "{wrong}");
            assert_eq!(node.post(&wrong).await.status, 422);
        }
    }
}

async fn every_channel_is_listed_with_its_position_and_counts(broker: TestBroker) {
    let node = broker.node().await;
    let body = node.get("/v1/channels").await.json();
    assert_eq!(members(&body), ["channels"]);
    let channels = body["channels"].as_array().unwrap();
    assert_eq!(channels.iter().map(|entry| entry["type"].as_str().unwrap()).collect::<Vec<_>>(), TYPES);
    for entry in channels {
        assert_eq!(
            members(entry),
            [
                "duplicates",
                "position",
                "published",
                "ratePerSecond",
                "refused",
                "retained",
                "schema",
                "subscribers",
                "type"
            ]
        );
        assert_eq!(offset(entry["position"].as_str().unwrap()), 0);
        assert_eq!((&entry["retained"], &entry["subscribers"]), (&json!(0), &json!(0)));
    }
    let last = node.publish(&json!([sale("1"), sale("2"), sale("3")])).await.remove(2);
    let entry = node.channel("inventory-change").await;
    assert_eq!((&entry["position"], &entry["retained"]), (&json!(last.position), &json!(3)));
    assert_eq!(node.channel("order-status").await["retained"], 0);
}

async fn a_channel_counts_its_current_subscribers(broker: TestBroker) {
    let node = broker.node().await;
    let count = async |expected: u64| {
        until(&format!("{expected} subscribers"), async || {
            (node.channel("order-status").await["subscribers"] == expected).then_some(())
        })
        .await;
    };
    let first = Subscriber::to(&node, "order-status").await;
    count(1).await;
    let mut second = Subscriber::to(&node, "order-status").await;
    count(2).await;
    drop(first);
    count(1).await;
    second.say(json!({"type": "unsubscribe", "sub": "s"})).await;
    count(0).await;
    assert_eq!(node.channel("inventory-change").await["subscribers"], 0);
}

async fn a_trimmed_log_counts_what_it_retains_and_keeps_its_positions(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 5).await;
    let events: Vec<Value> = (0..500).map(|n| sale(&n.to_string())).collect();
    let last = node.publish(&json!(events)).await.remove(499);
    let entry = node.channel("inventory-change").await;
    assert_eq!(entry["position"], last.position.as_str());
    assert_eq!(offset(&last.position), 500);
    let retained = entry["retained"].as_u64().unwrap();
    // Redis trims a stream by whole nodes of 100 entries.
    assert!((5..=205).contains(&retained), "{retained}");
}

/// The schema of a user's own type.
const TICKET: &str = r##"{
    "title": "A ticket",
    "type": "object",
    "x-tidings-key": "ticketId",
    "required": ["ticketId", "customer"],
    "additionalProperties": false,
    "properties": {
        "ticketId": {"type": "integer"},
        "customer": {"$ref": "#/$defs/person"},
        "labels": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}}
    },
    "$defs": {"person": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "mail": {"type": "string", "format": "email"}}
    }}
}"##;

async fn with_ticket(broker: &TestBroker) -> Node {
    let mut catalog = Catalog::builtin();
    catalog.add("ticket", TICKET).expect("a valid schema");
    Node::start_with(broker.config(), catalog).await
}

fn ticket(id: i64, data: Value) -> Value {
    let mut event = json!({"type": "ticket", "data": {"ticketId": id, "customer": {"name": "Ada"}}});
    event["data"].as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    event
}

async fn an_own_type_is_validated_like_a_built_in_one(broker: TestBroker) {
    let node = with_ticket(&broker).await;
    let pointers = async |data: Value| node.post(&ticket(1, data)).await.pointers("invalid-event");
    assert_eq!(pointers(json!({"ticketId": "1"})).await, ["/data/ticketId"]);
    assert_eq!(pointers(json!({"customer": {}})).await, ["/data/customer/name"]);
    assert_eq!(pointers(json!({"customer": {"name": "Ada", "mail": "no"}})).await, ["/data/customer/mail"]);
    assert_eq!(pointers(json!({"labels": ["a", "B"]})).await, ["/data/labels/1"]);
    assert_eq!(pointers(json!({"lables": []})).await, ["/data/lables"]);
    let missing = json!({"type": "ticket", "data": {"customer": {"name": "Ada"}}});
    assert_eq!(node.post(&missing).await.pointers("invalid-event"), ["/data/ticketId"]);
    let open = ticket(1, json!({"customer": {"name": "Ada", "anything": [1]}}));
    assert_eq!(node.publish(&open).await[0].event_type, "ticket", "an own type is as strict as its schema says");
}

async fn an_own_type_is_filtered_and_keyed_like_a_built_in_one(broker: TestBroker) {
    let node = with_ticket(&broker).await;
    let mut subscriber = Subscriber::connect(&node).await;
    subscriber.subscribe_where("s", "ticket", json!({"customer.name": "Bob", "labels": ["urgent", "late"]})).await;
    let bob = |labels: &[&str]| json!({"customer": {"name": "Bob"}, "labels": labels});
    node.publish(&json!([
        ticket(1, json!({"labels": ["urgent"]})),
        ticket(2, bob(&["calm"])),
        ticket(3, bob(&["calm", "late"])),
    ]))
    .await;
    let delivered = subscriber.event().await;
    assert_eq!((epoch_and_offset(&delivered.position).1, &delivered.event["subject"]), (3, &json!("3")));
    subscriber
        .say(json!({"type": "subscribe", "sub": "t", "channel": "ticket", "where": {"customer.nmae": "x"}}))
        .await;
    assert_eq!(subscriber.frame_of("error").await["code"], "unknown-field");
}

async fn the_schema_of_an_own_type_is_served(broker: TestBroker) {
    let node = with_ticket(&broker).await;
    let served = node.get("/v1/schemas/ticket").await.json();
    let given: Value = serde_json::from_str(TICKET).unwrap();
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&served[name], value);
    }
    assert!(served["$id"].is_string() && served["$schema"] == DRAFT, "{served}");
    assert_eq!(node.get("/v1/schemas").await.json()["schemas"]["ticket"], served);
    assert_eq!(node.channel("ticket").await["schema"], served["$id"]);
    let whole = node.get("/v1/schemas/event").await.json();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .expect("a schema without external references");
    assert!(validator.is_valid(&ticket(1, json!({}))));
    assert!(!validator.is_valid(&ticket(1, json!({"labels": 7}))));
}

/// A schema to which no example made of its types alone fits, one with an example of its own, and one to which nothing fits.
const WITH_EXAMPLES: [(&str, &str); 3] = [
    (
        "stock",
        r#"{"type":"object","required":["sku"],"properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-[0-9]{4}$"}}}"#,
    ),
    ("parcel", r#"{"type":"object","properties":{"code":{"type":"string"}},"examples":[{"code":"Z-1"}]}"#),
    ("nothing", r#"{"type":"string","minLength":2,"maxLength":1}"#),
];

#[tokio::test]
async fn each_schema_comes_with_an_example_that_the_daemon_accepts() {
    let mut catalog = Catalog::builtin();
    for (name, schema) in WITH_EXAMPLES {
        catalog.add(name, schema).unwrap();
    }
    let node = Node::start_with(config(BrokerUrl::Memory), catalog).await;
    let answer = node.get("/v1/schemas?examples=true").await.json();
    // The schemas are those of the files: examples stand beside them.
    let schemas = node.get("/v1/schemas?examples=false").await.json();
    assert_eq!(schemas, node.get("/v1/schemas").await.json());
    assert_eq!(answer["schemas"], schemas["schemas"]);
    let mut names = members(&schemas["schemas"]);
    names.retain(|name| *name != "nothing");
    assert_eq!(members(&answer["examples"]), names);
    for (name, data) in answer["examples"].as_object().unwrap() {
        let response = node.post(&json!({"type": name, "data": data})).await;
        assert_eq!(response.status, 202, "{name} {data}: {response:?}");
    }
    assert_eq!(answer["examples"]["parcel"], json!({"code": "Z-1"}));
    // The documents show the same one.
    let asyncapi = node.get("/asyncapi.json").await.json();
    let shown = &asyncapi["components"]["messages"]["event.stock"]["examples"][0]["payload"]["data"];
    assert_eq!(&answer["examples"]["stock"], shown);
    node.get("/v1/schemas?examples=yes").await.problem(400, "bad-request");
    node.get("/v1/schemas?example=true").await.problem(400, "bad-request");
}

#[tokio::test]
async fn examples_are_those_of_the_types_that_the_caller_may_see() {
    let world = World::new();
    let node = Node::start(world.over(config(BrokerUrl::Memory))).await;
    for (grants, seen) in [
        (json!({}), &[][..]),
        (json!({"publish": ["order-status"]}), &["order-status"]),
        (json!({"subscribe": ["data-update"]}), &["data-update"]),
    ] {
        let answer = node.get_as(&world.granting(grants), "/v1/schemas?examples=true").await.json();
        assert_eq!(members(&answer["examples"]), seen);
        assert_eq!(members(&answer["schemas"]), seen);
    }
}
