//! Requests to receivers in this process, with names whose addresses change.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// In these tests, 127.0.0.2 is a public address, and nothing else is.
fn only_two(address: IpAddr) -> Option<&'static str> {
    (address != IpAddr::from([127, 0, 0, 2])).then_some("an inner address")
}

/// Answers every request on a new connection with this, and counts the connections.
async fn server(host: [u8; 4], port: u16, answer: &'static str) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind((IpAddr::from(host), port)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            *counted.lock().unwrap() += 1;
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                if connection.read(&mut buffer).await.is_ok() {
                    let _ = connection.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (address, count)
}

fn secrets() -> (Secrets, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    (Secrets::open(file.path(), "a").unwrap().0, file)
}

fn client(url: &str, answers: Vec<Vec<[u8; 4]>>) -> Client {
    let answers = Mutex::new(answers.into_iter());
    let lookup: Lookup = Arc::new(move |_| {
        let found = answers.lock().unwrap().next().unwrap_or_default();
        let found = found.into_iter().map(|address| SocketAddr::from((address, 0))).collect();
        Box::pin(async move { Ok(found) })
    });
    Client::with(&url.parse().unwrap(), Duration::from_secs(5), 0, only_two, lookup).unwrap()
}

const OK: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

/// A name that is public when it is looked up first, and leads inside afterwards.
#[tokio::test]
async fn a_connection_is_only_made_to_an_address_that_was_judged() {
    let (public, outer) = server([127, 0, 0, 2], 0, OK).await;
    let (_, inner) = server([127, 0, 0, 1], public.port(), OK).await;
    let (secrets, _file) = secrets();
    let message = Message { id: "1".into(), body: "{}".into() };
    let url = format!("http://rebinds.example:{}/", public.port());
    let (good, bad) = ([127, 0, 0, 2], [127, 0, 0, 1]);
    let client = client(&url, vec![vec![good], vec![bad], vec![bad, good], vec![good, bad], vec![]]);
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(client.send(&message, &secrets).await);
    }
    let delivered = Outcome::Delivered { status: 204 };
    assert_eq!(outcomes[0], delivered);
    let Outcome::Failed(failure) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(failure.kind, "address");
    assert_eq!(failure.reason, "nothing was sent: 127.0.0.1 is an inner address, and `allow_private` is not set");
    assert_eq!(outcomes[2..4], [delivered.clone(), delivered]);
    assert!(matches!(&outcomes[4], Outcome::Failed(Failure { kind: "unreachable", .. })), "{outcomes:?}");
    assert_eq!((*outer.lock().unwrap(), *inner.lock().unwrap()), (3, 0));
}

#[tokio::test]
async fn an_address_in_the_url_is_judged_however_it_is_written() {
    let (inner, count) = server([127, 0, 0, 1], 0, OK).await;
    let (secrets, _file) = secrets();
    let message = Message { id: "1".into(), body: "{}".into() };
    for host in ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::ffff:7f00:1]"] {
        let client = client(&format!("http://{host}:{}/", inner.port()), vec![vec![[127, 0, 0, 2]]]);
        let outcome = client.send(&message, &secrets).await;
        assert!(matches!(&outcome, Outcome::Failed(Failure { kind: "address", .. })), "{host}: {outcome:?}");
    }
    assert_eq!(*count.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_a_receiver_answers_decides() {
    let (secrets, _file) = secrets();
    let message = Message { id: "1".into(), body: "{}".into() };
    let answers = [
        ("HTTP/1.1 410 Gone\r\nconnection: close\r\n\r\n", "gone", None),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\nconnection: close\r\n\r\n", "redirect", None),
        ("HTTP/1.1 429 Slow\r\nretry-after: 7\r\nconnection: close\r\n\r\n", "client-error", Some(7)),
        (
            "HTTP/1.1 503 Away\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\r\n",
            "server-error",
            Some(0),
        ),
        ("HTTP/1.1 500 Oops\r\nretry-after: soon\r\nconnection: close\r\n\r\n", "server-error", None),
        ("SSH-2.0-OpenSSH\r\n", "unreachable", None),
        ("", "unreachable", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nnever ends", "delivered", None),
    ];
    for (answer, expected, seconds) in answers {
        let (address, _) = server([127, 0, 0, 2], 0, answer).await;
        let client = client(&format!("http://a.example:{}/", address.port()), vec![vec![[127, 0, 0, 2]]]);
        let (kind, retry_after) = match client.send(&message, &secrets).await {
            Outcome::Delivered { .. } => ("delivered", None),
            Outcome::Gone => ("gone", None),
            Outcome::Failed(failure) => (failure.kind, failure.retry_after),
        };
        assert_eq!((kind, retry_after), (expected, seconds.map(Duration::from_secs)), "{answer}");
    }
}
