//! Tenants are apart in everything: the same types, the same ids, one broker.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::World;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::{order, with};
use crate::support::subscriber::Subscriber;

const ORDERS: &str = "order-status";

async fn tenants_are_apart(broker: TestBroker) {
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"shop\", \"crm\"]", "");
    let node = broker.node_with(|config| config.auth.file = Some(world.file())).await;
    let grants = json!({"publish": ["*"], "subscribe": ["*"], "admin": ["revoke"]});
    let of = |tenant: &str, jti: &str| world.token(json!({"tenant": tenant, "jti": jti, "tidings": grants}));
    let (shop, crm) = (of("shop", "j"), of("crm", "j"));
    for other in [json!("other"), json!(""), Value::Null, json!(["shop"])] {
        let token = world.token(json!({"tenant": other, "tidings": grants}));
        assert_eq!(node.get_as(&token, "/v1/channels").await.status, 401, "{other}");
    }
    let mut clients = Vec::new();
    for token in [&shop, &crm] {
        let mut client = Subscriber::with_token(&node, "/v1/ws", token).await;
        client.subscribe("s", ORDERS).await;
        clients.push(client);
    }
    let same = with(order("1"), "id", "same");
    let mut positions = Vec::new();
    for (index, token) in [&shop, &crm].into_iter().enumerate() {
        let response = node.ask(Method::POST, "/v1/events", token, Some(&same)).await;
        let accepted = response.accepted().remove(0);
        assert!(!accepted.duplicate, "ids are apart");
        assert_eq!(clients[index].event().await.position, accepted.position);
        positions.push(accepted.position);
    }
    assert_ne!(positions[0], positions[1]);
    for client in &mut clients {
        client.pong_is_next().await;
    }
    for (token, position) in [&shop, &crm].into_iter().zip(&positions) {
        let page = node.get_as(token, &format!("/v1/events?channel={ORDERS}")).await.json();
        let events = page["events"].as_array().unwrap();
        assert_eq!((events.len(), &events[0]["position"]), (1, &json!(position)));
        let channels = node.get_as(token, "/v1/channels").await.json();
        let channel =
            channels["channels"].as_array().unwrap().iter().find(|one| one["type"] == ORDERS).unwrap().clone();
        assert_eq!((&channel["retained"], &channel["subscribers"]), (&json!(1), &json!(1)));
    }
    // A position of another tenant's log is one of another log.
    let page = node.get_as(&shop, &format!("/v1/events?channel={ORDERS}&since={}", positions[1])).await.json();
    assert_ne!(page["gap"], json!(false));
    // A revocation is one's own tenant's.
    let revoked = node.ask(Method::POST, "/v1/revocations", &crm, Some(&json!({"jti": "j"}))).await;
    assert_eq!(revoked.status, 204);
    assert_eq!(clients[1].close_code().await, 4004);
    clients[0].pong_is_next().await;
    assert_eq!(node.get_as(&shop, "/v1/channels").await.status, 200);
    assert_eq!(node.get_as(&crm, "/v1/channels").await.status, 401);
}

over_each_broker!(tenants_are_apart);
