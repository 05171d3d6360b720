//! Servers as processes: started, watched until they stand, ended with whoever started them.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may take to end once it was asked to.
const END: Duration = Duration::from_secs(20);

/// A process that ends with this.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it; its output goes nowhere but to [`Process::says`].
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The code with which it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits until it says this; where it ends before it does, that is an error and its code.
    pub fn says(&mut self, what: &str) -> Result<(), Option<i32>> {
        let Some(out) = self.child.stdout.take() else { return Err(None) };
        match says(out, what) {
            true => Ok(()),
            false => Err(self.child.wait().ok().and_then(|status| status.code())),
        }
    }

    /// Asks it to end, so that it can end those below it, and waits for that.
    pub fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > END {
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

/// Goes on reading after it was said, so that the process can go on writing.
fn says(out: ChildStdout, what: &str) -> bool {
    let mut lines = BufReader::new(out).lines();
    let said = lines.by_ref().map_while(Result::ok).any(|line| line.contains(what));
    std::thread::spawn(move || lines.for_each(drop));
    said
}

/// A Redis of one server, without files.
#[derive(Debug)]
pub struct Redis {
    pub port: u16,
    process: Process,
}

impl Redis {
    /// `None` where there is none to start.
    pub fn start() -> io::Result<Option<Self>> {
        let port = free_address()?.port();
        let flags = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let Ok(mut process) = Process::start(Command::new("redis-server").args(flags)) else { return Ok(None) };
        Ok(process.says("Ready to accept connections").is_ok().then_some(Self { port, process }))
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Events that were appended to streams since it was started.
    pub async fn appended(&self) -> io::Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"INFO commandstats\r\nQUIT\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_xadd:calls=")?.split(',').next());
        Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or_default())
    }
}

/// An address that is free, as is the port after it, which some servers need too.
pub fn free_address() -> io::Result<SocketAddr> {
    loop {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let next = address.port().checked_add(1).map(|port| TcpListener::bind(("127.0.0.1", port)));
        if let Some(Ok(_)) = next {
            return Ok(address);
        }
    }
}

/// A `taskset` list of the machine's cores from `first` on, so many of them.
pub fn core_list(first: usize, count: usize) -> String {
    format!("{first}-{}", first + count - 1)
}

/// Confines this process, and what it starts from now on, to some cores. Where that fails, it is only less exact.
pub fn stay_on(cores: &str) {
    let own = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-c", "-p", cores, &own]).stdout(Stdio::null()).status();
}

/// The files that this process, and with it each server, may open.
pub fn file_limit() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    limit.and_then(|limit| limit.parse().ok()).unwrap_or(u64::MAX)
}
