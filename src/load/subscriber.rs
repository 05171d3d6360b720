//! The subscribers: one small task for each socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::frames::{Frames, Message, pong};
use super::{Dialect, Events, HISTOGRAMS, Shared, lock};

/// Connections that are being opened at a time: more are an attack, not a load.
const OPENING: usize = 256;
/// How long a server may take to say that a subscriber stands.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest tail of a message in which an event may have begun that goes on in the next.
const TAIL: usize = 128;

/// Subscribers, all of one server.
#[derive(Debug)]
pub struct Swarm {
    tasks: JoinSet<Seen>,
    stop: watch::Sender<bool>,
}

/// What one subscriber saw.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    pub events: u64,
    /// Of the events, those that no earlier one had announced: positions between what came and what had come before.
    pub lost: u64,
    /// Events that came again, or after a later one.
    pub misordered: u64,
    /// Why it ended before it was told to.
    pub ended: Option<String>,
    /// The offset of the last event (see [`Events::Frames`]).
    pub last: u64,
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
            async move { tokio::time::timeout(PATIENCE, tokio::spawn(opening)).await }
        });
        let mut opened = opening.buffer_unordered(OPENING).map(|opened| match opened {
            Ok(Ok(subscriber)) => subscriber,
            Ok(Err(died)) => Err(io::Error::other(died)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "a subscription is not answered")),
        });
        while let Some(subscriber) = opened.try_next().await? {
            let mut stopped = stopped.clone();
            tasks.spawn(async move {
                let mut subscriber = subscriber;
                tokio::select! {
                    ended = subscriber.listen() => subscriber.seen.ended = Some(ended.to_string()),
                    // Also where the swarm is dropped.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                subscriber.seen
            });
            progress();
        }
        Ok(Self { tasks, stop })
    }

    /// Ends all and tells what each saw.
    pub async fn close(self) -> Vec<Seen> {
        self.stop.send_replace(true);
        self.tasks.join_all().await
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

struct Subscriber {
    stream: TcpStream,
    dialect: Arc<Dialect>,
    shared: Arc<Shared>,
    frames: Frames,
    histogram: usize,
    seen: Seen,
    stands: usize,
    tail: Vec<u8>,
}

impl Subscriber {
    async fn open(address: SocketAddr, dialect: Arc<Dialect>, shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let handshake = format!(
            "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            dialect.path, dialect.headers
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
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(io::Error::other(format!("no WebSocket: {}", String::from_utf8_lossy(line))));
        }
        stream.write_all(&dialect.hello).await?;
        let mut subscriber = Self {
            stream,
            dialect,
            shared,
            frames: Frames::default(),
            histogram: number % HISTOGRAMS,
            seen: Seen::default(),
            stands: 0,
            tail: Vec::new(),
        };
        let mut reply = subscriber.take(&head[end..])?;
        while subscriber.stands < subscriber.dialect.stands.1 {
            subscriber.stream.write_all(&reply).await?;
            reply = subscriber.read().await?;
        }
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
        self.stream.readable().await?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.take(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let now = self.shared.clock(Instant::now());
        let Self { frames, dialect, shared, seen, stands, tail, histogram, .. } = self;
        let (mut reply, mut closed, mut events) = (Vec::new(), None, 0);
        let tag = Finder::new(shared.tag.as_bytes());
        let mut latencies = None;
        let mut event = |id: Option<&[u8]>| {
            events += 1;
            if let Some(due) = id.and_then(number) {
                let latencies = latencies.get_or_insert_with(|| lock(&shared.latencies[*histogram]));
                latencies.saturating_record(now.saturating_sub(due).max(1));
            }
        };
        frames.take(bytes, |message| match message {
            Message::Ping(payload) => reply.extend(pong(payload)),
            Message::Close(code) => closed = Some(code),
            Message::Compressed => event(None),
            Message::Data(data) => {
                if *stands < dialect.stands.1 {
                    *stands += memchr::memmem::find_iter(data, &dialect.stands.0).count();
                }
                if let Some((start, answer)) = &dialect.keep_alive
                    && data.starts_with(start)
                {
                    reply.extend(answer);
                }
                match dialect.events {
                    Events::Frames => {
                        if let Some(rest) = data.strip_prefix(br#"{"type":"event","position":""#) {
                            seen.at(offset(rest).unwrap_or_default());
                            event(tag.find(rest).map(|at| &rest[at + shared.tag.len()..]));
                        } else if let Some(rest) = data.strip_prefix(br#"{"type":"subscribed""#) {
                            let position = memchr::memmem::find(rest, br#""position":""#).map(|at| &rest[at + 12..]);
                            seen.last = position.and_then(offset).unwrap_or_default();
                        }
                    }
                    Events::Tagged => {
                        tail.extend_from_slice(data);
                        let mut read = 0;
                        for at in tag.find_iter(&tail[..]) {
                            let id = &tail[at + shared.tag.len()..];
                            if id.contains(&b'-') {
                                event(Some(id));
                                read = at + shared.tag.len();
                            }
                        }
                        let keep = tail.len().saturating_sub(TAIL).max(read);
                        tail.drain(..keep);
                    }
                    Events::Compressed => {}
                }
            }
        });
        drop(latencies);
        if events > 0 {
            seen.events += events;
            shared.arrived(events, now);
        }
        match closed {
            None => Ok(reply),
            Some(code) => {
                let code = code.map_or("no code".to_owned(), |code| code.to_string());
                Err(io::Error::other(format!("the server closed it with {code}")))
            }
        }
    }
}

impl Seen {
    /// An event of this offset has come.
    fn at(&mut self, offset: u64) {
        match offset.checked_sub(self.last + 1) {
            Some(missing) => {
                self.lost += missing;
                self.last = offset;
            }
            None => self.misordered += 1,
        }
    }
}

/// Of `EPOCH:OFFSET"…`, the offset.
fn offset(position: &[u8]) -> Option<u64> {
    let colon = memchr::memchr(b':', &position[..position.len().min(64)])?;
    number(&position[colon + 1..])
}

/// The number that this begins with.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
