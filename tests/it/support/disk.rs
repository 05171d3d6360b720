//! A disk that a test can fill and empty again, for the file broker.
//!
//! It is a small tmpfs where the test may mount one. Otherwise the daemon's file size limit takes its place, as with `ulimit -f`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder `log` on a disk of limited size.
pub struct Disk {
    pub log: PathBuf,
    /// Whether a tmpfs is mounted there. If not, the file size limit of the daemon's process stands in for a full disk.
    mounted: bool,
}

impl Disk {
    /// A tmpfs of this size (such as `12m`) where mounting is allowed, otherwise as [`limited`](Self::limited).
    pub fn small(folder: &Path, size: &str) -> Self {
        let mut disk = Self::limited(folder);
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk.log).status();
        disk.mounted = mounted.is_ok_and(|status| status.success());
        disk
    }

    /// A plain folder; the daemon's file size limit stands in for a full disk.
    pub fn limited(folder: &Path) -> Self {
        let log = folder.join("log");
        fs::create_dir(&log).unwrap();
        Self { log, mounted: false }
    }

    /// Fills the disk, or forbids the process `daemon` to let its files grow.
    pub fn fill(&self, daemon: u32) {
        if self.mounted {
            let mut ballast = File::create(self.log.join("ballast")).unwrap();
            while ballast.write_all(&[0; 4096]).is_ok() {}
        } else {
            let largest = fs::metadata(self.log.join("log.sqlite-wal")).map_or(0, |file| file.len());
            limit(daemon, &format!("{}:unlimited", largest + 16 * 4096));
        }
    }

    /// Frees the disk again, or lifts the limit.
    pub fn make_room(&self, daemon: u32) {
        if self.mounted {
            fs::remove_file(self.log.join("ballast")).unwrap();
        } else {
            limit(daemon, "unlimited:unlimited");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.log).status();
        }
    }
}

/// Sets the file size limit of a running process.
fn limit(daemon: u32, size: &str) {
    let done = Command::new("prlimit").args(["--pid", &daemon.to_string(), &format!("--fsize={size}")]).status();
    assert!(done.unwrap().success(), "prlimit --fsize={size}");
}
