//! The floor: a server that only writes the same bytes to the same sockets. Its cost is the unit of the other figures.
//!
//! One thread calls `send` once for each socket, in a loop, without routing, queue or broker. The server takes a text by
//! `POST /publish`, prepends a WebSocket header, and writes it to every client of `/ws`. Its sockets block, so that
//! waiting for a slow reader costs no CPU time.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

type Subscribers = Rc<RefCell<Vec<std::net::TcpStream>>>;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves until a signal ends the process.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(address)?;
        let listener = socket.listen(4096)?;
        println!("ready");
        let subscribers = Subscribers::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let subscribers = subscribers.clone();
            tokio::task::spawn_local(async move {
                // A client that disconnects is no error.
                let _ = connection(stream, &subscribers).await;
            });
        }
    })
}

async fn connection(mut stream: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(head) = memchr::memmem::find(&read, b"\r\n\r\n").map(|at| at + 4) else {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        if read.starts_with(b"GET") {
            stream.write_all(SWITCH).await?;
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            subscribers.borrow_mut().push(stream);
            return Ok(());
        }
        let end = head + content_length(&read[..head]);
        while read.len() < end {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let frame = frame(&read[head..end]);
        subscribers.borrow_mut().retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        read.drain(..end);
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
    length.and_then(|length| length.trim().parse().ok()).unwrap_or_default()
}

/// A server's text frame (RFC 6455, section 5.2).
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xFFFF => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
