//! The durability marker: a small file that says how many events were acknowledged, to detect a database that lost some.
//!
//! A database that is damaged at its end opens as if its newest events had never been appended. So does one whose newest
//! pages were only in the kernel when the power failed. The marker has the number of appended events. It is overwritten in
//! place after each commit and not synced, so that it reaches the kernel right after the commit does. Where the whole
//! machine stopped, the marker itself may be old; it therefore also says how durable the events were.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::clock::{ClockCheckpoint, ClockReading};

/// The file's name.
pub(super) const FILE: &str = "mark";

/// The content of the marker file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DurabilityMarker {
    /// All events that were ever appended, over all channels.
    pub appended: u64,
    pub durability: Durability,
    /// When the marker was written; the log's clock resumes from it.
    pub checkpoint: ClockCheckpoint,
}

/// How durable the acknowledged events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Each event was on the disk before it was acknowledged.
    Synced,
    /// The events are in the kernel: a crash of the machine may lose the newest.
    InKernel,
    /// The log was closed: all events are on the disk, and none was appended since.
    Closed,
}

/// The marker file, open for writing.
#[derive(Debug)]
pub(super) struct DurabilityMarkerFile(File);

/// The text is padded to this length, so that an overwrite stays within one sector of the disk.
const LEN: usize = 256;

impl DurabilityMarkerFile {
    /// Opens the file in a directory, and reads the marker. There is none if the file is new or damaged.
    pub fn open(directory: &Path) -> io::Result<(Self, Option<DurabilityMarker>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(FILE))?;
        let mut bytes = [0; LEN];
        let read = file.read_exact_at(&mut bytes, 0);
        let marker = read.ok().and_then(|()| parse(std::str::from_utf8(&bytes).ok()?));
        Ok((Self(file), marker))
    }

    /// Overwrites the marker without syncing it.
    pub fn write(&self, marker: &DurabilityMarker) -> io::Result<()> {
        self.0.write_all_at(text(marker).as_bytes(), 0)
    }

    /// Overwrites the marker and waits until it is on the disk.
    pub fn write_and_sync(&self, marker: &DurabilityMarker) -> io::Result<()> {
        self.write(marker)?;
        self.0.sync_all()
    }
}

impl Durability {
    const ALL: [(Self, &str); 3] = [(Self::Synced, "always"), (Self::InKernel, "os"), (Self::Closed, "closed")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(durability, _)| *durability == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(durability, _)| *durability)
    }
}

fn text(marker: &DurabilityMarker) -> String {
    let DurabilityMarker { appended, durability, checkpoint } = marker;
    let ClockCheckpoint { log, reading: ClockReading { wall, up, boot } } = checkpoint;
    let boot = if boot.is_empty() { "unknown" } else { &**boot };
    let words = format!("tidings-mark 1 {appended} {} {log} {wall} {up} {boot}", durability.name());
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
    let durability = Durability::named(words.next()?)?;
    let (log, wall, up) = (number(words.next())?, number(words.next())?, number(words.next())?);
    let boot = words.next().filter(|boot| *boot != "unknown").unwrap_or_default().into();
    let checkpoint = ClockCheckpoint { log, reading: ClockReading { wall, up, boot } };
    Some(DurabilityMarker { appended, durability, checkpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(appended: u64, durability: Durability, boot: &str) -> DurabilityMarker {
        let reading = ClockReading { wall: u64::MAX, up: u64::MAX, boot: boot.into() };
        DurabilityMarker { appended, durability, checkpoint: ClockCheckpoint { log: u64::MAX, reading } }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (file, none) = DurabilityMarkerFile::open(directory.path()).unwrap();
        assert_eq!(none, None);
        for (appended, durability, boot) in [
            (0, Durability::Synced, "0b06b41c-2a52-4d80-9d2b-0a6f3a1f0c3d"),
            (u64::MAX, Durability::InKernel, ""),
            (7, Durability::Closed, "x"),
        ] {
            let marker = marker(appended, durability, boot);
            file.write_and_sync(&marker).unwrap();
            assert_eq!(text(&marker).len(), LEN);
            assert_eq!(DurabilityMarkerFile::open(directory.path()).unwrap().1, Some(marker));
        }
    }

    #[test]
    fn a_damaged_marker_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let good = text(&marker(500, Durability::InKernel, "boot"));
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
