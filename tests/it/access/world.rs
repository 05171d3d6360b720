//! A daemon with authentication, and the tokens that it accepts.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::Config;
use tidings::parts::sign::SigningKey;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;

use crate::support::http::Response;
use crate::support::node::Node;

/// The issuer of all tokens, and the daemon's audience.
pub const ISSUER: &str = "https://issuer.test/";
pub const AUDIENCE: &str = "https://bus.test";

/// An `auth.toml` with one issuer, and the issuer's key.
pub struct World {
    folder: tempfile::TempDir,
    key: SigningKey,
}

impl World {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// With more lines for the issuer, and more tables after it.
    pub fn with(issuer: &str, tables: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (private, public) = SigningKey::generate_ed25519().expect("a key pair");
        let key_file = folder.path().join("issuer.pem");
        std::fs::write(&key_file, public).expect("it is written");
        let world = Self { folder, key: SigningKey::from_pem(&private).expect("a key") };
        world.write(issuer, tables);
        world
    }

    /// Writes the file again.
    pub fn write(&self, issuer: &str, tables: &str) {
        let key_file = self.folder.path().join("issuer.pem");
        let text = format!(
            "[[issuer]]\niss = {ISSUER:?}\naudience = [{AUDIENCE:?}]\nkey_file = {key_file:?}\nalgorithms = [\"EdDSA\"]\n\
             grants = \"/tidings\"\n{issuer}\n{tables}\n"
        );
        std::fs::write(self.file(), text).expect("it is written");
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("auth.toml")
    }

    /// This configuration, with authentication.
    pub fn over(&self, mut config: Config) -> Config {
        config.auth.file = Some(self.file());
        config
    }

    /// A token with these claims beside the required ones, which they may replace. `null` removes a claim.
    pub fn token(&self, claims: Value) -> String {
        let mut all = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "iat": now(), "exp": now() + 3600});
        for (name, value) in claims.as_object().expect("claims are an object") {
            match value {
                Value::Null => drop(all.as_object_mut().expect("an object").remove(name)),
                value => all[name] = value.clone(),
            }
        }
        self.key.sign(&all.to_string())
    }

    /// A token with these grants.
    pub fn granting(&self, grants: Value) -> String {
        self.token(json!({"tidings": grants}))
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

impl Node {
    /// Sends a request with a credential.
    pub async fn ask(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Response {
        let mut request = self.request(method, path).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Response::to(request).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Response {
        self.ask(Method::GET, path, token, None).await
    }

    /// Publishes, which the daemon must accept.
    pub async fn publish_as(&self, token: &str, events: &Value) -> Vec<String> {
        let response = self.ask(Method::POST, "/v1/events", token, Some(events)).await;
        response.accepted().into_iter().map(|accepted| accepted.position).collect()
    }

    /// The handshake of a WebSocket with a credential in its header.
    pub fn handshake(&self, path: &str, token: &str) -> Request<()> {
        let mut request = self.url(path).replacen("http", "ws", 1).into_client_request().expect("a request");
        let value = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", value);
        request
    }
}
