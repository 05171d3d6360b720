//! A webhook is its own tenant's: operators of other tenants neither see nor move it.

use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::{Receiver, folder, sale, status, table};
use crate::access::world::World;
use crate::support::daemon::Daemon;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_of_another_tenant_reads_no_dead_letter_and_sends_nothing() {
    let receiver = Receiver::start(|_, _| status(500)).await;
    let tables = table(&receiver.url(), "[\"inventory-change\"]", "allow_private = true\nmax_attempts = 1");
    let world = World::with("namespace_claim = \"/tenant\"\nnamespaces = [\"default\", \"crm\"]", "");
    let auth = world.file();
    let flags = ["--listen", "127.0.0.1:0", "--auth", auth.to_str().unwrap()];
    let daemon = Daemon::with(&flags, folder(&tables));
    let grants = json!({"publish": ["*"], "subscribe": ["*"], "admin": ["nodes", "flows"]});
    let of = |tenant: &str| world.token(json!({"tenant": tenant, "tidings": grants}));
    let (own, other) = (of("default"), of("crm"));
    let http = reqwest::Client::new();
    let ask = async |method: Method, path: &str, token: &str, body: &Value| {
        let request = http.request(method, format!("{}{path}", daemon.url)).bearer_auth(token).json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    until("the daemon takes the event", async || {
        let (status, _) = ask(Method::POST, "/v1/events", &own, &sale("secret", "p")).await;
        (status == 202).then_some(())
    })
    .await;
    let nothing = json!({});
    until("it is a dead letter", async || {
        let (_, dead) = ask(Method::GET, "/v1/webhooks/hook/dead", &own, &nothing).await;
        (dead["dead"][0]["id"] == "secret").then_some(())
    })
    .await;
    let sent = receiver.received().len();

    let (status, listed) = ask(Method::GET, "/v1/webhooks", &other, &nothing).await;
    assert_eq!((status, listed), (200, json!({"webhooks": []})));
    for (method, path, body) in [
        (Method::GET, "hook/dead", &nothing),
        (Method::POST, "hook/test", &nothing),
        (Method::POST, "hook/replay", &json!({"all": true})),
        (Method::POST, "hook/resume", &nothing),
    ] {
        let (status, problem) = ask(method, &format!("/v1/webhooks/{path}"), &other, body).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not-found")), "{path}");
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    assert_eq!(receiver.received().len(), sent);
    // Its own operator can.
    let (status, tested) = ask(Method::POST, "/v1/webhooks/hook/test", &own, &nothing).await;
    assert_eq!((status, &tested["delivered"]), (200, &json!(false)));
    assert_eq!(receiver.received().len(), sent + 1);
}
