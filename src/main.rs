//! A first daemon on the in-process broker, until the command line is there.
use std::sync::Arc;
use std::time::Duration;
use tidings::config::*;

#[tokio::main]
async fn main() {
    let config = Config {
        server: ServerConfig {
            listen: "127.0.0.1:7400".parse().unwrap(),
            insecure: false,
            node_id: "n1".into(),
            schemas: None,
            drain: Duration::from_secs(10),
        },
        broker: BrokerConfig {
            broker: BrokerUrl::Memory,
            prefix: "tidings:".into(),
            namespace: "default".into(),
            log_max_events: 10_000,
            log_max_age: Duration::from_secs(3600),
            dedup_window: Duration::from_secs(600),
        },
        websocket: WebSocketConfig {
            heartbeat: Duration::from_secs(25),
            max_frame_bytes: 65536,
            max_subscriptions: 128,
            outbox_bytes: 1 << 20,
        },
        limits: RequestLimits {
            handshake_timeout: Duration::from_secs(10),
            max_event_bytes: 65536,
            max_body_bytes: 8 << 20,
        },
        log: LogConfig { format: LogFormat::Pretty, level: "info".into() },
    };
    let server = tidings::server::bind(config, Arc::new(tidings::event::Catalog::builtin())).await.unwrap();
    eprintln!("http://{}", server.local_addr().unwrap());
    server
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
        .unwrap();
}
