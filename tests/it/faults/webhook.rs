//! One more receiver of the load: a webhook, which one of the nodes delivers at a time.
//!
//! Its promise differs from that of subscribers: an event may come more than once. So it has a check of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use tidings::event::Position;

use super::ledger::{CHANNELS, Ledger, Outcome};
use crate::webhooks::receiver::{Receiver, status, table};

/// The channels of the webhook: those that no bridge sends.
const ITS_CHANNELS: &[&str] = CHANNELS.split_at(1).1;

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
        table(&self.0.url(), &format!("{ITS_CHANNELS:?}"), "allow_private = true")
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
        let epochs: HashMap<_, _> = ITS_CHANNELS.iter().map(|channel| (*channel, ledger.epochs(channel))).collect();
        for sent in ledger.sent.iter().filter(|sent| ITS_CHANNELS.contains(&sent.channel)) {
            let Outcome::Acknowledged(at) = &sent.outcome else { continue };
            let gaps = gaps.get(sent.channel).map_or(&[][..], |gaps| gaps);
            let is_lost = |at: &Position| gaps.iter().any(|(from, to)| epochs[sent.channel].covers(from, to, at));
            if !seen.contains(&sent.id) && !at.iter().all(is_lost) {
                violations.push(format!("webhook: {} was acknowledged at {at:?} and never came", sent.id));
            }
        }
        let came = first.iter().map(|event| {
            let [of_type, subject, id] = ["type", "subject", "id"].map(|name| event[name].as_str().unwrap_or_default());
            ((of_type, subject), id)
        });
        violations.extend(out_of_order("webhook", came, &ledger.only_positions()));
        violations
    }
}

/// What came after something later of the same key, by the positions of their ids in the log. `receiver` names the webhook or the
/// bridge.
pub fn out_of_order<'a, K: Eq + Hash>(
    receiver: &str,
    came: impl IntoIterator<Item = (K, &'a str)>,
    positions: &HashMap<&str, &Position>,
) -> Vec<String> {
    let (mut last, mut violations) = (HashMap::<K, (&str, &Position)>::new(), Vec::new());
    for (key, id) in came {
        let Some(at) = positions.get(id).copied() else { continue };
        if let Some((before, its)) = last.insert(key, (id, at))
            && its.same_epoch(at)
            && its.offset > at.offset
        {
            violations.push(format!("{receiver}: {id} at {at} came after {before} at {its}"));
        }
    }
    violations
}
