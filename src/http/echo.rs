//! A server that takes every WebSocket handshake and sends each message back: `make conformance` runs a suite against it.
//! The handshake, the frames and the compression are the daemon's.

use std::io;
use std::sync::Arc;

use httparse::{EMPTY_HEADER, Request, Status};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::handshake::{Agreed, Handshake};
use crate::connection::Echo;

/// The longest head of a handshake, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves connections without end. `limit`: the longest message, in bytes.
///
/// # Errors
/// No connection can be accepted any more.
pub async fn serve(listener: TcpListener, limit: usize) -> io::Result<()> {
    let echo = Arc::new(Echo::new(limit));
    loop {
        let (stream, _) = listener.accept().await?;
        let echo = echo.clone();
        tokio::spawn(async move { one(&echo, stream).await });
    }
}

/// A connection whose handshake is refused is dropped.
async fn one(echo: &Echo, mut stream: TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let (agreed, length) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 || bytes.len() > MAX_HEAD {
            return None;
        }
        if let Some(agreed) = agree(&bytes)? {
            break agreed;
        }
    };
    echo.serve(stream.into(), agreed.head, bytes.split_off(length), agreed.deflate).await;
    Some(())
}

/// The response to the handshake at the beginning of these bytes, and its length. `Some(None)`: it is not complete.
fn agree(bytes: &[u8]) -> Option<Option<(Agreed, usize)>> {
    let mut headers = [EMPTY_HEADER; 64];
    let mut request = Request::new(&mut headers);
    let Status::Complete(length) = request.parse(bytes).ok()? else { return Some(None) };
    let handshake = Handshake::read(request.headers.iter().map(|header| (header.name, header.value)));
    let agreed = handshake.agree(request.version == Some(1), true, b"conformance").ok()?;
    Some(Some((agreed, length)))
}
