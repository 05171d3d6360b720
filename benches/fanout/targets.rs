//! The performance targets of tidings, compared with the measurements.

use crate::results::{Results, SampleKey, Stat, sample_key};
use crate::scenarios::{
    access, answers, backlog, compression, filters, idle, idle_redis, latency, offered, one, publishing, revocations,
    saturation, stalled, stalled_share, tls, transports,
};
use crate::systems::{BUN, NATS, NGINX, TIDINGS, TIDINGS_REDIS, WS};
use crate::table::{Table, ratio, spread, thousands};
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
    let targets: [(&str, Vec<Check>); 21] = [
        ("One event at a time: at most 1.05 × the floor, and below Bun", checks.one_at_a_time()),
        ("64 in flight: at most 0.07 × the floor, and below nats-server", checks.backlog()),
        (
            "Publishers that wait only for answers: p99 from POST to socket at most 100 ms with 100 and 1,000 subscribers, 400 ms with 10,000",
            checks.freshness(),
        ),
        (
            "There: at least 0.9 × the deliveries of 64 publishers that wait for delivery, and no subscriber closed",
            checks.saturation(),
        ),
        ("20 to 80 % of what can be delivered, offered by a clock: p99 at most 20 ms", checks.offered()),
        (
            "16 publishers that wait only for answers: p99 from `ping` and `subscribe` to the answer at most 100 ms",
            checks.answers(),
        ),
        (
            "10 of 1,000 subscribers stalled: at least 0.9 × the events a second, the 10 are closed and no others",
            checks.stalled_share(),
        ),
        (
            "A stalled subscriber: the others' p99 rises by less than 10 %, its outbox is bounded, it is closed",
            checks.stalled(),
        ),
        ("Event streams and long-polls: at most 1.1 × a WebSocket's CPU a delivery", checks.transports()),
        ("An idle connection: at most 1.6 KiB, also after a burst and a quiet minute", checks.idle()),
        ("10,000 connections opened as fast as Bun opens them", checks.open()),
        (
            "100,000 subscriptions of products: at most 1.3 × an event's cost with 100; one filter for all: at most 1.05 × none",
            checks.filters(),
        ),
        (
            "Batches of 100 through Redis: at least 0.6 × redis-benchmark on one connection, half on 4 and 16",
            checks.batches(),
        ),
        ("POST to WebSocket through Redis: p50 at most 0.85 × Node ws + ioredis", checks.latency()),
        ("An idle node on Redis: at most 3 commands a second", checks.idle_redis()),
        ("1,000 compressed subscribers: at most 1.3 × the CPU of plain ones at 1 KiB", checks.compression()),
        ("A token: at most 200 bytes more a connection, and 1.5 × the time to open 10,000", checks.tokens()),
        ("A grant: at most 1.01 × the CPU of a delivery; a pin: of a filter's", checks.grants()),
        (
            "10,000 tokens revoked at once: the last connection at three nodes is closed within 2 s",
            checks.revocations(),
        ),
        ("TLS, CPU a delivery and memory: at most 0.9 × the better of Bun and nginx", checks.tls_cost()),
        ("TLS, 1,000 connections opened: at most 1.1 × the better of Bun and nginx", checks.tls_open()),
    ];
    let mut table = Table::new("Targets", "", &[]).heads(&["target", "measured", "reached"]);
    for (number, (target, checks)) in (1..).zip(targets) {
        let shown = |check: &Check| format!("{}: {}", check.what, check.shown.as_deref().unwrap_or("not measured"));
        let measured: Vec<String> = checks.iter().map(shown).collect();
        table = table.row(vec![number.to_string(), target.into(), measured.join("; "), reached(&checks).into()]);
    }
    table
}

/// A target is reached if each of its conditions is. One that is not outweighs those that were not measured.
fn reached(checks: &[Check]) -> &'static str {
    match () {
        () if checks.iter().any(|check| check.reached == Some(false)) => "no",
        () if checks.is_empty() || checks.iter().any(|check| check.reached.is_none()) => "not known",
        () => "yes",
    }
}

struct Checks<'a> {
    results: &'a Results,
    cost: &'static str,
}

impl<'a> Checks<'a> {
    /// A condition on the median of `stat`, which was measured in the sample `ours`. A round that failed reaches no
    /// target, whatever the other rounds show.
    fn check(
        &self,
        what: impl Into<String>,
        ours: SampleKey<'_>,
        stat: Option<Stat>,
        show: impl Fn(Stat) -> String,
        holds: impl Fn(f64) -> bool,
    ) -> Check {
        let (shown, reached) = (stat.map(show), stat.map(|stat| holds(stat.median)));
        match self.results.problem(ours) {
            None => Check { what: what.into(), shown, reached },
            Some(problem) => {
                let shown = shown.map_or(problem.to_owned(), |shown| format!("{shown}; {problem}"));
                Check { what: what.into(), shown: Some(shown), reached: Some(false) }
            }
        }
    }

    /// A figure that is shown for comparison.
    fn shown(&self, what: &str, key: SampleKey<'_>, figure: &str, show: impl Fn(Stat) -> String) -> Check {
        let stat = self.results.stat(key, figure);
        Check { what: what.into(), shown: stat.map(show), reached: stat.map(|_| true) }
    }

    /// The ratio to another's figure must be at most `most`.
    fn times(&self, what: &str, over: SampleKey<'_>, under: SampleKey<'_>, figure: &str, most: f64) -> Check {
        self.check(what, over, self.results.ratio(over, under, figure), ratio, |times| times <= most)
    }

    /// The other system's cost must be higher. Both are compared as ratios to the floor.
    fn below(&self, scenario: &str, other: &str) -> Check {
        let (key, its) = (sample_key(scenario, "", TIDINGS.name), sample_key(scenario, "", other));
        let ours = self.results.against_floor(key, self.cost);
        self.check(other, key, self.results.against_floor(its, self.cost), ratio, |its| {
            ours.is_some_and(|ours| ours.median < its)
        })
    }

    /// The cost must be at most `most` times the floor's.
    fn against_floor(&self, what: &str, scenario: &str, most: f64) -> Check {
        let ours = sample_key(scenario, "", TIDINGS.name);
        self.check(what, ours, self.results.against_floor(ours, self.cost), ratio, |times| times <= most)
    }

    /// A figure in microseconds must be at most this many milliseconds.
    fn millis(&self, what: &str, ours: SampleKey<'_>, figure: &str, most: f64) -> Check {
        self.check(what, ours, self.results.stat(ours, figure), millis, |micros| micros <= most * 1e3)
    }

    /// A figure must have this value in every round.
    fn always(&self, what: &str, ours: SampleKey<'_>, figure: &str, value: f64) -> Check {
        let stat = self.results.stat(ours, figure);
        let holds = stat.is_some_and(|stat| stat.min == value && stat.max == value);
        self.check(what, ours, stat, count, |_| holds)
    }

    fn one_at_a_time(&self) -> Vec<Check> {
        vec![
            self.against_floor("1,000", one::THOUSAND, 1.05),
            self.below(one::THOUSAND, BUN.name),
            self.against_floor("9,900", one::TEN_THOUSAND, 1.05),
            self.below(one::TEN_THOUSAND, BUN.name),
        ]
    }

    fn backlog(&self) -> Vec<Check> {
        vec![
            self.against_floor("all cores", backlog::ALL_CORES, 0.07),
            self.below(backlog::ALL_CORES, NATS.name),
            self.against_floor("one core", backlog::ONE_CORE, 0.07),
            self.below(backlog::ONE_CORE, NATS.name),
        ]
    }

    /// The worst check of the three numbers of publishers: one that is not reached or not measured, else the one with the
    /// highest `badness`.
    fn worst(&self, scenario: &str, of: impl Fn(SampleKey<'_>) -> (Check, f64)) -> Check {
        let cases = saturation::PUBLISHERS.map(saturation::case);
        let all = cases.iter().map(|case| of(sample_key(scenario, case, TIDINGS.name)));
        let rank = |check: &Check| match check.reached {
            Some(false) => 2,
            None => 1,
            Some(true) => 0,
        };
        let worse = |one: &(Check, f64), other: &(Check, f64)| {
            rank(&one.0).cmp(&rank(&other.0)).then(one.1.total_cmp(&other.1))
        };
        match all.max_by(worse) {
            Some((check, _)) => check,
            None => Check { what: scenario.into(), shown: None, reached: None },
        }
    }

    fn freshness(&self) -> Vec<Check> {
        let limits = [100.0, 100.0, 400.0];
        let of = |((scenario, subscribers), most): ((&str, usize), f64)| {
            self.worst(scenario, |key| {
                let median = self.results.stat(key, saturation::P99).map_or(0.0, |stat| stat.median);
                let what = format!("{} subscribers, {}", thousands(subscribers), key.case);
                (self.millis(&what, key, saturation::P99, most), median)
            })
        };
        saturation::SIZES.into_iter().zip(limits).map(of).collect()
    }

    fn saturation(&self) -> Vec<Check> {
        let deliveries = |(scenario, subscribers): (&str, usize)| {
            self.worst(scenario, |key| {
                let stat = self.results.ratio_of(key, saturation::RATE, key, saturation::REFERENCE);
                let what = format!("{} subscribers, {}", thousands(subscribers), key.case);
                let check = self.check(what, key, stat, ratio, |times| times >= 0.9);
                (check, -stat.map_or(0.0, |stat| stat.median))
            })
        };
        let closed = |(scenario, subscribers): (&str, usize)| {
            self.worst(scenario, |key| {
                let most = self.results.stat(key, saturation::CLOSED).map_or(0.0, |stat| stat.max);
                let what = format!("closed of {} with {}", thousands(subscribers), key.case);
                (self.always(&what, key, saturation::CLOSED, 0.0), most)
            })
        };
        saturation::SIZES.map(deliveries).into_iter().chain(saturation::SIZES.map(closed)).collect()
    }

    fn offered(&self) -> Vec<Check> {
        let of = |share| {
            let case = offered::case(share);
            self.millis(&case, sample_key(offered::OFFERED, &case, TIDINGS.name), saturation::P99, 20.0)
        };
        offered::SHARES.into_iter().filter(|share| *share <= 80).map(of).collect()
    }

    fn answers(&self) -> Vec<Check> {
        let key = sample_key(answers::ANSWERS, answers::SATURATED, TIDINGS.name);
        vec![
            self.millis("ping", key, answers::PING_P99, 100.0),
            self.millis("subscribe", key, answers::SUBSCRIBE_P99, 100.0),
            self.always("probes closed", key, answers::CLOSED, 0.0),
        ]
    }

    fn stalled_share(&self) -> Vec<Check> {
        let [with, without] = [stalled_share::WITH, stalled_share::WITHOUT]
            .map(|case| sample_key(stalled_share::STALLED_SHARE, case, TIDINGS.name));
        let times = self.results.ratio(with, without, stalled_share::ACCEPTED);
        vec![
            self.check("events/s", with, times, ratio, |times| times >= 0.9),
            self.always("stalled closed", with, stalled_share::CLOSED, stalled_share::STALLED as f64),
            self.always("others closed", with, stalled_share::OTHERS, 0.0),
        ]
    }

    fn transports(&self) -> Vec<Check> {
        let pair = |case, what, figure, websocket| {
            let key = sample_key(transports::TRANSPORTS, case, TIDINGS.name);
            let stat = self.results.ratio_of(key, figure, key, websocket);
            self.check(format!("{case}, {what}"), key, stat, ratio, |times| times <= 1.1)
        };
        let both = |case| {
            [
                pair(case, "one at a time", CPU, transports::WEBSOCKET_CPU),
                pair(case, "64 in flight", transports::BUSY, transports::WEBSOCKET_BUSY),
            ]
        };
        [both(transports::EVENT_STREAM), both(transports::LONG_POLL)].into_iter().flatten().collect()
    }

    fn idle(&self) -> Vec<Check> {
        let memory = |what: &str, scenario, figure| {
            let key = sample_key(scenario, "", TIDINGS.name);
            self.check(what, key, self.results.stat(key, figure), kib, |bytes| bytes <= 1.6 * KIB)
        };
        let bun = sample_key(idle::IDLE, "", BUN.name);
        vec![
            memory("idle", idle::IDLE, idle::MEMORY),
            memory("a minute after a burst", idle::QUIET, idle::MINUTE),
            self.shown(BUN.name, bun, idle::MEMORY, kib),
        ]
    }

    fn open(&self) -> Vec<Check> {
        let [ours, bun] = [TIDINGS, BUN].map(|system| sample_key(idle::IDLE, "", system.name));
        let seconds = |stat| spread(stat, 1.0, " s");
        vec![
            self.times("of Bun's time", ours, bun, idle::OPEN, 1.0),
            self.shown(TIDINGS.name, ours, idle::OPEN, seconds),
            self.shown(BUN.name, bun, idle::OPEN, seconds),
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
        let always = closed.is_some_and(|closed| closed.min == 1.0);
        vec![
            self.times("p99", with, without, stalled::P99, 1.1),
            self.check("largest outbox", with, outbox, kib, bounded),
            self.check("closed", with, closed, |_| if always { "yes".into() } else { "no".into() }, |_| always),
        ]
    }

    fn batches(&self) -> Vec<Check> {
        let batches = publishing::CASES.into_iter().filter(|(_, _, batch)| *batch > 1);
        let of = |(case, connections, _)| {
            let of = |system| sample_key(publishing::PUBLISHING, case, system);
            let (ours, its) = (of(TIDINGS_REDIS.name), of(publishing::REDIS_BENCHMARK));
            let stat = self.results.ratio(ours, its, publishing::RATE);
            let least = if connections == 1 { 0.6 } else { 0.5 };
            self.check(format!("on {connections}"), ours, stat, ratio, |times| times >= least)
        };
        batches.map(of).collect()
    }

    fn latency(&self) -> Vec<Check> {
        let [ours, ws] = [TIDINGS_REDIS, WS].map(|system| sample_key(latency::LATENCY, "", system.name));
        vec![self.times("p50", ours, ws, latency::P50, 0.85)]
    }

    fn idle_redis(&self) -> Vec<Check> {
        let key = sample_key(idle_redis::IDLE_REDIS, "", TIDINGS_REDIS.name);
        // The script of a pulse runs many commands in one call: they cost no round trip, and are shown beside it.
        let of = |what: &str, figure, reached: fn(f64) -> bool| {
            self.check(what, key, self.results.stat(key, figure), count, reached)
        };
        vec![
            of("sent", idle_redis::SENT, |rate| rate <= 3.0),
            of("processed, with those of scripts", idle_redis::PROCESSED, |_| true),
        ]
    }

    fn tokens(&self) -> Vec<Check> {
        let [with, without] =
            [access::WITH, access::WITHOUT].map(|case| sample_key(access::TOKENS, case, TIDINGS.name));
        let bytes = |stat| spread(stat, 1.0, " bytes");
        vec![
            self.check("more", with, self.results.stat(with, access::MORE), bytes, |more| more <= 200.0),
            self.times("time", with, without, access::OPEN, 1.5),
        ]
    }

    fn grants(&self) -> Vec<Check> {
        let pair = |what, with, without| {
            let [with, without] = [with, without].map(|case| sample_key(access::GRANTS, case, TIDINGS.name));
            self.times(what, with, without, CPU, 1.01)
        };
        vec![pair("grant", access::GRANT, access::WITHOUT), pair("pin", access::PIN, access::FILTER)]
    }

    fn revocations(&self) -> Vec<Check> {
        let key = sample_key(revocations::REVOCATIONS, "", TIDINGS_REDIS.name);
        let seconds = |stat| spread(stat, 1.0, " s");
        let stat = self.results.stat(key, revocations::CLOSED);
        vec![self.check("after the first request", key, stat, seconds, |time| time <= 2.0)]
    }

    fn tls_cost(&self) -> Vec<Check> {
        let pair = |what, figure| self.beside_tls(what, figure, 0.9);
        [pair("CPU", CPU), pair("memory", tls::MEMORY)].into_iter().flatten().collect()
    }

    fn tls_open(&self) -> Vec<Check> {
        self.beside_tls("time", tls::OPEN, 1.1).into()
    }

    fn beside_tls(&self, what: &str, figure: &str, most: f64) -> [Check; 2] {
        [BUN, NGINX].map(|system| {
            let [ours, its] = [TIDINGS.name, system.name].map(|system| sample_key(tls::TLS, "", system));
            self.times(&format!("{what} of {}", system.name), ours, its, figure, most)
        })
    }

    fn compression(&self) -> Vec<Check> {
        let [compressed, plain] = [compression::COMPRESSED, compression::PLAIN]
            .map(|case| sample_key(compression::COMPRESSION, case, TIDINGS.name));
        vec![self.times("of plain", compressed, plain, CPU, 1.3)]
    }
}

fn count(stat: Stat) -> String {
    spread(stat, 1.0, "")
}

fn millis(stat: Stat) -> String {
    spread(stat, 1e3, " ms")
}

fn kib(stat: Stat) -> String {
    spread(stat, KIB, " KiB")
}
