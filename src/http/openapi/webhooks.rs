//! What the routes of webhooks take and answer.

use serde_json::{Value, json};

use super::operation::{Access, Operation, json as answer, made_example};
use crate::http::described::Schemas;
use crate::http::webhooks;
use crate::protocol::ErrorCode::{self, *};

/// The problems of what is done with one webhook.
const OF_ONE: &[ErrorCode] = &[Forbidden, NotFound, RateLimited];

/// The operation of a method and a path below `/v1/webhooks`. `None` where there is none.
pub(super) fn operation(method: &str, path: &str, schemas: &mut Schemas) -> Option<Operation> {
    let rest = path.strip_prefix("/v1/webhooks")?;
    let of_one = |id, summary, description, body: Option<Value>, answer, problems| Operation {
        id,
        tag: "operation",
        summary,
        description,
        access: Access::Credential,
        parameters: vec![json!({
            "name": "name", "in": "path", "required": true, "description": "The name of the webhook in the configuration.",
            "schema": { "type": "string", "minLength": 1 },
            "examples": { "a webhook": { "value": "revalidate" } },
        })],
        body,
        answers: vec![answer],
        problems,
    };
    Some(match (method, rest) {
        ("GET" | "HEAD", "") => Operation {
            id: "webhooks",
            tag: "operation",
            summary: "The webhooks, and how each is",
            description: "Needs the admin right `nodes`.",
            access: Access::Credential,
            parameters: vec![],
            body: None,
            answers: vec![(200, answer(schemas.written::<webhooks::List>(), "The webhooks."))],
            problems: &[Forbidden, RateLimited],
        },
        ("POST", "/{name}/test") => of_one(
            "testWebhook",
            "Sends a test event to a webhook's receiver",
            "Needs the admin right `flows`. The event has the type `tidings.test`. It is sent once, also if the webhook is stopped.",
            None,
            (200, answer(schemas.written::<webhooks::Test>(), "What became of it.")),
            OF_ONE,
        ),
        ("GET" | "HEAD", "/{name}/dead") => of_one(
            "deadLetters",
            "The events that a webhook could not deliver",
            "Needs the admin right `flows`. Up to 500, of the last 7 days.",
            None,
            (200, answer(schemas.written::<webhooks::Dead>(), "The events, the oldest first.")),
            OF_ONE,
        ),
        ("POST", "/{name}/replay") => of_one(
            "replayDeadLetters",
            "Delivers events again that a webhook could not deliver",
            "Needs the admin right `flows`. Send exactly one of `id` and `all`. Each event is sent once, in order, for up to 20 \
             seconds.",
            Some(made_example(schemas.read::<webhooks::Replay>(), schemas)),
            (200, answer(schemas.written::<webhooks::ReplayResult>(), "What became of each.")),
            &[BadRequest, MalformedJson, Forbidden, NotFound, RequestTimeout, PayloadTooLarge, RateLimited],
        ),
        ("POST", "/{name}/resume") => of_one(
            "resumeWebhook",
            "Lets a webhook go on that its receiver has stopped",
            "Needs the admin right `flows`. One that is not stopped stays as it is.",
            None,
            (200, answer(schemas.written::<webhooks::Resumed>(), "Whether it was stopped, and goes on.")),
            OF_ONE,
        ),
        _ => return None,
    })
}
