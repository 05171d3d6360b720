//! Reads a frame of a client, and says what is wrong with one that is none.

use super::{Auth, ClientFrame, ErrorCode, MAX_SUB, Subscribe, Sync, Unsubscribe, frame_check};
use crate::event::Json;

/// A client's frame that cannot be read: what the `error` frame says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    pub code: ErrorCode,
    pub message: String,
    /// The `sub` that the frame named.
    pub sub: Option<String>,
    /// The `id` of a `sync`.
    pub id: Option<String>,
}

/// Parses a frame from a client.
///
/// # Errors
/// [`BadFrame`].
pub fn read_client_frame(text: &str) -> Result<ClientFrame, BadFrame> {
    let bad = |code, message: &str| BadFrame { code, message: message.into(), sub: None, id: None };
    let value = Json::parse(text).map_err(|error| bad(ErrorCode::MalformedJson, &error.to_string()))?;
    let name = |member: &str| {
        value.get(member).and_then(Json::as_str).filter(|name| name.chars().count() <= MAX_SUB).map(str::to_owned)
    };
    let is_sync = value.get("type").and_then(Json::as_str) == Some("sync");
    let (sub, id) = (name("sub"), name("id").filter(|_| is_sync));
    let bad = |code, message: &str| BadFrame { sub: sub.clone(), id: id.clone(), ..bad(code, message) };
    let Json::Object(mut members) = value else {
        return Err(bad(ErrorCode::InvalidFrame, "a frame must be a JSON object"));
    };
    let kind = members.iter().position(|(name, _)| name == "type").map(|index| members.remove(index).1);
    let Some(Json::String(kind)) = kind else {
        let message = "a frame must have a `type`: subscribe, unsubscribe, sync, ping or auth";
        return Err(bad(ErrorCode::InvalidFrame, message));
    };
    frame_check::check(&kind, &members).map_err(|(code, message)| bad(code, &message))?;
    if kind == "auth" {
        // Taken from here, so that no second text has the token.
        let token = members.into_iter().find_map(|(name, value)| match value {
            Json::String(token) if name == "token" => Some(token.into_owned()),
            _ => None,
        });
        return Ok(ClientFrame::Auth(Auth { token: token.unwrap_or_default().into() }));
    }
    let rest = Json::Object(members).to_string();
    let read = match kind.as_ref() {
        "subscribe" => serde_json::from_str(&rest).map(ClientFrame::Subscribe),
        "unsubscribe" => serde_json::from_str(&rest).map(ClientFrame::Unsubscribe),
        "sync" => serde_json::from_str(&rest).map(ClientFrame::Sync),
        _ => serde_json::from_str(&rest).map(ClientFrame::Ping),
    };
    let frame = read.map_err(|error| {
        // The place is one in `rest`, which the client did not write.
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
        bad(ErrorCode::InvalidFrame, &format!("{kind}: {message}"))
    })?;
    let (member, name) = match &frame {
        ClientFrame::Subscribe(Subscribe { sub, .. }) | ClientFrame::Unsubscribe(Unsubscribe { sub }) => ("sub", sub),
        ClientFrame::Sync(Sync { id }) => ("id", id),
        ClientFrame::Ping(_) | ClientFrame::Auth(_) => return Ok(frame),
    };
    if name.is_empty() || name.chars().count() > MAX_SUB {
        return Err(bad(ErrorCode::InvalidFrame, &format!("/{member}: must have 1 to {MAX_SUB} characters")));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_invalid_frame_has_its_error_code() {
        let code = |text: &str| read_client_frame(text).unwrap_err().code;
        assert_eq!(code("{"), ErrorCode::MalformedJson);
        assert_eq!(code("[]"), ErrorCode::InvalidFrame);
        assert_eq!(code("{}"), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":7}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subcribe"}"#), ErrorCode::UnknownFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"s"}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"s","channel":"c","were":{}}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"subscribe","sub":"","channel":"c"}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"ping","x":1}"#), ErrorCode::InvalidFrame);
        let long = "é".repeat(65);
        assert_eq!(code(&format!(r#"{{"type":"unsubscribe","sub":"{long}"}}"#)), ErrorCode::InvalidFrame);
        assert_eq!(code(&format!(r#"{{"type":"sync","id":"{long}"}}"#)), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"sync","id":""}"#), ErrorCode::InvalidFrame);
        assert_eq!(code(r#"{"type":"sync"}"#), ErrorCode::InvalidFrame);
        let named = |text: &str| read_client_frame(text).map_err(|bad| (bad.sub, bad.id)).unwrap_err();
        assert_eq!(named(r#"{"type":"sync","id":"7","x":1}"#), (None, Some("7".into())));
        assert_eq!(named(r#"{"type":"subscribe","sub":"s","id":"7"}"#), (Some("s".into()), None));
    }

    #[test]
    fn an_auth_frame_is_read_and_its_token_is_shown_nowhere() {
        let frame = ClientFrame::Auth(Auth { token: "s3cret".into() });
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(text, r#"{"type":"auth","token":"s3cret"}"#);
        assert_eq!(format!("{frame:?}"), "Auth(Auth { .. })");
        assert!(read_client_frame(&text) == Ok(frame));
        for text in [
            r#"{"type":"auth"}"#,
            r#"{"type":"auth","token":["s3cret"]}"#,
            r#"{"type":"auth","token":{"s3cret":1}}"#,
            r#"{"type":"auth","token":"s3cret","sub":"x"}"#,
        ] {
            let BadFrame { code, message, .. } = read_client_frame(text).unwrap_err();
            assert_eq!(code, ErrorCode::InvalidFrame, "{text}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
