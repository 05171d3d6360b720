//! Buffered output on stdout: lines, NDJSON and tables, and the formats of numbers and durations.
//!
//! Colours appear only on a terminal. A failed write is a [`Failure`] that names stdout: a full disk is an error, a closed
//! pipe ends a command that only reads.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::failure::Failure;
use super::shown::{is_deceptive, visible};

/// Buffered stdout. Removes colours if stdout is not a terminal, or if `NO_COLOR` is set.
pub struct Output {
    stdout: BufWriter<AutoStream<io::Stdout>>,
    to_terminal: bool,
}

impl Output {
    /// Output for people.
    pub fn new() -> Self {
        Self::with(AutoStream::choice(&io::stdout()))
    }

    /// Output for programs. NDJSON has no colours, so this skips the search for them.
    pub fn ndjson() -> Self {
        Self::with(ColorChoice::AlwaysAnsi)
    }

    fn with(colours: ColorChoice) -> Self {
        let to_terminal = io::stdout().is_terminal();
        Self { stdout: BufWriter::with_capacity(64 * 1024, AutoStream::new(io::stdout(), colours)), to_terminal }
    }

    /// Writes a line. It appears after [`Output::flush`], or when the buffer is full.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.stdout.write_all(line.as_bytes()).and_then(|()| self.stdout.write_all(b"\n")).map_err(unwritten)
    }

    /// Writes a text that is not ours as a line, or as several. A terminal gets none of its control characters, which could
    /// be escape sequences, and what would deceive a reader as escapes; a pipe gets the text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        if !self.to_terminal {
            return self.line(text);
        }
        let shown: Vec<_> =
            text.split('\n').map(|line| line.split('\t').map(visible).collect::<Vec<_>>().join("\t")).collect();
        self.line(&shown.join("\n"))
    }

    /// Writes a line of NDJSON. A terminal gets the control characters that JSON allows in texts, and what would deceive a
    /// reader, as escapes of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        if self.to_terminal {
            let text = serde_json::to_string(value).map_err(|error| unwritten(error.into()))?;
            return self.line(&escaped(&text));
        }
        let written = serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from);
        written.and_then(|()| self.stdout.write_all(b"\n")).map_err(unwritten)
    }

    /// Writes a table with a dimmed header. Each column is as wide as its widest cell; counts are at its right. A terminal that
    /// is too narrow gets a block of lines for each row. Cells may be a stranger's texts, such as the reason of a dead letter.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let whole = widths.iter().sum::<usize>() + BETWEEN * head.len().saturating_sub(1);
        if let Some(columns) = columns().filter(|columns| *columns < whole) {
            return rows.iter().try_for_each(|row| self.block(head, row, columns));
        }
        let join = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).zip(head).map(|((cell, width), name)| match COUNTS.contains(name) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            padded.collect::<Vec<_>>().join(&" ".repeat(BETWEEN)).trim_end().to_owned()
        };
        let names: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
        self.line(&format!("{DIM}{}{DIM:#}", join(&names)))?;
        rows.iter().try_for_each(|row| self.line(&visible(&join(row))))
    }

    /// Writes a row of a table below each other: the first cells, up to the one that names the row, then a line for each other
    /// one with its name. A cell that has no room beside its name stands below it.
    fn block(&mut self, head: &[&str], row: &[String], columns: usize) -> Result<(), Failure> {
        // The column of a mark has no name.
        let titles = head.iter().take_while(|name| name.is_empty()).count() + 1;
        let title: Vec<_> = row.iter().take(titles).filter(|cell| !cell.is_empty()).map(|cell| visible(cell)).collect();
        self.line(&format!("{BOLD}{}{BOLD:#}", title.join(" ")))?;
        let names = head.iter().map(|name| name.len()).max().unwrap_or_default();
        for (name, cell) in head.iter().zip(row).skip(titles).filter(|(_, cell)| !cell.is_empty()) {
            let cell = visible(cell);
            if BETWEEN + names + BETWEEN + cell.chars().count() <= columns {
                self.line(&format!("{:BETWEEN$}{DIM}{name:<names$}{DIM:#}{:BETWEEN$}{cell}", "", ""))?;
            } else {
                self.line(&format!("{:BETWEEN$}{DIM}{name}{DIM:#}", ""))?;
                for line in wrapped(&cell, columns.saturating_sub(2 * BETWEEN).max(1)) {
                    self.line(&format!("{:1$}{line}", "", 2 * BETWEEN))?;
                }
            }
        }
        Ok(())
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(unwritten)
    }
}

/// The number of blanks between two columns, and by which a table indents a cell below its name.
const BETWEEN: usize = 2;
/// The columns of tables that have counts.
const COUNTS: [&str; 6] = ["RETAINED", "SUBSCRIBERS", "CONNECTIONS", "LAG", "DEAD", "ATTEMPTS"];

/// JSON without the control characters that it may have unescaped, U+007F to U+009F. One of them begins an escape sequence.
/// What would [deceive](is_deceptive) a reader is escaped, too.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            letter if letter.is_control() || is_deceptive(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => text.push(letter),
        }
    }
    text
}

/// The failure of a write to stdout.
pub fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => format!("cannot write to stdout: {error}").into(),
    }
}

/// Waits until the reader of stdout has closed the pipe. Without this, a command that waits for events would notice it only
/// at its next event. Never returns where stdout is no pipe.
pub async fn reader_gone() {
    // "Unchecked" leaves the pipe in blocking mode, which the writes to stdout need. Nothing is written here.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    // A file cannot be watched, and needs no watch.
    if let Ok(stdout) = watched
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Whether the reader of stdout has closed the pipe.
pub async fn is_reader_gone() -> bool {
    // Registering a pipe and hearing of it takes one turn of the event loop.
    tokio::time::timeout(Duration::from_millis(10), reader_gone()).await.is_ok()
}

/// The columns of the terminal on stdout. `None` if stdout is none.
pub fn columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// Breaks a text at blanks into lines of at most so many letters. A longer word has a line of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();

/// The colour of a name: the same one in every run.
pub fn colour_of(name: &str) -> Style {
    const COLOURS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightRed,
    ];
    // FNV-1a, unlike the standard hasher, is not seeded.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    COLOURS[(hash % COLOURS.len() as u64) as usize].on_default()
}

/// Formats a whole number with thousands separators: 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a rate for people: 1,234 and 12, and below 10 with its decimals, 2.5 and 0.05.
pub fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 9.95 => thousands(rate.round() as u64),
        rate if rate >= 0.095 => format!("{rate:.1}"),
        rate => format!("{rate:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// Formats a duration for people: 340 µs, 1.2 ms, 3.4 s.
pub fn human(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_at_blanks() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a https://shop.example b", 6), ["a", "https://shop.example", "b"]);
        assert_eq!(wrapped("", 6), [""]);
    }

    #[test]
    fn numbers_and_durations_are_formatted_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        for (rate, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.123, "0.1"),
            (2.46, "2.5"),
            (9.97, "10"),
            (12.3, "12"),
            (12_345.6, "12,346"),
        ] {
            assert_eq!(per_second(rate), text);
        }
        assert_eq!(human(Duration::from_micros(340)), "340 µs");
        assert_eq!(human(Duration::from_micros(1_240)), "1.2 ms");
        assert_eq!(human(Duration::from_millis(3_400)), "3.4 s");
    }
}
