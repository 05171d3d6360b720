//! The fan-out benchmark: tidings, the floor and whichever peers are installed, one after another in turn.
//!
//! `make bench` runs it. Each figure is the median of several rounds with its spread, and a ratio to the floor of the same
//! round, since machines differ. `docs/performance.md` says what the scenarios are and what the figures mean.

mod floor;
mod scenarios;
mod systems;
mod usage;

use std::collections::BTreeMap;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, address] = &arguments[..]
        && mode == "floor"
    {
        return floor::serve(address.parse().expect("an address"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &[String]) -> std::io::Result<()> {
    let rounds = 3;
    let mut results: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for scenario in scenarios::all() {
            if !arguments.is_empty() && !arguments.iter().any(|name| scenario.name.contains(name)) {
                continue;
            }
            for system in &scenario.systems {
                let Some(server) = system.start()? else {
                    eprintln!("{} is not installed", system.name);
                    continue;
                };
                let figures = match scenario.run(&server).await {
                    Ok(figures) => figures,
                    Err(error) => {
                        eprintln!("{} {}: {error}", scenario.name, system.name);
                        continue;
                    }
                };
                for (figure, value) in figures {
                    println!(
                        "{round} {} | {} cores {} | {figure} {value:.3}",
                        scenario.name, system.name, system.cores
                    );
                    results.entry(format!("{}|{}|{figure}", scenario.name, system.name)).or_default().push(value);
                }
            }
        }
    }
    for (name, mut values) in results {
        values.sort_by(f64::total_cmp);
        println!(
            "{name}: median {:.3} [{:.3} .. {:.3}]",
            values[values.len() / 2],
            values[0],
            values[values.len() - 1]
        );
    }
    Ok(())
}
