//! A peer that speaks WebSocket byte by byte, to say what no client library would.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::Node;
use super::{deflate, within};

/// The key of RFC 6455's own example, and what it must be answered with.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// A TCP connection to the daemon.
pub struct Raw {
    pub stream: TcpStream,
    /// Messages that came compressed.
    pub inflated: usize,
    /// permessage-deflate was agreed.
    deflate: bool,
    unread: Vec<u8>,
}

/// The head of an HTTP answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// A frame from the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// The head of a handshake, with these lines in place of the usual ones.
pub fn upgrade(lines: &[&str]) -> Vec<u8> {
    format!("GET /v1/ws HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// The usual lines of a handshake.
pub fn usual() -> Vec<&'static str> {
    vec![
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
}

/// A frame as a client sends it, masked; `first` is its first byte, reserved bits and all.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = head(first, 0x80, payload.len());
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame without a mask, as only the daemon may send it.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, 0, payload.len());
    bytes.extend(payload);
    bytes
}

fn head(first: u8, mask: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

/// A text message in one frame.
pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A close frame with this code.
pub fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("the daemon accepts");
        stream.set_nodelay(true).expect("an option of the socket");
        Self { stream, inflated: 0, deflate: false, unread: Vec::new() }
    }

    /// A connection after the handshake and the welcome.
    pub async fn upgraded(node: &Node) -> Self {
        Self::upgraded_at(node.address).await
    }

    pub async fn upgraded_at(address: SocketAddr) -> Self {
        Self::upgraded_with(address, &[]).await
    }

    /// A connection after a handshake with these lines beside the usual ones, and the welcome.
    pub async fn upgraded_with(address: SocketAddr, lines: &[&str]) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&upgrade(&[&usual(), lines].concat())).await;
        raw.welcomed().await;
        raw
    }

    /// Reads the answer to a handshake that succeeds, and the welcome.
    pub async fn welcomed(&mut self) {
        let head = self.head().await;
        assert_eq!(head.status, 101, "{head:?}");
        self.deflate = !head.all("sec-websocket-extensions").is_empty();
        let welcome = self.frame().await;
        assert_eq!(welcome.opcode, TEXT);
        assert_eq!(welcome.json()["type"], "welcome");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the socket takes bytes", self.stream.write_all(bytes)).await.expect("the connection is open");
    }

    /// The next head of an answer; `None` where the connection ends before one.
    pub async fn head_or_end(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                assert_eq!(String::from_utf8_lossy(&self.unread), "", "the connection ended within a head");
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        Some(Head::read(&String::from_utf8(head).expect("a head is text")))
    }

    pub async fn head(&mut self) -> Head {
        self.head_or_end().await.expect("an answer comes before the end")
    }

    /// The next frame; checks what every frame of a server must be. `None` at the end.
    pub async fn frame_or_end(&mut self) -> Option<Frame> {
        let (start, length) = loop {
            if let Some(found) = frame_length(&self.unread) {
                break found;
            }
            if !self.more().await {
                assert_eq!(self.unread, b"", "the connection ended within a frame");
                return None;
            }
        };
        while self.unread.len() < start + length {
            assert!(self.more().await, "the connection ended within a frame");
        }
        let bytes: Vec<u8> = self.unread.drain(..start + length).collect();
        let (opcode, payload) = (bytes[0] & 0x0f, &bytes[start..]);
        if self.deflate && bytes[0] == FIN | RSV1 | TEXT {
            self.inflated += 1;
            return Some(Frame { opcode, payload: deflate::inflated(payload) });
        }
        assert_eq!(bytes[0] & 0xf0, FIN, "one frame a message, and no reserved bits");
        Some(Frame { opcode, payload: payload.to_vec() })
    }

    /// The next frame that is no heartbeat: those come when they like.
    pub async fn frame(&mut self) -> Frame {
        loop {
            let frame = self.frame_or_end().await.expect("a frame comes before the end");
            if frame.opcode != PING && !(frame.opcode == TEXT && frame.json()["type"] == "heartbeat") {
                return frame;
            }
        }
    }

    /// The next frame that must be text; returns its JSON.
    pub async fn json(&mut self) -> serde_json::Value {
        let frame = self.frame().await;
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        frame.json()
    }

    /// Reads up to the close frame; returns its code. Then the connection ends without more.
    pub async fn closed_with(&mut self) -> u16 {
        let close = loop {
            let frame = self.frame().await;
            if frame.opcode == CLOSE {
                break frame;
            }
        };
        let code = u16::from_be_bytes([close.payload[0], close.payload[1]]);
        std::str::from_utf8(&close.payload[2..]).expect("a reason is UTF-8");
        assert!(close.payload.len() <= 125);
        code
    }

    /// Whether the connection ends now, cleanly and with nothing more to read.
    pub async fn ends(&mut self) {
        assert!(!self.more().await && self.unread.is_empty(), "more came: {:?}", self.unread);
    }

    /// Reads on; `false` at the clean end. A reset is a failure.
    async fn more(&mut self) -> bool {
        let read = within("bytes or the end", self.stream.read_buf(&mut self.unread)).await;
        read.unwrap_or_else(|error| panic!("the connection did not end cleanly: {error}")) > 0
    }

    /// All bytes up to the end, be it clean or a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        loop {
            match within("the end", self.stream.read_buf(&mut self.unread)).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
                Err(error) => panic!("{error}"),
            }
        }
        std::mem::take(&mut self.unread)
    }
}

/// The frames that are whole in `bytes`.
pub fn whole_frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((start, length)) = frame_length(bytes).filter(|(start, length)| bytes.len() >= start + length) {
        frames.push(Frame { opcode: bytes[0] & 0x0f, payload: bytes[start..start + length].to_vec() });
        bytes = &bytes[start + length..];
    }
    frames
}

/// Where the payload of the frame at the front begins and how long it is, as soon as that can be read.
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    assert_eq!(second & 0x80, 0, "a server masks nothing");
    match second {
        126 => {
            let length = usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
            assert!(length > 125, "a length is written in as few bytes as it takes");
            Some((4, length))
        }
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            assert!(length > 0xffff, "a length is written in as few bytes as it takes");
            Some((10, usize::try_from(length).ok()?))
        }
        length => Some((2, usize::from(length))),
    }
}

impl Head {
    fn read(text: &str) -> Self {
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status: status.expect("an answer begins with its status"), headers: lines.map(header).collect() }
    }

    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Frame {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).expect("a text frame is JSON")
    }
}
