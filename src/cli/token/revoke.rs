//! `tidings token revoke`: ends tokens and API keys on all nodes, and the connections that have them.

use clap::{Args, ValueHint};

use crate::cli::failure::{Failure, say};
use crate::cli::output::DIM;
use crate::cli::remote::Remote;
use crate::client::Revocation;

/// Revoke a token, the tokens of somebody, or an API key.
///
/// It holds on all nodes within 2 seconds: connections are closed, and requests refused. Needs the right `revoke`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings token revoke --sub u42\n  tidings token revoke --jti 0198c0de-6f1b-7a01-b1d4-5a3d0c6f9e11 --token-file me.token\n  tidings token revoke --key k7Qm2xWd"
)]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// With --sub: only tokens that were issued before this time, in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS", requires = "sub", value_hint = ValueHint::Other)]
    issued_before: Option<i64>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The token with this claim `jti`; `tidings token inspect` shows it.
    #[arg(long, value_name = "ID", value_hint = ValueHint::Other)]
    jti: Option<String>,
    /// All tokens with this claim `sub` that were issued before now. Later ones are good.
    #[arg(long, value_name = "SUB", value_hint = ValueHint::Other)]
    sub: Option<String>,
    /// The API key with this id: the part between `tdg_` and the last `_`.
    #[arg(long, value_name = "ID", value_hint = ValueHint::Other)]
    key: Option<String>,
}

impl Revoke {
    pub async fn run(self) -> Result<(), Failure> {
        let (revocation, what) = match (self.which.jti, self.which.sub, self.which.key) {
            (Some(jti), ..) => (Revocation::Token { jti: jti.clone() }, format!("the token {jti} is revoked")),
            (_, Some(sub), _) => {
                let what = format!("the tokens of {sub} are revoked");
                (Revocation::Subject { sub, issued_before: self.issued_before }, what)
            }
            // Somebody may give the whole key, whose secret must not be sent or shown.
            (.., key) => {
                let id = key.as_deref().map(key_id).unwrap_or_default().to_owned();
                (Revocation::Key { key: id.clone() }, format!("the API key {id} is revoked"))
            }
        };
        self.remote.client()?.revoke(&revocation).await?;
        say(&format!("{DIM}{what}, on all nodes within 2 s{DIM:#}"));
        Ok(())
    }
}

/// The id of an API key, also of a whole one.
fn key_id(text: &str) -> &str {
    match text.strip_prefix("tdg_") {
        Some(rest) => rest.rsplit_once('_').map_or(rest, |(id, _)| id),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_whole_key_the_id_is_taken() {
        for text in ["k7Qm2xWd", "tdg_k7Qm2xWd", "tdg_k7Qm2xWd_s3cret"] {
            assert_eq!(key_id(text), "k7Qm2xWd");
        }
        assert_eq!(key_id("tdg_a_b_s3cret"), "a_b");
    }
}
