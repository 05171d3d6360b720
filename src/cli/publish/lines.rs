//! Lines from stdin, a handful at a time, in bounded memory.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// A line, and which one it is (from 1).
pub struct Line {
    pub number: u64,
    pub text: String,
}

/// What is read at once: a block's lines are handed on together, so that a slow source is not waited for.
const BLOCK: usize = 64 * 1024;
/// The longest line, far above what a daemon takes as an event.
const LONGEST: usize = 16 * 1024 * 1024;
/// Blocks that wait.
const WAITING: usize = 8;

/// Reads stdin on a thread of its own until its end, an error, or until nobody listens.
///
/// A thread and not tokio's stdin: that one cannot be given up at the end while a read is waiting.
pub fn stdin() -> mpsc::Receiver<io::Result<Vec<Line>>> {
    let (sender, lines) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let result =
            read(io::BufReader::with_capacity(BLOCK, io::stdin()), |block| sender.blocking_send(Ok(block)).is_ok());
        if let Err(error) = result {
            // Nobody listens any more: nobody needs to know.
            let _ = sender.blocking_send(Err(error));
        }
    });
    lines
}

/// Hands on the lines of each block that arrives, without empty ones; `take` answers whether to go on.
fn read(mut input: impl BufRead, mut take: impl FnMut(Vec<Line>) -> bool) -> io::Result<()> {
    let mut number = 0;
    let mut begun = Vec::new();
    loop {
        let block = input.fill_buf()?;
        let length = block.len();
        let at_end = length == 0;
        let mut lines = Vec::new();
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            begun.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            number += 1;
            lines.extend(line(number, std::mem::take(&mut begun))?);
        }
        begun.extend_from_slice(rest);
        if begun.len() > LONGEST {
            return Err(io::Error::other(format!("line {}: longer than 16 MiB", number + 1)));
        }
        input.consume(length);
        if at_end {
            lines.extend(line(number + 1, std::mem::take(&mut begun))?);
        }
        if (!lines.is_empty() && !take(lines)) || at_end {
            return Ok(());
        }
    }
}

fn line(number: u64, bytes: Vec<u8>) -> io::Result<Option<Line>> {
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other(format!("line {number}: is not UTF-8")))?;
    Ok((!text.trim().is_empty()).then_some(Line { number, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], block: usize) -> io::Result<Vec<(u64, String)>> {
        let mut found = Vec::new();
        read(io::BufReader::with_capacity(block, input), |lines| {
            found.extend(lines.into_iter().map(|line| (line.number, line.text)));
            true
        })?;
        Ok(found)
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for block in 1..12 {
            let found = lines("{\"ä\":1}\n\n  \nsecond\r\nlast".as_bytes(), block).unwrap();
            assert_eq!(found, [(1, "{\"ä\":1}".into()), (4, "second\r".into()), (5, "last".into())], "{block}");
        }
        assert_eq!(lines(b"", 8).unwrap(), []);
        assert!(lines(b"ok\n\xff\n", 64).unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn reading_stops_when_nobody_listens() {
        let mut taken = 0;
        read(io::BufReader::with_capacity(2, &b"a\nb\nc\n"[..]), |_| {
            taken += 1;
            false
        })
        .unwrap();
        assert_eq!(taken, 1);
    }
}
