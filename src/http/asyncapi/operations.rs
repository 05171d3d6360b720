//! The operations: what the daemon receives and sends, in each channel.

use serde_json::{Map, Value, json};

use super::super::described::{Schemas, Types};
use super::bindings;
use super::channels::{channel, message};
use super::messages::{BATCH, LATEST, Messages, PAGE, PROBLEM, PUBLISHED, STREAMED, of_frame, of_type};
use super::{EVENTS, NEWEST, SOCKET, STREAM};

/// The frames that answer a frame of the client.
pub(super) const REPLIES: [(&str, &[&str]); 5] = [
    ("subscribe", &["subscribed", "error"]),
    ("unsubscribe", &["unsubscribed", "error"]),
    ("sync", &["synced", "error"]),
    ("ping", &["pong"]),
    ("auth", &["welcome", "authenticated", "error"]),
];

/// Adds all operations.
pub(super) fn add(operations: &mut Map<String, Value>, messages: &Messages, types: &Types<'_>, schemas: &mut Schemas) {
    for frame in messages.beginning("frame.") {
        let name = frame.trim_start_matches("frame.");
        let replies = REPLIES.iter().find(|(request, _)| *request == name).map(|(_, replies)| *replies);
        let mut operation = json!({
            "action": if replies.is_some() { "receive" } else { "send" },
            "channel": channel(SOCKET),
            "title": format!("The frame `{name}`"),
            "tags": [{ "name": "frames" }],
            "messages": [message(SOCKET, &frame)],
        });
        if let Some(replies) = replies {
            let replies: Vec<_> = replies.iter().map(|reply| message(SOCKET, &of_frame(reply))).collect();
            operation["reply"] = json!({ "channel": channel(SOCKET), "messages": replies });
        }
        operations.insert(frame, operation);
    }
    let mut of_http = |id: &str, action: &str, method: &str, path: &str, title: &str, sent: Vec<String>| {
        let operation = json!({
            "action": action,
            "channel": channel(path),
            "title": title,
            "tags": [{ "name": "http" }],
            "bindings": bindings::request(method, path, schemas),
            "messages": sent.iter().map(|key| message(path, key)).collect::<Vec<_>>(),
        });
        operations.insert(format!("http.{id}"), operation);
    };
    let events = types.types.iter().map(|known| of_type(known.name)).chain([BATCH.to_owned()]);
    of_http("publish", "receive", "POST", EVENTS, "Publishing", events.collect());
    of_http("poll", "send", "GET", EVENTS, "History, and a long-poll with `wait`", vec![PAGE.into()]);
    of_http("stream", "send", "GET", STREAM, "Server-Sent Events", vec![STREAMED.into()]);
    of_http(
        "latest",
        "send",
        "GET",
        NEWEST,
        "The newest event of a subject, and a long-poll with `wait`",
        vec![LATEST.into()],
    );
    if let Some(publish) = operations.get_mut("http.publish") {
        let replies = [PUBLISHED, PROBLEM].map(|key| message(EVENTS, key));
        publish["reply"] = json!({ "channel": channel(EVENTS), "messages": replies });
    }
    for known in &types.types {
        let name = known.name;
        for (verb, action, title) in [("publish", "receive", "Publishing"), ("deliver", "send", "Delivery")] {
            let operation = json!({
                "action": action,
                "channel": channel(name),
                "title": format!("{title} of `{name}`"),
                "tags": [{ "name": "events" }],
                "messages": [message(name, &of_type(name))],
            });
            operations.insert(format!("{verb}.{name}"), operation);
        }
    }
}
