//! The steps of a batch that are matched to connections but not yet written to sockets.
//!
//! The shard first notes for each step the connections that it goes to, then writes each of these sockets once. The
//! steps of a connection are a linked list whose links all lie in one shared vector. So noting a delivery costs one
//! link, and a connection holds no memory of its own. This module does not know encodings or sockets.

use std::sync::Arc;

use slab::Slab;

use super::chain::{Chain, END};
use super::peer::Peer;
use crate::hub::channel_step::ChannelStep;
use crate::hub::index::Member;

/// The most deliveries in a batch. It bounds the memory to 4 MiB; 50 events to 10,000 connections fit.
const MAX_LINKS: usize = 1 << 19;
/// The links whose memory is kept for the next batch; the rest is freed.
const KEPT_LINKS: usize = 1 << 14;

/// The steps that are to be written, and the connections that each of them goes to.
#[derive(Default)]
pub struct Batch {
    steps: Vec<Arc<ChannelStep>>,
    links: Vec<Link>,
    /// The connections that have at least one link.
    touched: Vec<u32>,
    /// The number of the current step; it goes on from batch to batch.
    number: u64,
    /// How many links there were before the current step.
    links_before: usize,
}

/// An element of a connection's list.
#[derive(Clone, Copy)]
struct Link {
    step: u32,
    next: u32,
}

impl Batch {
    /// Begins the next step.
    pub fn begin(&mut self) {
        self.number += 1;
        self.links_before = self.links.len();
    }

    /// Notes that the current step goes to this subscription's connection.
    pub fn note(&mut self, peers: &mut Slab<Peer>, member: Member) {
        let chain = &mut peers[member.peer as usize].chain;
        if std::mem::replace(&mut chain.last_noted, self.number) == self.number {
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

    /// Ends the current step, and returns how many connections it goes to.
    pub fn end(&mut self, step: &Arc<ChannelStep>) -> usize {
        let noted = self.links.len() - self.links_before;
        if noted > 0 {
            self.steps.push(step.clone());
        }
        noted
    }

    /// Whether the batch must be written before the next step begins.
    pub fn is_full(&self) -> bool {
        self.links.len() >= MAX_LINKS
    }

    /// Takes the list of connections that have steps. The caller must then call [`Batch::steps`] for each of them.
    pub fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// The steps of a connection. This empties the connection's list.
    pub fn steps(&self, chain: &mut Chain) -> impl Iterator<Item = &ChannelStep> + use<'_> {
        let mut at = std::mem::replace(&mut chain.first, END);
        chain.last = END;
        std::iter::from_fn(move || {
            let link = self.links.get(at as usize)?;
            at = link.next;
            Some(&*self.steps[link.step as usize])
        })
    }

    /// Empties the batch after it was written. The caller returns `touched`, so that its memory is used again.
    pub fn clear(&mut self, mut touched: Vec<u32>) {
        touched.clear();
        self.touched = touched;
        self.steps.clear();
        self.links.clear();
        self.links.shrink_to(KEPT_LINKS);
    }
}
