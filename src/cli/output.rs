//! What is written to stdout: lines, whole and soon, with colour where a person reads them.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// Buffered stdout. Colours are left out where stdout is no terminal, or `NO_COLOR` is set.
pub struct Output {
    stdout: BufWriter<AutoStream<io::Stdout>>,
}

impl Output {
    pub fn new() -> Self {
        Self::with(AutoStream::choice(&io::stdout()))
    }

    /// For NDJSON, in which there are no colours to take out: it is not searched for them.
    pub fn ndjson() -> Self {
        Self::with(ColorChoice::AlwaysAnsi)
    }

    fn with(colours: ColorChoice) -> Self {
        Self { stdout: BufWriter::with_capacity(64 * 1024, AutoStream::new(io::stdout(), colours)) }
    }

    /// Writes a line; it is seen after [`Output::flush`].
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        self.stdout.write_all(line.as_bytes())?;
        self.stdout.write_all(b"\n")
    }

    /// Writes a line of NDJSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, value)?;
        self.stdout.write_all(b"\n")
    }

    /// Writes a table: columns as wide as their widest cell, the head dimmed.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let join = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
        self.line(&format!("{DIM}{}{DIM:#}", join(&head)))?;
        rows.iter().try_for_each(|row| self.line(&join(row)))
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();

/// A colour that a name always has.
pub fn colour_of(name: &str) -> Style {
    const COLOURS: [AnsiColor; 6] = [
        AnsiColor::Cyan,
        AnsiColor::Green,
        AnsiColor::Yellow,
        AnsiColor::Magenta,
        AnsiColor::Blue,
        AnsiColor::BrightRed,
    ];
    // FNV-1a: small, and the same in every run and on every machine.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    COLOURS[(hash % COLOURS.len() as u64) as usize].on_default()
}

/// A whole number with its thousands apart: 1,234,567.
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

/// A duration as people say it: 340 µs, 1.2 ms, 3.4 s.
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
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(human(Duration::from_micros(340)), "340 µs");
        assert_eq!(human(Duration::from_micros(1_240)), "1.2 ms");
        assert_eq!(human(Duration::from_millis(3_400)), "3.4 s");
    }
}
