//! What a step of a channel is for one connection: the shared bytes of its encoding, and what is its own.

use bytes::Bytes;

use crate::deflate::Deflater;
use crate::event::{Catalog, Cursor};
use crate::hub::delivery::{Delivery, Step};
use crate::hub::encoding::{self, Encoding};
use crate::metrics::Metrics;

/// A shard's means of writing steps.
pub struct Writer<'a> {
    pub catalog: &'a Catalog,
    pub deflater: &'a mut Deflater,
    pub metrics: &'a Metrics,
}

impl Writer<'_> {
    /// The bytes that all connections of a encoding share.
    #[inline]
    pub fn shared<'d>(&mut self, encoding: Encoding, step: &'d Delivery) -> Option<&'d Bytes> {
        match (encoding, &step.step) {
            (Encoding::WebSocket { deflate: false }, _) => step.frame(),
            (Encoding::WebSocket { deflate: true }, Step::Event(event)) => Some(event.deflated(self.deflater, || {
                self.metrics.compressed.inc();
            })),
            (Encoding::WebSocket { .. }, _) => step.frame(),
            (Encoding::Events { channels }, _) => step.block(&self.catalog.get(step.channel).name, channels == 1),
        }
    }

    /// Server-Sent Events of several channels: each behind an id that is its connection's own, once that speaks of all.
    pub fn with_ids<'d>(
        &mut self,
        encoding: Encoding,
        cursor: &mut Cursor,
        steps: impl Iterator<Item = &'d Delivery>,
    ) -> Vec<Bytes> {
        let mut bytes = Vec::new();
        for step in steps {
            let name = &self.catalog.get(step.channel).name;
            match cursor.0.get_mut(&**name) {
                Some(position) => *position = step.position.clone(),
                None => drop(cursor.0.insert(name.to_string(), step.position.clone())),
            }
            if encoding == (Encoding::Events { channels: cursor.0.len() as u16 }) {
                bytes.push(encoding::id(cursor));
            }
            bytes.extend(step.block(name, false).cloned());
        }
        bytes
    }

    /// What is replayed is each connection's own: it is not worth compressing.
    pub fn replayed<'d>(
        &mut self,
        encoding: Encoding,
        cursor: &mut Option<Box<Cursor>>,
        steps: impl Iterator<Item = &'d Delivery>,
    ) -> Vec<Bytes> {
        let counted = steps.inspect(|_| {
            self.metrics.replayed.inc();
        });
        let plain = match encoding {
            Encoding::WebSocket { .. } => Encoding::WebSocket { deflate: false },
            events => events,
        };
        let steps: Vec<&Delivery> = counted.collect();
        match cursor {
            Some(cursor) => self.with_ids(encoding, cursor, steps.into_iter()),
            None => steps.into_iter().filter_map(|step| self.shared(plain, step).cloned()).collect(),
        }
    }
}
