//! Each example of the OpenAPI and the AsyncAPI document, judged by the daemon: a request is answered with what the document
//! promises, a frame of the client with its reply, an event is accepted, and what the daemon sends fits its schema.

use std::collections::BTreeSet;

use jsonschema::{Draft, Validator};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tidings::event::Catalog;

use crate::access::world::World;
use crate::support::daemon::Daemon;
use crate::support::flows;
use crate::support::node::{Node, config};
use crate::support::subscriber::Subscriber;
use crate::support::within;

/// The types of the daemon keep what the examples ask for.
const TYPES: &str = "[types.order-status]\nlatest = \"1h\"\n";

/// The values of the examples of a parameter or of a body, each under its name.
fn examples(of: &Value) -> Vec<(String, Value)> {
    let named = of["examples"].as_object().into_iter().flatten();
    let named = named.map(|(name, example)| (name.clone(), example["value"].clone()));
    named.chain(of.get("example").map(|example| ("example".to_owned(), example.clone()))).collect()
}

/// An operation of the document, with what every request of it has.
struct Operation<'a> {
    document: &'a Value,
    described: &'a Value,
    method: Method,
    path: &'a str,
}

/// A request that has one example, and its name.
struct Case {
    request: RequestBuilder,
    name: String,
}

impl Operation<'_> {
    /// What a `$ref` leads to.
    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        let reference = value.get("$ref").and_then(Value::as_str);
        reference.map_or(value, |to| self.document.pointer(to.trim_start_matches('#')).unwrap())
    }

    fn parameters(&self) -> Vec<&Value> {
        self.described["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| self.resolved(parameter))
            .collect()
    }

    /// A request with the required parameters. The first example of each of the path stands in it.
    fn request(&self, client: &reqwest::Client, url: &str) -> RequestBuilder {
        let mut path = self.path.to_owned();
        for parameter in self.parameters().into_iter().filter(|parameter| parameter["in"] == "path") {
            let name = parameter["name"].as_str().unwrap();
            let example =
                examples(parameter).into_iter().next().unwrap_or_else(|| panic!("{}: an example of {name}", self.path));
            path = path.replace(&format!("{{{name}}}"), example.1.as_str().unwrap());
        }
        let mut request = client.request(self.method.clone(), format!("{url}{path}"));
        for parameter in self.parameters().into_iter().filter(|parameter| parameter["in"] == "header") {
            if parameter["required"] == true {
                let schema = &parameter["schema"];
                let value = schema["enum"].get(0).or_else(|| schema["examples"].get(0)).unwrap();
                request = request.header(parameter["name"].as_str().unwrap(), value.as_str().unwrap());
            }
        }
        request
    }

    /// A request for each example.
    fn cases(&self, client: &reqwest::Client, url: &str) -> Vec<Case> {
        let mut cases = Vec::new();
        for parameter in self.parameters() {
            let name = parameter["name"].as_str().unwrap();
            for (number, (example, value)) in examples(parameter).into_iter().enumerate() {
                let request = match parameter["in"].as_str().unwrap() {
                    "query" => {
                        self.request(client, url).query(&pairs(name, &value, parameter.get("content").is_some()))
                    }
                    "header" => self.request(client, url).header(name, value.as_str().unwrap()),
                    // The first one stands in every request.
                    "path" if number == 0 => self.request(client, url),
                    "path" => {
                        let text = self.path.replace(&format!("{{{name}}}"), value.as_str().unwrap());
                        client.request(self.method.clone(), format!("{url}{text}"))
                    }
                    other => panic!("a parameter in {other}"),
                };
                // A path alone is no request of an operation that needs a body.
                let request = self.bodies().into_iter().next().filter(|_| parameter["in"] == "path").map_or_else(
                    || request.try_clone().unwrap(),
                    |(media_type, _, body)| with_body(request.try_clone().unwrap(), &media_type, &body),
                );
                cases.push(Case { request, name: format!("{name}: {example}") });
            }
        }
        for (media_type, example, body) in self.bodies() {
            let request = with_body(self.request(client, url), &media_type, &body);
            cases.push(Case { request, name: format!("{media_type}: {example}") });
        }
        cases
    }

    /// The media type, the name and the value of each example of the body.
    fn bodies(&self) -> Vec<(String, String, Value)> {
        let content = self.described["requestBody"]["content"].as_object().into_iter().flatten();
        content
            .flat_map(|(media_type, body)| {
                examples(body).into_iter().map(|(name, value)| (media_type.clone(), name, value)).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn with_body(request: RequestBuilder, media_type: &str, body: &Value) -> RequestBuilder {
    request.header("content-type", media_type).body(body.to_string())
}

/// A value as parameters of a query: an array as one of each element, and JSON where the document says `content`.
fn pairs(name: &str, value: &Value, is_json: bool) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) if !is_json => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Array(elements) if !is_json => elements.iter().map(|value| (name.to_owned(), text(value))).collect(),
        value => vec![(name.to_owned(), text(value))],
    }
}

#[tokio::test]
async fn each_example_of_a_request_is_answered_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    flows::write(folder.path(), TYPES);
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], folder);
    let client = reqwest::Client::new();
    let document: Value =
        client.get(format!("{}/openapi.json", daemon.url)).send().await.unwrap().json().await.unwrap();
    // There is something to read.
    let order = json!({"type": "order-status", "data": {"orderId": "o-1", "newStatus": "shipped"}});
    let published = client.post(format!("{}/v1/events", daemon.url)).json(&order).send().await.unwrap();
    assert_eq!(published.status(), 202);
    let (mut tried, mut wrong, mut bodies) = (0, Vec::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let operation = Operation { document: &document, described, method: method.clone(), path };
            if described.get("requestBody").is_some() {
                bodies.insert(path.as_str());
                assert!(!operation.bodies().is_empty(), "{path}: the body has no example");
            }
            for Case { request, name } in operation.cases(&client, &daemon.url) {
                tried += 1;
                let response = within("a response", request.send()).await.unwrap();
                let status = response.status().as_u16();
                let documented = described["responses"].get(status.to_string()).is_some();
                if !(documented && status < 400) {
                    // The body of an answer that is no refusal may have no end.
                    wrong.push(format!("{method} {path}, {name}: {status} {}", response.text().await.unwrap()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 50, "{tried} examples");
    assert_eq!(bodies, BTreeSet::from(["/v1/events", "/v1/revocations", "/v1/webhooks/{name}/replay"]));
}

/// The AsyncAPI document of a daemon, whose messages have schemas and examples.
struct Messages(Value);

impl Messages {
    /// The messages whose names begin so: the rest of the name, and the message.
    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let all = self.0["components"]["messages"].as_object().unwrap().iter();
        all.filter_map(move |(key, message)| Some((key.strip_prefix(kind)?, message)))
    }

    /// The examples of a message, of which there is one at least.
    fn examples<'a>(&self, message: &'a Value) -> Vec<&'a Value> {
        let examples: Vec<_> =
            message["examples"].as_array().unwrap().iter().map(|example| &example["payload"]).collect();
        assert!(!examples.is_empty(), "{message}");
        examples
    }

    /// The schema of a message's payload, compiled by itself: as a code generator would read it.
    fn validator(&self, message: &Value) -> Validator {
        assert_eq!(
            message.pointer("/payload/$ref").and_then(Value::as_str).map(|to| to.starts_with("#/components/schemas/")),
            Some(true)
        );
        let mut schema = json!({ "$ref": format!("{}/schema", message["payload"]["$ref"].as_str().unwrap()) });
        schema["components"] = self.0["components"].clone();
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        options.build(&schema).unwrap()
    }

    /// Asserts that a frame of the daemon fits its schema.
    fn judge(&self, frame: &Value) {
        let name = frame["type"].as_str().unwrap();
        let message = &self.0["components"]["messages"][format!("frame.{name}")];
        let mistakes: Vec<_> = self.validator(message).iter_errors(frame).map(|error| error.to_string()).collect();
        assert!(mistakes.is_empty(), "{frame}: {mistakes:?}");
    }

    /// The frames that answer a frame of the client.
    fn replies(&self, frame: &str) -> Option<BTreeSet<&str>> {
        let operation = &self.0["operations"][format!("frame.{frame}")];
        let references = operation.get("reply")?["messages"].as_array()?.iter();
        Some(references.map(|to| to["$ref"].as_str().unwrap().rsplit("frame.").next().unwrap()).collect())
    }
}

#[tokio::test]
async fn each_example_of_a_message_fits_its_schema() {
    let node = Node::start(config(BrokerUrl::Memory)).await;
    let messages = Messages(node.get("/asyncapi.json").await.json());
    let mut tried = 0;
    for (key, message) in messages.of("") {
        let validator = messages.validator(message);
        for example in messages.examples(message) {
            let mistakes: Vec<_> = validator.iter_errors(example).map(|error| error.to_string()).collect();
            assert!(mistakes.is_empty(), "{key}: {example}: {mistakes:?}");
            tried += 1;
        }
        assert!(!validator.is_valid(&json!({ "type": 5 })), "{key}: its schema allows everything");
    }
    assert!(tried > 25, "{tried} examples");
}

#[tokio::test]
async fn each_example_of_a_frame_of_the_client_gets_its_reply() {
    let world = World::new();
    let node = Node::start(world.over(config(BrokerUrl::Memory))).await;
    let token = world.granting(json!({"publish": ["*"], "subscribe": ["*"]}));
    let messages = Messages(node.get_as(&token, "/asyncapi.json").await.json());
    let mut client = Subscriber::with_token(&node, "/v1/ws", &token).await;
    messages.judge(&client.welcome);
    let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
    for (name, message) in messages.of("frame.") {
        let Some(replies) = messages.replies(name) else { continue };
        for example in messages.examples(message) {
            let mut frame = example.clone();
            if name == "auth" {
                // The daemon knows nobody with the token of the example.
                frame["token"] = token.as_str().into();
            }
            client.say(frame).await;
            let reply = client.frame().await;
            let kind = reply["type"].as_str().unwrap().to_owned();
            assert!(replies.contains(&*kind) && kind != "error", "{name}: {reply}");
            messages.judge(&reply);
            received.insert(kind);
            if name == "subscribe" {
                // Its filter lets this one through.
                let shipped = json!({"type": "order-status", "data": {"orderId": "o-1", "newStatus": "shipped"}});
                node.publish_as(&token, &shipped).await;
                messages.judge(&client.frame_of("event").await);
            }
        }
        sent.insert(name);
    }
    assert_eq!(sent, BTreeSet::from(["subscribe", "unsubscribe", "sync", "ping", "auth"]));
    assert_eq!(received, ["subscribed", "unsubscribed", "synced", "pong", "authenticated"].map(str::to_owned).into());
    client.say(json!({"type": "nonsense"})).await;
    messages.judge(&client.frame_of("error").await);
}

#[tokio::test]
async fn each_example_of_an_event_is_accepted() {
    let mut catalog = Catalog::builtin();
    let own = r##"{"type":"object","required":["sku","price"],"additionalProperties":false,"x-tidings-key":"sku",
        "properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-[0-9]{4}$"},"price":{"$ref":"#/$defs/money"}},
        "$defs":{"money":{"type":"object","required":["cents"],"properties":{"cents":{"type":"integer","minimum":1}}}}}"##;
    catalog.add("price-change", own).unwrap();
    let node = Node::start_with(config(BrokerUrl::Memory), catalog).await;
    let messages = Messages(node.get("/asyncapi.json").await.json());
    let mut tried = Vec::new();
    for (name, message) in messages.of("event.") {
        let mut client = Subscriber::to(&node, name).await;
        for (number, example) in messages.examples(message).into_iter().enumerate() {
            let accepted = node.publish(example).await;
            assert!(accepted[0].event_type == name && !accepted[0].duplicate, "{accepted:?}");
            let frame = client.frame_of("event").await;
            messages.judge(&frame);
            if number == 1 {
                // As it is delivered, but for the attributes that this publish has not.
                assert_eq!(frame["event"], *example);
            }
        }
        tried.push(name);
    }
    assert_eq!(tried.len(), 6, "{tried:?}");
    let batch = &messages.0["components"]["messages"]["http.batch"];
    for example in messages.examples(batch) {
        let response = node.post_as("application/cloudevents-batch+json", example.to_string()).await;
        assert_eq!(response.entries("accepted").len(), example.as_array().unwrap().len());
    }
}
