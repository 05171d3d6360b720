//! The opening handshake of a WebSocket (RFC 6455, section 4.2): what a request must have, and the response.
//!
//! A handshake comes here in two ways: `direct.rs` reads a plain one by itself, and hyper reads all others for
//! `websocket.rs`. Both give its header lines to [`Handshake::read`], so that there is one set of rules.

use tungstenite::handshake::derive_accept_key;

use super::request_id;
use crate::deflate;
use crate::protocol::{ErrorCode, Problem, SUBPROTOCOL};

/// What the header lines of a handshake say.
#[derive(Debug, Default)]
pub(super) struct Handshake<'a> {
    upgrade: bool,
    connection: bool,
    version: Option<&'a [u8]>,
    hosts: usize,
    key: Option<&'a [u8]>,
    keys: usize,
    extensions: Vec<&'a [u8]>,
    subprotocol: bool,
    pub request_id: Option<&'a [u8]>,
}

/// The response to a handshake.
#[derive(Debug)]
pub(super) struct Agreed {
    pub head: Vec<u8>,
    /// permessage-deflate was agreed on.
    pub deflate: bool,
}

impl<'a> Handshake<'a> {
    /// Reads the header lines: names in any case, with their values.
    pub fn read(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut read = Self::default();
        for (name, value) in lines {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("host") {
                read.hosts += 1;
            } else if is("upgrade") {
                read.upgrade |= lists(value, |one| one.eq_ignore_ascii_case(b"websocket"));
            } else if is("connection") {
                read.connection |= lists(value, |one| one.eq_ignore_ascii_case(b"upgrade"));
            } else if is("sec-websocket-version") {
                read.version.get_or_insert(value);
            } else if is("sec-websocket-key") {
                read.key.get_or_insert(value);
                read.keys += 1;
            } else if is("sec-websocket-protocol") {
                read.subprotocol |= lists(value, |one| one == SUBPROTOCOL.as_bytes());
            } else if is("sec-websocket-extensions") {
                read.extensions.push(value);
            } else if is(request_id::HEADER.as_str()) {
                read.request_id.get_or_insert(value);
            }
        }
        read
    }

    /// Checks the client's part of the handshake (section 4.2.1), and writes the response to it (section 4.2.2).
    ///
    /// # Errors
    /// `upgrade-required`, `bad-request`.
    pub fn agree(&self, http_11: bool, compression: bool, request_id: &[u8]) -> Result<Agreed, Problem> {
        let key = self.check(http_11)?;
        let extensions = self.agreed_extensions(compression)?;
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        let mut line = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        line("connection", b"upgrade");
        line("upgrade", b"websocket");
        line("sec-websocket-accept", derive_accept_key(key).as_bytes());
        if self.subprotocol {
            line("sec-websocket-protocol", SUBPROTOCOL.as_bytes());
        }
        if let Some(extensions) = &extensions {
            line("sec-websocket-extensions", extensions.as_bytes());
        }
        line(request_id::HEADER.as_str(), request_id);
        head.extend_from_slice(b"\r\n");
        Ok(Agreed { head, deflate: extensions.is_some() })
    }

    /// Checks what must be there; returns the key.
    fn check(&self, http_11: bool) -> Result<&'a [u8], Problem> {
        let bad = |detail: &str| Err(Problem::new(ErrorCode::BadRequest, detail));
        if !http_11 || !self.upgrade || !self.connection || self.version != Some(b"13") {
            return Err(Problem::new(
                ErrorCode::UpgradeRequired,
                "/v1/ws accepts only WebSocket handshakes (HTTP/1.1, Sec-WebSocket-Version: 13); if this was one, a proxy in between must pass on the headers Upgrade and Connection",
            ));
        }
        if self.hosts != 1 {
            return bad("a WebSocket handshake must have exactly one header Host");
        }
        match self.key {
            Some(key) if self.keys == 1 && is_key(key) => Ok(key),
            Some(_) if self.keys == 1 => bad("the header Sec-WebSocket-Key must be 16 bytes in base64"),
            _ => bad("a WebSocket handshake must have exactly one header Sec-WebSocket-Key"),
        }
    }

    /// The answer to the extensions that the client offers, where one is agreed. The header must be well-formed in any
    /// case (section 9.1).
    fn agreed_extensions(&self, compression: bool) -> Result<Option<String>, Problem> {
        let agreed = deflate::agree(self.extensions.iter().copied()).map_err(|deflate::Malformed| {
            Problem::new(
                ErrorCode::BadRequest,
                "the header Sec-WebSocket-Extensions does not have the form of RFC 6455, section 9.1",
            )
        })?;
        Ok(agreed.filter(|_| compression))
    }
}

/// Whether this is 16 bytes in base64: 22 characters, the last of which carries 2 bits, and two of padding.
fn is_key(key: &[u8]) -> bool {
    let Some((text, last)) = key.strip_suffix(b"==").and_then(|text| text.split_last_chunk::<1>()) else {
        return false;
    };
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == 21 && text.iter().all(good) && b"AQgw".contains(&last[0])
}

/// Whether a line of a header that is a list has an element like this. A line that is not plain text has none.
fn lists(line: &[u8], like: impl Fn(&[u8]) -> bool) -> bool {
    line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && line.split(|byte| *byte == b',').any(|one| like(one.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25j",
            "!!hlIHNhbXBsZSBub25jZQ==",
        ] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
