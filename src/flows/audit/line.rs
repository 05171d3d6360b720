//! The line of a record: a JSON object. It has no credential, no query string, and `data` only where the settings say so.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::access::{CallDetails, Caller, Identity};
use crate::bus::audit::{Record, What};

/// Makes the lines of one node.
#[derive(Debug)]
pub struct Lines {
    pub node: String,
    /// By their number.
    pub namespaces: Vec<String>,
    /// Whether `data` is written, too.
    pub data: bool,
}

/// A line. A member that says nothing is left out; `position` and `duplicate` of an event are `null` where the broker gave
/// no answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    node: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(flatten)]
    what: Members<'a>,
    #[serde(flatten)]
    who: Who<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Members<'a> {
    Event(EventMembers<'a>),
    Refused {
        action: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    Revoked {
        revoked: &'a str,
        name: &'a str,
    },
    Reloaded {
        result: &'a str,
    },
    Lost {
        lines: u64,
    },
}

#[derive(Serialize)]
struct EventMembers<'a> {
    id: Cow<'a, str>,
    r#type: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    position: Option<String>,
    duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// Who it was, as far as the daemon knows.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Who<'a> {
    /// The name of the key, the `sub` of the token, or the part of the daemon: `bridge/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'a str>,
    /// The id of the API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The `iss` of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// What a line says of an event.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    causationid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Lines {
    /// Appends the lines of a record.
    pub fn write(&self, record: &Record, out: &mut Vec<u8>) {
        let namespace = record.caller.as_ref().map(Caller::namespace);
        let namespace = namespace.and_then(|number| self.namespaces.get(number.index())).map(String::as_str);
        let mut line = |kind, what| {
            let who = who(record);
            let line = Line { time: time(record.time), node: &self.node, kind, namespace, what, who };
            // Strings and numbers: serialization cannot fail.
            let _ = serde_json::to_writer(&mut *out, &line);
            out.push(b'\n');
        };
        match &record.what {
            What::Published(events) => {
                for event in events {
                    // The daemon has made this text, so it can be read.
                    let Ok(Envelope { id, r#type, subject, causationid, data }) = serde_json::from_str(&event.json)
                    else {
                        continue;
                    };
                    let (position, duplicate) =
                        event.appended.as_ref().map(|(at, again)| (at.to_string(), *again)).unzip();
                    let data = data.filter(|_| self.data);
                    let members = EventMembers { id, r#type, subject, position, duplicate, causationid, data };
                    line("event", Members::Event(members));
                }
            }
            What::Refused { action, name, code, reason } => {
                let (name, code) = (name.as_deref(), code.as_str());
                line("refused", Members::Refused { action, name, code, reason: *reason });
            }
            What::Revoked { kind, name } => line("revoked", Members::Revoked { revoked: kind, name }),
            What::Reloaded { result } => line("reloaded", Members::Reloaded { result }),
        }
    }

    /// The line that says how many were lost before it.
    pub fn lost(&self, lines: u64) -> Vec<u8> {
        let what = Members::Lost { lines };
        let (time, who) = (time(Timestamp::now()), Who::default());
        let line = Line { time, node: &self.node, kind: "lost", namespace: None, what, who };
        let mut out = serde_json::to_vec(&line).unwrap_or_default();
        out.push(b'\n');
        out
    }
}

fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn who(record: &Record) -> Who<'_> {
    let mut who = Who::default();
    match record.caller.as_ref().and_then(|caller| caller.principal()).map(|principal| &principal.identity) {
        Some(Identity::Key { id, name }) => (who.key, who.publisher) = (Some(&**id), Some(&**name)),
        Some(Identity::Token(token)) => {
            (who.issuer, who.publisher, who.jti) =
                (Some(&*token.issuer), token.subject.as_deref(), token.id.as_deref());
        }
        Some(Identity::Anonymous) => {}
        None => {}
    }
    match record.origin.as_deref() {
        Some(CallDetails::Request { address, id }) => (who.address, who.request_id) = (Some(*address), Some(&**id)),
        Some(CallDetails::Part(name)) => who.publisher = Some(&**name),
        None => {}
    }
    who
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::access::{NamespaceId, Principal, TokenIdentity};
    use crate::bus::audit::PublishedEvent;
    use crate::protocol::ErrorCode;

    fn lines(data: bool, what: What) -> Vec<Value> {
        let token = TokenIdentity {
            issuer: "https://a.example/".into(),
            subject: Some("u1".into()),
            id: Some("t1".into()),
            issued: None,
        };
        let (identity, namespace) = (Identity::Token(token), NamespaceId::FIRST);
        let principal = Principal { identity, namespace, grants: Arc::default(), expires: None };
        let origin = Some(Arc::new(CallDetails::Request { address: [127, 0, 0, 1].into(), id: "r1".into() }));
        let record =
            Record { time: Timestamp::UNIX_EPOCH, caller: Some(Caller::of(Arc::new(principal))), origin, what };
        let lines = Lines { node: "n1".into(), namespaces: vec!["shop".into()], data };
        let mut out = Vec::new();
        lines.write(&record, &mut out);
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_has_what_was_answered_and_who_published_it() {
        let json = r#"{"specversion":"1.0","id":"e\"1","source":"a","type":"t","subject":"s","x":1,"data":{"a":5.0}}"#;
        let event = || PublishedEvent { json: json.into(), appended: Some(("k3:41".parse().unwrap(), true)) };
        let unanswered = PublishedEvent { json: json.into(), appended: None };
        let read = lines(false, What::Published(vec![event(), unanswered]));
        let expected = json!({
            "time": "1970-01-01T00:00:00.000Z", "node": "n1", "kind": "event", "namespace": "shop", "id": "e\"1",
            "type": "t", "subject": "s", "position": "k3:41", "duplicate": true, "publisher": "u1",
            "issuer": "https://a.example/", "jti": "t1", "address": "127.0.0.1", "requestId": "r1",
        });
        assert_eq!(read[0], expected);
        assert_eq!((&read[1]["position"], &read[1]["duplicate"]), (&Value::Null, &Value::Null));
        let read = lines(true, What::Published(vec![event()]));
        assert_eq!(read[0]["data"].to_string(), r#"{"a":5.0}"#);
    }

    #[test]
    fn a_refusal_says_what_was_wanted() {
        let (action, name, reason) = ("subscribe", Some("order-status".into()), None);
        let read = lines(false, What::Refused { action, name, code: ErrorCode::Forbidden, reason });
        assert_eq!((&read[0]["kind"], &read[0]["action"]), (&json!("refused"), &json!("subscribe")));
        assert_eq!((&read[0]["name"], &read[0]["code"]), (&json!("order-status"), &json!("forbidden")));
    }
}
