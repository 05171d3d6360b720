//! What an error means for a call: the one place where error replies of Redis become [`BrokerError`]s.
//!
//! A reply that names a refusal is [`BrokerError::Rejected`]. A reply that names a limit of a hosted server is
//! [`BrokerError::RateLimited`], or [`BrokerError::TooLarge`] if the limit is that of one call. Everything else is
//! [`BrokerError::Unavailable`]: a timeout, a lost connection, a server that is loading, a replica, and every text that this
//! module does not know.

use fred::error::{Error, ErrorKind};

use super::BrokerError;

/// Codes of a server that cannot carry out the call now. The same call may succeed later, or at another server.
const TEMPORARY: [&str; 10] =
    ["ASK", "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "NOREPLICAS", "NOSCRIPT", "READONLY", "TRYAGAIN"];

/// Codes of a server that refuses the call until somebody changes its configuration, its data or its memory.
const REFUSALS: [&str; 9] =
    ["CROSSSLOT", "DENIED", "MISCONF", "NOAUTH", "NOPERM", "NOPROTO", "OOM", "WRONGPASS", "WRONGTYPE"];

/// Refusals that Redis and compatible servers report under the general code `ERR`, or without a code. In lower case.
const REFUSAL_TEXTS: [&str; 9] = [
    "the user executing the script can't",
    "unknown command",
    "unknown subcommand",
    "no such master",
    "without any password configured",
    "db index is out of range",
    "quota exceeded",
    "size exceeded",
    "script attempted to access",
];

/// Limits of hosted servers, and of connections. In lower case.
const LIMIT_TEXTS: [&str; 5] =
    ["too many requests", "rate limit", "max concurrent connections", "max number of clients", "per second exceeded"];

/// What Upstash replies to a call that is larger than it takes. In lower case.
const TOO_LARGE_TEXT: &str = "max request size exceeded";

/// The text of a call without an answer.
pub(super) const NO_ANSWER: &str = "Redis does not answer";

/// Whether an error text says that the server is a replica. A call that reached one came on the connection to a master that
/// was demoted.
pub(super) fn is_no_master(text: &str) -> bool {
    let message = raised_in_script(text).unwrap_or(text);
    ["READONLY", "MASTERDOWN"].iter().any(|code| message.starts_with(code))
}

/// Whether a server that refused a connection says that it does not speak RESP3: it has no HELLO, or refuses this version.
pub(super) fn lacks_resp3(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.starts_with("NOPROTO") || lower.contains("unknown command") && lower.contains("hello")
}

/// What an error of fred means. An error reply of the server is classified by [`from_reply`].
pub(super) fn from_fred(error: &Error) -> BrokerError {
    match error.kind() {
        // fred gives the replies that it does not know the kind `Unknown`, and `Config` to one `ERR`.
        ErrorKind::Auth
        | ErrorKind::Cluster
        | ErrorKind::Config
        | ErrorKind::InvalidArgument
        | ErrorKind::InvalidCommand
        | ErrorKind::Unknown => from_reply(error.details()),
        // A probe's error reaches /readyz and the log as it is, so it names the server that did not answer.
        ErrorKind::IO => BrokerError::Unavailable(format!("no connection to Redis: {}", describe(error))),
        _ => BrokerError::Unavailable(describe(error)),
    }
}

/// As [`from_fred`], for a command that only a sentinel or a node of a cluster knows. A server that is none says so; the
/// text then names the scheme of the URL for it.
pub(super) fn from_special_server(error: &Error) -> BrokerError {
    let with_hint = |cause: String| match cause.to_ascii_lowercase() {
        lower if lower.contains("cluster support disabled") || lower.contains("unknown command") => {
            format!(
                "{}; for a single Redis server, the broker's URL must begin with redis:// or rediss://",
                cause.trim_end()
            )
        }
        _ => cause,
    };
    match from_fred(error) {
        BrokerError::Unavailable(cause) => BrokerError::Unavailable(with_hint(cause)),
        BrokerError::Rejected(cause) => BrokerError::Rejected(with_hint(cause)),
        other => other,
    }
}

/// What an error reply of Redis means: the text of a RESP error, or of an error that a script caught.
///
/// Texts are searched in the first sentence only. Some servers append the refused command, which contains what a publisher
/// wrote.
pub(super) fn from_reply(text: &str) -> BrokerError {
    let raised = raised_in_script(text);
    let message = raised.unwrap_or(text);
    let code = message.split([' ', ':']).next().unwrap_or_default();
    if TEMPORARY.contains(&code) {
        return BrokerError::Unavailable(text.to_owned());
    }
    if REFUSALS.contains(&code) {
        return BrokerError::Rejected(text.to_owned());
    }
    let sentence = message.split(['.', '\n', '"']).next().unwrap_or_default().to_ascii_lowercase();
    if sentence.contains(TOO_LARGE_TEXT) {
        return BrokerError::TooLarge(text.to_owned());
    }
    let says = |texts: &[&str]| texts.iter().any(|text| sentence.contains(text));
    let limit = code == "LIMIT" || sentence.contains("max ") && sentence.contains(" limit") || says(&LIMIT_TEXTS);
    if limit {
        return BrokerError::RateLimited { cause: text.to_owned(), retry_after: None };
    }
    // An error that a script raised has no cause outside of the server.
    if raised.is_some() || says(&REFUSAL_TEXTS) || is_script_error(text) {
        return BrokerError::Rejected(text.to_owned());
    }
    BrokerError::Unavailable(text.to_owned())
}

/// An error of fred or Redis as a sentence for people.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Timeout => NO_ANSWER.into(),
        ErrorKind::IO | ErrorKind::Protocol => without_debug_form(error.details()).to_owned(),
        _ => error.details().to_owned(),
    }
}

/// fred writes the operating system's errors, and those of its decoder, as Rust's debugger would: `Custom { kind: …, error: "…" }`.
fn without_debug_form(details: &str) -> &str {
    let quoted = |name| details.split_once(name).and_then(|(_, rest)| rest.split_once('"'));
    let message = quoted("message: \"").or_else(|| quoted("error: \""));
    match message.map_or(details, |(message, _)| message) {
        // The words of tokio-util's decoder.
        "bytes remaining on stream" => "the server closed the connection in the middle of a message",
        message => message,
    }
}

/// The error that a command raised in a script of a Redis before 7.0, which wraps it:
/// `ERR Error running script (call to f_HASH): @user_script: LINE: -CODE TEXT`.
fn raised_in_script(text: &str) -> Option<&str> {
    let frame = ["ERR Error running script", "@user_script", "user_script"].iter().any(|start| text.starts_with(start));
    let (_, raised) = frame.then(|| text.split_once("user_script"))??;
    Some(raised.trim_start_matches(|c: char| c.is_ascii_digit() || [' ', ':', '-'].contains(&c)))
}

/// Whether Redis 7.0 or later says that a script failed: `ERR … script: HASH, on @user_script:LINE.`
fn is_script_error(text: &str) -> bool {
    text.starts_with("ERR user_script:") || text.starts_with("ERR ") && text.contains(", on @user_script:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "6b1bf486c81ceb7edf3c093f4c48582e38c0e791";

    #[test]
    fn an_error_of_the_decoder_or_the_system_is_a_sentence() {
        let cut = r#"Custom { kind: Other, error: "bytes remaining on stream" }"#;
        let closed = "the server closed the connection in the middle of a message";
        for (kind, details, expected) in [
            (ErrorKind::IO, cut.to_owned(), closed),
            (ErrorKind::Protocol, format!("IO Error: {cut}"), closed),
            (
                ErrorKind::IO,
                r#"Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }"#.into(),
                "Connection refused",
            ),
            (ErrorKind::Protocol, "replies do not match".into(), "replies do not match"),
        ] {
            assert_eq!(describe(&Error::new(kind, details)), expected);
        }
    }

    #[test]
    fn refusals_are_rejected() {
        for text in [
            "NOPERM this user has no permissions to run the 'xadd' command",
            "NOPERM No permissions to access a key",
            "NOAUTH Authentication required.",
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "WRONGPASS invalid or missing auth token",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "OOM command not allowed when used memory > 'maxmemory'. script: HASH, on @user_script:54.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
             that may modify the data set are disabled, because this instance is configured to report errors during \
             writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
             details about the RDB error.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "NOPROTO unsupported protocol version",
            "DENIED Redis is running in protected mode because protected mode is enabled",
            "ERR The user executing the script can't run this command or subcommand",
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments \
             script: HASH, on @user_script:12.",
            "ERR unknown command 'EVALSHA', with args beginning with: ",
            "ERR No such master with that name",
            "ERR DB index is out of range",
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
            "ERR DB capacity quota exceeded",
            "ERR max single record size exceeded. Limit: 104857600 bytes, Actual: 104857700 bytes",
            "ERR user_script:5: attempt to index field '?' (a nil value) script: HASH, on @user_script:5.",
            "ERR Error running script (call to f_HASH): @user_script:31: WRONGTYPE Operation against a key holding the \
             wrong kind of value",
            "ERR Error running script (call to f_HASH): @user_script:12: user_script:12: attempt to index a nil value",
            "@user_script: 54: -OOM command not allowed when used memory > 'maxmemory'.",
            "@user_script: 54: The user executing the script can't run this command or subcommand",
            "user_script:5: attempt to perform arithmetic on a nil value",
        ] {
            let text = text.replace("HASH", HASH);
            assert_eq!(from_reply(&text), BrokerError::Rejected(text));
        }
    }

    #[test]
    fn a_server_without_resp3_says_so() {
        for text in [
            "ERR unknown command 'HELLO', with args beginning with: '3' ",
            "ERR unknown command `hello`, with args beginning with: `3`, ",
            "NOPROTO unsupported protocol version",
        ] {
            assert!(lacks_resp3(text), "{text}");
        }
        for text in
            ["NOAUTH HELLO must be called with the client already authenticated", "ERR unknown command 'EVALSHA'"]
        {
            assert!(!lacks_resp3(text), "{text}");
        }
    }

    #[test]
    fn limits_of_hosted_servers_are_rate_limits() {
        for text in [
            "ERR max daily request limit exceeded. Limit: 10000, Usage: 10001. See \
             https://upstash.com/docs/redis/troubleshooting/max_daily_request_limit for details",
            "ERR max daily request limit exceeded. Limit: 10000, Usage: 10001, command was: [\"eval\",\"…\"]",
            "ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
            "ERR max requests limit exceeded",
            "ERR max daily bandwidth limit exceeded",
            "ERR max concurrent connections exceeded",
            "ERR max number of clients reached",
            "ERR Too many requests",
            "Too many requests",
            "LIMIT 100 commands a second",
        ] {
            assert_eq!(from_reply(text), BrokerError::RateLimited { cause: text.into(), retry_after: None });
        }
    }

    #[test]
    fn a_call_that_is_too_large_may_succeed_in_parts() {
        for text in [
            "ERR max request size exceeded",
            "ERR max request size exceeded. Limit: 1048576 bytes, Actual: 1202032 bytes",
        ] {
            assert_eq!(from_reply(text), BrokerError::TooLarge(text.into()));
        }
    }

    #[test]
    fn what_is_not_known_is_unavailable() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "CLUSTERDOWN Hash slot not served",
            "READONLY You can't write against a read only replica.",
            "READONLY You can't write against a read only replica. script: HASH, on @user_script:22.",
            "ERR Error running script (call to f_HASH): @user_script: 22: -READONLY You can't write against a read only \
             replica.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "MOVED 3999 127.0.0.1:6381",
            "ASK 3999 127.0.0.1:6381",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "NOREPLICAS Not enough good replicas to write.",
            "ERR Connection timed out",
            "ERR upstream failed on \"max limit\"",
            "this Redis is a replica, which takes no writes (READONLY)",
            "",
        ] {
            let text = text.replace("HASH", HASH);
            assert_eq!(from_reply(&text), BrokerError::Unavailable(text));
        }
    }

    #[test]
    fn errors_of_the_connection_are_unavailable_and_replies_are_classified() {
        let of = |kind, details: &'static str| from_fred(&Error::new(kind, details));
        assert_eq!(of(ErrorKind::Timeout, "OOM"), BrokerError::Unavailable("Redis does not answer".into()));
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(
            of(ErrorKind::IO, refused),
            BrokerError::Unavailable("no connection to Redis: Connection refused".into())
        );
        let unknown = "Custom { kind: Uncategorized, error: \"failed to lookup address information: Name or service not known\" }";
        assert_eq!(
            of(ErrorKind::IO, unknown),
            BrokerError::Unavailable(
                "no connection to Redis: failed to lookup address information: Name or service not known".into()
            )
        );
        assert_eq!(of(ErrorKind::Canceled, "Canceled."), BrokerError::Unavailable("Canceled.".into()));
        assert_eq!(of(ErrorKind::Auth, "WRONGPASS no"), BrokerError::Rejected("WRONGPASS no".into()));
        assert_eq!(of(ErrorKind::Unknown, "OOM no"), BrokerError::Rejected("OOM no".into()));
    }
}
