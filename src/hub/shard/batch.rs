//! What is to be written: for each touched connection a chain of links, one for each of its steps.
//!
//! Noting a delivery costs a link in one shared list and no memory of the connection's own, however many there are.

use std::sync::Arc;

use slab::Slab;

use super::peer::Peer;
use crate::hub::delivery::Delivery;
use crate::hub::index::Member;

/// The most deliveries that are noted before sockets are written: a bound on memory (4 MiB), for 50 events to 10,000
/// connections.
const MAX_LINKS: usize = 1 << 19;
/// The memory that is kept for further ones; more is given back.
const KEPT_LINKS: usize = 1 << 14;

const END: u32 = u32::MAX;

/// The steps that wait to be written, and for whom they are.
#[derive(Default)]
pub struct Batch {
    steps: Vec<Arc<Delivery>>,
    links: Vec<Link>,
    touched: Vec<u32>,
    /// Counts the steps.
    number: u64,
    /// The links of the steps before this one.
    before: usize,
}

#[derive(Clone, Copy)]
struct Link {
    step: u32,
    next: u32,
}

/// A connection's part of the batch.
#[derive(Debug)]
pub struct Chain {
    /// The last step that was noted, so that two subscriptions make one delivery.
    noted: u64,
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { noted: 0, first: END, last: END }
    }
}

impl Batch {
    /// What is noted from now on is the next step.
    pub fn begin(&mut self) {
        self.number += 1;
        self.before = self.links.len();
    }

    /// The step is for this subscription's connection.
    pub fn note(&mut self, peers: &mut Slab<Peer>, member: Member) {
        let chain = &mut peers[member.peer as usize].chain;
        if std::mem::replace(&mut chain.noted, self.number) == self.number {
            return;
        }
        let link = self.links.len() as u32;
        self.links.push(Link { step: self.steps.len() as u32, next: END });
        match chain.last {
            END => {
                chain.first = link;
                self.touched.push(member.peer);
            }
            last => self.links[last as usize].next = link,
        }
        chain.last = link;
    }

    /// All was noted of this step; returns for how many connections it is.
    pub fn end(&mut self, step: &Arc<Delivery>) -> usize {
        let noted = self.links.len() - self.before;
        if noted > 0 {
            self.steps.push(step.clone());
        }
        noted
    }

    /// Whether it must be written before more is noted.
    pub fn is_full(&self) -> bool {
        self.links.len() >= MAX_LINKS
    }

    /// The connections that the batch has something for; each is to be asked for its steps.
    pub fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// The steps of a connection, which has none after that.
    pub fn steps(&self, chain: &mut Chain) -> impl Iterator<Item = &Delivery> + use<'_> {
        let mut at = std::mem::replace(&mut chain.first, END);
        chain.last = END;
        std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.next;
            Some(&*self.steps[link.step as usize])
        })
    }

    /// All was written. `touched` is given back, for its memory.
    pub fn clear(&mut self, mut touched: Vec<u32>) {
        touched.clear();
        self.touched = touched;
        self.steps.clear();
        self.links.clear();
        self.links.shrink_to(KEPT_LINKS);
    }
}
