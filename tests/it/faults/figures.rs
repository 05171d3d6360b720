//! The figures of one fault, printed for people and appended to a file for the table of `make soak`.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use super::ledger::{Ledger, Outcome, ResponseCounts};

/// Prints the figures. Where `TIDINGS_FAULT_FIGURES` names a file, also appends them as a line of tab-separated values, which
/// `scripts/soak` sums up.
pub fn report(fault: &str, seed: u64, ledger: &Ledger, recovery: Duration) {
    let sum = |count: fn(&ResponseCounts) -> usize| ledger.responses.iter().map(count).sum::<usize>();
    let gaps = ledger.gaps();
    let gaps = match (gaps.keys().min(), gaps.keys().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (least, _) => least.map_or_else(String::new, usize::to_string),
    };
    let figures = [
        ("", fault.to_owned()),
        ("seed", seed.to_string()),
        ("acknowledged", ledger.acknowledged().to_string()),
        ("refused", ledger.count(&Outcome::Refused).to_string()),
        ("unknown", ledger.count(&Outcome::Unknown).to_string()),
        ("duplicates", sum(|responses| responses.duplicates).to_string()),
        ("deliveries", ledger.delivered().to_string()),
        ("streams", ledger.streams.len().to_string()),
        ("gaps per stream", gaps),
        ("503 responses", sum(|responses| responses.unavailable).to_string()),
        ("s longest 503", format!("{:.2}", ledger.longest_503().as_secs_f64())),
        ("s to recover", format!("{:.2}", recovery.as_secs_f64())),
    ];
    let line: Vec<_> = figures[2..].iter().map(|(name, value)| format!("{value} {name}")).collect();
    println!("{fault}: {}", line.join(", "));
    if let Some(path) = std::env::var_os("TIDINGS_FAULT_FIGURES") {
        let values: Vec<_> = figures.iter().map(|(_, value)| value.as_str()).collect();
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file for the figures");
        writeln!(file, "{}", values.join("\t")).expect("it can be written");
    }
}
