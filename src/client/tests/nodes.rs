//! Tests of a client of several nodes: when it moves to the next one.

use super::*;

#[tokio::test]
async fn a_subscriber_moves_to_the_next_node_after_a_close_or_a_refusal() {
    let (listener, _) = fake_daemon().await;
    let (other, _) = fake_daemon().await;
    let (third, _) = fake_daemon().await;
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let client = Client::for_nodes([url(&listener), url(&other), url(&third)]).unwrap();
    let daemons = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:5").await;
        let close = CloseFrame { code: CloseCode::Again, reason: "partitioned".into() };
        peer.0.send(Message::Close(Some(close))).await.unwrap();
        let (mut stream, _) = other.accept().await.unwrap();
        read_head(&mut stream).await;
        let refusal = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 21\r\n\r\n{\"code\":\"overloaded\"}";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let mut peer = Peer::accept(&third, 25_000).await;
        assert_eq!(peer.confirm("e:5").await["since"], "e:5");
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        assert_eq!(next_line(&mut subscriber).await, "subscribed a e:5");
        assert_eq!(next_line(&mut subscriber).await, "disconnected: closed by the daemon: 1013 partitioned");
        let Ok(Update::Disconnected { reason, retry_in }) = subscriber.next().await else {
            panic!("expected a refusal")
        };
        assert!(reason.contains("overloaded") && retry_in >= Duration::from_secs(1), "{reason} {retry_in:?}");
        assert_eq!(next_line(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemons, client);
}

#[tokio::test]
async fn requests_move_to_the_next_node_when_one_is_down() {
    let (gone, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&gone, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(gone);
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        respond(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        respond(&mut stream, r#"{"channels":[]}"#).await;
    };
    let client = async {
        let event = json!({"type":"a","id":"1"});
        let publisher = Client::for_nodes(&urls).unwrap();
        assert_eq!(publisher.publish(&event).await.unwrap().id, "1");
        assert_eq!(Client::for_nodes(&urls).unwrap().channels().await.unwrap(), []);
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn publishing_moves_to_the_next_node_when_one_is_silent() {
    let (silent, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let id = read_json(&mut stream).await["id"].clone();
        respond(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        id
    };
    let silence = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        (read_json(&mut stream).await["id"].clone(), stream)
    };
    // Each node is tried once, even without a retry timeout.
    let publisher = Client::for_nodes(&urls).unwrap().with_retry_timeout(Duration::ZERO);
    let event = json!({"type":"a"});
    let (accepted, id, (first_id, _stream)) = tokio::join!(publisher.publish(&event), daemon, silence);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
    assert!(id.is_string() && id == first_id, "{id} {first_id}");
}

#[tokio::test]
async fn reading_moves_to_the_next_node_when_one_is_silent() {
    let (silent, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        respond(&mut stream, r#"{"channels":[]}"#).await;
    };
    let reader = Client::for_nodes(&urls).unwrap();
    let (channels, ()) = tokio::join!(reader.channels(), daemon);
    assert_eq!(channels.unwrap(), []);
}
