//! The `tidings` binary as a child process, with arguments, environment variables, signals and pipes, as users run it.
//!
//! [`Daemon`] is `tidings serve`; [`Running`] is any command; [`Ended`] is its exit code and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A `tidings` command with these arguments, in this folder, without the test's own `TIDINGS_…` variables.
pub fn tidings(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    // Whose configuration the test runs with is nobody's.
    command.env("XDG_CONFIG_HOME", folder.join("configuration"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same command, run by another one such as `env`: the words of `by` stand before those of the command.
pub fn run_by(by: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(by[0]);
    whole.args(&by[1..]).arg(command.get_program()).args(command.get_args());
    whole.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    whole.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    whole
}

/// A running process. Threads read its output continuously, so that it never blocks on a full pipe. It is killed on drop.
pub struct Running {
    child: Child,
    out: Option<Receiver<String>>,
    err: Receiver<String>,
    threads: Vec<JoinHandle<()>>,
}

/// The exit code of a process and all output that no test had read before. The code is `None` after a signal.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (out, reading_out) = lines(child.stdout.take().unwrap());
        let (err, reading_err) = lines(child.stderr.take().unwrap());
        Self { child, out: Some(out), err, threads: vec![reading_out, reading_err] }
    }

    /// The next line of stdout.
    pub fn line(&self) -> String {
        let out = self.out.as_ref().unwrap();
        out.recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("no line on stdout: {error}; stderr: {:?}", rest(&self.err)))
    }

    /// The next line of stderr that contains `words`; skips the lines before it.
    pub fn said(&self, words: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.err.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no line on stderr contains {words:?}: {error}; these came: {before:?}"),
            }
        }
    }

    /// Closes the test's end of the process's stdout, as `head` does after its last line.
    pub fn stop_reading(&mut self) {
        self.out = None;
    }

    /// Sends a signal, named without `SIG`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The resident memory of the process, in bytes.
    pub fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
    }

    /// Waits until the process exits, and collects the output that is left.
    pub fn ended(mut self) -> Ended {
        let end = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < end, "the process does not exit; stderr: {:?}", rest(&self.err));
            std::thread::sleep(Duration::from_millis(5));
        };
        let out = self.out.take().map_or_else(String::new, |out| rest(&out));
        for thread in std::mem::take(&mut self.threads) {
            thread.join().unwrap();
        }
        Ended { code, out, err: rest(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where the process has exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the lines of a pipe in a thread. The thread ends, and the pipe is closed, when the receiver is dropped.
fn lines(pipe: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::sync_channel(10_000);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            if line.ok().and_then(|line| sender.send(line).ok()).is_none() {
                return;
            }
        }
    });
    (receiver, reader)
}

/// All lines until the pipe is closed, or until none came for a second.
fn rest(lines: &Receiver<String>) -> String {
    let mut all = String::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                all.push_str(&line);
                all.push('\n');
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return all,
        }
    }
}

/// Runs a command until it exits, with `stdin` on its stdin.
pub fn run(mut command: Command, stdin: &str) -> Ended {
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut pipe = running.child.stdin.take().unwrap();
    let text = stdin.to_owned();
    // The write fails where the command exits before it has read everything; that is no error.
    let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let ended = running.ended();
    writer.join().unwrap();
    ended
}

/// A `tidings serve` process on a free port, in a folder of its own.
pub struct Daemon {
    pub process: Running,
    pub url: String,
    pub folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts a daemon with the in-process broker.
    pub fn start() -> Self {
        Self::with(&["--listen", "127.0.0.1:0"], tempfile::tempdir().unwrap())
    }

    /// Starts a daemon with these flags, in this folder.
    pub fn with(flags: &[&str], folder: tempfile::TempDir) -> Self {
        Self::starting(flags, folder, |_| {})
    }

    /// The same; `more` changes the command before it is started.
    pub fn starting(flags: &[&str], folder: tempfile::TempDir, more: impl FnOnce(&mut Command)) -> Self {
        super::tls::install_cryptography();
        let mut command = tidings(folder.path(), &[&["serve", "--log-format", "json"], flags].concat());
        more(&mut command);
        let process = Running::start(command);
        let listening: serde_json::Value = serde_json::from_str(&process.said(r#""message":"listening""#)).unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { process, url, folder }
    }

    /// A client command whose `TIDINGS_URL` is this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tidings(self.folder.path(), arguments);
        command.env("TIDINGS_URL", &self.url);
        command
    }

    /// Runs a client command against this daemon until it exits.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments), "")
    }

    /// Starts `tidings tail` and waits until it is subscribed.
    pub fn tail(&self, arguments: &[&str]) -> Running {
        let tail = Running::start(self.command(&[&["tail"], arguments].concat()));
        tail.said("following");
        tail
    }
}
