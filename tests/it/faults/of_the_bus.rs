//! Somebody else writes on the bus. The log decides: what it does not have is never delivered.

use super::ledger::{CHANNELS, Sent};
use super::stage::Stage;
use crate::support::redis::Redis;

/// Publishes an `event` frame at the newest position plus ARGV[2], at an instant at which that is the newest one.
const FORGE: &str = "
local epoch, offset = unpack(redis.call('HMGET', KEYS[1] .. ':meta', 'epoch', 'offset'))
local position = epoch .. ':' .. string.format('%.0f', offset + ARGV[2])
redis.call('PUBLISH', KEYS[1], '{\"type\":\"event\",\"position\":\"' .. position .. '\",\"event\":' .. ARGV[1] .. '}')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_bytes() {
    let stage = Stage::set(Redis::start()).await;
    for _ in 0..5 {
        for channel in CHANNELS {
            let bus = format!("tidings:default:{channel}");
            // Of an event that nobody published.
            let sent = Sent { id: "forged".into(), ..Sent::new(0, 0, channel) };
            for ahead in ["1", "2", "1000000", "0", "-1", "-10"] {
                stage.broker.cli(&["eval", FORGE, "1", &bus, &sent.event().to_string(), ahead]);
            }
            for text in ["", "{", "beat", "17", r#"{"type":"event"}"#] {
                stage.broker.cli(&["publish", &bus, text]);
            }
        }
        stage.load(50).await;
    }
    stage.end("foreign bytes on the bus", 0).await;
}
