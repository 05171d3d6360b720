//! What the ledger proves: which promises were broken, one sentence each.

use std::collections::{HashMap, HashSet};

use tidings::event::{Epoch, Position};

use super::ledger::{CHANNELS, Ledger, Outcome, Seen, Sent, Stream};
use crate::support::broker::Next;

/// A position that can be compared: the number of its epoch in the order of epochs, and its offset.
type Place = (usize, u64);

/// Everything that is wrong.
pub fn judge(ledger: &Ledger) -> Vec<String> {
    let mut judge = Judge {
        sent: ledger.sent.iter().map(|sent| (sent.id.as_str(), sent)).collect(),
        epochs: HashMap::new(),
        events: HashMap::new(),
        objections: ledger.objections.clone(),
    };
    for stream in &ledger.streams {
        judge.order(stream);
    }
    for channel in CHANNELS {
        judge.epochs(channel, ledger);
    }
    judge.acknowledged(ledger);
    judge.survivors(ledger);
    judge.publishers(ledger);
    judge.objections
}

struct Judge<'a> {
    sent: HashMap<&'a str, &'a Sent>,
    /// The epochs of each channel, in their order.
    epochs: HashMap<&'a str, Vec<Epoch>>,
    /// The id of the event at each position, whoever said so: no two events under one position.
    events: HashMap<(&'a str, Position), &'a str>,
    objections: Vec<String>,
}

impl<'a> Judge<'a> {
    fn object(&mut self, who: &str, objection: String) {
        self.objections.push(format!("{who}: {objection}"));
    }

    /// Positions rise by one except across a gap; each event is one that was sent, to this channel, and comes once.
    fn order(&mut self, stream: &'a Stream) {
        let mut at = stream.start.clone();
        let mut ids = HashSet::new();
        for seen in &stream.seen {
            match seen {
                Seen::Event { position, event } => {
                    if *position != at.next() {
                        self.object(&stream.name, format!("{position} came after {at}"));
                    }
                    at = position.clone();
                    let id = event["id"].as_str().unwrap_or_default();
                    // After a lost log an id may be taken again.
                    let forgotten = self.sent.get(id).is_some_and(|sent| sent.forgotten);
                    if !ids.insert((id, &position.epoch)) && !forgotten {
                        self.object(&stream.name, format!("{id} came twice in one epoch, again at {position}"));
                    }
                    match self.sent.get(id) {
                        Some(sent) if sent.outcome == Outcome::Refused => {
                            self.object(&stream.name, format!("{id} was refused and came at {position}"));
                        }
                        Some(sent) if sent.channel != stream.channel || event["type"] != stream.channel => {
                            self.object(&stream.name, format!("it came on the wrong channel: {event}"));
                        }
                        Some(sent) if event["data"] != sent.data() => {
                            self.object(&stream.name, format!("{} was sent and this came: {event}", sent.data()));
                        }
                        Some(_) => {}
                        None => self.object(&stream.name, format!("nobody sent what came at {position}: {event}")),
                    }
                    self.stands(stream.channel, position, id);
                }
                Seen::Gap { from, position } => {
                    if *from != at || (from.same_epoch(position) && position.offset <= from.offset) {
                        self.object(&stream.name, format!("a gap from {from} to {position} came after {at}"));
                    }
                    at = position.clone();
                }
                Seen::Heartbeat(position) if *position == at => {}
                Seen::Heartbeat(position) => {
                    self.object(&stream.name, format!("a heartbeat says {position}, all up to {at} had come"));
                }
            }
        }
    }

    /// An event is at a position: for everybody, at every node, the same.
    fn stands(&mut self, channel: &'a str, position: &Position, id: &'a str) {
        let other = *self.events.entry((channel, position.clone())).or_insert(id);
        if other != id {
            self.object(channel, format!("{other} and {id} are both at {position}"));
        }
    }

    /// All streams of a channel have the same epochs in the same order, though not all may have seen all.
    fn epochs(&mut self, channel: &'a str, ledger: &'a Ledger) {
        let streams = || ledger.streams.iter().filter(|stream| stream.channel == channel);
        let all = streams().map(epochs_of).max_by_key(Vec::len).unwrap_or_default();
        for stream in streams() {
            let mut rest = all.iter();
            let ordered = epochs_of(stream).iter().all(|epoch| rest.any(|other| other == epoch));
            if !ordered || all.iter().collect::<HashSet<_>>().len() != all.len() {
                self.object(&stream.name, format!("epochs {:?}, elsewhere {all:?}", epochs_of(stream)));
            }
        }
        self.epochs.insert(channel, all);
    }

    fn place(&self, channel: &str, position: &Position) -> Option<Place> {
        let epoch = self.epochs[channel].iter().position(|epoch| *epoch == position.epoch)?;
        Some((epoch, position.offset))
    }

    /// What was acknowledged came to everyone who was subscribed, or is covered by a gap.
    fn acknowledged(&mut self, ledger: &'a Ledger) {
        for sent in &ledger.sent {
            let Outcome::Acknowledged(positions) = &sent.outcome else { continue };
            for (number, position) in positions.iter().enumerate() {
                self.stands(sent.channel, position, &sent.id);
                if self.place(sent.channel, position).is_none() {
                    let epoch = "in an epoch of which nobody was told";
                    self.object(&sent.id, format!("it was acknowledged at {position}, {epoch}"));
                }
                let first = positions[..number].iter().find(|first| first.same_epoch(position));
                if let Some(first) = first.filter(|_| !sent.forgotten) {
                    self.object(&sent.id, format!("it was acknowledged at {first}, then at {position}"));
                }
            }
        }
        for stream in &ledger.streams {
            let place = |position: &Position| self.place(stream.channel, position);
            let mut came = HashMap::new();
            let mut gaps = Vec::new();
            for seen in &stream.seen {
                match seen {
                    Seen::Event { position, event } => drop(came.insert(position, event["id"].as_str())),
                    Seen::Gap { from, position } => gaps.push(place(from)..place(position)),
                    Seen::Heartbeat(_) => {}
                }
            }
            let missing = |sent: &&Sent| {
                let Outcome::Acknowledged(positions) = &sent.outcome else { return false };
                sent.channel == stream.channel
                    && positions.iter().any(|position| {
                        let at = place(position);
                        at > place(&stream.start)
                            && came.get(position) != Some(&Some(&sent.id))
                            && !gaps.iter().any(|gap| gap.start < at && at <= gap.end)
                    })
            };
            let missing: Vec<_> = ledger.sent.iter().filter(missing).map(|sent| (&sent.id, &sent.outcome)).collect();
            if let Some(first) = missing.first() {
                let count = missing.len();
                self.object(&stream.name, format!("{count} acknowledged events are missing, the first is {first:?}"));
            }
        }
    }

    /// A gap covers nothing that the log still has, under the same offset in the new epoch, unless it came before.
    fn survivors(&mut self, ledger: &'a Ledger) {
        for stream in &ledger.streams {
            let mut came = HashSet::new();
            let mut hidden = Vec::new();
            for seen in &stream.seen {
                match seen {
                    Seen::Event { event, .. } => drop(came.insert(event["id"].as_str().unwrap_or_default())),
                    Seen::Gap { from, position } if !from.same_epoch(position) => {
                        let covered = (stream.start.offset + 1)..=position.offset;
                        let at = |offset| Position { offset, ..position.clone() };
                        let standing = covered.filter_map(|offset| self.events.get(&(stream.channel, at(offset))));
                        hidden.extend(standing.filter(|id| !came.contains(**id)).map(|id| (*id, position)));
                    }
                    Seen::Gap { .. } | Seen::Heartbeat(_) => {}
                }
            }
            if let Some((id, position)) = hidden.first() {
                let count = hidden.len();
                self.object(&stream.name, format!("{count} survivors never came, {id} for one, before {position}"));
            }
        }
    }

    /// What one publisher sent after an answer stands after what was answered.
    fn publishers(&mut self, ledger: &'a Ledger) {
        let mut last: HashMap<_, (Place, &str)> = HashMap::new();
        for sent in &ledger.sent {
            let Outcome::Acknowledged(positions) = &sent.outcome else { continue };
            let Some(place) = self.place(sent.channel, &positions[0]).filter(|_| !sent.late) else { continue };
            if let Some((before, id)) = last.insert((sent.publisher, sent.channel), (place, &sent.id))
                && before >= place
            {
                self.object(&sent.id, format!("it was sent after the answer for {id}, and stands before it"));
            }
        }
    }
}

fn epochs_of(stream: &Stream) -> Vec<Epoch> {
    let position = |seen: &Seen| match seen {
        Seen::Event { position, .. } | Seen::Gap { position, .. } | Seen::Heartbeat(position) => position.epoch.clone(),
    };
    let mut epochs: Vec<_> =
        std::iter::once(stream.start.epoch.clone()).chain(stream.seen.iter().map(position)).collect();
    epochs.dedup();
    epochs
}

/// A judge that never objects proves nothing.
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().expect("a position")
    }

    fn taken(positions: &[&str]) -> Outcome {
        Outcome::Acknowledged(positions.iter().map(|position| at(position)).collect())
    }

    fn sent(sequence: u64, outcome: Outcome) -> Sent {
        Sent { id: sequence.to_string(), outcome, ..Sent::new(0, sequence, CHANNELS[0]) }
    }

    fn event(position: &str, sequence: u64) -> Seen {
        let sent = sent(sequence, Outcome::Unknown);
        Seen::Event { position: at(position), event: sent.event() }
    }

    fn gap(from: &str, position: &str) -> Seen {
        Seen::Gap { from: at(from), position: at(position) }
    }

    /// What the judge says where events 1 to 4 were sent and this was seen, by one subscriber each.
    fn verdict(streams: &[&[Seen]]) -> String {
        let mut ledger = Ledger::default();
        let outcomes = [taken(&["a:1"]), taken(&["a:2"]), Outcome::Unknown, Outcome::Refused];
        for (number, outcome) in outcomes.into_iter().enumerate() {
            ledger.sent.push(sent(number as u64 + 1, outcome));
        }
        for seen in streams {
            let name = "subscriber".to_owned();
            ledger.streams.push(Stream { name, channel: CHANNELS[0], start: at("a:0"), seen: seen.to_vec() });
        }
        judge(&ledger).join("\n")
    }

    #[test]
    fn what_is_right_is_right() {
        let (one, two) = (event("a:1", 1), event("a:2", 2));
        assert_eq!(verdict(&[&[one.clone(), two.clone()]]), "");
        assert_eq!(verdict(&[&[one.clone(), two.clone(), Seen::Heartbeat(at("a:2")), event("a:3", 3)]]), "");
        assert_eq!(verdict(&[&[one.clone(), gap("a:1", "b:0"), event("b:1", 3)]]), "");
        assert_eq!(
            verdict(&[
                &[one.clone(), gap("a:1", "b:1"), event("b:2", 2)],
                &[gap("a:0", "b:0"), event("b:1", 1), event("b:2", 2)]
            ]),
            ""
        );
        assert_eq!(verdict(&[&[gap("a:0", "a:1"), two.clone()], &[one, two, gap("a:2", "b:7"), event("b:8", 3)]]), "");
    }

    #[test]
    fn what_is_wrong_is_found() {
        let (one, two, three) = (event("a:1", 1), event("a:2", 2), event("a:3", 3));
        let wrong = |seen: &[Seen], expected: &str| {
            let verdict = verdict(&[seen]);
            assert!(verdict.contains(expected), "{expected:?} is not in: {verdict}");
        };
        wrong(std::slice::from_ref(&one), "1 acknowledged events are missing");
        wrong(&[one.clone(), three.clone()], "a:3 came after a:1");
        wrong(&[one.clone(), two.clone(), event("a:3", 2)], "came twice");
        wrong(&[one.clone(), two.clone(), event("a:3", 4)], "was refused");
        wrong(&[one.clone(), two.clone(), event("a:3", 5)], "nobody sent");
        wrong(&[event("a:1", 3), two.clone()], "are both at a:1");
        wrong(&[one.clone(), gap("a:0", "a:2"), three], "a gap from a:0 to a:2 came after a:1");
        wrong(&[one.clone(), Seen::Heartbeat(at("a:2")), two.clone()], "a heartbeat says a:2");
        wrong(&[one.clone(), two.clone(), gap("a:2", "b:0"), gap("b:0", "a:2")], "epochs");
        wrong(&[gap("a:0", "b:0"), event("b:1", 3), gap("b:1", "c:0"), event("a:1", 1)], "epochs");
        let hidden = verdict(&[&[one.clone(), gap("a:1", "b:2")], &[one.clone(), gap("a:1", "b:1"), event("b:2", 2)]]);
        assert!(hidden.contains("1 survivors never came, 2 for one, before b:2"), "{hidden}");
        let verdict = verdict(&[&[one, two.clone()], &[event("a:1", 3), two]]);
        assert!(verdict.contains("are both at a:1"), "{verdict}");
    }

    /// What the judge says where these were sent and this was seen.
    fn verdict_on(sent: Vec<Sent>, seen: Vec<Seen>) -> Vec<String> {
        let stream = Stream { name: "subscriber".into(), channel: CHANNELS[0], start: at("a:0"), seen };
        judge(&Ledger { sent, streams: vec![stream], ..Ledger::default() })
    }

    #[test]
    fn order_is_by_publisher_too() {
        let mut all = vec![sent(1, taken(&["a:2"])), sent(2, taken(&["a:1"]))];
        let seen = vec![event("a:1", 2), event("a:2", 1)];
        let verdict = verdict_on(all.clone(), seen.clone());
        assert_eq!(verdict, ["2: it was sent after the answer for 1, and stands before it"]);
        all[0].late = true;
        assert_eq!(verdict_on(all, seen), [""; 0]);
    }

    #[test]
    fn an_id_has_one_position() {
        let (one, again) = (event("a:1", 1), event("a:2", 1));
        let mut first = sent(1, taken(&["a:1", "a:2"]));
        let verdict = verdict_on(vec![first.clone()], vec![one.clone(), again.clone()]);
        assert!(verdict.contains(&"1: it was acknowledged at a:1, then at a:2".into()), "{verdict:?}");
        first.forgotten = true;
        assert_eq!(verdict_on(vec![first], vec![one.clone(), again]), [""; 0]);
        let lost = sent(1, taken(&["a:1", "b:2"]));
        assert_eq!(verdict_on(vec![lost], vec![one, gap("a:1", "b:1"), event("b:2", 1)]), [""; 0]);
    }
}
