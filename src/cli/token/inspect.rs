//! `tidings token inspect`: what is in a token or an API key, what it grants, and why the daemon would refuse it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueHint};
use jiff::Timestamp;

use super::grants::catalog;
use crate::access::{AdminRight, GrantList, Grants, Principal, Rule};
use crate::auth;
use crate::cli::auth::AUTH_FILE;
use crate::cli::failure::{Failure, say, say_error, say_warning};
use crate::cli::output::{BOLD, DIM, Output};
use crate::cli::remote::{CredentialFlags, Given, secret, warn_of_argument};
use crate::cli::secret_input;
use crate::event::{Catalog, Condition, Filter, Json, Scalar, Test};
use crate::metrics::Metrics;
use crate::secret::Secret;

/// Show what a token says and grants, and why the daemon would refuse it.
///
/// Reads the token from --token-file or TIDINGS_TOKEN, or asks for it. With an auth.toml, checks it as the daemon does, and exits
/// with 1 if it would be refused. Without one, shows what the token says of itself: anybody can write that.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  tidings token inspect --token-file me.token\n  TIDINGS_TOKEN=$(cat me.token) tidings token inspect\n  tidings token inspect --auth /etc/tidings/auth.toml --schemas types"
)]
pub struct Inspect {
    /// The token itself. Others on this machine see it in the list of processes: prefer --token-file or TIDINGS_TOKEN.
    #[arg(value_name = "TOKEN", value_parser = secret, conflicts_with_all = ["token", "token_file"])]
    argument: Option<Secret>,
    #[command(flatten)]
    credential: CredentialFlags,
    /// The file that the daemon reads [default: auth.toml in the working directory, if it exists].
    #[arg(long, value_name = "FILE", env = "TIDINGS_AUTH", value_hint = ValueHint::FilePath)]
    auth: Option<PathBuf>,
    /// Folder with the schemas of your own event types.
    #[arg(long, value_name = "DIR", env = "TIDINGS_SCHEMAS", value_hint = ValueHint::DirPath)]
    schemas: Option<PathBuf>,
}

/// Without the token.
impl std::fmt::Debug for Inspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspect").finish_non_exhaustive()
    }
}

impl Inspect {
    pub async fn run(self) -> Result<(), Failure> {
        let token = match &self.argument {
            Some(token) => {
                warn_of_argument("the token");
                token.clone()
            }
            None => match self.credential.given()? {
                Some(Given::File(_, token) | Given::Text(token)) => token,
                None => secret_input::ask("token")?,
            },
        };
        let token = token.expose().trim();
        let catalog = Arc::new(catalog(self.schemas.as_deref())?);
        let given = self.auth.filter(|file| !file.as_os_str().is_empty());
        let file = given.or_else(|| Some(PathBuf::from(AUTH_FILE)).filter(|file| file.exists()));
        let mut output = Output::new();
        let claims = if token.starts_with("tdg_") { None } else { show_token(token, &mut output)? };
        let Some(file) = file else {
            match &claims {
                Some(claims) => show_unverified(claims, &catalog, &mut output)?,
                None => say("this is an API key: auth.toml says what it grants"),
            }
            output.flush()?;
            say("not checked: give the file of the daemon with --auth to learn whether it would take it");
            return Ok(());
        };
        let checked = check(token, &file, &catalog).await;
        match checked {
            Ok((principal, namespaces)) => {
                show_principal(&principal, &namespaces, &catalog, &mut output)?;
                output.flush()?;
                if let Some(ago) = claims.as_ref().and_then(expired_for) {
                    say_warning(&format!(
                        "it expired {} ago, and is taken only because clocks may differ by `clock_skew` of auth.toml (30s by \
                         default)",
                        rounded(ago)
                    ));
                }
                say(&format!("{DIM}checked with {}: the daemon would take it{DIM:#}", file.display()));
                Ok(())
            }
            Err(why) => {
                output.flush()?;
                why.iter().for_each(|why| say_error(why));
                Err(Failure::Reported)
            }
        }
    }
}

/// Whom the credential names, and the names of the namespaces; or why the daemon would refuse it.
async fn check(token: &str, file: &Path, catalog: &Arc<Catalog>) -> Result<(Arc<Principal>, Vec<String>), Vec<String>> {
    let auth = auth::Auth::open(file, catalog.clone(), "default", Arc::new(Metrics::default()))?;
    let principal = auth.authenticate(token, SystemTime::now()).await;
    let principal = principal.map_err(|refusal| vec![format!("the daemon would refuse it: {}", refusal.text())])?;
    Ok((principal, auth.namespaces()))
}

/// Shows the header and the claims of a token. Returns the claims.
fn show_token(token: &str, output: &mut Output) -> Result<Option<Json<'static>>, Failure> {
    let no_token = |why: &str| Failure::from(format!("this is no token: {why}"));
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _] = parts[..] else {
        return Err(no_token("a token has three parts with dots between them, and an API key begins with tdg_"));
    };
    let read = |name: &str, part: &str| -> Result<Json<'static>, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| no_token(&format!("its {name} is not base64url")))?;
        let text = String::from_utf8(bytes).map_err(|_| no_token(&format!("its {name} is not text")))?;
        let json = Json::parse(&text).map_err(|error| no_token(&format!("its {name} is not JSON: {error}")))?;
        Ok(json.into_owned())
    };
    let (header, claims) = (read("header", header)?, read("payload", claims)?);
    output.line(&format!("{DIM}header{DIM:#}"))?;
    show_members(&header, output)?;
    output.line(&format!("{DIM}claims{DIM:#}"))?;
    show_members(&claims, output)?;
    Ok(Some(claims))
}

/// Shows the members of an object, a line for each. Times are shown as such, too.
fn show_members(object: &Json<'_>, output: &mut Output) -> Result<(), Failure> {
    for (name, value) in object.as_object().unwrap_or_default() {
        let time = match (&**name, value) {
            ("exp" | "nbf" | "iat", Json::Number(text)) => text.parse().ok().and_then(time),
            _ => None,
        };
        let time = time.map(|time| format!("  {DIM}{time}{DIM:#}")).unwrap_or_default();
        // A stranger may have written them: no control character reaches the terminal.
        let (name, value) = (shown(name), shown(&value.to_string()));
        output.line(&format!("  {name:<12} {value}{time}"))?;
    }
    Ok(())
}

/// A text without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_default().collect() } else { vec![letter] })
        .collect()
}

/// A time in seconds since 1970, and how far it is from now.
fn time(seconds: i64) -> Option<String> {
    let at = Timestamp::from_second(seconds).ok()?;
    let away = seconds.saturating_sub(Timestamp::now().as_second());
    let span = rounded(Duration::from_secs(away.unsigned_abs()));
    Some(if away < 0 { format!("{at}, {span} ago") } else { format!("{at}, in {span}") })
}

/// For how long a token has been past its `exp`, if it is.
fn expired_for(claims: &Json<'_>) -> Option<Duration> {
    let Some(Json::Number(text)) = claims.get("exp") else { return None };
    let end = Timestamp::from_second(text.parse().ok()?).ok()?;
    Duration::try_from(Timestamp::now().duration_since(end)).ok()
}

/// A span of time in its largest unit.
fn rounded(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Shows what the token says that it grants.
fn show_unverified(claims: &Json<'_>, catalog: &Catalog, output: &mut Output) -> Result<(), Failure> {
    let Some(grants) = claims.get("tidings") else {
        return output.line("  no claim `tidings`: rules in auth.toml may grant something");
    };
    let read = GrantList::read(grants).and_then(|list| list.resolve(catalog));
    let grants = read.map_err(|error| format!("the daemon would refuse it: /tidings: {error}"))?;
    show_grants(&grants, catalog, output)
}

/// Shows what the daemon makes of the credential.
fn show_principal(
    principal: &Principal,
    namespaces: &[String],
    catalog: &Catalog,
    output: &mut Output,
) -> Result<(), Failure> {
    show_grants(&principal.grants, catalog, output)?;
    if let Some(source) = principal.source() {
        output.line(&format!("  {:<12} {}", "source", shown(source)))?;
    }
    if let Some(namespace) = namespaces.get(principal.namespace.index()) {
        output.line(&format!("  {:<12} {namespace}", "namespace"))?;
    }
    Ok(())
}

/// Shows the grants of each channel.
fn show_grants(grants: &Grants, catalog: &Catalog, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!("{DIM}grants{DIM:#}"))?;
    let mut nothing = true;
    for list in ["publish", "subscribe"] {
        for channel in catalog.channels() {
            let rule = if list == "publish" { grants.publish(channel) } else { grants.subscribe(channel) };
            let Some(rule) = rule else { continue };
            nothing = false;
            let pins = match rule {
                Rule::All => String::new(),
                Rule::Pinned(pins) => {
                    let pins: Vec<_> = pins.iter().map(pin).collect();
                    format!(" where {}", pins.join(" or "))
                }
            };
            output.line(&format!("  {list:<12} {BOLD}{}{BOLD:#}{pins}", catalog.get(channel).name))?;
        }
    }
    let rights: Vec<_> = AdminRight::ALL.into_iter().filter(|right| grants.has(*right)).map(AdminRight::name).collect();
    if !rights.is_empty() {
        output.line(&format!("  {:<12} {}", "admin", rights.join(", ")))?;
    } else if nothing {
        output.line("  nothing")?;
    }
    Ok(())
}

/// The conditions of a pin.
fn pin(filter: &Filter) -> String {
    filter.conditions().iter().map(condition).collect::<Vec<_>>().join(" and ")
}

fn condition(Condition { path, test }: &Condition) -> String {
    let path = path.join(".");
    match test {
        Test::Is(value) => format!("{path} = {}", scalar(value)),
        Test::AnyOf(values) => format!("{path} in {}", values.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Test::Prefix(prefix) => format!("{path} begins with {}", scalar(&Scalar::String(prefix.clone()))),
    }
}

fn scalar(value: &Scalar) -> String {
    shown(&match value {
        Scalar::Null => "null".into(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Decimal(text) => text.to_string(),
        Scalar::String(text) => Json::from(&**text).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stranger_reaches_the_terminal_raw() {
        assert_eq!(shown("a\u{1b}[31m\r\n\u{9b}é"), "a\\u{1b}[31m\\r\\n\\u{9b}é");
    }

    #[test]
    fn spans_have_one_unit() {
        let spans = [0, 119, 120, 7_199, 7_200, 172_800].map(|seconds| rounded(Duration::from_secs(seconds)));
        assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }
}
