//! A terminal whose other end the test holds: it types, reads what is shown, and looks at the modes.
//!
//! [`Terminal::controls`] runs a command whose controlling terminal it is, so that a typed Ctrl-C is a SIGINT.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;

/// The test's end.
pub struct Terminal {
    master: File,
    /// The path of the other end.
    name: String,
    shown: Vec<u8>,
    /// Keeps the other end, and its modes, when no process has it.
    _kept: Option<File>,
}

impl Terminal {
    /// A terminal with so many columns.
    pub fn new(columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let mut terminal = Self { master: File::from(master), name, shown: Vec::new(), _kept: None };
        terminal._kept = Some(terminal.end());
        terminal
    }

    /// The end of a process. The terminal does not control the process that gets it.
    pub fn end(&self) -> File {
        File::options().read(true).write(true).open(&self.name).unwrap()
    }

    /// Runs a command at this terminal.
    pub fn run(&self, mut command: Command) -> Child {
        command.stdin(self.end()).stdout(self.end()).stderr(self.end()).spawn().unwrap()
    }

    /// Runs a command in a session of its own, whose terminal this is.
    pub fn controls(&self, command: &Command) -> Child {
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.current_dir(command.get_current_dir().unwrap());
        self.run(session)
    }

    /// Waits until this text is shown after what was waited for before, and returns all up to its end.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            if let Some(start) = shown.find(text) {
                self.shown = shown[start + text.len()..].into();
                return shown[..start + text.len()].to_owned();
            }
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            assert_eq!(poll(&mut ready, Some(&patience)), Ok(1), "{text:?} is not shown: {shown:?}");
            let count = self.master.read(&mut bytes).expect("it runs");
            self.shown.extend_from_slice(&bytes[..count]);
        }
    }

    /// Types these keys.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether it shows what is typed.
    pub fn echoes(&self) -> bool {
        tcgetattr(self.end()).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

/// Waits for the end of a process.
#[track_caller]
pub fn ended(mut process: Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            process.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
