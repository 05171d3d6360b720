//! The HTTPS requests that the daemon sends to others, to issuers of tokens, to webhooks and to sinks: their TLS, and why they
//! fail.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

/// The certificate authorities of the operating system.
///
/// # Errors
/// There are none.
pub fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!("the system has no certificate authorities, which https needs{errors}"));
    }
    Ok(roots)
}

/// TLS that trusts these certificate authorities.
///
/// # Errors
/// A sentence about what rustls refuses.
pub fn tls(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whether a URL is on this machine, so that a secret may go there without TLS. A name such as `127.example.com` is not.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// The pause of a `Retry-After` (RFC 9110, section 10.2.3), at most `max`: seconds, or a date in one of the three formats of
/// section 5.6.7.
pub fn retry_after(value: &str, max: Duration) -> Option<Duration> {
    let value = value.trim();
    let pause = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => max,
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(pause.min(max))
}

/// Why the body of an answer could not be read.
pub enum BodyError {
    /// It has more bytes than this.
    TooLong(usize),
    /// The connection ended, or the time was over.
    Lost(reqwest::Error),
}

/// The body of an answer, which has at most so many bytes.
///
/// # Errors
/// See [`BodyError`].
pub async fn body(answer: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(BodyError::Lost)? {
        if body.len() + chunk.len() > most {
            return Err(BodyError::TooLong(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no answer, as one line without the URL. The innermost cause: those around it say only that a request failed.
pub fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = if error.is_connect() { "no connection" } else { "the connection ended before an answer" };
    let innermost = std::iter::successors(error.source(), |&inner| inner.source()).last();
    let cause = innermost.map_or_else(|| error.to_string(), ToString::to_string);
    format!("{what}: {cause}").chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1:1/", true),
            ("http://127.9.9.9", true),
            ("http://localhost", true),
            ("http://[::1]:8080", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://127.evil.example/", false),
            ("http://localhost.example", false),
            ("http://128.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_in_each_format_of_http() {
        let max = Duration::from_secs(300);
        let pause = |value: &str| retry_after(value, max);
        assert_eq!(pause(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(pause("99999999"), Some(max));
        assert_eq!(pause("99999999999999999999999999"), Some(max), "more than 64 bits");
        for date in ["Sat, 06 Nov 2094 08:49:37 GMT", "Saturday, 06-Nov-60 08:49:37 GMT", "Sat Nov  6 08:49:37 2094"] {
            assert_eq!(pause(date), Some(max), "{date}");
        }
        assert_eq!(pause("Sunday, 06-Nov-94 08:49:37 GMT"), Some(Duration::ZERO), "a date of the past");
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(pause(text), None, "{text}");
        }
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        assert!(pause(&soon).is_some_and(|pause| (50..=60).contains(&pause.as_secs())), "{soon}");
    }
}
