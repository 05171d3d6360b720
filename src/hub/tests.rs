//! Tests of the handover from a replay to the live channel, in interleavings that a test through sockets cannot force.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::admission::Admission;
use crate::bus::Begin;
use crate::event::{ChannelId, Position};

/// Takes no credential back.
#[derive(Debug)]
struct NoGuard;

impl Guard for NoGuard {
    fn refuses(&self, _: &Principal) -> bool {
        false
    }
}

struct Fixture {
    hub: Arc<Hub>,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    position: Position,
}

impl Fixture {
    fn new(outbox_bytes: usize) -> Self {
        let (catalog, metrics) = (Arc::new(Catalog::builtin()), Arc::new(Metrics::default()));
        let config = HubConfig { shards: 1, heartbeat: Duration::from_secs(600), max_subscriptions: 100, outbox_bytes };
        let subscribers = Arc::new(PerChannel::new(&catalog, |_| AtomicU64::new(0)));
        let guard: Arc<dyn Guard> = Arc::new(NoGuard);
        let pace = Arc::new(Pace::new(&catalog, subscribers.clone(), metrics.clone()));
        let hub =
            Arc::new(Hub::start(&config, &catalog, &metrics, &subscribers, &pace, &guard, &Arc::default()).unwrap());
        Self { hub, catalog, metrics, position: "e:0".parse().unwrap() }
    }

    fn at(&self, offset: u64) -> Position {
        Position::new(self.position.epoch.clone(), offset)
    }

    fn event(&self, channel: ChannelId, offset: u64, size: usize) -> ChannelStep {
        let json = format!("{{\"data\":\"{}\"}}", "x".repeat(size));
        ChannelStep::event(channel, self.at(offset), &json)
    }

    fn gap(&self, channel: ChannelId, from: u64, to: u64) -> ChannelStep {
        ChannelStep::gap(channel, &self.catalog.get(channel).name, self.at(from), self.at(to))
    }

    /// Makes this the position of every channel.
    async fn set_heads(&self, offset: u64) {
        for channel in self.catalog.channels() {
            self.hub.deliver(ChannelStep::known(channel, self.at(offset))).await.unwrap();
        }
    }

    /// A connection with small socket buffers, and a replay of each of these channels after the offset `after`.
    async fn replays(&self, channels: &[ChannelId], after: u64) -> (TcpStream, ConnectionHandle, Vec<Feed>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(4096).unwrap();
        let peer = peer.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
        let subscriptions = channels.iter().map(|channel| {
            let begin = Begin::After { position: self.at(after), lost: None };
            Subscription::for_test(&self.catalog.get(*channel).name, *channel, Arc::default(), begin)
        });
        let new = NewConnection {
            id: Uuid::now_v7(),
            address: [127, 0, 0, 1].into(),
            greeting: Vec::new(),
            subscriptions: subscriptions.collect(),
            encoding: Encoding::WebSocket { deflate: false },
            principal: None,
            cursors: Arc::default(),
            permit: Admission::new(1, self.metrics.pending_connections.clone()).admit().unwrap(),
        };
        let (handle, feeds) = self.hub.join_from_log(stream.into(), new).await;
        assert_eq!(feeds.len(), channels.len());
        (peer, handle, feeds)
    }
}

/// Reads until the text contains `expected`.
async fn read_until(peer: &mut TcpStream, read: &mut Vec<u8>, expected: &str) {
    let reading = async {
        while !String::from_utf8_lossy(read).contains(expected) {
            assert!(peer.read_buf(read).await.unwrap() > 0, "the connection ended: {}", String::from_utf8_lossy(read));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect(expected);
}

/// A replay that is ahead of the live channel waits for it. If the live channel then skips events that the replay has
/// not sent, the connection must get a gap.
#[tokio::test]
async fn a_gap_beyond_a_waiting_replay_is_sent() {
    let fixture = Fixture::new(1 << 20);
    fixture.set_heads(10).await;
    let channel = fixture.catalog.channel("order-status").unwrap();
    let (mut peer, _handle, mut feeds) = fixture.replays(&[channel], 5).await;
    let mut feed = feeds.pop().unwrap();
    let read: Vec<ChannelStep> = (6..=20).map(|offset| fixture.event(channel, offset, 10)).collect();
    let waiting = feed.feed(read);
    let skipping = async {
        let mut read = Vec::new();
        read_until(&mut peer, &mut read, "e:20").await;
        fixture.hub.deliver(fixture.gap(channel, 10, 50)).await.unwrap();
        read
    };
    let (fed, mut read) = tokio::join!(waiting, skipping);
    assert_eq!(fed, FeedOutcome::On, "the replay is not at the live position");
    let fed = feed.feed(vec![fixture.gap(channel, 20, 50)]).await;
    assert_eq!(fed, FeedOutcome::Live);
    fixture.hub.deliver(fixture.event(channel, 51, 10)).await.unwrap();
    read_until(&mut peer, &mut read, "e:51").await;
    let text = String::from_utf8_lossy(&read);
    assert!(text.contains(r#""from":"e:20","position":"e:50""#), "{text}");
    assert!(!text.contains(r#""from":"e:10""#), "{text}");
}

/// Each of many replays feeds chunks of a third of the send buffer's limit.
#[tokio::test]
async fn many_replays_do_not_overrun_one_send_buffer() {
    const LIMIT: usize = 64 * 1024;
    const STEPS: u64 = 40;
    let fixture = Fixture::new(LIMIT);
    fixture.set_heads(STEPS).await;
    let channels: Vec<ChannelId> = fixture.catalog.channels().collect();
    let (mut peer, handle, feeds) = fixture.replays(&channels, 0).await;
    let feeding = feeds.into_iter().map(|mut feed| {
        let steps: Vec<ChannelStep> = (1..=STEPS).map(|at| fixture.event(feed.channel, at, LIMIT / 3)).collect();
        async move {
            for step in steps {
                if feed.feed(vec![step]).await != FeedOutcome::On {
                    break;
                }
            }
        }
    });
    let reading = async {
        let (mut bytes, mut buffer) = (0, vec![0; 16 * 1024]);
        while bytes < channels.len() * STEPS as usize * (LIMIT / 3) {
            let read = tokio::time::timeout(Duration::from_secs(30), peer.read(&mut buffer)).await.expect("more");
            bytes += read.unwrap();
        }
    };
    tokio::join!(join_all(feeding), reading);
    assert!(!handle.send_buffer().is_closing(), "the connection stays open");
    assert_eq!(fixture.metrics.slow_consumers.get(), 0);
}
