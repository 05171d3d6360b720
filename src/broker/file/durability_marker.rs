//! The mark: what was answered, told beside the store, so that a store that lost its newest events is found out.
//!
//! A store that is damaged at its end, or was written when the power went, opens as if the newest events had never been.
//! The mark says how many there were. It is one small file, written over in place after each commit: the kernel has it as
//! soon as it has the commit. Only where the machine itself stopped it may be older, so it says too what was promised.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::clock::{Moment, Reading};

/// The file's name.
pub(super) const FILE: &str = "mark";

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DurabilityMarker {
    /// Events that were ever appended, over all channels.
    pub appended: u64,
    pub promise: Promise,
    /// When it was written.
    pub moment: Moment,
}

/// Where the events of the log are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// On the disk, each before its publisher was answered.
    Always,
    /// With the kernel: a stop of the machine may take the newest.
    Os,
    /// On the disk, and nothing came after.
    Closed,
}

/// The file.
#[derive(Debug)]
pub(super) struct DurabilityMarkerFile(File);

/// The text is padded to this: it is written over by one of the same length, within one sector of a disk.
const LEN: usize = 256;

impl DurabilityMarkerFile {
    /// Opens the mark in a directory; what it says, unless it is new or cannot be read.
    pub fn open(directory: &Path) -> io::Result<(Self, Option<DurabilityMarker>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(FILE))?;
        let mut bytes = [0; LEN];
        let read = file.read_exact_at(&mut bytes, 0);
        let mark = read.ok().and_then(|()| parse(std::str::from_utf8(&bytes).ok()?));
        Ok((Self(file), mark))
    }

    pub fn write(&self, mark: &DurabilityMarker) -> io::Result<()> {
        self.0.write_all_at(text(mark).as_bytes(), 0)
    }

    /// Writes it to the disk.
    pub fn write_through(&self, mark: &DurabilityMarker) -> io::Result<()> {
        self.write(mark)?;
        self.0.sync_all()
    }
}

impl Promise {
    const ALL: [(Self, &str); 3] = [(Self::Always, "always"), (Self::Os, "os"), (Self::Closed, "closed")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(promise, _)| *promise == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(promise, _)| *promise)
    }
}

fn text(mark: &DurabilityMarker) -> String {
    let DurabilityMarker { appended, promise, moment: Moment { log, at: Reading { wall, up, boot } } } = mark;
    let boot = if boot.is_empty() { "unknown" } else { &**boot };
    let words = format!("tidings-mark 1 {appended} {} {log} {wall} {up} {boot}", promise.name());
    let sum = crc32fast::hash(words.as_bytes());
    format!("{:LEN$}", format!("{words} {sum:08x}\n"))
}

fn parse(text: &str) -> Option<DurabilityMarker> {
    let (words, sum) = text.trim_end().rsplit_once(' ')?;
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(words.as_bytes())) {
        return None;
    }
    let mut words = words.strip_prefix("tidings-mark 1 ")?.split(' ');
    let number = |word: Option<&str>| word?.parse().ok();
    let appended = number(words.next())?;
    let promise = Promise::named(words.next()?)?;
    let (log, wall, up) = (number(words.next())?, number(words.next())?, number(words.next())?);
    let boot = words.next().filter(|boot| *boot != "unknown").unwrap_or_default().into();
    Some(DurabilityMarker { appended, promise, moment: Moment { log, at: Reading { wall, up, boot } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(appended: u64, promise: Promise, boot: &str) -> DurabilityMarker {
        let at = Reading { wall: u64::MAX, up: u64::MAX, boot: boot.into() };
        DurabilityMarker { appended, promise, moment: Moment { log: u64::MAX, at } }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (file, none) = DurabilityMarkerFile::open(directory.path()).unwrap();
        assert_eq!(none, None);
        for (appended, promise, boot) in [
            (0, Promise::Always, "0b06b41c-2a52-4d80-9d2b-0a6f3a1f0c3d"),
            (u64::MAX, Promise::Os, ""),
            (7, Promise::Closed, "x"),
        ] {
            let mark = mark(appended, promise, boot);
            file.write_through(&mark).unwrap();
            assert_eq!(text(&mark).len(), LEN);
            assert_eq!(DurabilityMarkerFile::open(directory.path()).unwrap().1, Some(mark));
        }
    }

    #[test]
    fn one_that_is_damaged_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let good = text(&mark(500, Promise::Os, "boot"));
        for at in 0..good.trim_end().len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            std::fs::write(directory.path().join(FILE), bytes).unwrap();
            assert_eq!(DurabilityMarkerFile::open(directory.path()).unwrap().1, None, "{at}");
        }
        for text in ["", "x", &good[..100]] {
            std::fs::write(directory.path().join(FILE), text).unwrap();
            assert_eq!(DurabilityMarkerFile::open(directory.path()).unwrap().1, None, "{text}");
        }
    }
}
