//! The servers that are compared, and how each is started. `dialects.rs` has their protocols.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tidings::load::Tls;

use crate::process::{Process, Redis, core_list, free_address};
use crate::tls::Certificate;

/// A server that can be measured.
#[derive(Debug, Clone)]
pub struct System {
    /// The name in tables.
    pub name: &'static str,
    pub kind: Kind,
    /// The number of cores that it may use; 0 means all.
    pub cores: usize,
    /// Clients connect with TLS.
    tls: bool,
    /// Further flags; only tidings has them.
    flags: Vec<String>,
    /// The command that it is run by, for example valgrind.
    under: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Tidings {
        redis: bool,
    },
    /// A folder of `benches/peers`.
    Peer(&'static str),
}

pub const FLOOR: System = system("floor", Kind::Floor);
pub const TIDINGS: System = system("tidings", Kind::Tidings { redis: false });
pub const TIDINGS_REDIS: System = system("tidings + Redis", Kind::Tidings { redis: true });
pub const BUN: System = system("Bun", Kind::Peer("bun"));
pub const NCHAN: System = system("nchan", Kind::Peer("nchan"));
pub const NATS: System = system("nats-server", Kind::Peer("nats"));
pub const WS: System = system("Node ws + ioredis", Kind::Peer("ws"));
/// nginx with TLS, and tidings without it behind.
pub const NGINX: System = system("nginx before tidings", Kind::Peer("nginx"));
pub const SOCKET_IO: System = system("Socket.IO + Redis", Kind::Peer("socketio"));
pub const ALL: [System; 8] = [FLOOR, TIDINGS, TIDINGS_REDIS, BUN, NCHAN, NATS, WS, SOCKET_IO];

const fn system(name: &'static str, kind: Kind) -> System {
    System { name, kind, cores: 0, tls: false, flags: Vec::new(), under: Vec::new() }
}

/// The program.
const DAEMON: &str = env!("CARGO_BIN_EXE_tidings");

/// The exit code of a peer's `start` where something is not installed.
const NOT_INSTALLED: i32 = 3;

/// A server that is ready. It is ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    pub address: SocketAddr,
    pub kind: Kind,
    pub redis: Option<Redis>,
    /// How clients connect, where they do so with TLS.
    pub tls: Option<Tls>,
    process: Process,
    /// Its working directory, which has none of the user's files.
    folder: TempDir,
}

impl System {
    pub fn on(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    pub fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Returns the system with TLS. Tidings, Bun and nginx have it.
    pub fn over_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Returns the system with another name.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Returns the system run by this command.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the server in this folder, and its Redis if it needs one. The inner error is the reason why it cannot be
    /// measured.
    pub fn start(&self, folder: TempDir) -> io::Result<Result<Running, String>> {
        let redis = match self.kind {
            Kind::Tidings { redis: true } | Kind::Peer("ws" | "socketio") => match Redis::start()? {
                Some(redis) => Some(redis),
                None => return Ok(Err("redis-server is not installed".into())),
            },
            _ => None,
        };
        let port = redis.as_ref().map_or(0, |redis| redis.port);
        Ok(self.start_at(folder, port)?.map(|running| Running { redis, ..running }))
    }

    /// Starts the server in this folder, at a Redis that runs already.
    pub fn start_at(&self, folder: TempDir, redis_port: u16) -> io::Result<Result<Running, String>> {
        let address = free_address()?;
        let certificate = self.tls.then(|| Certificate::new_in(folder.path())).transpose()?;
        let line = self.command_line(address, redis_port)?;
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(folder.path()).env("DAEMON", DAEMON);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
            command.env_remove(name);
        }
        if let Some(Certificate { cert, key, .. }) = &certificate {
            match self.kind {
                Kind::Tidings { .. } => command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key),
                _ => command.env("TLS_CERT", cert).env("TLS_KEY", key),
            };
        }
        let mut process = match Process::start(&mut command) {
            Ok(process) => process,
            Err(error) => return Ok(Err(format!("{}: {error}", line[0]))),
        };
        let ready = match self.kind {
            Kind::Tidings { .. } if self.tls => wait_for_listener(&mut process, address),
            Kind::Tidings { .. } => wait_for_ready(&mut process, address),
            Kind::Floor | Kind::Peer(_) => process.wait_for_line("ready"),
        };
        Ok(match ready {
            Ok(()) => {
                let tls = certificate.map(|certificate| certificate.client);
                Ok(Running { address, kind: self.kind, redis: None, tls, process, folder })
            }
            Err(Some(NOT_INSTALLED)) => Err("not installed: `make setup-bench` installs it".into()),
            Err(code) if self.flags.is_empty() => Err(format!("it ended with {code:?} before it was ready")),
            Err(_) => Err(format!("it does not start with {}", self.flags.join(" "))),
        })
    }

    fn command_line(&self, address: SocketAddr, redis_port: u16) -> io::Result<Vec<String>> {
        let mut line = self.under.clone();
        if self.cores > 0 {
            line.extend(["taskset", "-c", &core_list(0, self.cores)].map(str::to_owned));
        }
        match self.kind {
            Kind::Floor => {
                line.extend([std::env::current_exe()?.display().to_string(), "floor".into(), address.to_string()]);
            }
            Kind::Tidings { redis } => {
                let broker = if redis { format!("redis://127.0.0.1:{redis_port}") } else { "memory".into() };
                line.push(DAEMON.into());
                line.extend(["serve", "--listen", &address.to_string(), "--broker", &broker].map(str::to_owned));
                line.extend(self.flags.iter().cloned());
            }
            Kind::Peer(folder) => {
                line.push(format!("{}/benches/peers/{folder}/start", env!("CARGO_MANIFEST_DIR")));
                line.extend([address.port().to_string(), redis_port.to_string()]);
            }
        }
        Ok(line)
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the server, and returns its Redis, which goes on running.
    pub fn leave_redis(self) -> Option<Redis> {
        self.redis
    }

    /// Ends the server, waits for that, and returns its folder with the files that it left.
    pub fn end(mut self) -> TempDir {
        self.process.end();
        self.folder
    }
}

/// Waits until `/readyz` of tidings answers 200.
///
/// # Errors
/// The exit code, if the process ends first.
fn wait_for_ready(process: &mut Process, address: SocketAddr) -> Result<(), Option<i32>> {
    use std::io::{Read, Write};
    let ready = || -> io::Result<bool> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    wait_until(process, || ready().unwrap_or(false))
}

/// Waits until tidings listens, which it does last.
///
/// # Errors
/// The exit code, if the process ends first.
fn wait_for_listener(process: &mut Process, address: SocketAddr) -> Result<(), Option<i32>> {
    wait_until(process, || std::net::TcpStream::connect(address).is_ok())
}

fn wait_until(process: &mut Process, is_ready: impl Fn() -> bool) -> Result<(), Option<i32>> {
    while !is_ready() {
        if let Some(code) = process.ended() {
            return Err(Some(code));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
