//! The fan-out benchmark: measures tidings, the floor and all installed peers, one after the other.
//!
//! `make bench` runs it. Each figure is the median of several rounds with its spread. It is also given as a ratio to
//! the floor of the same round, because machines differ. `docs/performance.md` is generated from it and explains the
//! figures.

mod audience;
mod dialects;
mod events;
mod floor;
mod issuer;
mod machine;
mod own_thread;
mod pace;
mod probe;
mod process;
mod publishers;
mod redis_benchmark;
mod report;
mod results;
mod run;
mod scenarios;
mod svg;
mod systems;
mod table;
mod targets;
mod tls;
mod turns;
mod usage;

use std::io;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The fan-out benchmark", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
pub struct Run {
    /// Scenarios, by the beginning of their names; all if none is named.
    names: Vec<String>,
    /// Only the steps whose case contains this text, for example `16 publishers`.
    #[arg(long)]
    case: Option<String>,
    /// How often each scenario is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the scenarios.
    List,
    /// Prints the tables of the last measurements.
    Show,
    /// Writes the last measurements into docs/performance.md and its plots.
    Report,
    /// Serves the floor: the reference that all systems are compared with.
    #[command(hide = true)]
    Floor { address: std::net::SocketAddr },
}

fn main() -> io::Result<()> {
    // `cargo bench` passes `--bench` to every benchmark.
    let arguments = Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    match arguments.command {
        Some(Command::List) => {
            for scenario in scenarios::all() {
                println!("{:<18} {}", scenario.name, scenario.about);
            }
            Ok(())
        }
        Some(Command::Show) => {
            run::show(&results::Results::load(), &scenarios::all());
            Ok(())
        }
        Some(Command::Report) => report::write(&results::Results::load()),
        Some(Command::Floor { address }) => floor::serve(address),
        None => {
            // Half of the cores, but at least two threads: thousands of sockets must be read.
            let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().div_ceil(2).max(2));
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
            runtime.block_on(run::run(&arguments.run))
        }
    }
}
