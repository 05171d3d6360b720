//! The file of the audit: appends whole lines or nothing, and rotates.
//!
//! `audit.ndjson` is written; `audit.ndjson.1` is the newest of the `keep` older ones. Only the owner may read the files. An
//! advisory lock keeps a second process off: two would rotate each other's files away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::read_error;

/// What is written with one call, in bytes: a write that fails loses no more.
const CHUNK: usize = 64 << 10;
/// How often it is checked that the path still names this file.
const CHECK: Duration = Duration::from_secs(1);
/// From a rotation that failed to the next attempt.
const ROTATION_RETRY: Duration = Duration::from_secs(10);
/// What is read at a time to find the end of the last whole line, in bytes.
const BLOCK: u64 = 64 << 10;

/// The file that is written, and how it is rotated.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u64,
    /// `None`: it must be opened again.
    open: Option<Open>,
    /// The last rotation failed. It is tried again then.
    rotate_after: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    file: File,
    len: u64,
    /// A part of a line stands at the end, and could not be cut off.
    torn: bool,
    checked: Instant,
}

impl AuditFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// `WouldBlock`: another process writes it.
    pub fn open(path: &Path, max_bytes: u64, keep: u64) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), max_bytes, keep, open: Some(Open::at(path)?), rotate_after: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file, for another thread.
    pub fn take(&mut self) -> Self {
        Self { path: self.path.clone(), open: self.open.take(), ..*self }
    }

    /// Appends lines, each of which ends with a line feed.
    ///
    /// # Errors
    /// How many bytes of them are in the file, all of whole lines, and why no more are.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < lines.len() {
            let chunk = chunk(&lines[done..], self.max_bytes);
            self.write(chunk).map_err(|error| (done, error))?;
            done += chunk.len();
        }
        Ok(())
    }

    /// Writes all of a chunk, or nothing.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.is_moved(&self.path)) {
            self.open = None;
        }
        if let Some(open) = &mut self.open {
            open.heed_truncation();
        }
        let full = |open: &Open| open.len > 0 && open.len + chunk.len() as u64 > self.max_bytes;
        if self.open.as_ref().is_some_and(full) && self.rotate_after.is_none_or(|after| Instant::now() >= after) {
            self.try_to_rotate();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::at(&self.path)?),
        };
        open.append(chunk)
    }

    /// Rotates. Where that fails, the file grows, and loses no line: it is tried again later.
    fn try_to_rotate(&mut self) {
        let was_failing = self.rotate_after.is_some();
        let rotated = self.rotate();
        let (file, max_bytes) = (self.path.display(), self.max_bytes);
        match rotated {
            Ok(()) if was_failing => tracing::info!(%file, "the audit is rotated again"),
            Ok(()) => {}
            Err(error) if !was_failing => {
                let error = read_error(&error);
                tracing::error!(%file, error, max_bytes, "the audit cannot be rotated: its file grows beyond max_bytes");
            }
            Err(_) => {}
        }
    }

    /// Moves the file aside, and deletes the oldest. The file stays open until the next one is.
    fn rotate(&mut self) -> io::Result<()> {
        self.rotate_after = Some(Instant::now() + ROTATION_RETRY);
        // A file behind a free number keeps its name. Otherwise each attempt after a failed one would move it once more.
        let free = (1..self.keep).find(|number| !self.rotated(*number).exists()).unwrap_or(self.keep);
        for number in (1..free).rev() {
            move_file(&self.rotated(number), &self.rotated(number + 1))?;
        }
        move_file(&self.path, &self.rotated(1))?;
        match Open::at(&self.path) {
            Ok(open) => (self.open, self.rotate_after) = (Some(open), None),
            Err(error) => {
                // It was not there, or is empty.
                move_file(&self.rotated(1), &self.path)?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn rotated(&self, number: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The lines at the beginning that are written together: at least one, and no more than a file may have.
fn chunk(lines: &[u8], max_bytes: u64) -> &[u8] {
    let most = CHUNK.min(usize::try_from(max_bytes).unwrap_or(CHUNK)).min(lines.len());
    let end = lines[..most].iter().rposition(|byte| *byte == b'\n');
    let end = end.or_else(|| lines.iter().position(|byte| *byte == b'\n'));
    &lines[..end.map_or(lines.len(), |end| end + 1)]
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        let mut open = Self { len: 0, file, torn: false, checked: Instant::now() };
        if open.file.metadata()?.is_file() {
            open.len = open.whole_lines()?;
            open.file.set_len(open.len)?;
        }
        Ok(open)
    }

    /// The length without a line that the end of a process has cut.
    fn whole_lines(&mut self) -> io::Result<u64> {
        let mut end = self.file.metadata()?.len();
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
            self.file.seek(SeekFrom::Start(start))?;
            self.file.read_exact(&mut block)?;
            if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    /// Whether the path names no file or another one: somebody has moved or deleted this one.
    fn is_moved(&self, path: &Path) -> bool {
        if self.checked.elapsed() < CHECK {
            return false;
        }
        let (Ok(ours), Ok(named)) = (self.file.metadata(), fs::metadata(path)) else { return true };
        (ours.dev(), ours.ino()) != (named.dev(), named.ino())
    }

    /// Takes over the length of a file that somebody has truncated, as logrotate does with `copytruncate`.
    fn heed_truncation(&mut self) {
        if let Ok(file) = self.file.metadata()
            && file.is_file()
            && file.len() < self.len
        {
            (self.len, self.torn) = (file.len(), false);
        }
    }

    fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.checked.elapsed() >= CHECK {
            self.checked = Instant::now();
        }
        let written = if self.torn { self.file.write_all(b"\n") } else { Ok(()) };
        let written = written.and_then(|()| self.file.write_all(chunk));
        match written {
            Ok(()) => {
                self.len += chunk.len() as u64 + u64::from(self.torn);
                self.torn = false;
                Ok(())
            }
            Err(error) => {
                // What of the chunk is in the file is half a line, or lines that are written again.
                self.torn =
                    self.file.set_len(self.len).is_err() && self.file.metadata().is_ok_and(|file| file.is_file());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let mut file = AuditFile::open(&path, 10, 2).unwrap();
        for line in ["1111\n", "2222\n", "3333\n", "4444\n5555\n", "6666666666666\n", "7\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&path), "7\n");
        assert_eq!(text(&file.rotated(1)), "6666666666666\n", "a line that is longer than a file has one of its own");
        assert_eq!(text(&file.rotated(2)), "4444\n5555\n");
        assert!(!file.rotated(3).exists());
    }

    #[test]
    fn a_file_that_cannot_be_rotated_grows_and_is_rotated_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let mut file = AuditFile::open(&path, 10, 1).unwrap();
        let blocking = file.rotated(1);
        fs::create_dir_all(blocking.join("not empty")).unwrap();
        for line in ["1111\n", "2222\n", "3333\n", "4444\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&path), "1111\n2222\n3333\n4444\n");
        fs::remove_dir_all(&blocking).unwrap();
        file.append(b"5555\n").unwrap();
        assert!(!blocking.exists(), "it is not tried with each line");
        file.rotate_after = Some(Instant::now());
        file.append(b"6666\n").unwrap();
        assert_eq!((text(&path), text(&blocking)), ("6666\n".into(), "1111\n2222\n3333\n4444\n5555\n".into()));
    }

    #[test]
    fn a_rotation_that_failed_halfway_moves_the_older_files_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let mut file = AuditFile::open(&path, 10, 3).unwrap();
        file.append(b"4444\n").unwrap();
        // As it was left: 1 and 2 were moved.
        fs::write(file.rotated(2), "3333\n").unwrap();
        fs::write(file.rotated(3), "2222\n").unwrap();
        file.append(b"5555\n6666\n").unwrap();
        let all = [&path, &file.rotated(1), &file.rotated(2), &file.rotated(3)].map(|path| text(path));
        assert_eq!(all, ["5555\n6666\n", "4444\n", "3333\n", "2222\n"]);
    }

    #[test]
    fn a_line_that_a_crash_has_cut_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        for (before, after) in [("whole\nha", "whole\n"), ("half", ""), ("", ""), ("whole\n", "whole\n")] {
            fs::write(&path, before).unwrap();
            let mut file = AuditFile::open(&path, 1000, 2).unwrap();
            file.append(b"next\n").unwrap();
            assert_eq!(text(&path), format!("{after}next\n"));
        }
    }

    #[test]
    fn a_second_writer_is_refused_and_a_file_that_was_moved_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let mut file = AuditFile::open(&path, 1000, 2).unwrap();
        assert_eq!(AuditFile::open(&path, 1000, 2).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fs::rename(&path, folder.path().join("moved")).unwrap();
        file.open.as_mut().unwrap().checked = Instant::now().checked_sub(CHECK).unwrap();
        file.append(b"next\n").unwrap();
        assert_eq!(text(&path), "next\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_says_so() {
        let mut file = AuditFile::open(Path::new("/dev/full"), 1000, 2).unwrap();
        let (done, error) = file.append(b"line\n").unwrap_err();
        assert_eq!((done, error.kind()), (0, io::ErrorKind::StorageFull));
    }

    /// As `copytruncate` of logrotate does.
    #[test]
    fn a_file_that_somebody_has_truncated_is_not_rotated_before_it_is_full_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let mut file = AuditFile::open(&path, 10, 2).unwrap();
        file.append(b"1111\n2222\n").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        file.append(b"3333\n").unwrap();
        assert_eq!(text(&path), "3333\n");
        assert!(!file.rotated(1).exists());
        file.append(b"4444\n").unwrap();
        file.append(b"5555\n").unwrap();
        assert_eq!((text(&path), text(&file.rotated(1))), ("5555\n".into(), "3333\n4444\n".into()));
    }
}
