//! What is published: the same event to everybody, in the form that each takes.

use serde_json::{Value, json};

/// What an event bears beside its id.
#[derive(Debug, Clone)]
pub struct Content {
    /// Among several channels, a number of its own: order is kept within a channel only.
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

    /// One of several channels.
    pub fn ordered(mut self, order: usize) -> Self {
        self.order = order;
        self
    }

    /// A change of this product's stock: about 350 bytes as it is delivered.
    pub fn of_product(product: &str) -> Self {
        Self::because(product, "sale")
    }

    /// The same with a reason of any length up to 1,024.
    pub fn because(product: &str, reason: &str) -> Self {
        let data = json!({ "productId": product, "oldQuantity": 100, "newQuantity": 95, "reason": reason });
        Self::new(CHANNEL, product, &data)
    }

    /// What is POSTed to tidings.
    pub fn posted(&self, id: &str) -> String {
        let Self { channel, data, .. } = self;
        format!(r#"{{"type":"{channel}","id":"{id}","data":{data}}}"#)
    }

    /// What tidings delivers of it. The others are given all of that, since they add nothing of their own, and what they
    /// deliver must be as long.
    pub fn delivered(&self, id: &str) -> String {
        let Self { channel, subject, data, .. } = self;
        format!(
            r#"{{"type":"event","position":"rcdrtkwp:10000","event":{{"specversion":"1.0","id":"{id}","source":"anonymous","type":"{channel}","subject":"{subject}","time":"2026-11-21T10:05:12.306Z","dataschema":"urn:tidings:schema:{channel}","data":{data}}}}}"#
        )
    }
}
