//! Hosts as they stand in URLs and in the header `Host`, and the hosts of a setting.

use std::net::IpAddr;

use super::address::is_digits;

/// A host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name in the letters, digits, hyphens and underscores of DNS, in any case.
    Name(&'a str),
    Address(IpAddr),
}

/// A host and a port, as `Host` and the target of a request name them (RFC 9110, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    pub host: Host<'a>,
    /// `None`: the default port of the scheme.
    pub port: Option<u16>,
}

/// The hosts that an entry of a setting stands for: a name, an address, or `*.NAME` for all names below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: PatternHost,
    /// Only this port. `None`: any.
    pub(super) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternHost {
    Name(Box<str>),
    /// The names that end in a dot and this one.
    Below(Box<str>),
    Address(IpAddr),
}

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;

impl<'a> Host<'a> {
    /// Parses a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            let address = address.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(good);
        if text.len() > MAX_NAME || !text.split('.').all(is_label) {
            return None;
        }
        // A host whose last label is a number is an IPv4 address, or none at all (URL Standard, section 3.5).
        match text.rsplit('.').next().is_some_and(is_digits) {
            true => text.parse().ok().map(Self::Address),
            false => Some(Self::Name(text)),
        }
    }

    /// Whether this host is this machine: `localhost`, a name below it (RFC 6761, section 6.3), or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => {
                let last = name.rsplit('.').next().unwrap_or_default();
                last.eq_ignore_ascii_case("localhost")
            }
            Self::Address(address) => address.to_canonical().is_loopback(),
        }
    }

    /// Whether the two are one host.
    pub fn is(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(one), Host::Address(other)) => one.to_canonical() == other.to_canonical(),
            _ => false,
        }
    }
}

impl<'a> Authority<'a> {
    /// Parses `HOST` or `HOST:PORT`. A dot at the end of a name makes no difference in DNS, and so none here.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split(text)?;
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// Splits `HOST:PORT`; the brackets of an IPv6 address have colons of their own.
pub(super) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |end| end + 1);
    match text.get(after_address..)?.find(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (host, port) = text.split_at(after_address + colon);
            let port = &port[1..];
            // RFC 3986, section 3.2.3: an empty port is the default one.
            match port.is_empty() {
                true => Some((host, None)),
                false if is_digits(port) => Some((host, Some(port.parse().ok()?))),
                false => None,
            }
        }
    }
}

impl HostPattern {
    /// Parses `HOST`, `*.NAME`, and both with `:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split(text)?;
        let below = host.strip_prefix("*.");
        let host = match (below, Host::parse(below.unwrap_or(host))?) {
            (None, Host::Name(name)) => PatternHost::Name(name.to_ascii_lowercase().into()),
            (Some(_), Host::Name(name)) => PatternHost::Below(name.to_ascii_lowercase().into()),
            (None, Host::Address(address)) => PatternHost::Address(address.to_canonical()),
            (Some(_), Host::Address(_)) => return None,
        };
        Some(Self { host, port })
    }

    /// Whether this is one of the hosts.
    pub fn has_host(&self, host: &Host<'_>) -> bool {
        match (&self.host, host) {
            (PatternHost::Name(one), Host::Name(name)) => name.eq_ignore_ascii_case(one),
            (PatternHost::Below(parent), Host::Name(name)) => {
                let (name, parent) = (name.as_bytes(), parent.as_bytes());
                // A label and a dot stand before the parent. A host has no empty label.
                name.len() > parent.len() + 1
                    && name[name.len() - parent.len()..].eq_ignore_ascii_case(parent)
                    && name[name.len() - parent.len() - 1] == b'.'
            }
            (PatternHost::Address(one), Host::Address(address)) => *one == address.to_canonical(),
            _ => false,
        }
    }

    /// Whether this is one of the hosts, at the entry's port if it has one.
    pub fn has(&self, authority: &Authority<'_>) -> bool {
        self.has_host(&authority.host) && (self.port.is_none() || self.port == authority.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_names_and_addresses() {
        for text in [
            "localhost",
            "LocalHost:7400",
            "localhost.:7400",
            "app.localhost",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:7400",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:7400",
            "localhost:",
        ] {
            assert!(Authority::parse(text).is_some_and(|authority| authority.host.is_loopback()), "{text}");
        }
        for text in [
            "localhost.evil.io",
            "evil-localhost",
            "127.0.0.1.evil.io",
            "128.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "10.0.0.1",
        ] {
            assert!(Authority::parse(text).is_some_and(|authority| !authority.host.is_loopback()), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a@b",
            "user@localhost",
            "localhost:x",
            "localhost:+80",
            "localhost:70000",
            "localhost:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[localhost]",
            "127.1",
            "0x7f.0.0.1.1",
            "127.0.0.01",
            "2130706433",
            "local%68ost",
            "localhost\u{0}",
            "b\u{fc}cher",
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_entry_has_its_hosts_and_no_others() {
        for (pattern, has, lacks) in [
            (
                "bus.example",
                &["bus.example", "BUS.example:81", "bus.example."][..],
                &["a.bus.example", "bus.example.io"][..],
            ),
            ("*.a.com", &["x.a.com", "y.x.a.com:1"], &["a.com", "bada.com", "a.com.evil.io", "x.a.com.evil.io"]),
            ("bus:7400", &["bus:7400"], &["bus", "bus:7401"]),
            ("10.0.0.1", &["10.0.0.1", "[::ffff:10.0.0.1]:7400"], &["10.0.0.2", "10.0.0.1.evil.io"]),
            ("[fd00::1]:7400", &["[fd00:0::1]:7400"], &["[fd00::1]", "[fd00::2]:7400"]),
        ] {
            let pattern = HostPattern::parse(pattern).unwrap();
            let has_it = |text: &&str| pattern.has(&Authority::parse(text).unwrap());
            assert!(has.iter().all(has_it) && !lacks.iter().any(has_it), "{pattern:?}");
        }
        for text in ["", "*", "*.", "*a.com", "a.*.com", "*.10.0.0.1", "*.*.a.com", "http://a.com", "a.com/", "fd00::1"]
        {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }
}
