//! Server processes: starts them, waits until they are ready, and ends them with their owner.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time that a server has to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a process. Its stdout is read by [`Process::wait_for_line`]; its stderr is discarded.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit code, if the process has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for a line of stdout that contains `text`.
    ///
    /// # Errors
    /// The exit code, if the process ends first.
    pub fn wait_for_line(&mut self, text: &str) -> Result<(), Option<i32>> {
        let Some(out) = self.child.stdout.take() else { return Err(None) };
        match wait_for_line(out, text) {
            true => Ok(()),
            false => Err(self.child.wait().ok().and_then(|status| status.code())),
        }
    }

    /// Ends the process with SIGTERM, so that it can end its children, and waits for that.
    pub fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > END_TIMEOUT {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads until a line contains `text`. A thread reads the rest, so that the process can go on writing.
fn wait_for_line(out: ChildStdout, text: &str) -> bool {
    let mut lines = BufReader::new(out).lines();
    let found = lines.by_ref().map_while(Result::ok).any(|line| line.contains(text));
    std::thread::spawn(move || lines.for_each(drop));
    found
}

/// The Redis of one server. It writes no files.
#[derive(Debug)]
pub struct Redis {
    pub port: u16,
    process: Process,
}

impl Redis {
    /// Starts a Redis; `None` where none is installed.
    pub fn start() -> io::Result<Option<Self>> {
        let port = free_address()?.port();
        let flags = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let Ok(mut process) = Process::start(Command::new("redis-server").args(flags)) else { return Ok(None) };
        Ok(process.wait_for_line("Ready to accept connections").is_ok().then_some(Self { port, process }))
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The events that were appended to streams since the start.
    pub async fn appended(&self) -> io::Result<u64> {
        self.info("commandstats", "cmdstat_xadd:calls=").await
    }

    /// The commands that were processed since the start, with those of scripts. The `INFO` of this call is not yet
    /// among them.
    pub async fn processed(&self) -> io::Result<u64> {
        self.info("stats", "total_commands_processed:").await
    }

    /// The number after `name` in a section of `INFO`; 0 where there is none.
    async fn info(&self, section: &str, name: &str) -> io::Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(format!("INFO {section}\r\nQUIT\r\n").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.split(',').next());
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or_default())
    }

    /// Counts the commands that clients send in this time, without those of their scripts.
    pub async fn count_commands(&self, time: Duration) -> io::Result<u64> {
        let mut monitor = tokio::io::BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
        monitor.write_all(b"MONITOR\r\n").await?;
        let (mut line, mut count) = (String::new(), 0);
        monitor.read_line(&mut line).await?;
        let counting = async {
            loop {
                line.clear();
                if monitor.read_line(&mut line).await? == 0 {
                    return io::Result::Err(io::ErrorKind::UnexpectedEof.into());
                }
                // MONITOR marks the commands of a script with `[0 lua]`.
                count += u64::from(!line.contains(" lua] "));
            }
        };
        match tokio::time::timeout(time, counting).await {
            Ok(ended) => ended,
            Err(_) => Ok(count),
        }
    }
}

/// A free address. The next port is free as well; some servers need both.
pub fn free_address() -> io::Result<SocketAddr> {
    loop {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let next = address.port().checked_add(1).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if let Some(Ok(_)) = next {
            return Ok(address);
        }
    }
}

/// A `taskset` list of `count` cores, from `first` on.
pub fn core_list(first: usize, count: usize) -> String {
    format!("{first}-{}", first + count - 1)
}

/// Confines this process and its future children to some cores. A failure only makes the figures less exact.
pub fn stay_on(cores: &str) {
    let own = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-c", "-p", cores, &own]).stdout(Stdio::null()).status();
}

/// The limit on open files of this process and of the servers that it starts.
pub fn file_limit() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    limit.and_then(|limit| limit.parse().ok()).unwrap_or(u64::MAX)
}
