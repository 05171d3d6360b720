//! One flow of each kind, whose servers are not there: for tests of what a daemon says of its flows.

use std::path::Path;

use crate::webhooks::receiver::SECRET;

const TABLES: &str = r#"
[[bridge]]
name = "legacy"
redis = "redis://127.0.0.1:1"
channels = ["a"]
type = "order-status"

[[sink]]
name = "legacy"
kind = "cloudflare-kv"
channels = ["order-status"]
account = "a"
namespace = "n"
token_file = "kv.token"
api = "http://127.0.0.1:1"

[[webhook]]
name = "revalidate"
url = "http://127.0.0.1:1"
channels = ["order-status"]
secret_file = "webhook.secret"
allow_private = true
"#;

/// Writes a `tidings.toml` with the flows, and with `more` before them, and the files that the flows need.
pub fn write(folder: &Path, more: &str) {
    std::fs::write(folder.join("tidings.toml"), format!("{more}{TABLES}")).unwrap();
    std::fs::write(folder.join("webhook.secret"), SECRET).unwrap();
    std::fs::write(folder.join("kv.token"), "token").unwrap();
}
