//! Runs `redis-benchmark` with the command by which the daemon appends events.
//!
//! The command is captured from a running daemon with MONITOR. So it is the same, whatever the script and its arguments
//! are.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidings::load::Shared;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::events::Content;
use crate::systems::Running;

/// A command of the daemon that appends events.
pub struct Captured {
    words: Vec<String>,
}

/// `redis-benchmark` replaces each of these by a random number. A pair of them does not repeat.
const RANDOM: &str = "__rand_int__";

impl Captured {
    /// Publishes this many events in one request, and captures the command that the daemon sends to Redis.
    pub async fn of(server: &Running, events: usize) -> io::Result<Self> {
        let redis = server.redis.as_ref().ok_or_else(|| io::Error::other("there is no Redis"))?;
        let (mut lane, shared, content) = (server.lane(0).await?, Shared::new(), Content::of_product("p-1"));
        // The first request loads the script into Redis. The command after it is the usual one.
        let first = lane.batch(&shared, 1, &content);
        lane.publish_batch(&first).await?;
        let mut monitor = BufReader::new(TcpStream::connect(("127.0.0.1", redis.port)).await?);
        monitor.write_all(b"MONITOR\r\n").await?;
        let mut line = String::new();
        monitor.read_line(&mut line).await?;
        let ids: Vec<String> = (1..=events as u64).map(|number| shared.id(Instant::now(), 0, number)).collect();
        let batch: Vec<String> = ids.iter().map(|id| content.posted(id)).collect();
        lane.publish_batch(&batch).await?;
        let capturing = async {
            loop {
                line.clear();
                if monitor.read_line(&mut line).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // MONITOR also shows the commands of the script, marked `[0 lua]`.
                if line.contains(&ids[0]) && !line.contains(" lua] ") {
                    return io::Result::Ok(words(&line));
                }
            }
        };
        let words = tokio::time::timeout(Duration::from_secs(5), capturing).await??;
        let random =
            |word: String| ids.iter().fold(word, |word, id| word.replace(id.as_str(), &format!("b-{RANDOM}-{RANDOM}")));
        Ok(Self { words: words.into_iter().map(random).collect() })
    }
}

/// The words of the command in a line of MONITOR.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut bytes) = (Vec::new(), line.bytes());
    while bytes.by_ref().any(|byte| byte == b'"') {
        let mut word = Vec::new();
        while let Some(byte) = bytes.next().filter(|byte| *byte != b'"') {
            word.push(match byte {
                b'\\' => match bytes.next().unwrap_or(b'\\') {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'x' => {
                        let mut digit =
                            || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8;
                        digit() << 4 | digit()
                    }
                    quoted => quoted,
                },
                plain => plain,
            });
        }
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    words
}

/// The program, run against one Redis.
pub struct RedisBenchmark {
    pub port: u16,
}

impl RedisBenchmark {
    /// Runs the command, and returns the calls a second.
    pub fn run(&self, command: &Captured, connections: usize, calls: usize) -> io::Result<f64> {
        let (port, connections, calls) = (self.port.to_string(), connections.to_string(), calls.to_string());
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port, "-c", &connections, "-n", &calls, "-r", "2000000000", "--csv"])
            .args(&command.words)
            .stderr(Stdio::piped())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The name of the test, which may have any characters, then rps, avg, min, p50, p95, p99, max.
        let rate = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
        rate.ok_or_else(|| {
            io::Error::other(format!("redis-benchmark: {text}{}", String::from_utf8_lossy(&output.stderr)))
        })
    }
}
