//! The origins of web pages (RFC 6454), as browsers send them in `Origin`, and the origins of a setting.

use super::host::{self, Authority, Host, HostPattern};

/// The origin of a page: a scheme, a host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'a str,
    pub host: Host<'a>,
    /// The port, which may be the scheme's default. `None` where the scheme has none.
    port: Option<u16>,
}

/// The origins that an entry of a setting stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    scheme: Box<str>,
    host: HostPattern,
}

impl<'a> Origin<'a> {
    /// Parses `SCHEME://HOST` and `SCHEME://HOST:PORT` (RFC 6454, section 7). `null` is the origin of pages that have none,
    /// and so of none here.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(text).ok()?.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let (host, port) = host::split(rest)?;
        let host = Host::parse(host)?;
        Some(Self { scheme, host, port: port.or_else(|| default_port(scheme)) })
    }

    /// Whether a page of this origin calls the server that it came from. `host` is what the request names. Whether it came
    /// over TLS is known only if this process has decrypted it (`tls`): otherwise a proxy may have.
    pub fn is_same(&self, host: &Authority<'_>, tls: bool) -> bool {
        let web = self.scheme.eq_ignore_ascii_case("https") || !tls && self.scheme.eq_ignore_ascii_case("http");
        // Without a port, `Host` means the default one of its scheme, which is the page's.
        let port = host.port.or_else(|| default_port(self.scheme));
        web && self.host.is(&host.host) && self.port == port
    }
}

impl OriginPattern {
    /// Parses `SCHEME://HOST` and `SCHEME://HOST:PORT`, where the host may begin with `*.`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let mut host = HostPattern::parse(host)?;
        host.port = host.port.or_else(|| default_port(scheme));
        Some(Self { scheme: scheme.to_ascii_lowercase().into(), host })
    }

    /// Whether this is one of the origins.
    pub fn has(&self, origin: &Origin<'_>) -> bool {
        origin.scheme.eq_ignore_ascii_case(&self.scheme)
            && self.host.port == origin.port
            && self.host.has_host(&origin.host)
    }
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|letter: char| letter.is_ascii_alphabetic()) && text.bytes().all(good)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_origins_and_no_others() {
        for (pattern, has, lacks) in [
            (
                "https://a.com",
                &["https://a.com", "https://a.com:443", "HTTPS://A.COM"][..],
                &["http://a.com", "https://a.com:8443", "https://x.a.com", "https://a.com.evil.io", "https://bada.com"]
                    [..],
            ),
            (
                "https://*.a.com",
                &["https://x.a.com", "https://y.x.a.com"],
                &[
                    "https://a.com",
                    "https://bada.com",
                    "https://a.com.evil.io",
                    "https://x.a.com.evil.io",
                    "http://x.a.com",
                ],
            ),
            ("http://localhost:3000", &["http://localhost:3000"], &["http://localhost", "http://localhost:3001"]),
            ("http://[::1]:3000", &["http://[0::1]:3000"], &["http://[::1]", "http://[::2]:3000"]),
            ("tauri://app.example", &["tauri://app.example"], &["tauri://app.example:1", "https://app.example"]),
        ] {
            let pattern = OriginPattern::parse(pattern).unwrap();
            let has_it = |text: &&str| pattern.has(&Origin::parse(text.as_bytes()).unwrap());
            assert!(has.iter().all(has_it) && !lacks.iter().any(has_it), "{pattern:?}");
        }
        for text in [
            "",
            "*",
            "a.com",
            "https://",
            "https://*",
            "https://a.com/",
            "https://a.com/x",
            "https://u@a.com",
            "://a.com",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            &b""[..],
            b"null",
            b"file://",
            b"https://",
            b"https:a.com",
            b"//a.com",
            b"https://a.com/",
            b"https://a.com?x",
            b"https://a.com#x",
            b"https://a.com.",
            b"https://u@a.com",
            b"https://a.com:x",
            b"https://a.com https://b.com",
            b"https://a.com, https://b.com",
            b"https://a.com\0.b.com",
            b"https://a_\xff.com",
            b"https://.a.com",
            b"1ttps://a.com",
        ] {
            assert_eq!(Origin::parse(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_page_may_call_the_server_that_it_came_from() {
        for (origin, host, tls, same) in [
            ("https://bus.example", "bus.example", false, true),
            ("http://bus.example", "bus.example", false, true),
            ("https://bus.example", "BUS.example:443", false, true),
            ("http://bus.example:8080", "bus.example:8080", false, true),
            ("http://bus.example:8080", "bus.example", false, false),
            ("http://bus.example", "bus.example:443", false, false),
            ("http://bus.example", "bus.example", true, false),
            ("https://bus.example", "bus.example", true, true),
            ("https://bus.example", "bus.example.evil.io", false, false),
            ("https://bus.example.evil.io", "bus.example", false, false),
            ("app://bus.example", "bus.example", false, false),
        ] {
            let (page, server) = (Origin::parse(origin.as_bytes()).unwrap(), Authority::parse(host).unwrap());
            assert_eq!(page.is_same(&server, tls), same, "{origin} {host} {tls}");
        }
    }
}
