//! Turns the steps of a channel into the bytes that one connection is sent.
//!
//! Most connections are sent bytes that all connections of their encoding share. Event streams have two exceptions. With
//! several channels, the id that ends each event is a cursor over all of them. Without chunks (HTTP/1.0), the framing is
//! another. The bytes of such a stream are kept for the next connection, which is often sent the same: the same steps after
//! the same cursor. This module does not know the subscriptions; the shard decides which steps a connection gets.

use bytes::{Bytes, BytesMut};

use super::peer::{CursorPositions, StreamCursor};
use crate::deflate::Deflater;
use crate::event::Catalog;
use crate::hub::channel_step::{ChannelStep, StepKind};
use crate::hub::encoding::{self, Encoding};
use crate::metrics::Metrics;

/// The bytes of an event stream are put together to pieces of about this size, so that one write takes many events. A
/// send buffer queues or refuses a piece as a whole.
const PIECE: usize = 16 * 1024;

/// Encodes steps for the connections of one shard, during one batch.
pub struct StepEncoder<'a> {
    catalog: &'a Catalog,
    deflater: &'a mut Deflater,
    metrics: &'a Metrics,
    /// The steps of the connection at hand.
    steps: Vec<&'a ChannelStep>,
    own: Option<OwnBytes<'a>>,
}

/// The bytes of an event stream that does not share those of its steps.
struct OwnBytes<'a> {
    encoding: Encoding,
    /// The cursor before the first step.
    before: CursorPositions,
    steps: Vec<&'a ChannelStep>,
    bytes: Vec<Bytes>,
}

impl<'a> StepEncoder<'a> {
    pub fn new(catalog: &'a Catalog, deflater: &'a mut Deflater, metrics: &'a Metrics) -> Self {
        Self { catalog, deflater, metrics, steps: Vec::new(), own: None }
    }

    /// Calls `each` with the bytes of each step that all connections of an encoding share. Moves the cursor of an event
    /// stream, which has one channel, to the last step.
    #[inline]
    pub fn shared_frames<'d>(
        &mut self,
        encoding: Encoding,
        cursor: Option<&mut StreamCursor>,
        steps: impl Iterator<Item = &'d ChannelStep>,
        mut each: impl FnMut(&'d Bytes),
    ) {
        let mut last = None;
        for step in steps {
            if let Some(bytes) = self.shared_bytes(encoding, step) {
                each(bytes);
            }
            last = Some(step);
        }
        if let (Some(cursor), Some(last)) = (cursor, last) {
            cursor.set(last.channel, &last.position, self.catalog);
        }
    }

    /// The bytes of a step that all connections of an encoding share; `None` where there is nothing to send.
    #[inline]
    fn shared_bytes<'d>(&mut self, encoding: Encoding, step: &'d ChannelStep) -> Option<&'d Bytes> {
        match (encoding, &step.kind) {
            (Encoding::WebSocket { deflate: false }, _) => step.frame(),
            (Encoding::WebSocket { deflate: true }, StepKind::Event(event)) => {
                Some(event.deflated(self.deflater, || {
                    self.metrics.compressed.inc();
                }))
            }
            (Encoding::WebSocket { .. }, _) => step.frame(),
            (Encoding::Events { channels, .. }, _) => step.sse_block(self.catalog, channels == 1),
        }
    }

    /// Server-Sent Events whose bytes the connection does not share with all of its encoding. If the connection has several
    /// channels, an id ends each of them, once the cursor has all channels. The cursor moves to the last step.
    pub fn own_bytes(
        &mut self,
        encoding: Encoding,
        cursor: &mut StreamCursor,
        steps: impl Iterator<Item = &'a ChannelStep>,
    ) -> &[Bytes] {
        self.steps.clear();
        self.steps.extend(steps);
        let has_same_steps = |own: &OwnBytes<'_>| {
            own.steps.len() == self.steps.len() && own.steps.iter().zip(&self.steps).all(|(a, b)| std::ptr::eq(*a, *b))
        };
        let known = self
            .own
            .take()
            .filter(|own| own.encoding == encoding && own.before == *cursor.positions() && has_same_steps(own));
        let own = match known {
            Some(known) => {
                for step in &self.steps {
                    cursor.set(step.channel, &step.position, self.catalog);
                }
                known
            }
            None => {
                let before = cursor.positions().clone();
                let bytes = self.encode(encoding, cursor);
                OwnBytes { encoding, before, steps: std::mem::take(&mut self.steps), bytes }
            }
        };
        &self.own.insert(own).bytes
    }

    /// Encodes the steps at hand as Server-Sent Events, and moves the cursor to the last of them.
    fn encode(&self, encoding: Encoding, cursor: &mut StreamCursor) -> Vec<Bytes> {
        let Encoding::Events { channels, .. } = encoding else { return Vec::new() };
        let (mut pieces, mut piece) = (Vec::new(), BytesMut::new());
        for step in &self.steps {
            cursor.set(step.channel, &step.position, self.catalog);
            let Some(block) = step.sse_block(self.catalog, channels == 1) else { continue };
            piece.extend_from_slice(&encoding.framed(block.clone()));
            if channels > 1 {
                let is_complete = cursor.positions().len() == usize::from(channels);
                let id = is_complete.then(|| cursor.text(self.catalog));
                piece.extend_from_slice(&encoding.framed(encoding::sse_id(id.as_deref())));
            }
            if piece.len() >= PIECE {
                pieces.push(piece.split().freeze());
            }
        }
        pieces.extend((!piece.is_empty()).then(|| piece.freeze()));
        pieces
    }

    /// The bytes of replayed steps. They are never compressed: each replay encodes its own, so nobody would share the
    /// cost.
    pub fn replayed_bytes(
        &mut self,
        encoding: Encoding,
        cursor: &mut Option<Box<StreamCursor>>,
        steps: impl Iterator<Item = &'a ChannelStep>,
    ) -> Vec<Bytes> {
        let counted = steps.inspect(|_| {
            self.metrics.replayed.inc();
        });
        let steps: Vec<&ChannelStep> = counted.collect();
        match cursor {
            Some(cursor) if !encoding.is_shared() => self.own_bytes(encoding, cursor, steps.into_iter()).to_vec(),
            cursor => {
                let plain = match encoding {
                    Encoding::WebSocket { .. } => Encoding::WebSocket { deflate: false },
                    events => events,
                };
                let mut bytes = Vec::with_capacity(steps.len());
                self.shared_frames(plain, cursor.as_deref_mut(), steps.into_iter(), |frame| bytes.push(frame.clone()));
                bytes
            }
        }
    }
}
