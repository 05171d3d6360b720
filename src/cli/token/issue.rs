//! `tidings token issue`: signs a token with a local key.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};

use super::grants::GrantFlags;
use super::local_issuer::LocalIssuer;
use crate::auth;
use crate::cli::auth::AUTH_FILE;
use crate::cli::failure::{Failure, say};
use crate::cli::output::{DIM, Output};
use crate::config;
use crate::event::Json;

/// How much earlier than now a token is valid: the clock of the daemon may be behind.
const NOT_BEFORE: Duration = Duration::from_secs(30);

/// Make a token that allows what the flags say.
///
/// Prints the token on stdout. It is signed with the private key that `tidings auth init` wrote, or with that of --key-file, for
/// the first issuer of auth.toml with a key of your own.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings token issue --sub me --publish '*' --subscribe '*' --ttl 8h > me.token\n  tidings token issue --sub u42 --subscribe order-status:customerId=u42\n  tidings token issue --sub ops --admin nodes,metrics --ttl 15m"
)]
pub struct Issue {
    /// Whom the token names: the claim `sub`. It becomes the `source` of events that name none.
    #[arg(long, value_name = "SUB", value_hint = ValueHint::Other)]
    sub: String,
    /// How long the token is valid.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    #[command(flatten)]
    grants: GrantFlags,
    /// The file that the daemon reads. Without --iss and --aud, the first issuer in it with a key of your own counts.
    #[arg(long, value_name = "FILE", env = "TIDINGS_AUTH", default_value = AUTH_FILE, value_hint = ValueHint::FilePath, help_heading = "Issuer")]
    auth: PathBuf,
    /// The issuer: the claim `iss`.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, help_heading = "Issuer")]
    iss: Option<String>,
    /// The audience: the claim `aud`. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_hint = ValueHint::Other, help_heading = "Issuer")]
    aud: Vec<String>,
    /// The namespace, where the issuer lets its tokens choose one (`namespace_claim`).
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other, help_heading = "Issuer")]
    namespace: Option<String>,
    /// The private key (Ed25519 as PEM), or the secret of HS256 [default: the issuer's secret_file, or auth-private.pem beside
    /// auth.toml].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Issuer")]
    key_file: Option<PathBuf>,
}

fn ttl(text: &str) -> Result<Duration, String> {
    match config::duration_or_zero(text).map_err(|expected| format!("expected {expected}"))? {
        ttl if ttl < Duration::from_secs(1) => Err("a token is valid for at least 1s".into()),
        ttl => Ok(ttl),
    }
}

impl Issue {
    pub fn run(self) -> Result<(), Failure> {
        let catalog = self.grants.catalog()?;
        let grants = self.grants.to_json(&catalog)?;
        let issuer = self.issuer()?;
        let key = issuer.signing_key(self.key_file.as_deref(), folder(&self.auth))?;
        let id = uuid::Uuid::now_v7().to_string();
        let claims = self.claims(&issuer, grants, &id, SystemTime::now())?;
        let token = zeroize::Zeroizing::new(key.sign(&claims.to_string()));
        if token.len() > auth::MAX_CREDENTIAL {
            let (found, most) = (token.len(), auth::MAX_CREDENTIAL);
            return Err(
                format!("the token would have {found} bytes, and the daemon takes {most}: grant less at once").into()
            );
        }
        let mut output = Output::new();
        output.line(&token)?;
        output.flush()?;
        let ttl = humane(self.ttl);
        say(&format!("{DIM}valid for {ttl}; `tidings token revoke --jti {id}` ends it before{DIM:#}"));
        Ok(())
    }

    /// The issuer: that of the file, unless the flags say everything.
    fn issuer(&self) -> Result<LocalIssuer, Failure> {
        let shown = self.auth.display();
        let text = match (std::fs::read_to_string(&self.auth), &self.iss, self.aud.is_empty(), &self.key_file) {
            (Ok(text), ..) => text,
            (Err(_), Some(iss), false, Some(_)) => return Ok(LocalIssuer::unconfigured(iss.clone(), self.aud.clone())),
            (Err(error), ..) => {
                let advice = "`tidings auth init` writes one; or give --iss, --aud and --key-file";
                return Err(format!("cannot read {shown}: {error}; {advice}").into());
            }
        };
        match (LocalIssuer::find(&text, self.iss.as_deref()), &self.iss, self.aud.is_empty(), &self.key_file) {
            (Ok(issuer), ..) => Ok(issuer),
            // The file is for another issuer.
            (Err(_), Some(iss), false, Some(_)) => Ok(LocalIssuer::unconfigured(iss.clone(), self.aud.clone())),
            (Err(error), ..) => Err(format!("{shown}: {error}").into()),
        }
    }

    /// The claims of the token.
    fn claims(
        &self,
        issuer: &LocalIssuer,
        grants: Json<'static>,
        id: &str,
        now: SystemTime,
    ) -> Result<Json<'static>, Failure> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = |seconds: u64| Json::Number(seconds.to_string().into());
        let mut claims = vec![
            ("iss".into(), Json::from(issuer.iss.clone())),
            ("sub".into(), Json::from(self.sub.clone())),
            ("jti".into(), Json::from(id.to_owned())),
            ("iat".into(), seconds(now)),
            ("nbf".into(), seconds(now - NOT_BEFORE.as_secs().min(now))),
            ("exp".into(), seconds(now + self.ttl.as_secs())),
        ];
        let audience = if self.aud.is_empty() { &issuer.audience } else { &self.aud };
        let audience = match audience.as_slice() {
            [] => return Err("there is no audience: give one with --aud".to_owned().into()),
            // Of those in the file, the token is for one: the others may be services of their own.
            [one, others @ ..] if others.is_empty() || self.aud.is_empty() => Json::from(one.clone()),
            all => Json::Array(all.iter().map(|name| Json::from(name.clone())).collect()),
        };
        insert(&mut claims, &issuer.audience_claim, audience)?;
        let is_empty = grants.as_object().is_none_or(<[_]>::is_empty);
        match issuer.grants.as_str() {
            "" if is_empty => {}
            "" => {
                let text = "takes no grants from its tokens (`grants = \"\"`): its rules grant, so leave out --publish, \
                            --subscribe and --admin";
                return Err(format!("the issuer {} {text}", issuer.iss).into());
            }
            pointer => insert(&mut claims, pointer, grants)?,
        }
        match (&self.namespace, &issuer.namespace_claim) {
            (Some(namespace), Some(pointer)) => insert(&mut claims, pointer, Json::from(namespace.clone()))?,
            (Some(_), None) => {
                return Err(format!(
                    "the tokens of {} choose no namespace: leave out --namespace, or set namespace_claim",
                    issuer.iss
                )
                .into());
            }
            (None, Some(_)) => {
                return Err(format!("the tokens of {} choose a namespace: give it with --namespace", issuer.iss).into());
            }
            (None, None) => {}
        }
        Ok(Json::Object(claims))
    }
}

/// The folder of a file.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Puts a claim where a JSON Pointer (RFC 6901) says, and makes the objects on the way there.
fn insert(
    claims: &mut Vec<(std::borrow::Cow<'static, str>, Json<'static>)>,
    pointer: &str,
    value: Json<'static>,
) -> Result<(), Failure> {
    let no_place = || Failure::from(format!("there is no place for a claim at {pointer}: correct auth.toml"));
    let Some(path) = pointer.strip_prefix('/') else { return Err(no_place()) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let name = first.replace("~1", "/").replace("~0", "~");
    let Some(rest) = rest else {
        if claims.iter().any(|(known, _)| *known == name) {
            return Err(no_place());
        }
        claims.push((name.into(), value));
        return Ok(());
    };
    let at = match claims.iter().position(|(known, _)| *known == name) {
        Some(at) => at,
        None => {
            claims.push((name.into(), Json::Object(Vec::new())));
            claims.len() - 1
        }
    };
    match &mut claims[at].1 {
        Json::Object(inner) => insert(inner, &format!("/{rest}"), value),
        _ => Err(no_place()),
    }
}

/// A duration as it is typed: 90s, 15m, 1h.
pub fn humane(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 3_600 && seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds if seconds >= 60 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_put_where_its_pointer_says() {
        let mut claims = vec![("iss".into(), Json::from("i"))];
        for pointer in ["/tidings", "/a/b", "/a/c", "/https:~1~1x.example~1y", "/m~0n"] {
            assert!(insert(&mut claims, pointer, Json::from("v")).is_ok(), "{pointer}");
        }
        assert_eq!(
            Json::Object(claims.clone()).to_string(),
            r#"{"iss":"i","tidings":"v","a":{"b":"v","c":"v"},"https://x.example/y":"v","m~n":"v"}"#
        );
        for pointer in ["", "tidings", "/iss", "/iss/x", "/a/b/c"] {
            assert!(insert(&mut claims, pointer, Json::Null).is_err(), "{pointer}");
        }
    }

    #[test]
    fn durations_are_as_typed() {
        let durations = [1, 90, 900, 3_600, 5_400].map(|seconds| humane(Duration::from_secs(seconds)));
        assert_eq!(durations, ["1s", "90s", "15m", "1h", "90m"]);
        assert!(ttl("500ms").is_err() && ttl("0s").is_err() && ttl("15m").is_ok());
    }
}
