//! Tests of publishing: which failures are retried, with which id, and what an error says of the event.

use super::*;

#[tokio::test]
async fn publishing_is_retried_with_the_same_id() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut ids = Vec::new();
        for answer in [
            // No response at all, then a transient refusal, then success.
            "",
            "HTTP/1.1 503 X\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 29\r\n\r\n{\"code\":\"broker-unavailable\"}",
            "HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 85\r\n\r\n{\"accepted\":[{\"id\":\"x\",\"type\":\"a\",\"position\":\"e:1\",\"duplicate\":true}],\"cascaded\":[]}  ",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(read_json(&mut stream).await["id"].clone());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    };
    let event = json!({"type":"a","data":{}});
    let (accepted, ()) = tokio::join!(client.publish(&event), daemon);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
}

#[tokio::test]
async fn a_refused_event_is_not_retried() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        let body = json!({"code":"invalid-event","detail":"no","errors":[{"pointer":"/data","message":"is required"}]})
            .to_string();
        let answer = format!("HTTP/1.1 422 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let event = json!({"type":"a"});
    let (accepted, ()) = tokio::join!(client.publish(&event), daemon);
    let Err(Error::Refused(problem)) = accepted else { panic!("{accepted:?}") };
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.errors[0].pointer.as_str()),
        (422, "invalid-event", "/data")
    );
}

#[tokio::test]
async fn an_unconfirmed_publication_names_the_event_ids() {
    let (listener, client) = fake_daemon().await;
    let client = client.with_retry_timeout(Duration::ZERO);
    let unavailable = |code: &str| {
        let body = json!({"code":code}).to_string();
        format!("HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (unknown, refused) = (unavailable("broker-unavailable"), unavailable("draining"));
    let daemon = async {
        let mut ids = Vec::new();
        // The last connection is cut without a response.
        for response in [&unknown, &refused, ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(read_json(&mut stream).await);
            stream.write_all(response.as_bytes()).await.unwrap();
        }
        ids
    };
    let publishing = async {
        let event = json!({"type":"a"});
        let (first, second) = (client.publish(&event).await, client.publish(&event).await);
        (first, second, client.publish_all(&mut [json!({"id":"mine"}), event]).await)
    };
    let ((first, second, third), sent) = tokio::join!(publishing, daemon);
    let Err(Error::Unconfirmed { ids, cause }) = first else { panic!("{first:?}") };
    assert!(matches!(*cause, Error::Refused(problem) if problem.code == "broker-unavailable"));
    assert_eq!(json!(ids[0]), sent[0]["id"]);
    assert!(matches!(second, Err(Error::Refused(_))), "draining means not published: {second:?}");
    let Err(Error::Unconfirmed { ids, .. }) = third else { panic!("{third:?}") };
    assert_eq!(json!(ids), json!(["mine", sent[2][1]["id"]]));
    drop(listener);
    let unreachable = client.publish(&json!({"type":"a"})).await;
    assert!(matches!(unreachable, Err(Error::Unreachable { sent: false, .. })), "{unreachable:?}");
}
