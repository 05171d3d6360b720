//! The one list of close codes: why the daemon closed a WebSocket (RFC 6455, section 7.4; the application's own from 4000).

/// Declares the codes once, with everything that is known of each.
macro_rules! close_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)+) => {
        /// Why the daemon closed a connection (RFC 6455, section 7.4, and the application's own from 4000).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum CloseCode {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl CloseCode {
            /// All close codes, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Why the daemon closes with this code, for documents: one or more sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

close_codes! {
    /// The peer has finished.
    Normal = 1000;
    /// The peer is going away.
    GoingAway = 1001;
    /// The client broke the WebSocket protocol.
    Protocol = 1002;
    /// The client sent a binary frame, which this protocol does not have.
    Unsupported = 1003;
    /// The client sent text that is not UTF-8, or a compressed message that cannot be inflated.
    InvalidText = 1007;
    /// The client sent a message that is larger than allowed.
    TooBig = 1009;
    /// The daemon failed; the client may resume on a new connection (RFC 6455, section 7.4.1).
    Internal = 1011;
    /// This node is about to stop.
    Draining = 1012;
    /// This node is partitioned from its broker. Another node may still reach it.
    BrokerUnavailable = 1013;
    /// The client sent no credential in time, or one that is not accepted.
    Unauthenticated = 4001;
    /// The client sent a valid credential of somebody else on a connection that had one.
    Forbidden = 4003;
    /// The client's credential was revoked.
    Revoked = 4004;
    /// The client's token has expired and was not renewed. A client that can get a new one reconnects with it.
    TokenExpired = 4005;
    /// The client read more slowly than its events arrived, and its send buffer overflowed.
    SlowConsumer = 4008;
    /// The client sent nothing for two heartbeat intervals.
    HeartbeatTimeout = 4009;
    /// The client sent more frames than it may in that time.
    RateLimited = 4029;
}

impl CloseCode {
    /// The codes after which a client does not reconnect with the same token, because the cause would remain.
    pub const FINAL: [Self; 5] =
        [Self::TooBig, Self::Unauthenticated, Self::Forbidden, Self::Revoked, Self::TokenExpired];

    /// The code's name in the generated clients, in camel case.
    pub fn name(self) -> String {
        let name = format!("{self:?}");
        name[..1].to_lowercase() + &name[1..]
    }

    /// The code as a number.
    pub fn as_u16(self) -> u16 {
        self as u16
    }

    /// Whether a client must not reconnect after this code. See [`CloseCode::FINAL`].
    pub fn is_final(code: u16) -> bool {
        Self::FINAL.into_iter().any(|known| known.as_u16() == code)
    }
}
