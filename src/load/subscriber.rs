//! The subscribers: one small task for each socket.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::frames::{Frames, Message, pong};
use super::tally::{Seen, Tally};
use super::{Dialect, Shared};

/// Connections that are being opened at a time: more are an attack, not a load.
const OPENING: usize = 256;
/// How long a server may take to say that a subscriber stands.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is read at once.
const READ: usize = 16 * 1024;
/// The longest answer to a handshake.
const LONGEST_HEAD: usize = 64 * 1024;

/// Subscribers, all of one server.
#[derive(Debug)]
pub struct Swarm {
    tasks: JoinSet<Seen>,
    stop: watch::Sender<bool>,
}

impl Swarm {
    /// Opens `count` subscribers, many at a time; returns when all stand. `progress` is called as each does.
    ///
    /// # Errors
    /// Where one cannot be opened.
    pub async fn open(
        address: SocketAddr,
        count: usize,
        dialect: impl Fn(usize) -> Arc<Dialect>,
        shared: &Arc<Shared>,
        progress: impl Fn(),
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let opening = stream::iter(0..count).map(|number| {
            let opening = Subscriber::open(address, dialect(number), shared.clone(), number);
            // In tasks of their own, so that more than one thread opens them.
            async move { tokio::time::timeout(PATIENCE, tokio::spawn(opening)).await }
        });
        let mut opened = opening.buffer_unordered(OPENING).map(|opened| match opened {
            Ok(Ok(subscriber)) => subscriber,
            Ok(Err(died)) => Err(io::Error::other(died)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "a subscription is not answered")),
        });
        while let Some(mut subscriber) = opened.try_next().await? {
            let mut stopped = stopped.clone();
            tasks.spawn(async move {
                tokio::select! {
                    ended = subscriber.listen() => {
                        let why = subscriber.tally.seen.ended.insert(ended.to_string());
                        subscriber.shared.cut_off.get_or_init(|| why.clone());
                    }
                    // Also where the swarm is dropped.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                subscriber.tally.seen
            });
            progress();
        }
        Ok(Self { tasks, stop })
    }

    /// Ends all and tells what each saw, in no order.
    pub async fn close(self) -> Vec<Seen> {
        self.stop.send_replace(true);
        self.tasks.join_all().await
    }
}

/// Asks for a WebSocket; answers with what came after the answer.
///
/// # Errors
/// Where there is none.
pub async fn upgrade(stream: &mut TcpStream, dialect: &Dialect) -> io::Result<Vec<u8>> {
    let address = stream.peer_addr()?.to_string();
    let handshake = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        dialect.path,
        dialect.host.as_ref().unwrap_or(&address),
        dialect.headers
    );
    stream.write_all(handshake.as_bytes()).await?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.len() > LONGEST_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer to the handshake has no end"));
        }
    };
    if !head.starts_with(b"HTTP/1.1 101") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("no WebSocket: {}", String::from_utf8_lossy(line))));
    }
    head.drain(..end);
    Ok(head)
}

struct Subscriber {
    stream: TcpStream,
    dialect: Arc<Dialect>,
    shared: Arc<Shared>,
    frames: Frames,
    stands: usize,
    tally: Tally,
}

impl Subscriber {
    async fn open(address: SocketAddr, dialect: Arc<Dialect>, shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let read = upgrade(&mut stream, &dialect).await?;
        stream.write_all(&dialect.hello).await?;
        let tally = Tally::new(number);
        let mut subscriber = Self { stream, dialect, shared, frames: Frames::default(), stands: 0, tally };
        let mut reply = subscriber.take(&read)?;
        while subscriber.stands < subscriber.dialect.stands.1 {
            subscriber.stream.write_all(&reply).await?;
            reply = subscriber.read().await?;
        }
        subscriber.stream.write_all(&reply).await?;
        Ok(subscriber)
    }

    /// Until the connection ends, and says why.
    async fn listen(&mut self) -> io::Error {
        loop {
            match self.read().await {
                Ok(reply) if reply.is_empty() => {}
                Ok(reply) => {
                    if let Err(error) = self.stream.write_all(&reply).await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Reads what there is and returns what is to be answered.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            // On the stack, and only while it is read: thousands of buffers would be most of our memory.
            let mut bytes = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            Poll::Ready(match buffer.filled() {
                [] => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server cut it off")),
                read => self.take(read),
            })
        })
        .await
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let Self { frames, dialect, shared, stands, tally, .. } = self;
        let now = shared.clock(Instant::now());
        let (mut reply, mut closed) = (Vec::new(), None);
        frames.take(bytes, |message| match message {
            Message::Ping(payload) => reply.extend(pong(payload)),
            Message::Pong => {}
            Message::Close(code) => closed = Some(code),
            Message::Compressed(data) => tally.compressed(data, shared, now),
            Message::Data(data) => {
                if *stands < dialect.stands.1 {
                    *stands += memchr::memmem::find_iter(data, &dialect.stands.0).count();
                }
                if let Some((start, answer)) = &dialect.keep_alive
                    && data.starts_with(start)
                {
                    reply.extend(answer);
                }
                tally.message(data, dialect.events, shared, now);
            }
        })?;
        tally.tell(shared, now);
        match closed {
            None => Ok(reply),
            Some(code) => {
                let code = code.map_or("no code".to_owned(), |code| code.to_string());
                Err(io::Error::other(format!("the server closed it with {code}")))
            }
        }
    }
}
