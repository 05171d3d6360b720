//! The performance targets of tidings, compared with the measurements.

use crate::results::{Results, SampleKey, Stat, sample_key};
use crate::scenarios::{backlog, compression, filters, idle, latency, one, publishing, stalled};
use crate::systems::{BUN, NATS, TIDINGS, TIDINGS_REDIS, WS};
use crate::table::{Table, ratio, spread};
use crate::usage::{CPU, INSTRUCTIONS};

const KIB: f64 = 1024.0;

/// One condition of a target: what was measured, and whether it is reached. `None` means not measured.
struct Check {
    what: String,
    shown: Option<String>,
    reached: Option<bool>,
}

/// The table of all targets, with the measured figures and whether they are reached.
pub fn table(results: &Results) -> Table {
    // Where the machine does not count instructions, CPU time is compared instead.
    let cost = if results.machine.counts_instructions { INSTRUCTIONS } else { CPU };
    let checks = Checks { results, cost };
    let targets: [(&str, Vec<Check>); 8] = [
        ("One event at a time: at most 1.06 × the floor, and below Bun", checks.one_at_a_time()),
        ("64 in flight: at most 0.10 × the floor, and below nats-server", checks.backlog()),
        ("An idle connection: at most 2 KiB, also after a burst and a quiet minute", checks.idle()),
        ("10,000 connections opened as fast as Bun opens them", checks.open()),
        (
            "100,000 subscriptions of products: at most 1.3 × an event's cost with 100; one filter for all: at most 1.05 × none",
            checks.filters(),
        ),
        (
            "A stalled subscriber: the others' p99 rises by less than 10 %, its outbox is bounded, it is closed",
            checks.stalled(),
        ),
        (
            "Batches through Redis: at least half of redis-benchmark; POST to WebSocket: at most half of Node ws + ioredis",
            checks.publishing(),
        ),
        ("1,000 compressed subscribers: at most 1.3 × the CPU of plain ones at 1 KiB", checks.compression()),
    ];
    let mut table = Table::new("Targets", "", &[]).heads(&["target", "measured", "reached"]);
    for (number, (target, checks)) in (1..).zip(targets) {
        let shown = |check: &Check| format!("{}: {}", check.what, check.shown.as_deref().unwrap_or("not measured"));
        let measured: Vec<String> = checks.iter().map(shown).collect();
        let reached = match () {
            () if checks.iter().any(|check| check.reached == Some(false)) => "no",
            () if checks.iter().any(|check| check.reached.is_none()) => "not known",
            () => "yes",
        };
        table = table.row(vec![number.to_string(), target.into(), measured.join("; "), reached.into()]);
    }
    table
}

struct Checks<'a> {
    results: &'a Results,
    cost: &'static str,
}

fn check(
    what: impl Into<String>,
    stat: Option<Stat>,
    show: impl Fn(Stat) -> String,
    holds: impl Fn(f64) -> bool,
) -> Check {
    Check { what: what.into(), shown: stat.map(show), reached: stat.map(|stat| holds(stat.median)) }
}

impl<'a> Checks<'a> {
    /// The ratio to another's figure must be at most `most`.
    fn times(&self, what: &str, over: SampleKey<'_>, under: SampleKey<'_>, figure: &str, most: f64) -> Check {
        check(what, self.results.ratio(over, under, figure), ratio, |times| times <= most)
    }

    /// The other system's cost must be higher. Both are compared as ratios to the floor.
    fn below(&self, scenario: &str, other: &str) -> Check {
        let (ours, its) = (sample_key(scenario, "", TIDINGS.name), sample_key(scenario, "", other));
        let ours = self.results.against_floor(ours, self.cost);
        check(other, self.results.against_floor(its, self.cost), ratio, |its| {
            ours.is_some_and(|ours| ours.median < its)
        })
    }

    /// The cost must be at most `most` times the floor's.
    fn against_floor(&self, what: &str, scenario: &str, most: f64) -> Check {
        let stat = self.results.against_floor(sample_key(scenario, "", TIDINGS.name), self.cost);
        check(what, stat, ratio, |times| times <= most)
    }

    fn one_at_a_time(&self) -> Vec<Check> {
        vec![
            self.against_floor("1,000", one::THOUSAND, 1.06),
            self.below(one::THOUSAND, BUN.name),
            self.against_floor("9,900", one::TEN_THOUSAND, 1.06),
            self.below(one::TEN_THOUSAND, BUN.name),
        ]
    }

    fn backlog(&self) -> Vec<Check> {
        vec![
            self.against_floor("all cores", backlog::ALL_CORES, 0.10),
            self.below(backlog::ALL_CORES, NATS.name),
            self.against_floor("one core", backlog::ONE_CORE, 0.10),
            self.below(backlog::ONE_CORE, NATS.name),
        ]
    }

    fn idle(&self) -> Vec<Check> {
        let memory = |what: &str, scenario, figure| {
            let stat = self.results.stat(sample_key(scenario, "", TIDINGS.name), figure);
            check(what, stat, |stat| spread(stat, KIB, " KiB"), |bytes| bytes <= 2.0 * KIB)
        };
        let bun = self.results.stat(sample_key(idle::IDLE, "", BUN.name), idle::MEMORY);
        vec![
            memory("idle", idle::IDLE, idle::MEMORY),
            memory("a minute after a burst", idle::QUIET, idle::MINUTE),
            check(BUN.name, bun, |stat| spread(stat, KIB, " KiB"), |_| true),
        ]
    }

    fn open(&self) -> Vec<Check> {
        let [ours, bun] = [TIDINGS, BUN].map(|system| sample_key(idle::IDLE, "", system.name));
        let seconds = |key| check("", self.results.stat(key, idle::OPEN), |stat| spread(stat, 1.0, " s"), |_| true);
        vec![
            self.times("of Bun's time", ours, bun, idle::OPEN, 1.0),
            Check { what: "tidings".into(), ..seconds(ours) },
            Check { what: "Bun".into(), ..seconds(bun) },
        ]
    }

    fn filters(&self) -> Vec<Check> {
        let pair = |what, scenario, many, few, most| {
            let [many, few] = [many, few].map(|case| sample_key(scenario, case, TIDINGS.name));
            self.times(what, many, few, CPU, most)
        };
        vec![
            pair("in batches", filters::INDEX, filters::MANY, filters::FEW, 1.3),
            pair("one at a time", filters::INDEX, filters::MANY_SINGLE, filters::FEW_SINGLE, 1.3),
            pair("one filter for all", filters::SAME, filters::ONE, filters::NONE, 1.05),
        ]
    }

    fn stalled(&self) -> Vec<Check> {
        let [with, without] =
            [stalled::WITH, stalled::WITHOUT].map(|case| sample_key(stalled::STALLED, case, TIDINGS.name));
        let closed = self.results.stat(with, stalled::CLOSED);
        let outbox = self.results.stat(with, stalled::OUTBOX);
        // The metric sums the send buffers of all connections. Those of the other subscribers hold frames now and then.
        let bounded = |bytes: f64| bytes <= 1.25 * KIB * KIB;
        vec![
            self.times("p99", with, without, stalled::P99, 1.1),
            check("largest outbox", outbox, |stat| spread(stat, KIB, " KiB"), bounded),
            check(
                "closed",
                closed,
                |stat| if stat.min == 1.0 { "yes".into() } else { "no".into() },
                |closed| closed == 1.0,
            ),
        ]
    }

    fn publishing(&self) -> Vec<Check> {
        let batches = publishing::CASES.into_iter().filter(|(_, _, batch)| *batch > 1).map(|(case, connections, _)| {
            let of = |system| sample_key(publishing::PUBLISHING, case, system);
            let (ours, its) = (of(TIDINGS_REDIS.name), of(publishing::REDIS_BENCHMARK));
            let stat = self.results.ratio(ours, its, publishing::RATE);
            check(format!("on {connections}"), stat, ratio, |times| times >= 0.5)
        });
        let [ours, ws] = [TIDINGS_REDIS, WS].map(|system| sample_key(latency::LATENCY, "", system.name));
        batches.chain([self.times("p50", ours, ws, latency::P50, 0.5)]).collect()
    }

    fn compression(&self) -> Vec<Check> {
        let [compressed, plain] = [compression::COMPRESSED, compression::PLAIN]
            .map(|case| sample_key(compression::COMPRESSION, case, TIDINGS.name));
        vec![self.times("of plain", compressed, plain, CPU, 1.3)]
    }
}
