//! The subscribers: one task for each socket, which reads, answers keep-alives and counts events.
//!
//! [`Tally`] recognises the events of a message. This module does not know events.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::frames::{Frames, Message, pong};
use super::http::{LongPoll, request};
use super::stream::{Stream, connect};
use super::tally::{Seen, Tally};
use super::{Dialect, Events, Shared, Transport};

/// The most connections that are opened at the same time. More would measure a connection storm.
const MAX_OPENING: usize = 256;
/// The time that a server has to confirm a subscription.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of one read.
const READ_SIZE: usize = 16 * 1024;

/// Subscribers of one server.
#[derive(Debug)]
pub struct Swarm {
    tasks: JoinSet<Seen>,
    stop: watch::Sender<bool>,
}

impl Swarm {
    /// Opens `count` subscribers, many at the same time, and returns when all are subscribed. `progress` is called for
    /// each.
    ///
    /// # Errors
    /// Where a subscriber cannot be opened, or its subscription is not confirmed within 20 s.
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
            // Each is a task, so that several threads open them.
            async move { tokio::time::timeout(OPEN_TIMEOUT, tokio::spawn(opening)).await }
        });
        let mut opened = opening.buffer_unordered(MAX_OPENING).map(|opened| match opened {
            Ok(Ok(subscriber)) => subscriber,
            Ok(Err(panicked)) => Err(io::Error::other(panicked)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not confirm a subscription in time")),
        });
        while let Some(mut subscriber) = opened.try_next().await? {
            let mut stopped = stopped.clone();
            tasks.spawn(async move {
                tokio::select! {
                    ended = subscriber.listen() => {
                        let why = subscriber.tally.seen.ended.insert(ended.to_string());
                        subscriber.shared.disconnected.get_or_init(|| why.clone());
                        subscriber.shared.ended.fetch_add(1, Ordering::Relaxed);
                    }
                    // This ends too where the swarm is dropped.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                subscriber.tally.seen
            });
            progress();
        }
        Ok(Self { tasks, stop })
    }

    /// Ends all subscribers, and returns what each of them saw, in no order.
    pub async fn close(self) -> Vec<Seen> {
        self.stop.send_replace(true);
        self.tasks.join_all().await
    }
}

/// Makes the WebSocket handshake, and returns the bytes that came after the server's response.
///
/// # Errors
/// Where the connection breaks, or the response is not a 101.
pub async fn upgrade(stream: &mut TcpStream, dialect: &Dialect) -> io::Result<Vec<u8>> {
    let handshake = handshake(&host(stream.peer_addr()?, dialect), dialect);
    request(stream, &handshake, "101").await
}

fn handshake(host: &str, dialect: &Dialect) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        dialect.path, dialect.headers
    )
}

/// The `Host` header of a dialect's requests.
fn host(address: SocketAddr, dialect: &Dialect) -> String {
    dialect.host.clone().unwrap_or_else(|| address.to_string())
}

/// One subscriber.
struct Subscriber {
    stream: Stream,
    dialect: Arc<Dialect>,
    shared: Arc<Shared>,
    incoming: Incoming,
    tally: Tally,
}

/// The decoder of what the server sends.
enum Incoming {
    Messages {
        frames: Frames,
        /// How many confirmations have come; see [`Dialect::confirmation`].
        confirmed: usize,
    },
    EventStream,
    Responses {
        poll: LongPoll,
        confirmed: bool,
    },
}

impl Subscriber {
    async fn open(address: SocketAddr, dialect: Arc<Dialect>, shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let mut stream = connect(address, dialect.tls.as_ref()).await?;
        let host = host(address, &dialect);
        let (incoming, read) = match dialect.transport {
            Transport::WebSocket => {
                let read = request(&mut stream, &handshake(&host, &dialect), "101").await?;
                stream.write_all(&dialect.hello).await?;
                (Incoming::Messages { frames: Frames::default(), confirmed: 0 }, read)
            }
            Transport::EventStream => {
                let get = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", dialect.path, dialect.headers);
                (Incoming::EventStream, request(&mut stream, &get, "200").await?)
            }
            Transport::LongPoll => {
                let poll = LongPoll::new(&dialect.path, &host);
                stream.write_all(&poll.first()).await?;
                (Incoming::Responses { poll, confirmed: false }, Vec::new())
            }
        };
        let mut subscriber = Self { stream, dialect, shared, incoming, tally: Tally::new(number) };
        let mut reply = subscriber.take(&read)?;
        while !subscriber.is_confirmed() {
            subscriber.stream.write_all(&reply).await?;
            reply = subscriber.read().await?;
        }
        subscriber.stream.write_all(&reply).await?;
        Ok(subscriber)
    }

    fn is_confirmed(&self) -> bool {
        match &self.incoming {
            Incoming::Messages { confirmed, .. } => *confirmed >= self.dialect.confirmation.1,
            Incoming::EventStream => true,
            Incoming::Responses { confirmed, .. } => *confirmed,
        }
    }

    /// Reads until the connection ends, and returns the reason.
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

    /// Reads once, and returns the bytes to answer with.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            // On the stack, only during the read: thousands of buffers would be most of the process's memory.
            let mut bytes = [MaybeUninit::uninit(); READ_SIZE];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            Poll::Ready(match buffer.filled() {
                [] => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection without a Close",
                )),
                read => self.take(read),
            })
        })
        .await
    }

    /// Handles received bytes, and returns the bytes to answer with.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let Self { incoming, dialect, shared, tally, .. } = self;
        let now = shared.clock(Instant::now());
        let (mut reply, mut closed) = (Vec::new(), None);
        match incoming {
            Incoming::Messages { frames, confirmed } => frames.take(bytes, |message| match message {
                Message::Ping(payload) => reply.extend(pong(payload)),
                Message::Pong => {}
                Message::Close(code) => closed = Some(code),
                Message::Compressed(data) => tally.compressed(data, shared, now),
                Message::Data(data) => {
                    if *confirmed < dialect.confirmation.1 {
                        *confirmed += memchr::memmem::find_iter(data, &dialect.confirmation.0).count();
                    }
                    if let Some((start, answer)) = &dialect.keep_alive
                        && data.starts_with(start)
                    {
                        reply.extend(answer);
                    }
                    tally.message(data, dialect.events, shared, now);
                }
            })?,
            Incoming::EventStream => tally.message(bytes, Events::Stream, shared, now),
            Incoming::Responses { poll, confirmed } => {
                if let Some(next) = poll.take(bytes, |body| tally.message(body, Events::Messages, shared, now))? {
                    *confirmed = true;
                    reply = next;
                }
            }
        }
        tally.flush(shared, now);
        match closed {
            None => Ok(reply),
            Some(code) => {
                let code = code.map_or("no code".to_owned(), |code| code.to_string());
                Err(io::Error::other(format!("the server closed the connection with {code}")))
            }
        }
    }
}
