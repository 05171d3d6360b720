//! The protocols of the systems: how a client subscribes and publishes. `benches/peers/README.md` has them as a table.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tidings::load::{Dialect, Events, Publisher, Shared, Tls, client_frame};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::events::{CHANNEL, Content};
use crate::systems::{Kind, Running};

const NATS_HELLO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// The most lanes that are open at the same time.
pub const LANES: usize = 64;

/// The text by which tidings confirms a subscription.
pub const SUBSCRIBED: &[u8] = br#""type":"subscribed""#;

/// A publisher. The events that one lane publishes to a channel arrive in order.
pub struct Lane {
    number: usize,
    /// The number of the next event, by [`Content::order`].
    next: Vec<u64>,
    connection: Connection,
}

enum Connection {
    Tidings(Publisher),
    /// Takes the text that is to be delivered.
    Http(Publisher),
    Nats(BufReader<TcpStream>),
}

impl Running {
    /// The dialect of a subscriber of all events.
    pub fn dialect(&self) -> Dialect {
        let plain = Dialect { path: "/ws".into(), tls: self.tls.clone(), ..Dialect::default() };
        match self.kind {
            Kind::Floor | Kind::Peer("bun" | "ws" | "nchan") => plain,
            Kind::Tidings { .. } | Kind::Peer("nginx") => {
                Dialect { path: format!("/v1/ws?channel={CHANNEL}"), confirmation: (SUBSCRIBED.to_vec(), 1), ..plain }
            }
            Kind::Peer("socketio") => Dialect {
                path: "/ws?EIO=4&transport=websocket".into(),
                hello: client_frame(b"40", false),
                confirmation: (b"40{".to_vec(), 1),
                keep_alive: Some((b"2".to_vec(), client_frame(b"3", false))),
                ..plain
            },
            Kind::Peer("nats") => Dialect {
                hello: client_frame(format!("{NATS_HELLO}SUB bench 1\r\nPING\r\n").as_bytes(), true),
                confirmation: (b"PONG\r\n".to_vec(), 1),
                keep_alive: Some((b"PING\r\n".to_vec(), client_frame(b"PONG\r\n", true))),
                events: Events::Stream,
                ..plain
            },
            Kind::Peer(folder) => unreachable!("{folder} has no dialect"),
        }
    }

    /// Connects a publisher.
    pub async fn lane(&self, number: usize) -> io::Result<Lane> {
        self.endpoint().lane(number).await
    }

    /// Where publishers connect.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, kind: self.kind, tls: self.tls.clone() }
    }
}

/// Where the publishers of a server connect.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: SocketAddr,
    kind: Kind,
    tls: Option<Tls>,
}

impl Endpoint {
    /// Connects a publisher.
    pub async fn lane(&self, number: usize) -> io::Result<Lane> {
        let publisher = async |path| Publisher::connect_with(self.address, path, self.tls.as_ref()).await;
        let connection = match self.kind {
            Kind::Tidings { .. } | Kind::Peer("nginx") => Connection::Tidings(publisher("/v1/events").await?),
            Kind::Floor => Connection::Http(publisher("/publish").await?),
            Kind::Peer("nats") => {
                let mut stream = TcpStream::connect((self.address.ip(), self.address.port() + 1)).await?;
                stream.set_nodelay(true)?;
                stream.write_all(NATS_HELLO.as_bytes()).await?;
                Connection::Nats(BufReader::new(stream))
            }
            Kind::Peer(_) => Connection::Http(publisher("/publish").await?),
        };
        Ok(Lane { number, next: Vec::new(), connection })
    }
}

impl Lane {
    /// Publishes an event that is due now; returns when the server has accepted it.
    pub async fn publish(&mut self, shared: &Shared, content: &Content) -> io::Result<()> {
        self.publish_due(shared, Instant::now(), content).await
    }

    /// Publishes an event that was due at `due`; returns when the server has accepted it.
    pub async fn publish_due(&mut self, shared: &Shared, due: Instant, content: &Content) -> io::Result<()> {
        let id = self.id(shared, due, content);
        match &mut self.connection {
            Connection::Tidings(publisher) => publisher.publish(content.posted(&id)).await.map(drop),
            Connection::Http(publisher) => publisher.publish(content.delivered(&id)).await.map(drop),
            Connection::Nats(stream) => nats(stream, &content.delivered(&id)).await,
        }
    }

    /// Publishes several events in one request. Only tidings accepts batches.
    pub async fn publish_batch(&mut self, events: &[String]) -> io::Result<()> {
        let Connection::Tidings(publisher) = &mut self.connection else {
            return Err(io::Error::other("only tidings accepts batches"));
        };
        publisher.publish(format!("[{}]", events.join(","))).await.map(drop)
    }

    /// A batch of `size` events, which are due now.
    pub fn batch(&mut self, shared: &Shared, size: usize, content: &Content) -> Vec<String> {
        let now = Instant::now();
        (0..size).map(|_| content.posted(&self.id(shared, now, content))).collect()
    }

    /// The number of the lane, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The number of events that this lane published to the channel of `content`.
    pub fn published(&self, content: &Content) -> u64 {
        self.next.get(content.order).copied().unwrap_or_default()
    }

    /// Gives the number of the last event to the next one, because the last one was refused.
    pub fn take_back(&mut self, content: &Content) {
        if let Some(next) = self.next.get_mut(content.order) {
            *next = next.saturating_sub(1);
        }
    }

    fn id(&mut self, shared: &Shared, due: Instant, content: &Content) -> String {
        if self.next.len() <= content.order {
            self.next.resize(content.order + 1, 0);
        }
        let number = self.next[content.order];
        self.next[content.order] += 1;
        shared.id(due, content.order * LANES + self.number, number)
    }
}

/// Publishes an event to nats-server. Its PONG confirms all that came before the PING.
async fn nats(stream: &mut BufReader<TcpStream>, text: &str) -> io::Result<()> {
    let message = format!("PUB bench {}\r\n{text}\r\nPING\r\n", text.len());
    stream.write_all(message.as_bytes()).await?;
    let mut line = String::new();
    while !line.starts_with("PONG") {
        if line.starts_with("PING") {
            stream.write_all(b"PONG\r\n").await?;
        }
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
