use std::collections::BTreeSet;

use schemars::schema_for;

use super::*;
use crate::protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame};

fn document() -> Value {
    public(&Catalog::builtin())
}

/// The `type` of each variant, as schemars reads the enum.
fn frames_of(schema: &schemars::Schema) -> BTreeSet<String> {
    let variants = schema.get("oneOf").and_then(Value::as_array).unwrap();
    variants.iter().map(|variant| variant["properties"]["type"]["const"].as_str().unwrap().to_owned()).collect()
}

/// The frames in the messages of the operations of this kind. Each frame has an operation of its own.
fn frames_in(document: &Value, action: &str) -> BTreeSet<String> {
    let operations = document["operations"].as_object().unwrap().iter();
    let of_frames = operations.filter(|(id, operation)| id.starts_with("frame.") && operation["action"] == action);
    of_frames.map(|(id, _)| id.trim_start_matches("frame.").to_owned()).collect()
}

#[test]
fn every_frame_is_a_message_with_an_operation() {
    let document = document();
    let (client, server) = (frames_of(&schema_for!(ClientFrame)), frames_of(&schema_for!(ServerFrame<'static>)));
    assert!(client.is_disjoint(&server), "a frame's message is named after it");
    // A frame of the client is missing in REPLIES if it is sent here.
    assert_eq!(frames_in(&document, "receive"), client);
    assert_eq!(frames_in(&document, "send"), server);
    for name in client.iter().chain(&server) {
        let message = &document["components"]["messages"][format!("frame.{name}")];
        let schema = message["payload"]["$ref"].as_str().unwrap().trim_start_matches('#').to_owned() + "/schema";
        assert_eq!(document.pointer(&schema).unwrap()["properties"]["type"]["const"], *name, "{name}");
        assert_eq!(message["examples"][0]["payload"]["type"], *name, "an example of {name}");
        assert!(document["channels"][SOCKET]["messages"].get(format!("frame.{name}")).is_some(), "{name}");
    }
    for (request, replies) in operations::REPLIES {
        assert!(client.contains(request), "{request}");
        assert!(replies.iter().all(|reply| server.contains(*reply)), "{replies:?}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let text = document.to_string();
    let decoded = |reference: &str| reference.replace("%7B", "{").replace("%7D", "}");
    let references: BTreeSet<String> =
        text.split("\"$ref\":\"#").skip(1).map(|rest| decoded(rest.split_once('"').unwrap().0)).collect();
    for reference in &references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let path = format!("/components/{kind}/{name}");
            assert!(references.contains(&path) || references.contains(&(path.clone() + "/schema")), "{path}");
        }
    }
}

#[test]
fn every_code_is_described() {
    let document = document();
    let constants = |name: &str| -> Vec<Value> {
        let options = document["components"]["schemas"][name]["schema"]["oneOf"].as_array().unwrap();
        options.iter().flat_map(|option| option.get("const").cloned().or_else(|| option.get("enum").cloned())).collect()
    };
    let closes: Vec<Value> = CloseCode::ALL.iter().map(|code| code.as_u16().into()).collect();
    assert_eq!(constants("CloseCode"), closes);
    let errors: Vec<Value> = ErrorCode::ALL.iter().map(|code| code.as_str().into()).collect();
    assert_eq!(constants("DaemonErrorCode"), errors);
}

#[test]
fn each_type_has_a_channel_and_a_message_whatever_it_is_called() {
    let mut catalog = Catalog::builtin();
    let names = ["websocket", "frame.subscribe", "http", "filter", "subscribe-frame", "a.b"];
    for name in names {
        // It would have the name of a schema of the protocol.
        catalog
            .add(name, r#"{"title":"Filter","type":"object","properties":{"a":{"prefixItems":[{"const":1}]}}}"#)
            .unwrap();
    }
    let document = public(&catalog);
    for known in catalog.types() {
        let channel = &document["channels"][&*known.name];
        assert_eq!(channel["address"], *known.name);
        let message = &document["components"]["messages"][format!("event.{}", known.name)];
        assert_eq!(message["name"], *known.name);
        assert!(channel["messages"].get(format!("event.{}", known.name)).is_some(), "{channel}");
        let payload = message["payload"]["$ref"].as_str().unwrap().trim_start_matches('#').to_owned() + "/schema";
        assert_eq!(document.pointer(&payload).unwrap()["properties"]["type"]["const"], *known.name);
        assert_eq!(message["examples"][0]["payload"]["type"], *known.name);
    }
    assert_eq!(document["components"]["schemas"]["Filter"]["schema"]["maxProperties"], 16);
}

#[test]
fn a_schema_of_the_protocol_has_a_name_that_no_type_gets() {
    let catalog = Catalog::builtin();
    let examples = TypeExamples::default();
    let none = Types::of(&catalog, examples.of(&catalog), |_| false);
    let document = super::document(&none, EXAMPLE_ORIGIN, true);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let is_of_events = ["Event", "Attributes", "Extension"].contains(&name.as_str());
        assert!(is_of_events || super::super::described::RESERVED.contains(&name.as_str()), "reserve {name}");
    }
}
