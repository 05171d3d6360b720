//! Parsers for the values of settings: from text to a typed value, or a phrase that says what was expected.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{BusMessage, FileSync, LogFormat};
pub use crate::event::{duration, duration_or_zero};
use crate::suggest;

/// What was expected instead: completes the sentence "expected …".
pub type Expected = String;

/// The word that was probably meant, in parentheses.
fn meant<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest::nearest(text, known).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
}

/// `IP:PORT`, or `localhost:PORT` for 127.0.0.1.
pub fn address(text: &str) -> Result<SocketAddr, Expected> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    local
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("an IP address and a port, such as 127.0.0.1:7400 or [::1]:7400{}", address_hint(text)))
}

/// What to write instead of a text that is nearly an address.
fn address_hint(text: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if is_number(text) || (host.is_empty() && is_number(port)) {
        let port = text.trim_start_matches(':');
        return match port.parse::<u16>() {
            Ok(port) => format!(" (write 127.0.0.1:{port} to accept only programs on this machine)"),
            Err(_) => " (a port is at most 65535)".into(),
        };
    }
    if text.parse::<IpAddr>().is_ok() {
        let host = if text.contains(':') { format!("[{text}]") } else { text.to_owned() };
        return format!(" (add the port: {host}:7400)");
    }
    match (is_number(port), port.parse::<u16>()) {
        (true, Err(_)) => " (a port is at most 65535)".into(),
        (true, Ok(_)) if url::Host::parse(host).is_ok() => " (write the IP address of a host, not its name)".into(),
        _ => String::new(),
    }
}

/// `HOST:PORT`.
pub fn host_and_port(text: &str) -> Result<String, Expected> {
    let parts = text.rsplit_once(':').map(|(host, port)| (url::Host::parse(host), port.parse::<u16>()));
    match parts {
        Some((Ok(_), Ok(_))) => Ok(text.into()),
        _ => Err("a host and a port, such as bus-1.example.com:7400".into()),
    }
}

/// A pulse of the broker. A shorter one would be load without use; a longer one would hide for too long that a broker fails.
pub fn pulse(text: &str) -> Result<Duration, Expected> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(300);
    match duration_or_zero(text)? {
        pulse if allowed.contains(&pulse) => Ok(pulse),
        _ => Err("a duration from 100ms to 5m".into()),
    }
}

/// A size in bytes: a whole number, which `KiB`, `MiB` or `GiB` may follow.
pub fn bytes(text: &str) -> Result<usize, Expected> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes_of_unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    match number.parse::<usize>().ok().and_then(|number| number.checked_mul(bytes_of_unit)) {
        Some(bytes) if bytes > 0 && bytes <= u32::MAX as usize => Ok(bytes),
        Some(_) if bytes_of_unit > 0 => Err("a size above zero and below 4GiB".into()),
        _ => Err("a size such as 65536 (bytes), 64KiB or 1MiB".into()),
    }
}

/// A whole number above zero.
pub fn count(text: &str) -> Result<u64, Expected> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number above zero".into())
}

/// `true` or `false`.
pub fn switch(text: &str) -> Result<bool, Expected> {
    text.parse().map_err(|_| "true or false".into())
}

/// A path; every text is one.
pub fn path(text: &str) -> Result<PathBuf, Expected> {
    Ok(text.into())
}

/// The name of a node or of a namespace.
pub fn name(text: &str) -> Result<String, Expected> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(good) {
        true => Ok(text.into()),
        false => Err("1 to 64 letters, digits, `.`, `_` or `-`".into()),
    }
}

/// The prefix of names on Redis. Braces would change the hash tag, and glob characters would match other names.
pub fn prefix(text: &str) -> Result<String, Expected> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    match text.len() <= 64 && text.bytes().all(good) {
        true => Ok(text.into()),
        false => Err("at most 64 letters, digits, `.`, `_`, `:`, `/` or `-`".into()),
    }
}

/// `os` or `always`.
pub fn file_sync(text: &str) -> Result<FileSync, Expected> {
    match text {
        "os" => Ok(FileSync::Os),
        "always" => Ok(FileSync::Always),
        _ => Err(format!("os or always{}", meant(text, ["os", "always"]))),
    }
}

/// `event` or `position`.
pub fn bus_message(text: &str) -> Result<BusMessage, Expected> {
    let all = [BusMessage::Event, BusMessage::Position];
    let known = all.into_iter().find(|message| message.as_str() == text);
    known.ok_or_else(|| format!("event or position{}", meant(text, all.map(BusMessage::as_str))))
}

/// `pretty` or `json`.
pub fn log_format(text: &str) -> Result<LogFormat, Expected> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("pretty or json{}", meant(text, ["pretty", "json"]))),
    }
}

/// A filter of tracing-subscriber.
///
/// tracing-subscriber takes a word that is not a level as a module to log, and logs nothing else. A misspelt level would
/// then silence the log, so this function refuses such a word.
pub fn log_level(text: &str) -> Result<String, Expected> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            return Err(format!("one of {}, or module=LEVEL{}", LEVELS.join(", "), meant(&level, LEVELS)));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("a level, or module=LEVEL: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in
            [("250ms", 250), ("25s", 25_000), ("10m", 600_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
        for text in ["", "25", "s", "-1s", "1.5s", "1 s", "1w", "0s", "366d", "9999999h", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pulse_has_bounds() {
        for (text, millis) in [("100ms", 100), ("1s", 1_000), ("60s", 60_000), ("5m", 300_000)] {
            assert_eq!(pulse(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["0s", "99ms", "301s", "1h"] {
            assert_eq!(pulse(text), Err("a duration from 100ms to 5m".into()), "{text}");
        }
        assert!(pulse("1").is_err_and(|expected| expected.contains("write 1s")));
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        for (text, size) in [("1", 1), ("65536", 65536), ("64KiB", 65536), ("1MiB", 1 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(bytes(text), Ok(size));
        }
        for text in ["", "0", "0KiB", "64kb", "64KB", "KiB", "-1", "9GiB", "1.5MiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_level_is_refused() {
        assert!(log_level("info").is_ok() && log_level("warn,tidings::hub=debug").is_ok());
        assert!(log_level("inof").unwrap_err().contains("did you mean `info`?"));
        assert!(!log_level("verbose").unwrap_err().contains("did you mean"), "no level resembles it");
        assert!(log_level("tidings=verbose").is_err() && log_level("").is_err());
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(address("localhost:0"), Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert!(address("[::1]:7400").is_ok());
        assert!(address("7499").unwrap_err().contains("(write 127.0.0.1:7499 "));
        for text in ["", ":", "7400", ":7400", "127.0.0.1", "127.0.0.1:70000", "99999", "example.com:80", "[::1]"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
