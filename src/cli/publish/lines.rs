//! Reads stdin as blocks of lines, on a thread of its own and in bounded memory.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// A line of stdin.
pub struct Line {
    /// The number of the line, from 1.
    pub number: u64,
    /// The text, or what is wrong with the line.
    pub text: Result<String, &'static str>,
}

impl Line {
    /// The size of the text, in bytes.
    pub fn size(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }
}

/// The size of one read, in bytes. The lines of a block are sent together, as soon as it arrives.
const BLOCK_SIZE: usize = 64 * 1024;
/// The longest line, in bytes: far more than a daemon takes as an event.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// How many blocks may wait to be published before reading pauses.
const QUEUED_BLOCKS: usize = 8;

/// Reads stdin until its end, an error, or until the receiver is dropped. Skips empty lines.
///
/// Uses a thread, since a pending read of tokio's stdin would keep the runtime from shutting down.
pub fn stdin() -> mpsc::Receiver<io::Result<Vec<Line>>> {
    let (sender, lines) = mpsc::channel(QUEUED_BLOCKS);
    std::thread::spawn(move || {
        let result = read(io::BufReader::with_capacity(BLOCK_SIZE, io::stdin()), |block| {
            sender.blocking_send(Ok(block)).is_ok()
        });
        if let Err(error) = result {
            // If the receiver is gone, the command has already ended.
            let _ = sender.blocking_send(Err(error));
        }
    });
    lines
}

/// Passes the lines of each block to `handle`, without empty ones. Stops when `handle` returns false.
fn read(mut input: impl BufRead, mut handle: impl FnMut(Vec<Line>) -> bool) -> io::Result<()> {
    let mut number = 0;
    // The beginning of a line that continues in the next block.
    let mut partial = Vec::new();
    loop {
        let block = input.fill_buf()?;
        let length = block.len();
        let at_end = length == 0;
        let mut lines = Vec::new();
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            partial.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            number += 1;
            lines.extend(line(number, std::mem::take(&mut partial)));
        }
        partial.extend_from_slice(rest);
        input.consume(length);
        let too_long = partial.len() > MAX_LINE;
        if too_long {
            lines.push(Line { number: number + 1, text: Err("the line is longer than 16 MiB") });
        } else if at_end {
            lines.extend(line(number + 1, std::mem::take(&mut partial)));
        }
        if (!lines.is_empty() && !handle(lines)) || at_end || too_long {
            return Ok(());
        }
    }
}

/// The line of these bytes, or `None` if it is blank.
fn line(number: u64, bytes: Vec<u8>) -> Option<Line> {
    match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => None,
        text => Some(Line { number, text: text.map_err(|_| "the line is not valid UTF-8") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], block: usize) -> Vec<(u64, Result<String, &'static str>)> {
        let mut found = Vec::new();
        let read = read(io::BufReader::with_capacity(block, input), |lines| {
            found.extend(lines.into_iter().map(|line| (line.number, line.text)));
            true
        });
        read.unwrap();
        found
    }

    #[test]
    fn lines_are_complete_for_every_block_size() {
        for block in 1..12 {
            let found = lines("{\"ä\":1}\n\n  \nsecond\r\nlast".as_bytes(), block);
            let expected = [(1, "{\"ä\":1}"), (4, "second\r"), (5, "last")];
            assert_eq!(found, expected.map(|(number, text)| (number, Ok(text.to_owned()))), "{block}");
        }
        assert_eq!(lines(b"", 8), []);
    }

    #[test]
    fn the_lines_before_a_wrong_one_are_not_lost() {
        for block in [2, 64] {
            let found = lines(b"a\n\xff\nc", block);
            let expected = [(1, Ok("a".into())), (2, Err("the line is not valid UTF-8")), (3, Ok("c".into()))];
            assert_eq!(found, expected, "{block}");
        }
        let found = lines(&[&b"a\n"[..], &vec![b'x'; MAX_LINE + 1]].concat(), MAX_LINE);
        assert_eq!(found, [(1, Ok("a".into())), (2, Err("the line is longer than 16 MiB"))]);
    }

    #[test]
    fn reading_stops_when_the_handler_returns_false() {
        let mut taken = 0;
        read(io::BufReader::with_capacity(2, &b"a\nb\nc\n"[..]), |_| {
            taken += 1;
            false
        })
        .unwrap();
        assert_eq!(taken, 1);
    }
}
