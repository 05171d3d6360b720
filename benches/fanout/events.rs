//! The published events: the same event for every system, in the format that each system expects.

use serde_json::{Value, json};

/// An event without its id.
#[derive(Debug, Clone)]
pub struct Content {
    /// The number of the channel among several. Events are ordered only within a channel.
    pub order: usize,
    channel: String,
    subject: String,
    /// JSON.
    data: String,
}

/// The channel of nearly all events.
pub const CHANNEL: &str = "inventory-change";

impl Content {
    pub fn new(channel: &str, subject: &str, data: &Value) -> Self {
        Self { order: 0, channel: channel.into(), subject: subject.into(), data: data.to_string() }
    }

    /// Sets the number of the channel among several.
    pub fn ordered(mut self, order: usize) -> Self {
        self.order = order;
        self
    }

    /// A change of a product's stock: about 350 bytes as tidings delivers it.
    pub fn of_product(product: &str) -> Self {
        Self::because(product, "sale")
    }

    /// A change of a product's stock with a reason of up to 1,024 characters.
    pub fn because(product: &str, reason: &str) -> Self {
        let data = json!({ "productId": product, "oldQuantity": 100, "newQuantity": 95, "reason": reason });
        Self::new(CHANNEL, product, &data)
    }

    /// The body of a POST to tidings.
    pub fn posted(&self, id: &str) -> String {
        let Self { channel, data, .. } = self;
        format!(r#"{{"type":"{channel}","id":"{id}","data":{data}}}"#)
    }

    /// The event as tidings delivers it. The other systems are given this text: they add nothing to it, and must
    /// deliver as many bytes.
    pub fn delivered(&self, id: &str) -> String {
        let Self { channel, subject, data, .. } = self;
        format!(
            r#"{{"type":"event","position":"rcdrtkwp:10000","event":{{"specversion":"1.0","id":"{id}","source":"anonymous","type":"{channel}","subject":"{subject}","time":"2026-11-21T10:05:12.306Z","dataschema":"urn:tidings:schema:{channel}","data":{data}}}}}"#
        )
    }
}
