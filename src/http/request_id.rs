//! Every response has `x-request-id`: the client's own if it sent a usable one, or a new one. The log line of a refusal or
//! failure has it too, so that an operator can match the two.

use axum::http::{HeaderName, HeaderValue};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The header's name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id, for a handler that answers by itself; in the request's extensions.
#[derive(Clone)]
pub(super) struct RequestId(pub HeaderValue);

/// The longest id that is taken from a client, in bytes.
const MAX_LEN: usize = 128;

/// The length of a new id, in bytes.
pub(super) const LENGTH: usize = Hyphenated::LENGTH;

/// The id of a request: what the client sent if it is usable, or a new one.
pub(super) fn choose<'a>(sent: Option<&'a [u8]>, new: &'a mut [u8; LENGTH]) -> &'a [u8] {
    let usable = |id: &&[u8]| id.len() <= MAX_LEN && !id.is_empty() && id.iter().all(u8::is_ascii_graphic);
    match sent.filter(usable) {
        Some(sent) => sent,
        None => Uuid::now_v7().hyphenated().encode_lower(new).as_bytes(),
    }
}
