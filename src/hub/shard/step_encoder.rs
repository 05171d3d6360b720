//! Turns the steps of a channel into the bytes that one connection is sent.
//!
//! Most connections are sent bytes that all connections of their encoding share. Event streams have two exceptions. With
//! several channels, the id that ends each event is the connection's own. Without chunks (HTTP/1.0), the framing is made for
//! each connection. This module does not know the subscriptions; the shard decides which steps a connection gets.

use bytes::Bytes;

use super::peer::StreamCursor;
use crate::deflate::Deflater;
use crate::event::Catalog;
use crate::hub::channel_step::{ChannelStep, StepKind};
use crate::hub::encoding::{self, Encoding};
use crate::metrics::Metrics;

/// Encodes steps for the connections of one shard.
pub struct StepEncoder<'a> {
    pub catalog: &'a Catalog,
    pub deflater: &'a mut Deflater,
    pub metrics: &'a Metrics,
}

impl StepEncoder<'_> {
    /// The bytes of a step that all connections of an encoding share; `None` where there is nothing to send.
    #[inline]
    pub fn shared_bytes<'d>(&mut self, encoding: Encoding, step: &'d ChannelStep) -> Option<&'d Bytes> {
        match (encoding, &step.kind) {
            (Encoding::WebSocket { deflate: false }, _) => step.frame(),
            (Encoding::WebSocket { deflate: true }, StepKind::Event(event)) => {
                Some(event.deflated(self.deflater, || {
                    self.metrics.compressed.inc();
                }))
            }
            (Encoding::WebSocket { .. }, _) => step.frame(),
            (Encoding::Events { channels, .. }, _) => {
                step.sse_block(&self.catalog.get(step.channel).name, channels == 1)
            }
        }
    }

    /// Server-Sent Events whose bytes are the connection's own. If the connection has several channels, an id ends each of
    /// them, once the cursor has all channels. The cursor moves to the last step.
    pub fn own_bytes<'d>(
        &mut self,
        encoding: Encoding,
        cursor: &mut StreamCursor,
        steps: impl Iterator<Item = &'d ChannelStep>,
    ) -> Vec<Bytes> {
        let mut bytes = Vec::new();
        let Encoding::Events { channels, .. } = encoding else { return bytes };
        for step in steps {
            self.advance(cursor, step);
            let Some(block) = step.sse_block(&self.catalog.get(step.channel).name, channels == 1) else { continue };
            bytes.push(encoding.framed(block.clone()));
            if channels > 1 {
                let is_complete = cursor.positions.0.len() == usize::from(channels);
                let id = is_complete.then(|| cursor.text());
                bytes.push(encoding.framed(encoding::sse_id(id.as_deref())));
            }
        }
        bytes
    }

    /// Moves a connection's cursor to a step that it is sent.
    pub fn advance(&self, cursor: &mut StreamCursor, step: &ChannelStep) {
        let positions = &mut cursor.positions.0;
        let name = &self.catalog.get(step.channel).name;
        match positions.get_mut(&**name) {
            Some(position) => *position = step.position.clone(),
            None => drop(positions.insert(name.to_string(), step.position.clone())),
        }
    }

    /// The bytes of replayed steps. They are never compressed: each replay encodes its own, so nobody would share the
    /// cost.
    pub fn replayed_bytes<'d>(
        &mut self,
        encoding: Encoding,
        cursor: &mut Option<Box<StreamCursor>>,
        steps: impl Iterator<Item = &'d ChannelStep>,
    ) -> Vec<Bytes> {
        let counted = steps.inspect(|_| {
            self.metrics.replayed.inc();
        });
        let steps: Vec<&ChannelStep> = counted.collect();
        match cursor {
            Some(cursor) => self.own_bytes(encoding, cursor, steps.into_iter()),
            None => {
                let plain = Encoding::WebSocket { deflate: false };
                steps.into_iter().filter_map(|step| self.shared_bytes(plain, step).cloned()).collect()
            }
        }
    }
}
