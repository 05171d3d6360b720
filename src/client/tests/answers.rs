//! Tests of what a call does when no daemon answers: no connection, a refusal, or a response that is not a daemon's.

use std::sync::Mutex;

use super::*;

/// A server that sends this response to every request, and its address.
async fn server(response: &'static str) -> String {
    let (listener, client) = fake_daemon().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut method = [0];
                stream.peek(&mut method).await.unwrap();
                match &method {
                    b"P" => drop(read_json(&mut stream).await),
                    _ => read_head(&mut stream).await,
                }
                stream.write_all(response.as_bytes()).await.unwrap();
            });
        }
    });
    client.url()
}

/// A client of these nodes, and the errors after which it has tried again.
fn observed(urls: &[String]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let retried = Arc::new(Mutex::new(Vec::new()));
    let seen = retried.clone();
    let client = Client::for_nodes(urls).unwrap();
    (client.on_retry(move |error, _| seen.lock().unwrap().push(error.to_string())), retried)
}

#[tokio::test]
async fn a_call_that_reaches_no_node_fails_at_once() {
    let (gone, client) = fake_daemon().await;
    drop(gone);
    let (client, retried) = observed(&[client.url(), "http://no-such-host.invalid".into(), client.url()]);
    let published = client.publish(&json!({"type":"a"})).await;
    assert!(matches!(published, Err(Error::Unreachable { sent: false, .. })), "{published:?}");
    let listed = client.channels().await;
    assert!(matches!(listed, Err(Error::Unreachable { sent: false, .. })), "{listed:?}");
    assert_eq!(*retried.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn with_a_retry_timeout_a_call_waits_for_the_daemon() {
    let (gone, client) = fake_daemon().await;
    let address = gone.local_addr().unwrap();
    drop(gone);
    let (client, retried) = observed(&[client.url()]);
    let client = client.with_retry_timeout(Duration::from_secs(600));
    let daemon = async {
        while retried.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        respond(&mut stream, r#"{"channels":[]}"#).await;
        stream
    };
    let (channels, _stream) = tokio::join!(client.channels(), daemon);
    assert_eq!(channels.unwrap(), []);
    assert!(retried.lock().unwrap()[0].contains("refused"), "{retried:?}");
}

#[tokio::test]
async fn a_refusal_for_the_moment_is_retried_by_default_also_where_another_node_is_down() {
    let (gone, client) = fake_daemon().await;
    drop(gone);
    let (listener, busy) = fake_daemon().await;
    let (client, retried) = observed(&[busy.url(), client.url()]);
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        let refusal =
            "HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 29\r\n\r\n{\"code\":\"broker-unavailable\"}";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        respond(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        stream
    };
    let event = json!({"type":"a"});
    let (accepted, _stream) = tokio::join!(client.publish(&event), daemon);
    assert_eq!(accepted.unwrap().id, "1");
    assert_eq!(retried.lock().unwrap().len(), 1, "one round over all nodes has failed");
}

#[tokio::test]
async fn an_answer_that_is_not_a_daemons_is_described() {
    const HTML: &str = "content-type: text/html\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";
    let html = |status: &str, more: &str| &*format!("HTTP/1.1 {status}\r\n{more}{HTML}").leak();
    // The response, what the error says, and whether a retry may help.
    let cases = [
        (
            html("502 Bad Gateway", ""),
            "HTTP status 502 Bad Gateway with text/html, not from tidings; a proxy in between answered",
            true,
        ),
        (html("404 Not Found", ""), "HTTP status 404 Not Found with text/html, not from tidings", false),
        (html("301 Moved Permanently", "location: https://x.example/\r\n"), "redirects", false),
        (html("429 Too Many Requests", "retry-after: 3600\r\n"), "HTTP status 429", true),
        (html("200 OK", ""), "the response is text/html, not JSON", false),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]", "the response cannot be read: ", false),
        // A TLS alert, as a server of HTTPS sends it.
        ("\u{15}\u{3}\u{3}\0\u{2}\u{2}2", "the response is not HTTP; the port may be that of HTTPS", false),
    ];
    for (response, text, transient) in cases {
        let url = server(response).await;
        let client = Client::new(&url).unwrap().with_retry_timeout(Duration::ZERO);
        let error = client.channels().await.unwrap_err();
        assert!(error.to_string().contains(text) && error.to_string().contains(&url), "{error}");
        assert_eq!(error.is_transient(), transient, "{error}");
        let published = client.publish(&json!({"type":"a"})).await.unwrap_err();
        // A gateway that gives up, and a 200 of another server, leave it open whether the event was published.
        let open = response.starts_with("HTTP/1.1 502") || response.starts_with("HTTP/1.1 200");
        assert_eq!(matches!(published, Error::Unconfirmed { .. }), open, "{published}");
        if response.starts_with("HTTP/1.1 429") {
            assert!(
                matches!(published, Error::Refused(problem) if problem.retry_after == Some(Duration::from_secs(3600)))
            );
        }
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_pass_on_upgrades_is_named() {
    for (response, words) in [
        (
            "HTTP/1.1 426 X\r\ncontent-type: application/problem+json\r\ncontent-length: 27\r\n\r\n\
             {\"code\":\"upgrade-required\"}",
            "without the headers Upgrade and Connection",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n", "200 OK with text/html"),
        ("HTTP/1.1 404 X\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n", "404 Not Found with text/html"),
        ("HTTP/1.1 101 X\r\ncontent-length: 0\r\n\r\n", "the response to the handshake is wrong"),
    ] {
        let client = Client::new(&server(response).await).unwrap();
        let error = client.subscribe([Subscription::to("a")]).next().await.unwrap_err();
        assert!(matches!(error, Error::NotUpgraded { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("docs/deployment.md"), "{text}");
    }
}

#[tokio::test]
async fn a_call_waits_for_as_long_as_its_own_limit_says() {
    let (listener, client) = fake_daemon().await;
    // In place of the limit of all requests, which is too long for a test.
    let short = Duration::from_millis(50);
    let http = http().timeout(short);
    #[cfg(feature = "tls")]
    let http = http.tls_backend_preconfigured((*client.tls_config).clone());
    let client = Client { http: build(http).unwrap(), ..client }.with_retry_timeout(Duration::ZERO);
    let daemon = async {
        for response in [
            r#"{"id":"1","delivered":true,"tookMs":9}"#,
            r#"{"accepted":[{"id":"2","type":"a","position":"e:1","duplicate":false}]}"#,
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_json(&mut stream).await;
            sleep(4 * short).await;
            respond(&mut stream, response).await;
        }
    };
    let calls = async { (client.test_webhook("w").await, client.publish(&json!({"type":"a"})).await) };
    let (tested, accepted) = tokio::select! {
        outcome = calls => outcome,
        () = async { daemon.await; std::future::pending().await } => unreachable!(),
    };
    assert_eq!(tested.map(|test| test.id), Ok("1".into()));
    assert_eq!(accepted.map(|accepted| accepted.id), Ok("2".into()));
}
