//! Clients that take nothing, or little at a time, of a response: what becomes of their connections.

use std::time::Instant;

use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::*;

/// The sizes of the sockets' buffers: much less than a page.
const BUFFER: usize = 8 << 10;

/// A client that has asked for a page of 500 events, and the task that serves it.
async fn asking(node: &Node, write_limit: Duration) -> (TcpStream, JoinHandle<()>) {
    let caller = Caller::unrestricted(NamespaceId::FIRST);
    for number in 0..500 {
        node.publish(&caller, &number.to_string()).await.unwrap();
    }
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER as u32).unwrap();
    let mut client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    SockRef::from(&stream).set_send_buffer_size(BUFFER).unwrap();
    let group = TaskGroup::new(node.app.metrics.clone());
    let occupancy = Occupancy::new(1, Some(1));
    let (requests, connections) = (group.clone(), group.clone());
    let acceptor =
        Acceptor::new(node.app.clone(), Side::Whole, occupancy, PATIENCE, requests, connections, Default::default());
    let acceptor = Arc::new(acceptor.with_write_limit(write_limit));
    let accepted = acceptor.admit(Ipv4Addr::LOCALHOST.into()).unwrap();
    let task = tokio::spawn(acceptor.serve(stream.into(), accepted, group.enter()));
    let request = format!("GET /v1/events?channel={CHANNEL}&limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    (client, task)
}

/// The length of the whole response, once its head is there.
fn whole(read: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(read);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some(head.len() + 4 + length.parse::<usize>().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_of_a_response_loses_its_connection() {
    let node = Node::with_namespaces(1).await;
    let (mut client, task) = asking(&node, Duration::from_millis(500)).await;
    tokio::time::timeout(PATIENCE, task).await.expect("the connection ends").unwrap();
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        read.extend_from_slice(&buffer[..count]);
    }
    let length = whole(&read).expect("the head came");
    assert!(read.len() < length, "{} of {length}", read.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_gets_the_whole_response() {
    let node = Node::with_namespaces(1).await;
    let limit = Duration::from_secs(2);
    let (mut client, _task) = asking(&node, limit).await;
    let begun = Instant::now();
    let (mut read, mut buffer) = (Vec::new(), [0; BUFFER]);
    while whole(&read).is_none_or(|length| read.len() < length) {
        let count = tokio::time::timeout(PATIENCE, client.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "the response ends after {} bytes", read.len());
        read.extend_from_slice(&buffer[..count]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > limit, "the response took only {:?}", begun.elapsed());
    assert!(read.len() > 500_000, "{} bytes", read.len());
}
