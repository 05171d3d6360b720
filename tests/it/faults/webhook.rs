//! One more receiver of the load: a webhook, which one of the nodes delivers at a time.
//!
//! Its promise differs from that of subscribers: an event may come more than once. So it has a check of its own.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use tidings::event::Position;

use super::ledger::{CHANNELS, Ledger, Outcome};
use crate::webhooks::receiver::{Receiver, status, table};

/// The receiver, which takes everything.
pub struct Webhook(Receiver);

impl Webhook {
    pub async fn start() -> Self {
        Self(Receiver::start(|_, _| status(204)).await)
    }

    /// How many requests came, in words.
    pub fn figures(&self) -> String {
        let received = self.0.received();
        let events: HashSet<_> = received.iter().map(|one| one.id().to_owned()).collect();
        format!("webhook: {} requests, {} of them again", received.len(), received.len() - events.len())
    }

    /// The configuration of each node.
    pub fn tables(&self) -> String {
        table(&self.0.url(), &format!("{CHANNELS:?}"), "allow_private = true")
    }

    /// Every broken promise: an acknowledged event that neither came nor is in a gap, and events of a subject out of order.
    ///
    /// Subjects overtake each other: when the last event of a channel has come, others may be on their way.
    pub fn check(&self, ledger: &Ledger) -> Vec<String> {
        let (mut gaps, mut first) = (BTreeMap::<String, Vec<_>>::new(), Vec::new());
        let mut seen = HashSet::new();
        for one in self.0.received() {
            if one.event["type"] == "tidings.gap" {
                let data = &one.event["data"];
                let at = |name: &str| data[name].as_str().and_then(|text| text.parse::<Position>().ok());
                let channel = data["channel"].as_str().unwrap_or_default().to_owned();
                gaps.entry(channel).or_default().extend(at("from").zip(at("position")));
            } else if seen.insert(one.id().to_owned()) {
                first.push(one.event);
            }
        }
        let mut violations = Vec::new();
        let mut positions = HashMap::new();
        for sent in &ledger.sent {
            let Outcome::Acknowledged(at) = &sent.outcome else { continue };
            // A retry may have put it after later ones, and the webhook may have the first attempt of an epoch that was lost.
            if let [only] = &**at
                && !sent.may_be_reordered
            {
                positions.insert(sent.id.as_str(), only);
            }
            let gaps = gaps.get(sent.channel).map_or(&[][..], |gaps| gaps);
            let is_lost = |at: &Position| gaps.iter().any(|(from, to)| covers(from, to, at));
            if !seen.contains(&sent.id) && !at.iter().any(is_lost) {
                violations.push(format!("webhook: {} was acknowledged at {at:?} and never came", sent.id));
            }
        }
        violations.extend(out_of_order(&first, &positions));
        violations
    }
}

/// Whether a gap says that the event at this position is lost.
fn covers(from: &Position, to: &Position, at: &Position) -> bool {
    match (at.same_epoch(from), at.same_epoch(to)) {
        (true, true) => from.offset < at.offset && at.offset <= to.offset,
        (true, false) => from.offset < at.offset,
        (false, true) => at.offset <= to.offset,
        // An epoch in between.
        (false, false) => true,
    }
}

/// Events that came after a later one of their subject, by their positions in the log.
fn out_of_order(first: &[Value], positions: &HashMap<&str, &Position>) -> Vec<String> {
    let (mut last, mut violations) = (HashMap::<_, (&str, &Position)>::new(), Vec::new());
    for event in first {
        let (Some(id), subject) = (event["id"].as_str(), (event["type"].as_str(), event["subject"].as_str())) else {
            continue;
        };
        let Some(at) = positions.get(id).copied() else { continue };
        if let Some((before, its)) = last.insert(subject, (id, at))
            && its.same_epoch(at)
            && its.offset > at.offset
        {
            violations.push(format!("webhook: {id} at {at} came after {before} at {its}"));
        }
    }
    violations
}
