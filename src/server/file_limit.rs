//! How many files the process may open, and what is left when it has opened them all.
//!
//! A connection is an open file. By default a node takes 90 % of them as connections, so that its broker, its log and its
//! operator always find one. If other files use up the rest, the kernel refuses to accept. Then a file that is held in
//! reserve is closed for a moment: each waiting client is accepted, told, and closed. Otherwise they would wait in the
//! kernel's queue until they give up.

use std::fs::File;

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::net::TcpListener;

/// The limit on connections where the system does not tell the limit on files.
const UNKNOWN: usize = 10_000;
/// `ENFILE` and `EMFILE`, the same numbers on all systems that this program runs on.
const NO_FILES: [i32; 2] = [23, 24];
const SOMETHING: &str = "/dev/null";

/// How many connections a node may have by default: 90 % of the files that the process may open.
pub fn max_connections() -> usize {
    open_files().map_or(UNKNOWN, |files| files / 10 * 9)
}

/// The files that the process may open.
#[cfg(target_os = "linux")]
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    match soft {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_files() -> Option<usize> {
    None
}

/// A file in reserve.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    pub fn new() -> Self {
        Self(File::open(SOMETHING).ok())
    }

    /// If the process has opened all files that it may, refuses one client that waits to be accepted. Returns whether there
    /// was one.
    pub fn refuse(&mut self, error: &std::io::Error, listener: &TcpListener, refusal: &[u8]) -> bool {
        if !error.raw_os_error().is_some_and(|number| NO_FILES.contains(&number)) || self.0.take().is_none() {
            self.0 = self.0.take().or_else(|| File::open(SOMETHING).ok());
            return false;
        }
        let accepted = listener.accept().now_or_never();
        let refused = match &accepted {
            Some(Ok((stream, _))) => {
                // A new socket has room for it.
                let _ = SockRef::from(stream).send(refusal);
                let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
                true
            }
            _ => false,
        };
        drop(accepted);
        self.0 = File::open(SOMETHING).ok();
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_leaves_files_for_other_uses() {
        let files = open_files().unwrap();
        assert!(max_connections() < files && max_connections() >= files / 2, "{files}");
    }
}
