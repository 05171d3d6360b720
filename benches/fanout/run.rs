//! A run of the benchmark: in each round it measures every scenario, and in each scenario every system.

use std::io;
use std::time::{Duration, Instant};

use crate::Run;
use crate::machine::Machine;
use crate::process::{core_list, file_limit, stay_on};
use crate::results::{Absent, Results, Sample};
use crate::scenarios::{self, CaseFigures, Scenario, Step};

/// The timeout of one step. The longest step includes an idle minute.
const STEP_TIMEOUT: Duration = Duration::from_secs(150);
/// The files that a process has open beside its subscribers' and publishers' sockets.
const OTHER_FILES: usize = 50;

/// Measures the scenarios that the arguments name, stores the results and prints them.
pub async fn run(arguments: &Run) -> io::Result<()> {
    let mut scenarios = scenarios::all();
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) =
        arguments.names.iter().find(|name| !names.iter().any(|known| known.starts_with(name.as_str())))
    {
        return Err(io::Error::other(format!("there is no scenario {unknown}; there are {}", names.join(", "))));
    }
    // A whole name means only its scenario, even if other names begin with it.
    let is_named = |scenario: &Scenario, name: &String| match names.contains(&name.as_str()) {
        true => scenario.name == name,
        false => scenario.name.starts_with(name.as_str()),
    };
    scenarios
        .retain(|scenario| arguments.names.is_empty() || arguments.names.iter().any(|name| is_named(scenario, name)));
    if let Some(case) = &arguments.case {
        for scenario in &mut scenarios {
            scenario.steps.retain(|step| step.measure.case().contains(case.as_str()));
        }
        scenarios.retain(|scenario| !scenario.steps.is_empty());
    }
    let (begun, mut results) = (Instant::now(), Results::load());
    results.machine = Machine::this();
    for scenario in &scenarios {
        results.remove(scenario.name, arguments.case.as_deref());
    }
    for round in 0..usize::from(arguments.rounds) {
        for scenario in scenarios.iter().filter(|scenario| round < scenario.rounds) {
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, scenario.about);
            // The first step of a round affects the machine for the others, so each round begins with another step.
            let mut steps = scenario.steps.clone();
            let first = round % steps.len();
            steps.rotate_left(first);
            for step in steps {
                measure(scenario, &step, round, &mut results).await?;
            }
            results.save()?;
        }
    }
    show(&results, &scenarios);
    println!("{}", results.machine.sentence());
    println!("{:.0} minutes; all figures are in {}", begun.elapsed().as_secs_f64() / 60.0, Results::path().display());
    Ok(())
}

/// Prints the tables.
pub fn show(results: &Results, scenarios: &[Scenario]) {
    for scenario in scenarios {
        for table in (scenario.tables)(results) {
            println!("{}", table.text());
        }
    }
}

async fn measure(scenario: &Scenario, step: &Step, round: usize, results: &mut Results) -> io::Result<()> {
    let system = &step.system;
    let mut absent = |why: String| {
        eprintln!("  {:<18} left out: {why}", system.name);
        results.absent.insert(Absent { scenario: scenario.name.into(), system: system.name.into(), why });
    };
    let needed = step.measure.files() + OTHER_FILES;
    if file_limit() < needed as u64 {
        absent(format!("it needs {needed} open files: `ulimit -n {needed}`"));
        return Ok(());
    }
    // The load generator keeps off the server's cores, if there are others.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let apart = system.cores > 0 && system.cores < cores;
    if apart {
        stay_on(&core_list(system.cores, cores - system.cores));
    }
    let folder = tempfile::tempdir()?;
    let server = step.measure.prepare(system.clone(), folder.path())?.start(folder)?;
    let begun = Instant::now();
    let taken = match server {
        Ok(server) => tokio::time::timeout(STEP_TIMEOUT, step.measure.measure(server)).await,
        Err(why) => {
            absent(why);
            Ok(Ok(Vec::new()))
        }
    };
    if apart {
        stay_on(&core_list(0, cores));
    }
    let taken = taken.unwrap_or_else(|_| Err(io::Error::other(format!("not done after {} s", STEP_TIMEOUT.as_secs()))));
    let mut keep = |case: String, figures, problem| {
        let (scenario, system) = (scenario.name.to_owned(), system.name.to_owned());
        results.samples.push(Sample { scenario, case, system, round, figures, problem });
    };
    match taken {
        Ok(taken) => {
            for CaseFigures { case, figures } in taken {
                let shown: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
                let took = begun.elapsed().as_secs();
                eprintln!("  {:<18} {case} {} [{took} s]", system.name, shown.join(", "));
                keep(case, figures, None);
            }
        }
        Err(error) => {
            eprintln!("  {:<18} {error}", system.name);
            keep(step.measure.case(), Default::default(), Some(error.to_string()));
        }
    }
    Ok(())
}
