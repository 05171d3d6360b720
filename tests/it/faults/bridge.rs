//! One more publisher of the load: it knows Redis only. A bridge on every node makes events of its messages, by their ids, and
//! another bridge sends events to the channel that it publishes on.
//!
//! Its Redis is none of the broker's, so that no fault loses a message before the nodes have it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream as Blocking;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tidings::event::Position;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader as AsyncReader};
use tokio::net::TcpStream;

use super::ledger::{CHANNELS, Ledger, Observation, ObservedStream, Outcome, SentEvent, SharedLedger, lock};
use super::webhook::out_of_order;
use crate::support::redis::Redis;
use crate::support::until;

/// The type of both bridges. The webhook has the others, because each event that goes out costs the nodes much.
const TYPE: &str = CHANNELS[0];
const CHANNEL: &str = "legacy:inventory";
/// The number of this publisher in the ledger.
const NUMBER: usize = 1000;
/// The pause between two messages. Each node publishes each of them.
const INTERVAL: Duration = Duration::from_millis(100);

/// The Redis of the legacy publisher, and what its channel had.
pub struct Bridge {
    redis: Redis,
    /// The ids of the messages on the channel that are not this publisher's, in order.
    sent_by_bridges: Arc<Mutex<Vec<String>>>,
}

/// What the nodes count about their bridges, together.
#[derive(Default)]
pub struct BridgeMetrics {
    /// Gaps that the bridge out has met.
    gaps: f64,
    /// Messages that became no event, such as those that a bridge has sent: they have a member that the schema forbids.
    refused: f64,
    /// Messages that a bridge did not keep up with.
    missed: f64,
    /// Messages that a bridge has sent, and the other one left out.
    ignored: f64,
}

impl BridgeMetrics {
    /// The sample of each.
    pub fn samples(&mut self) -> [(&'static str, &mut f64); 4] {
        [
            (r#"tidings_flow_gaps_total{flow="bridge",name="out"}"#, &mut self.gaps),
            (r#"tidings_bridge_refused_total{flow="bridge",name="in"}"#, &mut self.refused),
            (r#"tidings_bridge_missed_total{flow="bridge",name="in"}"#, &mut self.missed),
            (r#"tidings_bridge_ignored_total{flow="bridge",name="in"}"#, &mut self.ignored),
        ]
    }
}

impl Bridge {
    pub fn start() -> Self {
        let redis = Redis::start();
        // A server that may not publish is no server of an old publisher, whatever the profile takes from the broker.
        redis.cli(&["acl", "setuser", "default", "on", "nopass", "~*", "&*", "+@all"]);
        let sent_by_bridges = Arc::<Mutex<Vec<String>>>::default();
        let mut socket = Blocking::connect(("127.0.0.1", redis.port)).expect("a connection");
        socket.write_all(format!("SUBSCRIBE {CHANNEL}\r\n").as_bytes()).expect("it can be written to");
        let seen = sent_by_bridges.clone();
        // Ends with the server. The messages have no line breaks.
        std::thread::spawn(move || {
            for line in BufReader::new(socket).lines().map_while(Result::ok).filter(|line| line.starts_with('{')) {
                let message: Value = serde_json::from_str(&line).expect("the messages are JSON");
                if message["byBridge"] == true {
                    let id = message["eventId"].as_str().expect("a bridge sends the id").to_owned();
                    seen.lock().expect("no thread panics while it writes").push(id);
                }
            }
        });
        Self { redis, sent_by_bridges }
    }

    /// The configuration of each node: both ways over one channel.
    pub fn tables(&self) -> String {
        let place = format!("redis = \"redis://127.0.0.1:{}\"\nchannels = [\"{CHANNEL}\"]\n", self.redis.port);
        let rest = format!("type = \"{TYPE}\"\nid = \"/eventId\"\n");
        format!(
            "[[bridge]]\nname = \"in\"\n{place}{rest}drop = [\"/eventId\"]\n\
             [[bridge]]\nname = \"out\"\ndirection = \"out\"\n{place}{rest}set = {{ \"/byBridge\" = true }}\n"
        )
    }

    /// Waits until this many nodes listen.
    pub async fn wait_for_listeners(&self, nodes: usize) {
        until("the bridges listen", async || {
            let answer = self.redis.cli(&["pubsub", "numsub", CHANNEL]);
            // The test listens too.
            (answer.lines().last() == Some(&*(nodes + 1).to_string())).then_some(())
        })
        .await;
    }

    /// Publishes messages until `stop` is set.
    pub fn publish(&self, ledger: SharedLedger, stop: Arc<AtomicBool>) -> impl Future<Output = ()> + Send + use<> {
        let port = self.redis.port;
        async move {
            let mut redis = AsyncReader::new(TcpStream::connect(("127.0.0.1", port)).await.expect("a connection"));
            for sequence in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let message = record(&ledger, sequence);
                let parts = ["PUBLISH", CHANNEL, &message].map(|part| format!("${}\r\n{part}\r\n", part.len()));
                redis.write_all(format!("*3\r\n{}", parts.concat()).as_bytes()).await.expect("it can be written to");
                let mut reply = String::new();
                // A test that fails ends the server first.
                let Ok(1..) = redis.read_line(&mut reply).await else { return };
                assert!(reply.starts_with(':'), "{reply}");
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }

    /// How many messages went in and out, in words.
    pub fn figures(&self, ledger: &Ledger) -> String {
        let sent = self.sent();
        let events: HashSet<_> = sent.iter().collect();
        let (messages, again) = (ledger.count(&Outcome::Bridged), sent.len() - events.len());
        format!("bridges: {messages} messages taken in, {} sent out, {again} of them again", sent.len())
    }

    fn sent(&self) -> Vec<String> {
        self.sent_by_bridges.lock().expect("no thread panics while it writes").clone()
    }

    /// Whether everything has come that must come, except for what was lost with a log.
    pub fn is_complete(&self, ledger: &Ledger) -> bool {
        let told = BridgeMetrics { gaps: 1.0, ignored: 1.0, ..BridgeMetrics::default() };
        judge(ledger, &self.sent(), &told).is_empty()
    }

    /// Every broken promise.
    pub fn check(&self, ledger: &Ledger, metrics: &BridgeMetrics) -> Vec<String> {
        judge(ledger, &self.sent(), metrics)
    }
}

/// Every broken promise: a message that no subscriber has and no gap covers, messages out of their order, a message that went
/// back to where it came from, an acknowledged event that was not sent, and events that were sent out of their order.
///
/// The ledger's checker looks for messages that became more than one event.
fn judge(ledger: &Ledger, sent: &[String], metrics: &BridgeMetrics) -> Vec<String> {
    let bridged = ledger.sent.iter().filter(|sent| sent.outcome == Outcome::Bridged);
    let by_id: HashMap<_, _> = bridged.map(|sent| (sent.id.as_str(), sent)).collect();
    let mut violations = Vec::new();
    let mut firsts = Vec::new();
    for stream in ledger.streams.iter().filter(|stream| stream.channel == TYPE) {
        firsts.extend(missing(stream, &by_id, &mut violations));
    }
    // Those that were there from the beginning have the first message, too.
    if firsts.iter().min() != Some(&0) {
        violations.push(format!("bridge: the first message never came: the streams begin with {firsts:?}"));
    }
    if metrics.refused + metrics.missed > 0.0 {
        let (refused, missed) = (metrics.refused, metrics.missed);
        violations.push(format!("bridge: {refused} messages became no event, {missed} were missed"));
    }
    if metrics.ignored == 0.0 {
        violations.push("bridge: no message of the bridge out came to the bridge in, which ignores them".into());
    }
    let back = sent.iter().filter(|id| by_id.contains_key(id.as_str()));
    violations.extend(back.map(|id| format!("bridge: {id} was sent to where it came from")));
    let (mut seen, mut first) = (HashSet::new(), Vec::new());
    for id in sent {
        if seen.insert(id.as_str()) {
            first.push((TYPE, id.as_str()));
        }
    }
    violations.extend(out_of_order("bridge", first, &ledger.only_positions()));
    for (one, is_lost) in unsent(ledger, &seen) {
        if !is_lost {
            violations.push(format!("bridge: {} was acknowledged and never sent: {:?}", one.id, one.outcome));
        } else if metrics.gaps == 0.0 {
            violations.push(format!("bridge: {} was lost to the bridge, and no gap is counted", one.id));
        }
    }
    violations
}

/// The acknowledged events that are not among those sent, and whether each may be lost: its log is gone, a subscriber has a gap
/// there, or it expired when a clock was stepped.
fn unsent<'a>(ledger: &'a Ledger, sent: &HashSet<&str>) -> Vec<(&'a SentEvent, bool)> {
    let epochs = ledger.epochs(TYPE);
    let streams = ledger.streams.iter().filter(|stream| stream.channel == TYPE);
    let gaps: Vec<_> = streams.flat_map(ObservedStream::all_gaps).collect();
    let is_lost =
        |at: &Position| Some(&at.epoch) != epochs.0.last() || gaps.iter().any(|(from, to)| epochs.covers(from, to, at));
    let unsent = |(number, one): (usize, &'a SentEvent)| match &one.outcome {
        Outcome::Acknowledged(at) if one.channel == TYPE && !sent.contains(one.id.as_str()) => {
            Some((one, number < ledger.expired_before || at.iter().all(is_lost)))
        }
        _ => None,
    };
    ledger.sent.iter().enumerate().filter_map(unsent).collect()
}

/// Adds a message to the ledger, and returns its text.
fn record(ledger: &SharedLedger, sequence: u64) -> String {
    let sent = SentEvent { outcome: Outcome::Bridged, was_sent: true, ..SentEvent::new(NUMBER, sequence, TYPE) };
    let mut message = sent.data();
    message["eventId"] = sent.id.as_str().into();
    // Before it is published: a subscriber may receive it at once.
    lock(ledger).sent.push(sent);
    message.to_string()
}

/// Adds the messages that a stream lacks, or has out of order, to the violations. Returns the number of its first message.
///
/// The bridges of all nodes publish in the order of the messages, so they are in order while no node begins to listen. After a log
/// was lost, a node may publish again what another one had published before. A message that is missing was lost with the log, if a
/// gap is between its neighbors.
fn missing(stream: &ObservedStream, by_id: &HashMap<&str, &SentEvent>, violations: &mut Vec<String>) -> Option<u64> {
    // The number of the last message since the last gap.
    let (mut last, mut has_gap) = (None::<u64>, false);
    let (mut has, mut lacks) = (Vec::new(), BTreeSet::new());
    for seen in &stream.observations {
        match seen {
            Observation::Event { event, .. } => {
                let Some(sent) = event["id"].as_str().and_then(|id| by_id.get(id)) else { continue };
                let number = sent.sequence;
                if let Some(last) = last {
                    lacks.extend(last + 1..number);
                    if number <= last && !(sent.id_expired || sent.may_be_reordered || has_gap) {
                        violations.push(format!("bridge: {}: {number} came after {last}", stream.name));
                    }
                }
                has.push(number);
                last = last.max(Some(number));
            }
            Observation::Gap { .. } => (last, has_gap) = (None, true),
            Observation::Heartbeat(_) => {}
        }
    }
    let end = by_id.values().map(|sent| sent.sequence + 1).max().unwrap_or_default();
    lacks.extend(last.map_or(end, |last| last + 1)..end);
    for number in &has {
        lacks.remove(number);
    }
    if let Some(one) = lacks.first() {
        violations.push(format!("bridge: {}: {} messages are missing, the first is {one}", stream.name, lacks.len()));
    }
    has.first().copied()
}

/// Tests of the check itself: it must find each kind of violation, and accept what is right.
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().expect("a position")
    }

    fn message(position: &str, sequence: u64) -> Observation {
        let event = SentEvent::new(NUMBER, sequence, TYPE).event();
        Observation::Event { position: at(position), event }
    }

    fn gap(from: &str, position: &str) -> Observation {
        Observation::Gap { from: at(from), position: at(position) }
    }

    fn counted(gaps: f64) -> BridgeMetrics {
        BridgeMetrics { gaps, ignored: 1.0, ..BridgeMetrics::default() }
    }

    /// The ledger of messages 0 to 3, which one subscriber saw as these observations.
    fn ledger(observations: Vec<Observation>) -> Ledger {
        let bridged = |sequence| SentEvent { outcome: Outcome::Bridged, ..SentEvent::new(NUMBER, sequence, TYPE) };
        let stream = ObservedStream { name: "subscriber".into(), channel: TYPE, start: at("a:0"), observations };
        Ledger { sent: (0..4).map(bridged).collect(), streams: vec![stream], ..Ledger::default() }
    }

    fn violations_of(observations: Vec<Observation>) -> String {
        judge(&ledger(observations), &[], &counted(0.0)).join("\n")
    }

    /// What is wrong where events of other publishers were acknowledged at these positions, and a bridge sent these ids. The second
    /// epoch follows the first.
    fn violations_out(acknowledged: &[(&str, &[&str])], sent: &[&str], metrics: &BridgeMetrics) -> String {
        let all = (0..4).map(|number| message(&format!("a:{}", number + 1), number));
        let mut ledger = ledger(all.chain([gap("a:4", "b:2")]).collect());
        for (id, positions) in acknowledged {
            let outcome = Outcome::Acknowledged(positions.iter().map(|position| at(position)).collect());
            ledger.sent.push(SentEvent { id: (*id).into(), outcome, ..SentEvent::new(0, 0, TYPE) });
        }
        let sent: Vec<_> = sent.iter().map(|id| (*id).to_owned()).collect();
        judge(&ledger, &sent, metrics).join("\n")
    }

    #[test]
    fn what_is_sent_in_order_is_right_and_what_is_lost_with_a_log_is_told() {
        let (none, told) = (counted(0.0), counted(1.0));
        let sent: [(&str, &[&str]); 3] = [("x", &["a:5"]), ("y", &["b:3"]), ("z", &["a:7", "b:4"])];
        assert_eq!(violations_out(&sent, &["x", "y", "z", "y", "z"], &none), "");
        assert_eq!(violations_out(&sent, &["y", "z"], &told), "");
        assert_eq!(violations_out(&[("x", &["b:2"])], &[], &told), "");
        let lost = violations_out(&sent, &["y", "z"], &none);
        assert_eq!(lost, "bridge: x was lost to the bridge, and no gap is counted");
    }

    #[test]
    fn what_is_not_sent_or_sent_wrongly_is_found() {
        let told = counted(1.0);
        let sent: [(&str, &[&str]); 2] = [("y", &["b:3"]), ("z", &["a:7", "b:4"])];
        let lost = violations_out(&sent, &["y"], &told);
        assert!(lost.starts_with("bridge: z was acknowledged and never sent"), "{lost}");
        let order = violations_out(&[("y", &["b:3"]), ("z", &["b:4"])], &["z", "y"], &told);
        assert_eq!(order, "bridge: y at b:3 came after z at b:4");
        assert_eq!(violations_out(&[], &["1000-2"], &told), "bridge: 1000-2 was sent to where it came from");
        let (refused, missed) = (1.0, 2.0);
        let wrong = violations_out(&[], &[], &BridgeMetrics { refused, missed, ..told });
        assert_eq!(wrong, "bridge: 1 messages became no event, 2 were missed");
        let none = violations_out(&[], &[], &BridgeMetrics { ignored: 0.0, ..counted(1.0) });
        assert!(none.starts_with("bridge: no message of the bridge out came"), "{none}");
    }

    #[test]
    fn messages_in_order_are_right_and_a_gap_may_hide_some() {
        let all = (0..4).map(|number| message(&format!("a:{}", number + 1), number)).collect();
        assert_eq!(violations_of(all), "");
        let lost = vec![message("a:1", 0), gap("a:1", "b:0"), message("b:1", 3)];
        assert_eq!(violations_of(lost), "");
        // A slower node publishes again what was lost, and what the old log had.
        let again = vec![message("a:1", 0), message("a:2", 1), gap("a:2", "b:0"), message("b:1", 0), message("b:2", 1)];
        let again = [again, vec![message("b:3", 2), message("b:4", 3)]].concat();
        assert_eq!(violations_of(again), "");
    }

    #[test]
    fn what_is_missing_or_out_of_order_is_found() {
        let middle = violations_of(vec![message("a:1", 0), message("a:2", 2), message("a:3", 3)]);
        assert_eq!(middle, "bridge: subscriber: 1 messages are missing, the first is 1");
        let end = violations_of(vec![message("a:1", 0), gap("a:1", "b:0"), message("b:1", 1), message("b:2", 2)]);
        assert_eq!(end, "bridge: subscriber: 1 messages are missing, the first is 3");
        let order = [message("a:1", 0), message("a:2", 2), message("a:3", 1), message("a:4", 3)];
        assert_eq!(violations_of(order.to_vec()), "bridge: subscriber: 1 came after 2");
        let mut restarted = ledger(order.to_vec());
        restarted.bridged().nth(1).expect("message 1").may_be_reordered = true;
        assert_eq!(judge(&restarted, &[], &counted(0.0)), [""; 0]);
        let late = violations_of((1..4).map(|number| message(&format!("a:{number}"), number)).collect());
        assert_eq!(late, "bridge: the first message never came: the streams begin with [1]");
    }
}
