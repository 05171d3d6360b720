//! What one fault came to, for people and for the table of `make soak`.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use super::ledger::{Answers, Ledger, Outcome};

/// Prints a line, and adds one to the file `TIDINGS_FAULT_FIGURES`, where there is that variable: values with tabs between
/// them, which `scripts/soak` reads.
pub fn say(fault: &str, seed: u64, ledger: &Ledger, healed: Duration) {
    let sum = |count: fn(&Answers) -> usize| ledger.answers.iter().map(count).sum::<usize>();
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
        ("known by their id", sum(|answers| answers.duplicates).to_string()),
        ("deliveries", ledger.delivered().to_string()),
        ("streams", ledger.streams.len().to_string()),
        ("gaps to each", gaps),
        ("times 503", sum(|answers| answers.unavailable).to_string()),
        ("s the longest", format!("{:.2}", ledger.longest().as_secs_f64())),
        ("s to heal", format!("{:.2}", healed.as_secs_f64())),
    ];
    let line: Vec<_> = figures[2..].iter().map(|(name, value)| format!("{value} {name}")).collect();
    println!("{fault}: {}", line.join(", "));
    if let Some(path) = std::env::var_os("TIDINGS_FAULT_FIGURES") {
        let values: Vec<_> = figures.iter().map(|(_, value)| value.as_str()).collect();
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file for the figures");
        writeln!(file, "{}", values.join("\t")).expect("it can be written");
    }
}
