//! Encoding: from an event in the log to the text of the `event` frame, to the WebSocket frame around it, and to a
//! Server-Sent Event.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use serde_json::json;
use tidings::event::{Catalog, Position};
use tidings::parts::ChannelStep;
use tidings::protocol::event_frame;

pub fn benches(criterion: &mut Criterion) {
    let position: Position = "k3:42".parse().unwrap();
    let catalog = Catalog::builtin();
    let mut group = criterion.benchmark_group("encode");
    for size in [150, 1024, 60 * 1024] {
        let bare = json!({ "specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": "" }).to_string();
        let event = bare.replace(r#""data":"""#, &format!(r#""data":"{}""#, "x".repeat(size - bare.len())));
        assert_eq!(event.len(), size);
        let text = event_frame(&position, &event);
        group.throughput(Throughput::Bytes(text.len() as u64));
        let channel = catalog.channel("order-status").unwrap();
        group.bench_function(format!("the text, {size} bytes"), |bencher| {
            bencher.iter(|| event_frame(&position, black_box(&event)));
        });
        let with_block = || {
            let step = ChannelStep::event(channel, position.clone(), black_box(&event));
            step.sse_block(&catalog, true).map_or(0, Bytes::len)
        };
        group.bench_function(format!("the WebSocket frame and the Server-Sent Event, {size} bytes"), |bencher| {
            bencher.iter(with_block);
        });
        group.bench_function(format!("the WebSocket frame, {size} bytes"), |bencher| {
            bencher.iter(|| ChannelStep::event(channel, position.clone(), black_box(&event)));
        });
    }
}
