//! A real Redis server or sentinel for one test, on a port and in a directory of its own. Tests kill, pause and restart it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;

/// A `redis-server` process. Dropping it kills the process.
pub struct Redis {
    pub port: u16,
    /// The cluster bus port, for a node of a cluster.
    pub bus_port: u16,
    pub directory: TempDir,
    /// Environment variables for the server, in addition to those of this process.
    pub environment: Vec<(&'static str, PathBuf)>,
    arguments: Vec<String>,
    /// The process is not dropped, and ends with the process of the tests.
    left_running: bool,
    server: Option<Child>,
}

impl Redis {
    /// A server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// A server that syncs every write to disk.
    pub fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with further command-line options.
    pub fn with(options: &[&str]) -> Self {
        let mut redis = Self::stopped(options);
        redis.run();
        redis
    }

    /// A server that is not started yet.
    pub fn stopped(options: &[&str]) -> Self {
        let mut redis = Self::new();
        let port = redis.port.to_string();
        let usual = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"];
        let files = ["--unixsocket", "redis.sock", "--logfile", "redis.log", "--loglevel", "warning"];
        redis.arguments = [&usual[..], &files, options].concat().into_iter().map(str::to_owned).collect();
        redis.arguments.extend(other_options());
        redis
    }

    /// A sentinel that monitors the master at this port under the name `main`. `quorum` sentinels must agree that it is
    /// down. The sentinel keeps its state over a restart.
    pub fn sentinel(master: u16, quorum: usize) -> Self {
        Self::sentinel_with(master, quorum, "")
    }

    /// A [`sentinel`](Self::sentinel) with further lines in its configuration.
    pub fn sentinel_with(master: u16, quorum: usize, lines: &str) -> Self {
        let mut sentinel = Self::new();
        let configuration = format!(
            "port {}\nbind 127.0.0.1\nlogfile redis.log\n{lines}\nsentinel monitor main 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            sentinel.port
        );
        std::fs::write(sentinel.directory.path().join("sentinel.conf"), configuration).expect("a file");
        sentinel.arguments = ["sentinel.conf", "--sentinel"].map(str::to_owned).into();
        sentinel.run();
        sentinel
    }

    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            port: free_port(),
            bus_port: 0,
            directory,
            environment: Vec::new(),
            arguments: Vec::new(),
            left_running: false,
            server: None,
        }
    }

    /// Makes the server end, and its directory disappear, when the process of the tests ends.
    pub fn left_running(mut self) -> Self {
        self.left_running = true;
        self
    }

    /// Starts the server, or starts it again with what it kept on disk.
    pub fn run(&mut self) {
        assert!(self.server.is_none(), "the server is running already");
        let (mut command, stdin) = match self.left_running {
            false => (Command::new(program()), Stdio::null()),
            true => {
                // The pipe is closed when this process ends, even by a signal.
                let guard = r#""$REDIS" "$@" & read _; kill -9 $!; wait; rm -rf "$0""#;
                let mut shell = Command::new("sh");
                shell.args(["-c", guard]).arg(self.directory.path()).env("REDIS", program());
                (shell, Stdio::piped())
            }
        };
        let server = command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-server ({error}): {INSTALL}"));
        self.server = Some(server);
        let start = Instant::now();
        while self.try_cli(&["ping"]).as_deref() != Some("PONG") {
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer on port {}", self.port);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Adds options for the next [`run`](Self::run).
    pub fn add_options(&mut self, options: &[&str]) {
        self.arguments.extend(options.iter().map(|&option| option.to_owned()));
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Stops the process with SIGSTOP. Its connections stay open, as with a machine that hangs.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues a paused process.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// Runs a command with redis-cli and returns its output. Panics if it fails.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).unwrap_or_else(|| panic!("redis-cli {command:?} failed"))
    }

    /// Runs a command with redis-cli. `None` if it fails.
    pub fn try_cli(&self, command: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "-e"])
            .args(login())
            .args(command)
            .output()
            .unwrap_or_else(|error| panic!("cannot start redis-cli ({error}): {INSTALL}"));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Subscribes to a pattern with redis-cli.
    pub fn watch(&self, pattern: &str) -> Watcher {
        self.listen("psubscribe", pattern)
    }

    /// Subscribes with redis-cli, by a command such as `ssubscribe`.
    pub fn listen(&self, command: &str, name: &str) -> Watcher {
        let watcher = self.follow(&[command, name]);
        // The reply to the subscription has three lines.
        assert_eq!([watcher.line(), watcher.line(), watcher.line()], [command, name, "1"]);
        watcher
    }

    /// Follows every command that clients send to the server.
    pub fn monitor(&self) -> Watcher {
        let watcher = self.follow(&["monitor"]);
        assert_eq!(watcher.line(), "OK");
        watcher
    }

    /// Runs a command with redis-cli that prints lines until it is killed.
    fn follow(&self, command: &[&str]) -> Watcher {
        let mut client = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(login())
            .args(command)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-cli ({error}): {INSTALL}"));
        let output = BufReader::new(client.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Watcher { client, lines }
    }

    fn signal(&self, name: &str) {
        let pid = self.server.as_ref().expect("a running server").id();
        // The shell's builtin: not every machine has the program.
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A redis-cli that prints the messages of a subscription, or what a server is sent.
pub struct Watcher {
    client: Child,
    lines: Receiver<String>,
}

impl Watcher {
    /// The channel and the text of the next message.
    pub fn message(&self) -> (String, String) {
        assert_eq!(self.line(), "pmessage");
        self.line();
        (self.line(), self.line())
    }

    /// The same for a subscription to one channel, sharded or not.
    pub fn exact_message(&self) -> (String, String) {
        let kind = self.line();
        assert!(["message", "smessage"].contains(&&*kind), "{kind}");
        (self.line(), self.line())
    }

    /// The next line of output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of redis-cli")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Creates the user `tidings` with the password `s3cret` by the documentation's `ACL SETUSER` line that contains `words`.
/// Returns the rights that it grants.
pub fn documented_user(server: &Redis, words: &str) -> Vec<&'static str> {
    let documentation = include_str!("../../../docs/redis.md");
    let line = documentation.lines().find(|line| line.starts_with("ACL SETUSER") && line.contains(words));
    let words: Vec<_> = line.expect("a line of the documentation").split_whitespace().collect();
    let command: Vec<_> = words.iter().map(|word| if *word == ">PASSWORD" { ">s3cret" } else { word }).collect();
    assert_eq!(server.cli(&command), "OK");
    words.into_iter().filter(|word| word.starts_with('+')).collect()
}

/// The server's program: `redis-server`, or that in `TIDINGS_TEST_REDIS`, by which `make check-brokers` runs tests on
/// other servers.
fn program() -> String {
    std::env::var("TIDINGS_TEST_REDIS").unwrap_or_else(|_| "redis-server".into())
}

/// Further options of every server that is no sentinel: the JSON array in `TIDINGS_TEST_REDIS_OPTIONS`.
fn other_options() -> Vec<String> {
    let options = std::env::var("TIDINGS_TEST_REDIS_OPTIONS").unwrap_or_else(|_| "[]".into());
    serde_json::from_str(&options).expect("TIDINGS_TEST_REDIS_OPTIONS is a JSON array of strings")
}

/// The options of redis-cli for the user in `TIDINGS_TEST_REDIS_USER`. A profile that takes commands from the daemon's user
/// leaves them to the tests by another user.
fn login() -> Vec<String> {
    let Ok(user) = std::env::var("TIDINGS_TEST_REDIS_USER") else { return Vec::new() };
    ["--user", &user, "--pass", "any", "--no-auth-warning"].map(str::to_owned).into()
}

const INSTALL: &str = "the tests need a real Redis; install it (on Debian: apt-get install redis-server)";

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    // Below the ports that the kernel gives to connections: one of those could be taken before the server binds it.
    const PORTS: Range<u32> = 10_000..30_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Another run of the tests at the same time begins elsewhere.
        let index = std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + index % (PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
