//! The settings of the edge: which pages and hosts may be named in a request, where the operator's routes are, and how much
//! a client may do.

use std::net::SocketAddr;

use super::layers::Layers;
use super::value::{self, Expected};
use crate::network::{HostPattern, Network, OriginPattern};

/// See [`EdgeConfig::frame_rate`].
const FRAME_RATE: u64 = 100;
/// The burst of frames, in seconds of their rate.
const FRAME_BURST: u64 = 5;

/// The edge of the daemon.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// The origins whose pages may use the daemon, besides those that always may.
    pub allowed_origins: Vec<OriginPattern>,
    /// The hosts under which the daemon may be called, besides this machine's. Without authentication only.
    pub allowed_hosts: Vec<HostPattern>,
    /// The address of the operator's routes. `None`: they are at `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// Whether browsers get the console at `/`.
    pub console: bool,
    /// The proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// The maximum number of open connections. `None`: 90 % of the files that the process may open.
    pub max_connections: Option<usize>,
    /// The maximum number of open connections of one address.
    pub max_connections_per_address: Option<usize>,
    /// Frames that a WebSocket client may send in a second.
    pub frame_rate: u64,
    /// Events that one credential, or one address without one, may publish in a second.
    pub publish_rate: Option<u64>,
    /// Events that it may publish at once. `None`: those of a second.
    pub publish_burst: Option<u64>,
}

/// The defaults, without the layers: for tests.
impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            admin_listen: None,
            console: true,
            trusted_proxies: Vec::new(),
            max_connections: None,
            max_connections_per_address: None,
            frame_rate: FRAME_RATE,
            publish_rate: None,
            publish_burst: None,
        }
    }
}

impl EdgeConfig {
    /// Reads the settings from the layers.
    pub(super) fn read(from: &mut Layers) -> Self {
        let count = |from: &mut Layers, name| from.optional(name, value::count);
        let size = |count: Option<u64>| count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        Self {
            allowed_origins: from.optional("allowed_origins", origins).unwrap_or_default(),
            allowed_hosts: from.optional("allowed_hosts", hosts).unwrap_or_default(),
            admin_listen: from.optional("admin_listen", value::address),
            console: from.required("console", value::switch),
            trusted_proxies: from.optional("trusted_proxies", networks).unwrap_or_default(),
            max_connections: size(count(from, "max_connections")),
            max_connections_per_address: size(count(from, "max_connections_per_address")),
            frame_rate: from.required("frame_rate", value::count),
            publish_rate: count(from, "publish_rate"),
            publish_burst: count(from, "publish_burst"),
        }
    }

    /// Frames that a WebSocket client may send at once.
    pub fn frame_burst(&self) -> u64 {
        self.frame_rate.saturating_mul(FRAME_BURST)
    }
}

/// The entries of a list, which commas separate.
fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Expected>) -> Result<Vec<T>, Expected> {
    text.split(',').map(|entry| parse(entry.trim())).collect()
}

/// A list of origins.
pub fn origins(text: &str) -> Result<Vec<OriginPattern>, Expected> {
    list(text, |entry| {
        OriginPattern::parse(entry).ok_or_else(|| {
            let without_path = entry.strip_suffix('/').filter(|origin| OriginPattern::parse(origin).is_some());
            let hint = match (entry, without_path) {
                ("*", _) => " (every page of the web could then use the daemon: list the origins of yours)".into(),
                (_, Some(origin)) => format!(" (write {origin}, without the slash)"),
                _ => String::new(),
            };
            format!("origins such as https://shop.example, http://localhost:3000 or https://*.shop.example, separated by commas{hint}")
        })
    })
}

/// A list of hosts.
pub fn hosts(text: &str) -> Result<Vec<HostPattern>, Expected> {
    list(text, |entry| {
        let bare_ipv6 = HostPattern::parse(&format!("[{entry}]")).map(|_| format!(" (write [{entry}])"));
        let hint = match entry {
            "*" => " (list the names under which clients reach the daemon)".into(),
            _ => bare_ipv6.unwrap_or_default(),
        };
        HostPattern::parse(entry).ok_or_else(|| {
            format!("hosts such as bus.example.com, *.example.com or 10.0.0.7:7400, separated by commas{hint}")
        })
    })
}

/// A list of networks.
pub fn networks(text: &str) -> Result<Vec<Network>, Expected> {
    list(text, |entry| {
        Network::parse(entry)
            .ok_or_else(|| "addresses or networks such as 10.0.0.7, 10.0.0.0/8 or fd00::/8, separated by commas".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_separated_by_commas() {
        assert_eq!(origins("https://a.example , http://b.example:81").map(|list| list.len()), Ok(2));
        assert_eq!(hosts("a.example,*.b.example,[::1]:80").map(|list| list.len()), Ok(3));
        assert_eq!(networks("10.0.0.0/8,::1").map(|list| list.len()), Ok(2));
        for text in ["", ",", "https://a.example,"] {
            assert!(origins(text).is_err() && hosts(text).is_err() && networks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn near_misses_get_a_hint() {
        assert!(origins("*").unwrap_err().contains("every page"));
        assert!(origins("https://a.example/").unwrap_err().ends_with("(write https://a.example, without the slash)"));
        assert!(hosts("*").unwrap_err().contains("list the names"));
        assert!(hosts("::1").unwrap_err().ends_with("(write [::1])"));
    }
}
