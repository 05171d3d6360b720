//! Checks the type and the members of a client's frame before it is read, so that the refusal says what would be right.

use super::ErrorCode;
use crate::event::{Json, Member};
use crate::suggest::{self, Known};

/// The members of a frame beside `type`: those that it must have, and those that it may have. All are strings, except
/// `where`, which [`Filter`](crate::event::Filter) checks.
struct Members {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

/// How many characters of a value that is no string an error repeats.
const MAX_SHOWN: usize = 60;

const FRAMES: [(&str, Members); 5] = [
    ("subscribe", Members { required: &["sub", "channel"], optional: &["where", "since"] }),
    ("unsubscribe", Members { required: &["sub"], optional: &[] }),
    ("sync", Members { required: &["id"], optional: &[] }),
    ("ping", Members { required: &[], optional: &[] }),
    ("auth", Members { required: &["token"], optional: &[] }),
];

/// Checks a frame of this `type`, without its `type`.
pub(super) fn check(kind: &str, given: &[Member<'_>]) -> Result<(), (ErrorCode, String)> {
    let Some((_, Members { required, optional })) = FRAMES.iter().find(|(name, _)| *name == kind) else {
        let known = Known::new("types", FRAMES.iter().map(|(name, _)| *name));
        let refusal = format!("there is no frame of type {}", suggest::quoted(kind));
        return Err((ErrorCode::UnknownFrame, known.refuse(&refusal, kind)));
    };
    let invalid = |message: String| Err((ErrorCode::InvalidFrame, message));
    let known = || required.iter().chain(*optional).copied();
    if let Some(name) = given.iter().map(|(name, _)| name).find(|name| !known().any(|known| known == *name)) {
        let refusal = format!("a {kind} frame has no member {}", suggest::quoted(name));
        return invalid(Known::new("members", known().chain(["type"])).refuse(&refusal, name));
    }
    for name in known().filter(|name| *name != "where") {
        match given.iter().find(|(given, _)| given == name).map(|(_, value)| value) {
            Some(Json::String(_)) => {}
            // An error never repeats what may be a secret.
            Some(_) if name == "token" => return invalid(format!("/{name}: must be a string")),
            Some(other) => {
                let shown = other.to_string();
                return invalid(format!("/{name}: must be a string, not {}", suggest::cut(&shown, MAX_SHOWN)));
            }
            None if required.contains(&name) => return invalid(format!("/{name}: is required in a {kind} frame")),
            None => {}
        }
    }
    Ok(())
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::protocol::ClientFrame;

    #[test]
    fn the_members_are_those_of_the_frames_types() {
        let schema = schemars::schema_for!(ClientFrame).to_value();
        let variants = schema["oneOf"].as_array().unwrap();
        assert_eq!(variants.len(), FRAMES.len());
        for (variant, (kind, Members { required, optional })) in variants.iter().zip(FRAMES) {
            let names: Vec<&str> = variant["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let is_required = |name: &str| variant["required"].as_array().unwrap().iter().any(|known| known == name);
            assert_eq!(variant["properties"]["type"]["const"], Value::from(kind));
            let (must, may): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_required(name));
            assert_eq!(must[..], [&["type"], required].concat(), "{kind}");
            assert_eq!(may, optional, "{kind}");
        }
    }
}
