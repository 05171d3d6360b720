//! Connections that measure how soon the daemon answers a client's frames while it delivers events, also to them.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidings::load::{Dialect, Frames, Message, client_frame, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::dialects::SUBSCRIBED;
use crate::events::CHANNEL;
use crate::own_thread::OwnThread;
use crate::systems::Running;

/// The time after which an answer counts as missing. The histogram gets it as the time of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two questions of one connection.
const PAUSE: Duration = Duration::from_millis(15);

const PONG: &[u8] = br#"{"type":"pong""#;
const CONFIRMED: &[u8] = br#"{"type":"subscribed""#;
const UNSUBSCRIBED: &[u8] = br#"{"type":"unsubscribed""#;
const SYNCED: &[u8] = br#"{"type":"synced""#;

/// What probes ask.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// `ping`, then `subscribe` and `unsubscribe`, in turn.
    PingAndSubscribe,
    Sync,
}

/// The times until the answers, in microseconds.
pub struct Answers {
    /// From a `ping` frame to `pong`.
    pub ping: Histogram<u64>,
    /// From `subscribe` to `subscribed`.
    pub subscribe: Histogram<u64>,
    /// From `sync` to `synced`.
    pub sync: Histogram<u64>,
    /// Connections that the daemon closed.
    pub closed: u64,
}

/// Connected probes.
pub struct Probes {
    thread: OwnThread,
    probes: Vec<Probe>,
}

struct Probe {
    stream: TcpStream,
    frames: Frames,
}

impl Answers {
    fn new() -> io::Result<Self> {
        let empty = || Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other);
        Ok(Self { ping: empty()?, subscribe: empty()?, sync: empty()?, closed: 0 })
    }
}

impl Probes {
    /// Connects probes, each with a subscription to all events.
    pub async fn connect(server: &Running, count: usize) -> io::Result<Self> {
        Self::connect_to(server, count, CHANNEL).await
    }

    /// Connects probes, each with a subscription to a channel.
    pub async fn connect_to(server: &Running, count: usize, channel: &str) -> io::Result<Self> {
        let thread = OwnThread::start()?;
        let dialect = Dialect { path: format!("/v1/ws?channel={channel}"), ..server.dialect() };
        let address = server.address;
        let connecting = thread.handle().spawn(async move {
            let mut probes = Vec::new();
            for _ in 0..count {
                probes.push(Probe::connect(address, &dialect).await?);
            }
            io::Result::Ok(probes)
        });
        let probes = connecting.await.map_err(io::Error::other)??;
        Ok(Self { thread, probes })
    }

    /// Asks for this time on all connections.
    pub async fn ask(self, question: Question, time: Duration) -> io::Result<Answers> {
        let mut asking = JoinSet::new();
        let count = self.probes.len() as u32;
        for (number, mut probe) in (0..).zip(self.probes) {
            // The questions of several connections are spread over the time.
            let delay = PAUSE * number / count;
            asking.spawn_on(
                async move {
                    let mut answers = Answers::new()?;
                    tokio::time::sleep(delay).await;
                    answers.closed = u64::from(probe.ask(question, time, &mut answers).await.is_err());
                    io::Result::Ok(answers)
                },
                self.thread.handle(),
            );
        }
        let mut all = Answers::new()?;
        while let Some(done) = asking.join_next().await {
            let answers = done.map_err(io::Error::other)??;
            all.ping.add(answers.ping).map_err(io::Error::other)?;
            all.subscribe.add(answers.subscribe).map_err(io::Error::other)?;
            all.sync.add(answers.sync).map_err(io::Error::other)?;
            all.closed += answers.closed;
        }
        Ok(all)
    }
}

impl Probe {
    async fn connect(address: std::net::SocketAddr, dialect: &Dialect) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut read = upgrade(&mut stream, dialect).await?;
        while memchr::memmem::find(&read, SUBSCRIBED).is_none() {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut frames = Frames::default();
        frames.take(&read, |_| {})?;
        Ok(Self { stream, frames })
    }

    /// Asks for this time.
    ///
    /// # Errors
    /// Where the connection ends.
    async fn ask(&mut self, question: Question, time: Duration, answers: &mut Answers) -> io::Result<()> {
        match question {
            Question::PingAndSubscribe => self.ping_and_subscribe(time, answers).await,
            Question::Sync => self.sync(time, answers).await,
        }
    }

    async fn sync(&mut self, time: Duration, answers: &mut Answers) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let took = self.time(r#"{"type":"sync","id":"probe"}"#, SYNCED).await?;
            answers.sync.saturating_record(took);
            self.read_until(None, PAUSE).await?;
        }
        Ok(())
    }

    async fn ping_and_subscribe(&mut self, time: Duration, answers: &mut Answers) -> io::Result<()> {
        let begun = Instant::now();
        let subscribe = format!(r#"{{"type":"subscribe","sub":"probe","channel":"{CHANNEL}"}}"#);
        while begun.elapsed() < time {
            let took = self.time(r#"{"type":"ping"}"#, PONG).await?;
            answers.ping.saturating_record(took);
            self.read_until(None, PAUSE).await?;
            let took = self.time(&subscribe, CONFIRMED).await?;
            answers.subscribe.saturating_record(took);
            self.time(r#"{"type":"unsubscribe","sub":"probe"}"#, UNSUBSCRIBED).await?;
            self.read_until(None, PAUSE).await?;
        }
        Ok(())
    }

    /// Sends a frame, and returns the microseconds until the answer.
    async fn time(&mut self, frame: &str, answer: &[u8]) -> io::Result<u64> {
        let begun = Instant::now();
        self.stream.write_all(&client_frame(frame.as_bytes(), false)).await?;
        self.read_until(Some(answer), ANSWER_TIMEOUT).await?;
        Ok(begun.elapsed().as_micros() as u64)
    }

    /// Reads for this time, or until a message begins with `answer`.
    async fn read_until(&mut self, answer: Option<&[u8]>, time: Duration) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let reading = async {
            loop {
                let read = self.stream.read(&mut buffer).await?;
                let (mut came, mut closed) = (false, read == 0);
                self.frames.take(&buffer[..read], |message| match message {
                    Message::Data(data) => came |= answer.is_some_and(|answer| data.starts_with(answer)),
                    Message::Close(_) => closed = true,
                    _ => {}
                })?;
                match () {
                    () if came => return Ok(()),
                    () if closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                    () => {}
                }
            }
        };
        tokio::time::timeout(time, reading).await.unwrap_or(Ok(()))
    }
}
