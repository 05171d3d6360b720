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
