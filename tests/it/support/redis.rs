//! A real Redis for one test: on a port and in a directory of its own, to be killed, paused and started again.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;

pub struct Redis {
    pub port: u16,
    /// Of a cluster's node: the port on which the nodes talk.
    pub bus_port: u16,
    pub directory: TempDir,
    /// Variables for the server, beside those of this process.
    pub environment: Vec<(&'static str, PathBuf)>,
    arguments: Vec<String>,
    /// Nobody drops it.
    left_running: bool,
    server: Option<Child>,
}

impl Redis {
    /// Keeps nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// Keeps everything on disk.
    pub fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub fn with(options: &[&str]) -> Self {
        let mut redis = Self::stopped(options);
        redis.run();
        redis
    }

    /// A Redis that is not running yet.
    pub fn stopped(options: &[&str]) -> Self {
        let mut redis = Self::new();
        let port = redis.port.to_string();
        let usual = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"];
        let files = ["--unixsocket", "redis.sock", "--logfile", "redis.log", "--loglevel", "warning"];
        redis.arguments = [&usual[..], &files, options].concat().into_iter().map(str::to_owned).collect();
        redis
    }

    /// A sentinel that watches over a master of the name `main`; so many must agree that it is dead. What it has learnt
    /// since, it keeps.
    pub fn sentinel(master: u16, quorum: usize) -> Self {
        Self::sentinel_with(master, quorum, "")
    }

    /// The same, with further lines in its configuration.
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

    /// It will stop, and its directory go, when the process of the tests ends.
    pub fn left_running(mut self) -> Self {
        self.left_running = true;
        self
    }

    /// Starts it (again), with whatever it kept on disk.
    pub fn run(&mut self) {
        assert!(self.server.is_none(), "it is running");
        let (mut command, stdin) = match self.left_running {
            false => (Command::new("redis-server"), Stdio::null()),
            true => {
                // The pipe is closed when this process ends, however it does.
                let guard = r#"redis-server "$@" & read _; kill -9 $!; wait; rm -rf "$0""#;
                let mut shell = Command::new("sh");
                shell.args(["-c", guard]).arg(self.directory.path());
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

    /// As a power cut for the process: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Stands still with its connections open, as a machine that hangs.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// Runs a command by redis-cli and gives its output.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).unwrap_or_else(|| panic!("redis-cli {command:?} failed"))
    }

    /// `None` where that fails.
    pub fn try_cli(&self, command: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "-e"])
            .args(command)
            .output()
            .unwrap_or_else(|error| panic!("cannot start redis-cli ({error}): {INSTALL}"));
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What `redis-cli psubscribe PATTERN` shows from now on.
    pub fn watch(&self, pattern: &str) -> Watcher {
        self.listen("psubscribe", pattern)
    }

    /// What `redis-cli COMMAND NAME` shows from now on.
    pub fn listen(&self, command: &str, name: &str) -> Watcher {
        let mut client = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), command, name])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-cli ({error}): {INSTALL}"));
        let output = BufReader::new(client.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::sync_channel(100_000);
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let watcher = Watcher { client, lines };
        // Its three lines about the subscription.
        assert_eq!([watcher.line(), watcher.line(), watcher.line()], [command, name, "1"]);
        watcher
    }

    fn signal(&self, name: &str) {
        let pid = self.server.as_ref().expect("a running server").id();
        // The shell's own kill: not every machine has the program.
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Watcher {
    client: Child,
    lines: Receiver<String>,
}

impl Watcher {
    /// The next message: its channel and its text.
    pub fn message(&self) -> (String, String) {
        assert_eq!(self.line(), "pmessage");
        self.line();
        (self.line(), self.line())
    }

    /// The next message on a sharded channel.
    pub fn sharded_message(&self) -> (String, String) {
        assert_eq!(self.line(), "smessage");
        (self.line(), self.line())
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line of redis-cli")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Makes the user `tidings` with the password `s3cret` as the documentation says, by the line that has this in it; the
/// rights that were given.
pub fn documented_user(server: &Redis, words: &str) -> Vec<&'static str> {
    let documentation = include_str!("../../../docs/redis.md");
    let line = documentation.lines().find(|line| line.starts_with("ACL SETUSER") && line.contains(words));
    let words: Vec<_> = line.expect("a line of the documentation").split_whitespace().collect();
    let given: Vec<_> = words.iter().map(|word| if *word == ">PASSWORD" { ">s3cret" } else { word }).collect();
    assert_eq!(server.cli(&given), "OK");
    words.into_iter().filter(|word| word.starts_with('+')).collect()
}

const INSTALL: &str = "the tests need a real Redis; install it (on Debian: apt-get install redis-server)";

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
