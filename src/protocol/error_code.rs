//! The one list of error codes: what a problem document, an `error` frame and the clients call each refusal.
//!
//! A code is stable, the sentence beside it is not. The TypeScript client's list is generated from this one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the codes once, with everything that is known of each.
macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// Why something was refused or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "server", derive(schemars::JsonSchema), schemars(rename = "DaemonErrorCode"))]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $name,)+
        }

        impl ErrorCode {
            /// All codes, in the order of their statuses.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The code as it is written: kebab-case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// The HTTP status of a response with this code. A code that only frames have has the status that a request
            /// would get for it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// What the code means, as a title (RFC 9457, section 3.1.3): the same words for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// When this code is the answer, for documents: one or more sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

error_codes! {
    /// The text is not JSON.
    MalformedJson = "malformed-json", 400, "Not JSON";
    /// The request is not one that this route takes.
    BadRequest = "bad-request", 400, "Bad request";
    /// A known frame with wrong or unknown members, or no object with a `type`.
    InvalidFrame = "invalid-frame", 400, "The frame is not valid";
    /// There is no frame of that type.
    UnknownFrame = "unknown-frame", 400, "Unknown frame";
    /// A credential is needed, or the one that was sent is not accepted: it is wrong, expired or revoked.
    Unauthenticated = "unauthenticated", 401, "A valid credential is required";
    /// The credential does not allow this. A channel that does not exist gets the same answer.
    Forbidden = "forbidden", 403, "Not allowed";
    /// A page of this origin may not use the daemon.
    ForbiddenOrigin = "forbidden-origin", 403, "The origin is not allowed";
    /// There is nothing at this path.
    NotFound = "not-found", 404, "Not found";
    /// The path does not take this method.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// The client took too long to send the request.
    RequestTimeout = "request-timeout", 408, "The request took too long";
    /// A body, an event or a batch is larger than allowed.
    PayloadTooLarge = "payload-too-large", 413, "Too large";
    /// Events do not come in this media type.
    UnsupportedMediaType = "unsupported-media-type", 415, "Unsupported media type";
    /// The daemon does not answer under the host that the request names.
    MisdirectedRequest = "misdirected-request", 421, "The host is not this daemon's";
    /// An event does not fit its type's schema, or CloudEvents 1.0.
    InvalidEvent = "invalid-event", 422, "The event does not fit its type";
    /// There is no event type of that name.
    UnknownType = "unknown-type", 422, "Unknown event type";
    /// There is no channel of that name.
    UnknownChannel = "unknown-channel", 422, "Unknown channel";
    /// A filter names a field that the channel's schema does not have.
    UnknownField = "unknown-field", 422, "Unknown field";
    /// The filter cannot be read.
    InvalidFilter = "invalid-filter", 422, "The filter cannot be used";
    /// A `since` cannot be read, or is older than the connection's stream of the channel.
    InvalidPosition = "invalid-position", 422, "The position cannot be used";
    /// The type does not keep the newest event of each subject.
    LatestNotKept = "latest-not-kept", 422, "The type keeps no newest events";
    /// The connection already has a subscription of that name.
    DuplicateSubscription = "duplicate-subscription", 422, "The subscription exists";
    /// The connection has no subscription of that name.
    UnknownSubscription = "unknown-subscription", 422, "Unknown subscription";
    /// The connection has as many subscriptions as it may have.
    TooManySubscriptions = "too-many-subscriptions", 422, "Too many subscriptions";
    /// This route needs a WebSocket handshake.
    UpgradeRequired = "upgrade-required", 426, "A WebSocket is required";
    /// Too much at once; nothing was done.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// The head of the request is larger than allowed, or has too many fields.
    HeadersTooLarge = "headers-too-large", 431, "The headers are too large";
    /// The daemon failed.
    Internal = "internal", 500, "The daemon failed";
    /// The broker cannot be reached or did not answer. For a publish: whether it took the events is not known.
    BrokerUnavailable = "broker-unavailable", 503, "The broker is unavailable";
    /// This node is about to stop.
    Draining = "draining", 503, "This node is about to stop";
    /// Too many clients connect at once.
    Overloaded = "overloaded", 503, "Too many at once";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
