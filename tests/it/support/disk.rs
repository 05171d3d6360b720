//! A disk that becomes full, and has room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The disk of the folder `log` in a folder of the test.
pub struct Disk {
    pub log: PathBuf,
    /// It is a small one, which something else fills. Otherwise no file may become larger, as with `ulimit -f`: for
    /// machines on which tests may not mount anything.
    mounted: bool,
}

impl Disk {
    /// Of a size like `12m`.
    pub fn small(folder: &Path, size: &str) -> Self {
        let mut disk = Self::limited(folder);
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk.log).status();
        disk.mounted = mounted.is_ok_and(|status| status.success());
        disk
    }

    pub fn limited(folder: &Path) -> Self {
        let log = folder.join("log");
        fs::create_dir(&log).unwrap();
        Self { log, mounted: false }
    }

    pub fn fill(&self, daemon: u32) {
        if self.mounted {
            let mut ballast = File::create(self.log.join("ballast")).unwrap();
            while ballast.write_all(&[0; 4096]).is_ok() {}
        } else {
            let largest = fs::metadata(self.log.join("log.sqlite-wal")).map_or(0, |file| file.len());
            limit(daemon, &format!("{}:unlimited", largest + 16 * 4096));
        }
    }

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

fn limit(daemon: u32, size: &str) {
    let done = Command::new("prlimit").args(["--pid", &daemon.to_string(), &format!("--fsize={size}")]).status();
    assert!(done.unwrap().success(), "prlimit --fsize={size}");
}
