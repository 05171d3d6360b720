//! A foreign process publishes on the Redis channels of the bus. Only what is in the log may be delivered.

use crate::faults::harness::Harness;
use crate::faults::ledger::{CHANNELS, SentEvent};
use crate::support::redis::Redis;

/// Publishes a forged `event` frame whose offset is the newest one plus ARGV[2]. The script is atomic, so the newest offset cannot
/// change in between.
const FORGE: &str = "
local epoch, offset = unpack(redis.call('HMGET', KEYS[1] .. ':meta', 'epoch', 'offset'))
local position = epoch .. ':' .. string.format('%.0f', offset + ARGV[2])
redis.call('PUBLISH', KEYS[1], '{\"type\":\"event\",\"position\":\"' .. position .. '\",\"event\":' .. ARGV[1] .. '}')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_malformed_messages_on_the_bus() {
    let harness = Harness::on_redis(Redis::start()).await;
    for _ in 0..5 {
        for channel in CHANNELS {
            let bus = format!("tidings:default:{channel}");
            // An event that no publisher sent.
            let sent = SentEvent { id: "forged".into(), ..SentEvent::new(0, 0, channel) };
            for distance in ["1", "2", "1000000", "0", "-1", "-10"] {
                harness.broker.cli(&["eval", FORGE, "1", &bus, &sent.event().to_string(), distance]);
            }
            for text in ["", "{", "beat", "17", r#"{"type":"event"}"#] {
                harness.broker.cli(&["publish", &bus, text]);
            }
        }
        harness.wait_for_acknowledged(50).await;
    }
    harness.finish("foreign bytes on the bus", 0).await;
}
