//! A WebSocket client that writes and reads raw bytes, so that tests can send what no client library would.
//!
//! It reads every frame strictly by RFC 6455, and fails the test where the daemon breaks the protocol.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::Node;
use super::{deflate, within};

/// The example key of RFC 6455, section 1.3, and the accept value that belongs to it.
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

/// Which part of the daemon reads a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Its own parser, which looks at a connection's first bytes.
    Direct,
    /// hyper: another request comes before the handshake.
    Hyper,
}

/// Where a test connects to, and which part of the daemon is to read its handshake.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub reader: Reader,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, reader: Reader::Direct }
    }
}

impl From<&Node> for Target {
    fn from(node: &Node) -> Self {
        Self { address: node.address, reader: node.reader }
    }
}

/// A TCP connection to the daemon, before or after the WebSocket handshake.
pub struct RawConnection {
    pub stream: TcpStream,
    /// How many compressed messages were received.
    pub inflated: usize,
    /// Whether permessage-deflate was negotiated.
    deflate: bool,
    /// Bytes that were received and not parsed yet.
    unread: Vec<u8>,
}

/// The status and the headers of an HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// A WebSocket frame from the daemon, decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A handshake request with exactly these header lines.
pub fn handshake(lines: &[&str]) -> Vec<u8> {
    format!("GET /v1/ws HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// The header lines of a valid handshake request.
pub fn handshake_headers() -> Vec<&'static str> {
    vec![
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
}

/// A masked frame, as a client sends it. `first` is its first byte: FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = head(first, 0x80, payload.len());
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// An unmasked frame, which only a server may send.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, 0, payload.len());
    bytes.extend(payload);
    bytes
}

/// The first two bytes of a frame and its extended length.
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

/// A masked close frame with this code and no reason.
pub fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

impl RawConnection {
    /// Connects; no handshake yet.
    pub async fn connect(target: impl Into<Target>) -> Self {
        let Target { address, reader } = target.into();
        let stream = within("a connection", TcpStream::connect(address)).await.expect("the daemon accepts");
        stream.set_nodelay(true).expect("an option of the socket");
        let mut raw = Self::over(stream);
        if reader == Reader::Hyper {
            raw.send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert_eq!(raw.head().await.status, 200);
        }
        raw
    }

    /// A connection that is there already.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, inflated: 0, deflate: false, unread: Vec::new() }
    }

    /// Connects, makes the handshake and reads the welcome frame.
    pub async fn open(node: &Node) -> Self {
        Self::open_at(node).await
    }

    /// The same, without the node.
    pub async fn open_at(target: impl Into<Target>) -> Self {
        Self::open_with(target, &[]).await
    }

    /// The same, with further header lines in the handshake request.
    pub async fn open_with(target: impl Into<Target>, lines: &[&str]) -> Self {
        let mut raw = Self::connect(target).await;
        raw.send(&handshake(&[&handshake_headers(), lines].concat())).await;
        raw.read_welcome().await;
        raw
    }

    /// Reads the response to a handshake, which must succeed, and the welcome frame.
    pub async fn read_welcome(&mut self) {
        let head = self.head().await;
        assert_eq!(head.status, 101, "{head:?}");
        self.deflate = !head.all("sec-websocket-extensions").is_empty();
        let welcome = self.frame().await;
        assert_eq!(welcome.opcode, TEXT);
        assert_eq!(welcome.json()["type"], "welcome");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the bytes are sent", self.stream.write_all(bytes)).await.expect("the connection is open");
    }

    /// The status and headers of the next response; `None` where the connection ends before one.
    pub async fn head_or_end(&mut self) -> Option<ResponseHead> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            if !self.read_more().await {
                assert_eq!(String::from_utf8_lossy(&self.unread), "", "the connection ended within the headers");
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        Some(ResponseHead::read(&String::from_utf8(head).expect("headers are text")))
    }

    /// The status and headers of the next response.
    pub async fn head(&mut self) -> ResponseHead {
        self.head_or_end().await.expect("a response comes before the end")
    }

    /// The body of a response with this head.
    pub async fn body(&mut self, head: &ResponseHead) -> Vec<u8> {
        let length = head.all("content-length").first().map_or(0, |length| length.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.read_more().await, "the connection ended within the body");
        }
        self.unread.drain(..length).collect()
    }

    /// What was received and not parsed yet.
    pub fn unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// The first line that comes; `None` where the connection ends before one, cleanly or not.
    pub async fn first_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                return Some(String::from_utf8_lossy(&self.unread[..end]).into_owned());
            }
            match within("a line or the end", self.stream.read_buf(&mut self.unread)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// The next frame, which must be one that a server may send. `None` at a clean end of the connection.
    pub async fn frame_or_end(&mut self) -> Option<Frame> {
        let (start, length) = loop {
            if let Some(found) = frame_length(&self.unread) {
                break found;
            }
            if !self.read_more().await {
                assert_eq!(self.unread, b"", "the connection ended within a frame");
                return None;
            }
        };
        while self.unread.len() < start + length {
            assert!(self.read_more().await, "the connection ended within a frame");
        }
        let bytes: Vec<u8> = self.unread.drain(..start + length).collect();
        let (opcode, payload) = (bytes[0] & 0x0f, &bytes[start..]);
        if self.deflate && bytes[0] == FIN | RSV1 | TEXT {
            self.inflated += 1;
            return Some(Frame { opcode, payload: deflate::inflated(payload) });
        }
        assert_eq!(bytes[0] & 0xf0, FIN, "the daemon sends each message in one frame, without reserved bits");
        Some(Frame { opcode, payload: payload.to_vec() })
    }

    /// The next frame that is neither a Ping nor a heartbeat, since those arrive at any time.
    pub async fn frame(&mut self) -> Frame {
        loop {
            let frame = self.frame_or_end().await.expect("a frame comes before the end");
            if frame.opcode != PING && !(frame.opcode == TEXT && frame.json()["type"] == "heartbeat") {
                return frame;
            }
        }
    }

    /// The JSON of the next frame, which must be text.
    pub async fn json(&mut self) -> serde_json::Value {
        let frame = self.frame().await;
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        frame.json()
    }

    /// Reads up to the close frame, and returns its code.
    pub async fn close_code(&mut self) -> u16 {
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

    /// Asserts that the connection ends cleanly now, without further bytes.
    pub async fn expect_end(&mut self) {
        assert!(!self.read_more().await && self.unread.is_empty(), "bytes came instead of the end: {:?}", self.unread);
    }

    /// Reads more bytes; `false` at a clean end. A reset fails the test.
    async fn read_more(&mut self) -> bool {
        let read = within("bytes or the end", self.stream.read_buf(&mut self.unread)).await;
        read.unwrap_or_else(|error| panic!("the connection did not end cleanly: {error}")) > 0
    }

    /// All bytes up to the end of the connection, whether it is clean or a reset.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
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

/// Parses the complete frames in `bytes`; ignores an incomplete one at the end.
pub fn whole_frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((start, length)) = frame_length(bytes).filter(|(start, length)| bytes.len() >= start + length) {
        frames.push(Frame { opcode: bytes[0] & 0x0f, payload: bytes[start..start + length].to_vec() });
        bytes = &bytes[start + length..];
    }
    frames
}

/// The start and the length of the first frame's payload; `None` while the frame header is incomplete.
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    assert_eq!(second & 0x80, 0, "a server never masks a frame");
    match second {
        126 => {
            let length = usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
            assert!(length > 125, "a length uses the shortest encoding");
            Some((4, length))
        }
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            assert!(length > 0xffff, "a length uses the shortest encoding");
            Some((10, usize::try_from(length).ok()?))
        }
        length => Some((2, usize::from(length))),
    }
}

impl ResponseHead {
    fn read(text: &str) -> Self {
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status: status.expect("a response begins with its status"), headers: lines.map(header).collect() }
    }

    /// The values of all headers.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(_, value)| value.as_str())
    }

    /// The values of all headers with this name (lowercase).
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Frame {
    /// The payload, which must be JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).expect("a text frame is JSON")
    }
}
