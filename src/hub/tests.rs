//! The seam between the log and what is live, where two things happen at once: what sockets alone do not bring about.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::admission::Admission;
use crate::bus::Begin;
use crate::event::{ChannelId, Position};
use crate::protocol::event_frame;

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
        let hub = Arc::new(Hub::start(&config, &catalog, &metrics, &subscribers).unwrap());
        Self { hub, catalog, metrics, position: "e:0".parse().unwrap() }
    }

    fn at(&self, offset: u64) -> Position {
        Position::new(self.position.epoch.clone(), offset)
    }

    fn event(&self, channel: ChannelId, offset: u64, size: usize) -> Delivery {
        let json = format!("{{\"data\":\"{}\"}}", "x".repeat(size));
        Delivery::event(channel, self.at(offset), &event_frame(&self.at(offset), &json))
    }

    fn gap(&self, channel: ChannelId, from: u64, to: u64) -> Delivery {
        Delivery::gap(channel, &self.catalog.get(channel).name, self.at(from), self.at(to))
    }

    async fn known(&self, offset: u64) {
        for channel in self.catalog.channels() {
            self.hub.deliver(Delivery::known(channel, self.at(offset))).await.unwrap();
        }
    }

    /// A connection, whose sockets hold hardly anything, with a replay of each of these channels.
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
            greeting: Vec::new(),
            subscriptions: subscriptions.collect(),
            encoding: Encoding::WebSocket { deflate: false },
            permit: Admission::new(1, self.metrics.pending_connections.clone()).admit().unwrap(),
        };
        let (handle, feeds) = self.hub.join_from_log(stream, new).await;
        assert_eq!(feeds.len(), channels.len());
        (peer, handle, feeds)
    }
}

/// Reads until this has come.
async fn until(peer: &mut TcpStream, read: &mut Vec<u8>, what: &str) {
    let came = async {
        while !String::from_utf8_lossy(read).contains(what) {
            assert!(peer.read_buf(read).await.unwrap() > 0, "it has ended: {}", String::from_utf8_lossy(read));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), came).await.expect(what);
}

/// A replay that has read further than what is live waits for it. Where that makes a leap meanwhile, over events that the
/// replay has not sent either, its connection must be told.
#[tokio::test]
async fn a_gap_that_passes_over_a_waiting_replay_is_told() {
    let fixture = Fixture::new(1 << 20);
    fixture.known(10).await;
    let channel = ChannelId(0);
    let (mut peer, _seat, mut feeds) = fixture.replays(&[channel], 5).await;
    let mut feed = feeds.pop().unwrap();
    let read: Vec<Delivery> = (6..=20).map(|offset| fixture.event(channel, offset, 10)).collect();
    let waiting = feed.feed(read);
    let leap = async {
        let mut read = Vec::new();
        until(&mut peer, &mut read, "e:20").await;
        fixture.hub.deliver(fixture.gap(channel, 10, 50)).await.unwrap();
        read
    };
    let (fed, mut read) = tokio::join!(waiting, leap);
    assert_eq!(fed, FeedOutcome::On, "it does not stand where what is live stands");
    let fed = feed.feed(vec![fixture.gap(channel, 20, 50)]).await;
    assert_eq!(fed, FeedOutcome::Live);
    fixture.hub.deliver(fixture.event(channel, 51, 10)).await.unwrap();
    until(&mut peer, &mut read, "e:51").await;
    let text = String::from_utf8_lossy(&read);
    assert!(text.contains(r#""from":"e:20","position":"e:50""#), "{text}");
    assert!(!text.contains(r#""from":"e:10""#), "{text}");
}

/// Replays of many channels, each of which brings as much at a time as half of the send buffer has room for.
#[tokio::test]
async fn many_replays_do_not_overrun_one_outbox() {
    const LIMIT: usize = 64 * 1024;
    const STEPS: u64 = 40;
    let fixture = Fixture::new(LIMIT);
    fixture.known(STEPS).await;
    let channels: Vec<ChannelId> = fixture.catalog.channels().collect();
    let (mut peer, handle, feeds) = fixture.replays(&channels, 0).await;
    let feeding = feeds.into_iter().map(|mut feed| {
        let steps: Vec<Delivery> = (1..=STEPS).map(|at| fixture.event(feed.channel, at, LIMIT / 3)).collect();
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
    tokio::join!(futures_util::future::join_all(feeding), reading);
    assert!(!handle.send_buffer().is_closing(), "nobody is closed for being behind");
    assert_eq!(fixture.metrics.slow_consumers.get(), 0);
}
