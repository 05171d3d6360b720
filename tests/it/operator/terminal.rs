//! `tidings top` in a terminal, which the test holds the other end of.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::PATIENCE;
use crate::support::daemon::Daemon;

/// `top`, and the other end of its terminal.
struct Top {
    process: Child,
    terminal: File,
}

impl Top {
    /// Starts it, and waits until it shows something. The terminal does not control it, so that no SIGHUP ends it: as below `nohup`.
    fn start(daemon: &Daemon) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let end = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let process = daemon.command(&["top"]).stdin(end()).stdout(end()).stderr(Stdio::null()).spawn().unwrap();
        let mut top = Self { process, terminal: File::from(terminal) };
        top.wait_for("q leaves");
        top
    }

    fn wait_for(&mut self, text: &str) {
        let (mut shown, mut bytes) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&shown).contains(text) {
            let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            assert_eq!(poll(&mut ready, Some(&patience)), Ok(1), "{text}: {}", String::from_utf8_lossy(&shown));
            let count = self.terminal.read(&mut bytes).expect("it runs");
            shown.extend_from_slice(&bytes[..count]);
        }
    }

    fn press(&mut self, key: &str) {
        self.terminal.write_all(key.as_bytes()).unwrap();
    }
}

fn wait_for_end(mut process: Child) -> bool {
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.success();
        }
        if start.elapsed() > PATIENCE {
            process.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_key_ends_top() {
    let daemon = Daemon::start();
    for key in ["q", "\x1b", "\x03"] {
        let mut top = Top::start(&daemon);
        top.press("p");
        top.wait_for("paused");
        top.press(key);
        assert!(wait_for_end(top.process), "{key:?}");
    }
}

#[test]
fn top_ends_with_its_terminal() {
    let daemon = Daemon::start();
    for is_paused in [false, true] {
        let mut top = Top::start(&daemon);
        if is_paused {
            top.press("p");
            top.wait_for("paused");
        }
        drop(top.terminal);
        assert!(wait_for_end(top.process), "paused: {is_paused}");
    }
}
