//! HTTP responses of the daemon. Each accessor also checks the shape that the contract fixes for such a response.

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::within;

/// A response whose body was read completely.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

/// An entry of `accepted` in the response to a publish request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub id: String,
    pub event_type: String,
    pub position: String,
    pub duplicate: bool,
}

impl Response {
    /// Sends a request and reads the response, which must bear a request id.
    pub async fn to(request: RequestBuilder) -> Self {
        let incoming = within("a response", request.send()).await.expect("the daemon responds");
        let (status, headers) = (incoming.status().as_u16(), incoming.headers().clone());
        let text = within("the response's body", incoming.text()).await.expect("the body is complete");
        let response = Self { status, headers, text };
        assert!(response.header("x-request-id").is_some_and(|id| !id.is_empty()), "no request id: {response:?}");
        response
    }

    /// The value of a header; the first one where it occurs several times.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header is text"))
    }

    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `accepted` entries of a 202, whose body must have exactly the members of the contract.
    pub fn accepted(&self) -> Vec<Accepted> {
        assert_eq!(self.status, 202, "{self:?}");
        let body = self.json();
        assert_eq!(members(&body), ["accepted", "cascaded"], "{body}");
        assert_eq!(body["cascaded"], serde_json::json!([]));
        self.entries("accepted")
    }

    /// The entries of a list of a 202: `accepted` or `cascaded`.
    pub fn entries(&self, list: &str) -> Vec<Accepted> {
        assert_eq!(self.status, 202, "{self:?}");
        let body = self.json();
        let entries = body[list].as_array().unwrap_or_else(|| panic!("{list} is a list: {body}"));
        entries.iter().map(Accepted::read).collect()
    }

    /// The body, which must be a problem (RFC 9457) with this status and this `code`.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        problem
    }

    /// The pointers of a 422 problem's `errors`, sorted. Each error must have a pointer, a message and nothing else.
    pub fn pointers(&self, code: &str) -> Vec<String> {
        let problem = self.problem(422, code);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
        let pointer = |error: &Value| {
            assert_eq!(members(error), ["message", "pointer"], "{error}");
            assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
            error["pointer"].as_str().expect("a pointer is a string").to_owned()
        };
        let mut pointers: Vec<String> = errors.iter().map(pointer).collect();
        pointers.sort();
        pointers
    }
}

impl Accepted {
    fn read(entry: &Value) -> Self {
        assert_eq!(members(entry), ["duplicate", "id", "position", "type"], "{entry}");
        let text = |name: &str| entry[name].as_str().unwrap_or_else(|| panic!("{name}: {entry}")).to_owned();
        let duplicate = entry["duplicate"].as_bool().expect("`duplicate` is a boolean");
        Self { id: text("id"), event_type: text("type"), position: text("position"), duplicate }
    }
}

/// The names of an object's members, sorted.
pub fn members(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
