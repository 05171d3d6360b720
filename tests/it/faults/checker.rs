//! Checks the ledger at the end of a test, and returns one sentence for each violated guarantee.
//!
//! The guarantees: order and uniqueness within a stream, one event per position, equal epochs everywhere, no
//! acknowledged event missing without a gap, no surviving event hidden by a gap or shown again after it, and each
//! publisher's order.

use std::collections::{HashMap, HashSet};

use tidings::event::Position;

use super::ledger::{CHANNELS, ComparablePosition, Epochs, Ledger, Observation, ObservedStream, Outcome, SentEvent};
use crate::support::broker::Next;

/// All violations in this ledger.
pub fn check(ledger: &Ledger) -> Vec<String> {
    let mut checker = Checker {
        sent: ledger.sent.iter().map(|sent| (sent.id.as_str(), sent)).collect(),
        epochs: HashMap::new(),
        events: HashMap::new(),
        violations: ledger.violations.clone(),
    };
    for stream in &ledger.streams {
        checker.check_order(stream);
        checker.check_shown_again(stream);
    }
    for channel in CHANNELS {
        checker.check_epochs(channel, ledger);
    }
    checker.check_acknowledged(ledger);
    checker.check_survivors(ledger);
    checker.check_publisher_order(ledger);
    checker.violations
}

/// The ledger's events by id and by position, and the violations found so far.
struct Checker<'a> {
    sent: HashMap<&'a str, &'a SentEvent>,
    /// The epochs of each channel, in order.
    epochs: HashMap<&'a str, Epochs>,
    /// The id of the event at each position, from deliveries and responses alike. Two ids at one position are a violation.
    events: HashMap<(&'a str, Position), &'a str>,
    violations: Vec<String>,
}

impl<'a> Checker<'a> {
    /// Adds a violation about a stream, a channel or an event.
    fn report(&mut self, subject: &str, violation: String) {
        self.violations.push(format!("{subject}: {violation}"));
    }

    /// Offsets rise by one except across a gap. Each event was published to this channel with this data, and is
    /// delivered once.
    fn check_order(&mut self, stream: &'a ObservedStream) {
        let mut at = stream.start.clone();
        let mut ids = HashSet::new();
        for seen in &stream.observations {
            match seen {
                Observation::Event { position, event } => {
                    if *position != at.next() {
                        self.report(&stream.name, format!("{position} came after {at}"));
                    }
                    at = position.clone();
                    let id = event["id"].as_str().unwrap_or_default();
                    // An id may be delivered again in a new epoch, and after the broker has lost its deduplication ids.
                    let id_expired = self.sent.get(id).is_some_and(|sent| sent.id_expired);
                    if !ids.insert((id, &position.epoch)) && !id_expired {
                        self.report(&stream.name, format!("{id} came twice in one epoch, again at {position}"));
                    }
                    match self.sent.get(id) {
                        Some(sent) if sent.outcome == Outcome::Refused => {
                            self.report(&stream.name, format!("{id} was refused and came at {position}"));
                        }
                        Some(sent) if sent.channel != stream.channel || event["type"] != stream.channel => {
                            self.report(
                                &stream.name,
                                format!("this event was delivered on the wrong channel: {event}"),
                            );
                        }
                        Some(sent) if event["data"] != sent.data() => {
                            self.report(
                                &stream.name,
                                format!("the publisher sent {}, the subscriber received {event}", sent.data()),
                            );
                        }
                        Some(_) => {}
                        None => {
                            self.report(&stream.name, format!("no publisher sent the event at {position}: {event}"));
                        }
                    }
                    self.record_position(stream.channel, position, id);
                }
                Observation::Gap { from, position } => {
                    if *from != at || (from.same_epoch(position) && position.offset <= from.offset) {
                        self.report(&stream.name, format!("a gap from {from} to {position} came after {at}"));
                    }
                    at = position.clone();
                }
                Observation::Heartbeat(position) if *position == at => {}
                Observation::Heartbeat(position) => {
                    self.report(&stream.name, format!("a heartbeat says {position}, but the stream is at {at}"));
                }
            }
        }
    }

    /// No event is shown to a subscriber again. An id that was published again after a loss is another event: the daemon
    /// gave it another `time`. A bridge publishes the same event, with the same `time`.
    fn check_shown_again(&mut self, stream: &'a ObservedStream) {
        let mut received = HashMap::new();
        let mut again = Vec::new();
        for seen in &stream.observations {
            if let Observation::Event { position, event } = seen
                && let Some((first, same)) = received.insert(event["id"].as_str(), (position, event))
                && same == event
                && !event["id"].as_str().is_some_and(|id| self.is_bridged(id))
            {
                again.push((first, position));
            }
        }
        if let Some((first, position)) = again.first() {
            let count = again.len();
            self.report(&stream.name, format!("{count} events were shown again, the first at {first} and {position}"));
        }
    }

    fn is_bridged(&self, id: &str) -> bool {
        self.sent.get(id).is_some_and(|sent| sent.outcome == Outcome::Bridged)
    }

    /// Records that an event is at a position, which must be the same event for every client of every node.
    fn record_position(&mut self, channel: &'a str, position: &Position, id: &'a str) {
        let other = *self.events.entry((channel, position.clone())).or_insert(id);
        if other != id {
            self.report(channel, format!("{other} and {id} are both at {position}"));
        }
    }

    /// All streams of a channel have the same epochs in the same order. A stream may miss some of them.
    fn check_epochs(&mut self, channel: &'a str, ledger: &'a Ledger) {
        let epochs = ledger.epochs(channel);
        let all = &epochs.0;
        for stream in ledger.streams.iter().filter(|stream| stream.channel == channel) {
            let (mut rest, its) = (all.iter(), stream.epochs());
            let ordered = its.iter().all(|epoch| rest.any(|other| other == epoch));
            if !ordered || all.iter().collect::<HashSet<_>>().len() != all.len() {
                self.report(&stream.name, format!("epochs {its:?}, elsewhere {all:?}"));
            }
        }
        self.epochs.insert(channel, epochs);
    }

    /// The position in a form that can be compared; `None` if its epoch is not among the channel's epochs.
    fn comparable(&self, channel: &str, position: &Position) -> Option<ComparablePosition> {
        self.epochs[channel].comparable(position)
    }

    /// Every acknowledged event was delivered to every subscriber, or is covered by a gap. Within an epoch it has one
    /// position.
    fn check_acknowledged(&mut self, ledger: &'a Ledger) {
        for sent in &ledger.sent {
            let Outcome::Acknowledged(positions) = &sent.outcome else { continue };
            for (number, position) in positions.iter().enumerate() {
                self.record_position(sent.channel, position, &sent.id);
                if self.comparable(sent.channel, position).is_none() {
                    let epoch = "in an epoch that no subscriber has seen";
                    self.report(&sent.id, format!("it was acknowledged at {position}, {epoch}"));
                }
                let first = positions[..number].iter().find(|first| first.same_epoch(position));
                if let Some(first) = first.filter(|_| !sent.id_expired) {
                    self.report(&sent.id, format!("it was acknowledged at {first}, then at {position}"));
                }
            }
        }
        for stream in &ledger.streams {
            let comparable = |position: &Position| self.comparable(stream.channel, position);
            let mut received = HashMap::new();
            let mut gaps = Vec::new();
            for seen in &stream.observations {
                match seen {
                    Observation::Event { position, event } => drop(received.insert(position, event["id"].as_str())),
                    Observation::Gap { from, position } => gaps.push(comparable(from)..comparable(position)),
                    Observation::Heartbeat(_) => {}
                }
            }
            let missing = |sent: &&SentEvent| {
                let Outcome::Acknowledged(positions) = &sent.outcome else { return false };
                sent.channel == stream.channel
                    && positions.iter().any(|position| {
                        let at = comparable(position);
                        at > comparable(&stream.start)
                            && received.get(position) != Some(&Some(&sent.id))
                            && !gaps.iter().any(|gap| gap.start < at && at <= gap.end)
                    })
            };
            let missing: Vec<_> = ledger.sent.iter().filter(missing).map(|sent| (&sent.id, &sent.outcome)).collect();
            if let Some(first) = missing.first() {
                let count = missing.len();
                self.report(&stream.name, format!("{count} acknowledged events are missing, the first is {first:?}"));
            }
        }
    }

    /// A gap into a new epoch hides no event that survived there, unless the subscriber had received it before.
    fn check_survivors(&mut self, ledger: &'a Ledger) {
        for stream in &ledger.streams {
            let mut received = HashSet::new();
            let mut hidden = Vec::new();
            for seen in &stream.observations {
                match seen {
                    Observation::Event { event, .. } => drop(received.insert(event["id"].as_str().unwrap_or_default())),
                    Observation::Gap { from, position } if !from.same_epoch(position) => {
                        let covered = (stream.start.offset + 1)..=position.offset;
                        let at = |offset| Position { offset, ..position.clone() };
                        let survivors = covered.filter_map(|offset| self.events.get(&(stream.channel, at(offset))));
                        hidden.extend(survivors.filter(|id| !received.contains(**id)).map(|id| (*id, position)));
                    }
                    Observation::Gap { .. } | Observation::Heartbeat(_) => {}
                }
            }
            if let Some((id, position)) = hidden.first() {
                let count = hidden.len();
                self.report(
                    &stream.name,
                    format!("{count} surviving events were never delivered before {position}, for example {id}"),
                );
            }
        }
    }

    /// An event that a publisher sent after a response has a higher position than the events of that response.
    fn check_publisher_order(&mut self, ledger: &'a Ledger) {
        let mut last: HashMap<_, (ComparablePosition, &str)> = HashMap::new();
        for sent in &ledger.sent {
            let Outcome::Acknowledged(positions) = &sent.outcome else { continue };
            let Some(comparable) = self.comparable(sent.channel, &positions[0]).filter(|_| !sent.may_be_reordered)
            else {
                continue;
            };
            if let Some((before, id)) = last.insert((sent.publisher, sent.channel), (comparable, &sent.id))
                && before >= comparable
            {
                self.report(&sent.id, format!("it was sent after the response for {id}, and has a lower position"));
            }
        }
    }
}

/// Tests of the checker itself: it must find every kind of violation, and accept every correct ledger.
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().expect("a position")
    }

    fn acknowledged_at(positions: &[&str]) -> Outcome {
        Outcome::Acknowledged(positions.iter().map(|position| at(position)).collect())
    }

    fn sent(sequence: u64, outcome: Outcome) -> SentEvent {
        SentEvent { id: sequence.to_string(), outcome, ..SentEvent::new(0, sequence, CHANNELS[0]) }
    }

    fn event(position: &str, sequence: u64) -> Observation {
        let sent = sent(sequence, Outcome::Unknown);
        Observation::Event { position: at(position), event: sent.event() }
    }

    /// The same event, published again after a loss.
    fn event_again(position: &str, sequence: u64) -> Observation {
        let mut event = sent(sequence, Outcome::Unknown).event();
        event["time"] = "later".into();
        Observation::Event { position: at(position), event }
    }

    fn gap(from: &str, position: &str) -> Observation {
        Observation::Gap { from: at(from), position: at(position) }
    }

    /// The violations of a ledger in which events 1 to 4 were sent, and each subscriber observed one of these streams.
    fn violations_of(streams: &[&[Observation]]) -> String {
        let mut ledger = Ledger::default();
        let outcomes = [acknowledged_at(&["a:1"]), acknowledged_at(&["a:2"]), Outcome::Unknown, Outcome::Refused];
        for (number, outcome) in outcomes.into_iter().enumerate() {
            ledger.sent.push(sent(number as u64 + 1, outcome));
        }
        for seen in streams {
            let name = "subscriber".to_owned();
            ledger.streams.push(ObservedStream {
                name,
                channel: CHANNELS[0],
                start: at("a:0"),
                observations: seen.to_vec(),
            });
        }
        check(&ledger).join("\n")
    }

    #[test]
    fn correct_streams_have_no_violations() {
        let (one, two) = (event("a:1", 1), event("a:2", 2));
        assert_eq!(violations_of(&[&[one.clone(), two.clone()]]), "");
        assert_eq!(
            violations_of(&[&[one.clone(), two.clone(), Observation::Heartbeat(at("a:2")), event("a:3", 3)]]),
            ""
        );
        assert_eq!(violations_of(&[&[one.clone(), gap("a:1", "b:0"), event("b:1", 3)]]), "");
        assert_eq!(
            violations_of(&[
                &[one.clone(), gap("a:1", "b:1"), event("b:2", 2)],
                &[gap("a:0", "b:0"), event("b:1", 1), event("b:2", 2)],
                &[one.clone(), two.clone(), gap("a:2", "b:1"), event_again("b:2", 2)]
            ]),
            ""
        );
        assert_eq!(
            violations_of(&[&[gap("a:0", "a:1"), two.clone()], &[one, two, gap("a:2", "b:7"), event("b:8", 3)]]),
            ""
        );
    }

    #[test]
    fn each_kind_of_violation_is_found() {
        let (one, two, three) = (event("a:1", 1), event("a:2", 2), event("a:3", 3));
        let assert_violation = |seen: &[Observation], expected: &str| {
            let violations = violations_of(&[seen]);
            assert!(violations.contains(expected), "{expected:?} is not in: {violations}");
        };
        assert_violation(std::slice::from_ref(&one), "1 acknowledged events are missing");
        assert_violation(&[one.clone(), three.clone()], "a:3 came after a:1");
        assert_violation(&[one.clone(), two.clone(), event("a:3", 2)], "came twice");
        assert_violation(&[one.clone(), two.clone(), event("a:3", 4)], "was refused");
        assert_violation(&[one.clone(), two.clone(), event("a:3", 5)], "no publisher sent");
        assert_violation(&[event("a:1", 3), two.clone()], "are both at a:1");
        assert_violation(&[one.clone(), gap("a:0", "a:2"), three], "a gap from a:0 to a:2 came after a:1");
        assert_violation(&[one.clone(), Observation::Heartbeat(at("a:2")), two.clone()], "a heartbeat says a:2");
        assert_violation(&[one.clone(), two.clone(), gap("a:2", "b:0"), gap("b:0", "a:2")], "epochs");
        assert_violation(&[gap("a:0", "b:0"), event("b:1", 3), gap("b:1", "c:0"), event("a:1", 1)], "epochs");
        let hidden =
            violations_of(&[&[one.clone(), gap("a:1", "b:2")], &[one.clone(), gap("a:1", "b:1"), event("b:2", 2)]]);
        assert!(hidden.contains("1 surviving events were never delivered before b:2, for example 2"), "{hidden}");
        assert_violation(&[one.clone(), two.clone(), gap("a:2", "b:1"), event("b:2", 2)], "1 events were shown again");
        let violations = violations_of(&[&[one, two.clone()], &[event("a:1", 3), two]]);
        assert!(violations.contains("are both at a:1"), "{violations}");
    }

    /// The violations of a ledger in which these events were sent, and one subscriber observed this stream.
    fn violations_with(sent: Vec<SentEvent>, seen: Vec<Observation>) -> Vec<String> {
        let stream =
            ObservedStream { name: "subscriber".into(), channel: CHANNELS[0], start: at("a:0"), observations: seen };
        check(&Ledger { sent, streams: vec![stream], ..Ledger::default() })
    }

    #[test]
    fn a_publishers_order_is_checked() {
        let mut all = vec![sent(1, acknowledged_at(&["a:2"])), sent(2, acknowledged_at(&["a:1"]))];
        let seen = vec![event("a:1", 2), event("a:2", 1)];
        let violations = violations_with(all.clone(), seen.clone());
        assert_eq!(violations, ["2: it was sent after the response for 1, and has a lower position"]);
        all[0].may_be_reordered = true;
        assert_eq!(violations_with(all, seen), [""; 0]);
    }

    #[test]
    fn an_id_has_one_position_in_an_epoch() {
        let (one, again) = (event("a:1", 1), event_again("a:2", 1));
        let mut first = sent(1, acknowledged_at(&["a:1", "a:2"]));
        let violations = violations_with(vec![first.clone()], vec![one.clone(), again.clone()]);
        assert!(violations.contains(&"1: it was acknowledged at a:1, then at a:2".into()), "{violations:?}");
        first.id_expired = true;
        assert_eq!(violations_with(vec![first], vec![one.clone(), again]), [""; 0]);
        let lost = sent(1, acknowledged_at(&["a:1", "b:2"]));
        assert_eq!(violations_with(vec![lost], vec![one, gap("a:1", "b:1"), event_again("b:2", 1)]), [""; 0]);
    }
}
