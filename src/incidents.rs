//! The incidents of one namespace of this node: lost events, new epochs, connections closed by the node, readiness.
//!
//! Memory is bounded: each kind has a ring of its own, so that a flood of one kind never removes another. A repeated
//! incident is counted in its entry. This module does not know who reports an incident, or who reads it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The entries of one kind that are kept.
const CAPACITY: usize = 128;
/// An incident that repeats an earlier one within this time is counted in the entry of the earlier one.
const REPEATED_WITHIN: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentKind {
    /// Events of a channel are lost for subscribers.
    Gap,
    /// A channel's log began anew.
    EpochChange,
    /// A connection was closed with 1013: the node is partitioned from its broker.
    Close1013,
    /// A connection was closed with 4008: the client read too slowly.
    Close4008,
    NotReady,
    /// The node is ready again.
    Ready,
}

/// Something that happened, once or several times.
#[derive(Debug, Clone)]
pub struct Incident {
    pub kind: IncidentKind,
    pub channel: Option<Arc<str>>,
    /// The last time.
    pub time: SystemTime,
    /// The first time.
    pub first: SystemTime,
    pub count: u64,
    /// A sentence about the last time.
    pub detail: String,
}

/// The rings, by kind.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<[VecDeque<Incident>; IncidentKind::ALL.len()]>);

impl IncidentKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Gap, Self::EpochChange, Self::Close1013, Self::Close4008, Self::NotReady, Self::Ready];

    /// The name of the kind in `GET /v1/incidents`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::EpochChange => "epoch-change",
            Self::Close1013 => "close-1013",
            Self::Close4008 => "close-4008",
            Self::NotReady => "not-ready",
            Self::Ready => "ready",
        }
    }
}

impl Incidents {
    /// Records an incident of now.
    pub fn note(&self, kind: IncidentKind, channel: Option<&Arc<str>>, detail: String) {
        self.note_at(SystemTime::now(), kind, channel, detail);
    }

    fn note_at(&self, now: SystemTime, kind: IncidentKind, channel: Option<&Arc<str>>, detail: String) {
        let mut rings = self.lock();
        let ring = &mut rings[kind as usize];
        let same = |known: &Incident| {
            known.channel.as_ref() == channel
                // The clock may have been set back.
                && now.duration_since(known.time).unwrap_or_default() < REPEATED_WITHIN
        };
        let known = ring.iter().rposition(same).and_then(|index| ring.remove(index));
        if known.is_none() && ring.len() == CAPACITY {
            ring.pop_front();
        }
        let (first, count) = known.map_or((now, 0), |known| (known.first, known.count));
        ring.push_back(Incident { kind, channel: channel.cloned(), time: now, first, count: count + 1, detail });
    }

    /// The incidents of this time and later, the oldest first.
    pub fn since(&self, time: SystemTime) -> Vec<Incident> {
        let rings = self.lock();
        let mut incidents: Vec<_> = rings.iter().flatten().filter(|one| one.time >= time).cloned().collect();
        drop(rings);
        incidents.sort_by_key(|incident| incident.time);
        incidents
    }

    fn lock(&self) -> MutexGuard<'_, [VecDeque<Incident>; IncidentKind::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn all(incidents: &Incidents) -> Vec<(IncidentKind, u64, String)> {
        incidents.since(START).into_iter().map(|one| (one.kind, one.count, one.detail)).collect()
    }

    #[test]
    fn a_flood_of_one_incident_is_one_entry() {
        let incidents = Incidents::default();
        let at = |seconds| START + Duration::from_secs(seconds);
        incidents.note_at(at(1), IncidentKind::NotReady, None, "no broker".into());
        for second in 2..10_000 {
            incidents.note_at(at(second), IncidentKind::Close4008, None, format!("the {second}th"));
        }
        let slow = (IncidentKind::Close4008, 9_998, "the 9999th".to_owned());
        assert_eq!(all(&incidents), [(IncidentKind::NotReady, 1, "no broker".to_owned()), slow]);
        assert_eq!(incidents.since(at(2)).len(), 1);
        assert_eq!(incidents.since(at(9_999))[0].first, at(2));
        assert!(incidents.since(at(10_000)).is_empty());
        incidents.note_at(at(9_999 + 60), IncidentKind::Close4008, None, "later".into());
        assert_eq!(all(&incidents).last(), Some(&(IncidentKind::Close4008, 1, "later".to_owned())));
    }

    #[test]
    fn incidents_of_many_channels_leave_those_of_other_kinds() {
        let incidents = Incidents::default();
        incidents.note(IncidentKind::NotReady, None, String::new());
        incidents.note(IncidentKind::EpochChange, Some(&"orders".into()), String::new());
        for number in 0..1_000 {
            let channel: Arc<str> = format!("c{number}").into();
            incidents.note(IncidentKind::Gap, Some(&channel), String::new());
            incidents.note(IncidentKind::Gap, Some(&channel), String::new());
        }
        let found = incidents.since(START);
        assert_eq!(found.len(), CAPACITY + 2);
        assert!(found.iter().any(|one| one.kind == IncidentKind::NotReady));
        assert!(found.iter().any(|one| one.kind == IncidentKind::EpochChange));
        let newest = found.last().unwrap();
        assert_eq!((newest.channel.as_deref(), newest.count), (Some("c999"), 2));
    }

    /// Two incidents that alternate do not fill the rings either.
    #[test]
    fn a_flapping_broker_is_two_entries() {
        let incidents = Incidents::default();
        for _ in 0..1_000 {
            incidents.note(IncidentKind::NotReady, None, String::new());
            incidents.note(IncidentKind::Ready, None, String::new());
        }
        assert_eq!(
            all(&incidents),
            [(IncidentKind::NotReady, 1_000, String::new()), (IncidentKind::Ready, 1_000, String::new())]
        );
    }
}
