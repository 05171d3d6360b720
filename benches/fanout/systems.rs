//! The servers that are compared: how each is started, subscribed to and published at.
//!
//! All deliver the same text: that of a tidings `event` frame. Clients of the others need an id, a time and a position
//! too, if they are to do the same.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidings::load::{Dialect, Events, Publisher, Shared, client_frame};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// What it is called in tables.
    pub name: &'static str,
    kind: Kind,
    /// The cores that it may use; 0 for all.
    pub cores: usize,
    /// Further flags, of tidings alone.
    pub flags: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Floor,
    Tidings {
        redis: bool,
    },
    /// A folder of `benches/peers`.
    Peer(&'static str),
}

pub const FLOOR: System = System { name: "floor", kind: Kind::Floor, cores: 0, flags: &[] };
pub const TIDINGS: System = System { name: "tidings", kind: Kind::Tidings { redis: false }, cores: 0, flags: &[] };
pub const TIDINGS_REDIS: System =
    System { name: "tidings + Redis", kind: Kind::Tidings { redis: true }, cores: 0, flags: &[] };
pub const BUN: System = peer("Bun", "bun");
pub const WS: System = peer("Node ws + ioredis", "ws");
pub const NATS: System = peer("nats-server", "nats");
pub const PEERS: [System; 5] = [BUN, peer("nchan", "nchan"), NATS, WS, peer("Socket.IO + Redis", "socketio")];

const fn peer(name: &'static str, folder: &'static str) -> System {
    System { name, kind: Kind::Peer(folder), cores: 0, flags: &[] }
}

/// What the events are about; with the attributes around it, a delivery is about 300 bytes.
pub const CHANNEL: &str = "inventory-change";

/// A server that runs; ends with this.
pub struct Running {
    pub address: SocketAddr,
    pub system: System,
    child: Child,
    pub redis: Option<RedisServer>,
}

/// A Redis of one run.
pub struct RedisServer {
    pub port: u16,
    child: Child,
}

/// Whatever publishes.
pub enum AnyPublisher {
    Tidings(Publisher),
    Http(Publisher),
    Nats(tokio::io::BufReader<TcpStream>),
}

impl System {
    pub fn on(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    pub fn with(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    pub fn is_tidings(&self) -> bool {
        matches!(self.kind, Kind::Tidings { .. })
    }

    /// Starts it, and its Redis where it needs one; `None` where it is not installed.
    pub fn start(&self) -> io::Result<Option<Running>> {
        let address = free_address()?;
        let redis = match self.kind {
            Kind::Tidings { redis: true } | Kind::Peer("ws" | "socketio") => match RedisServer::start()? {
                Some(redis) => Some(redis),
                None => return Ok(None),
            },
            _ => None,
        };
        let redis_port = redis.as_ref().map_or(0, |redis| redis.port);
        let mut line = match self.cores {
            0 => vec![],
            cores => vec!["taskset".to_owned(), "-c".to_owned(), format!("0-{}", cores - 1)],
        };
        match self.kind {
            Kind::Floor => {
                line.extend([std::env::current_exe()?.display().to_string(), "floor".into(), address.to_string()]);
            }
            Kind::Tidings { redis } => {
                let broker = if redis { format!("redis://127.0.0.1:{redis_port}") } else { "memory".into() };
                line.push(env!("CARGO_BIN_EXE_tidings").into());
                line.extend(["serve", "--listen", &address.to_string(), "--broker", &broker].map(str::to_owned));
                line.extend(self.flags.iter().map(|&flag| flag.into()));
            }
            Kind::Peer(folder) => {
                line.push(format!("{}/benches/peers/{folder}/start", env!("CARGO_MANIFEST_DIR")));
                line.extend([address.port().to_string(), redis_port.to_string()]);
            }
        }
        let started = Command::new(&line[0]).args(&line[1..]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = started else { return Ok(None) };
        let stands = match self.kind {
            Kind::Tidings { .. } => stands(&mut child, address),
            _ => child.stdout.take().is_some_and(says_ready),
        };
        let running = Running { address, system: self.clone(), child, redis };
        Ok(stands.then_some(running))
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How a subscriber of all events speaks to it.
    pub fn dialect(&self) -> Dialect {
        let path = "/ws".to_owned();
        match self.system.kind {
            Kind::Tidings { .. } => Dialect {
                path: format!("/v1/ws?channel={CHANNEL}"),
                stands: (br#""type":"subscribed""#.to_vec(), 1),
                events: Events::Frames,
                ..Dialect::default()
            },
            Kind::Peer("socketio") => Dialect {
                path: "/ws?EIO=4&transport=websocket".into(),
                hello: client_frame(b"40", false),
                stands: (b"40{".to_vec(), 1),
                keep_alive: Some((b"2".to_vec(), client_frame(b"3", false))),
                events: Events::Tagged,
                ..Dialect::default()
            },
            Kind::Peer("nats") => Dialect {
                path,
                hello: client_frame(b"CONNECT {\"verbose\":false}\r\nSUB bench 1\r\nPING\r\n", true),
                stands: (b"PONG".to_vec(), 1),
                keep_alive: Some((b"PING".to_vec(), client_frame(b"PONG\r\n", true))),
                events: Events::Tagged,
                ..Dialect::default()
            },
            Kind::Floor | Kind::Peer(_) => Dialect { path, events: Events::Tagged, ..Dialect::default() },
        }
    }

    pub async fn publisher(&self) -> io::Result<AnyPublisher> {
        Ok(match self.system.kind {
            Kind::Tidings { .. } => AnyPublisher::Tidings(Publisher::connect(self.address, "/v1/events").await?),
            Kind::Peer("nats") => {
                let mut stream = TcpStream::connect((self.address.ip(), self.address.port() + 1)).await?;
                stream.set_nodelay(true)?;
                stream.write_all(b"CONNECT {\"verbose\":false}\r\n").await?;
                AnyPublisher::Nats(tokio::io::BufReader::new(stream))
            }
            Kind::Floor | Kind::Peer(_) => AnyPublisher::Http(Publisher::connect(self.address, "/publish").await?),
        })
    }
}

impl AnyPublisher {
    /// Publishes an event of this number that is due now, with `data` as the product's id; returns when it was taken.
    pub async fn publish(&mut self, shared: &Shared, number: u64, product: &str) -> io::Result<()> {
        let id = shared.id(Instant::now(), number);
        match self {
            Self::Tidings(publisher) => publisher.publish(document(&id, product)).await.map(drop),
            Self::Http(publisher) => publisher.publish(delivered(&id, product)).await.map(drop),
            Self::Nats(stream) => {
                let text = delivered(&id, product);
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
        }
    }
}

/// What is POSTed to tidings.
pub fn document(id: &str, product: &str) -> String {
    json!({ "type": CHANNEL, "id": id, "data": data(product) }).to_string()
}

/// What tidings delivers of it, as everybody else delivers it.
fn delivered(id: &str, product: &str) -> String {
    let mut text = String::from(r#"{"type":"event","position":"5f0c5k3m:10000","event":"#);
    let event = json!({
        "specversion": "1.0", "type": CHANNEL, "source": "anonymous", "subject": product, "id": id,
        "time": "2026-11-21T10:00:00.000000Z", "data": data(product),
    });
    let _ = write!(text, "{event}}}");
    text
}

fn data(product: &str) -> serde_json::Value {
    json!({ "productId": product, "oldQuantity": 100, "newQuantity": 95, "reason": "sale" })
}

/// A subscriber of tidings with a subscription for each of these filters.
pub fn filtered(filters: impl Iterator<Item = serde_json::Value>) -> Arc<Dialect> {
    let mut hello = Vec::new();
    let mut count = 0;
    for filter in filters {
        let frame = json!({"type": "subscribe", "sub": format!("s{count}"), "channel": CHANNEL, "where": filter});
        hello.extend(client_frame(frame.to_string().as_bytes(), false));
        count += 1;
    }
    let stands = (br#""type":"subscribed""#.to_vec(), count);
    Arc::new(Dialect { path: "/v1/ws".into(), hello, stands, events: Events::Tagged, ..Dialect::default() })
}

impl RedisServer {
    pub fn start() -> io::Result<Option<Self>> {
        let port = free_address()?.port();
        let flags = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let started = Command::new("redis-server").args(flags).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = started else { return Ok(None) };
        let stands = child.stdout.take().is_some_and(|out| says(out, "Ready to accept connections"));
        Ok(stands.then_some(Self { port, child }))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A signal that lets it end those below it.
fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let begun = Instant::now();
    while child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if begun.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn free_address() -> io::Result<SocketAddr> {
    // Some need the next port too.
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn says_ready(out: std::process::ChildStdout) -> bool {
    says(out, "ready")
}

/// Whether a process says this, before it ends; goes on reading after that, so that it can go on writing.
fn says(out: std::process::ChildStdout, what: &str) -> bool {
    let mut lines = BufReader::new(out).lines();
    let said = lines.by_ref().map_while(Result::ok).any(|line| line.contains(what));
    std::thread::spawn(move || lines.for_each(drop));
    said
}

/// Whether it answers that it is ready, before it ends.
fn stands(child: &mut Child, address: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let ready = || -> io::Result<bool> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    while !ready().unwrap_or(false) {
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
