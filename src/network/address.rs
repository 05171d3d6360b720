//! The addresses of clients, and the networks of the proxies that may name them.

use std::net::{IpAddr, SocketAddr};

/// A client as limits count it: an IPv4 address, or the first 64 bits of an IPv6 address. Whoever has one IPv6 address has
/// the other 2^64 of its network too (RFC 4291, section 2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// A block of addresses in CIDR notation (RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// The bits that all its addresses have in common.
    bits: u8,
}

impl Network {
    /// Parses `10.0.0.0/8`, `fd00::/8`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) if is_digits(bits) => bits.parse().ok().filter(|bits| *bits <= longest)?,
            Some(_) => return None,
        };
        Some(Self { address, bits })
    }

    /// Whether the block has this address. An IPv4 address in an IPv6 one counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        // A shift by all bits would overflow.
        let same =
            |difference: u128, longest: u32| difference.checked_shr(longest - u32::from(self.bits)).unwrap_or(0) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let difference = u128::from(one.to_bits() ^ other.to_bits());
                same(difference, 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits() ^ other.to_bits(), 128),
            _ => false,
        }
    }
}

/// The client's address behind proxies. `lines` are the lines of `X-Forwarded-For`, each a list to which every proxy
/// appends the address that it was called from. So they are read from the right, and an address counts only if a proxy of
/// `trusted` wrote it: what stands further left may be the client's own invention.
pub fn forwarded<'a>(peer: IpAddr, trusted: &[Network], lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
    let mut client = peer;
    for entry in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        match entry_address(entry) {
            Some(address) => client = address,
            // The proxy did not know it, or wrote something else. What stands left of it was not written by this proxy.
            None => break,
        }
    }
    client
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port or in brackets.
fn entry_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()
}

/// Whether this is a number as it is written: `parse` would take a sign too.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_client_counts_by_its_64_bits() {
        let network = |text| ClientNetwork::from(ip(text));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_network_has_the_addresses_with_its_bits() {
        for (network, has, lacks) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.9.9.9", "9.9.9.9"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/31", "::ffff:192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(ip(has)) && !parsed.contains(ip(lacks)), "{network}");
        }
        for text in
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "host/8", "10.0.0.0/8/8"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_client_is_who_called_the_first_trusted_proxy() {
        let trusted = ["10.0.0.0/8", "::1"].map(|text| Network::parse(text).unwrap());
        for (peer, lines, client) in [
            // Nobody says anything, or it is nobody who is trusted.
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // A client that writes the header itself: only the last entry is the proxy's.
            ("10.0.0.1", &["127.0.0.1, 10.0.0.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            // Two proxies in a row.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1 ,\t10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Other forms of an address.
            ("::1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            // What is no address ends the search.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1,,"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, \u{7f}, 10.0.0.2"], "10.0.0.2"),
        ] {
            let lines = lines.iter().map(|line| line.as_bytes());
            assert_eq!(forwarded(ip(peer), &trusted, lines), ip(client), "{peer}");
        }
    }
}
