//! The failure of a command, and the messages that the commands write to stderr.
//!
//! [`Failure::report`] is where an error message is written, once, and becomes the exit code.

use std::io;
use std::process::ExitCode;

use super::grant::{self, Grant};
use super::interrupt::Stop;
use super::program;
use crate::client::{AuthFailure, Error, FieldError};
use crate::schema::LoadErrors;
use crate::suggest;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// [`Failure::report`] writes this message to stderr.
    Message(String),
    /// The credential does not grant what the command wanted, in the daemon's words.
    Forbidden(String),
    /// The message was written already.
    Reported,
    /// A signal stopped the command before it was done. The message was written already.
    Stopped(Stop),
    /// The reader of stdout has closed the pipe (`| head`). This is a normal end of a command that only reads, with exit code 0.
    /// A command with effects handles it.
    ClosedPipe,
}

impl Failure {
    /// Writes the message to stderr, and returns the exit code.
    pub fn report(self) -> ExitCode {
        self.report_with(None)
    }

    /// The same, with the grant that the command needs.
    pub fn report_with(self, needed: Option<&Grant>) -> ExitCode {
        match self {
            Self::Forbidden(message) => {
                say_error(&message);
                say(&needed.map_or_else(grant::inspect, Grant::to_string));
            }
            Self::ClosedPipe => return ExitCode::SUCCESS,
            Self::Stopped(by) => return by.end(),
            Self::Reported => {}
            Self::Message(message) => say_error(&message),
        }
        ExitCode::FAILURE
    }
}

/// Writes an error message to stderr.
pub fn say_error(message: &str) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    say(&format!("{red}error{red:#}: {message}"));
}

/// Says that a signal stops the command, and what that means.
pub fn stopped(by: Stop, meaning: &str) -> Failure {
    say_error(&format!("interrupted by {by}{meaning}"));
    Failure::Stopped(by)
}

/// Writes a warning to stderr.
pub fn say_warning(message: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    say(&format!("{yellow}warning{yellow:#}: {message}"));
}

/// Writes every mistake in the user's own types to stderr, a line for each.
pub fn of_schemas(errors: LoadErrors) -> Failure {
    errors.to_string().lines().for_each(say_error);
    Failure::Reported
}

/// Writes an informational line to stderr.
pub fn say(line: &str) {
    use io::Write;
    // If stderr is closed, there is nowhere to report that.
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Writes the mistakes of a request to stderr, one per line. `describe` turns a JSON Pointer into a place that the user
/// knows.
pub fn say_field_errors(errors: &[FieldError], mut describe: impl FnMut(&str) -> String) {
    for error in errors {
        say(&format!("  {}: {}", describe(&error.pointer), without_route(&error.message)));
    }
}

/// A text of the daemon without the route that lists the channels: the command line names its command instead.
pub fn without_route(text: &str) -> String {
    suggest::without_place(text, "GET /v1/channels", &["channels", "event types"])
}

/// Names the command that lists the channels, where a request named one that does not exist.
fn say_channels(code: &str) {
    if matches!(code, "unknown-channel" | "unknown-type") {
        let program = program::called();
        say(&format!("`{program} channels` lists the event types of the daemon: each has a channel of the same name."));
    }
}

/// The code of a refusal for want of a grant.
pub const FORBIDDEN: &str = "forbidden";

/// What to do if the daemon wants a client's certificate and gets none.
pub const MISSING_CLIENT_CERTIFICATE: &str =
    "the daemon wants a certificate of this client: give --client-cert and --client-key";

/// What to do if the daemon refuses the client's certificate, or the lack of one. With TLS 1.3 its alert comes after the
/// handshake, in place of the first answer. `cause` is that of [`Error::Unreachable`].
pub fn client_certificate_advice(cause: &str) -> Option<&'static str> {
    match cause.strip_prefix("received fatal alert: ")? {
        "CertificateRequired" => Some(MISSING_CLIENT_CERTIFICATE),
        "BadCertificate" | "CertificateExpired" | "CertificateUnknown" | "UnknownCA" | "DecryptError" => Some(
            "the daemon does not take the certificate of this client: give one that is valid and that an authority of \
             tls_client_ca has signed",
        ),
        _ => None,
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable { ref cause, .. } if client_certificate_advice(cause).is_some() => {
                Self::Message(format!("{error}\n{}", client_certificate_advice(cause).unwrap_or_default()))
            }
            // A daemon runs there, or somebody in its place.
            Error::Unreachable { ref cause, .. } if cause.contains("invalid peer certificate") => {
                Self::Message(format!(
                    "{error}\n--cacert FILE names an authority that this system does not trust; `{} doctor` says what is wrong.",
                    program::called()
                ))
            }
            Error::Unreachable { sent: false, .. } => Self::Message(format!(
                "{error}\nIs a daemon running there? Start one with `{} serve`, or give the address of another one with --url or TIDINGS_URL.",
                program::called()
            )),
            Error::Refused(problem) if problem.code == FORBIDDEN => Self::Forbidden(problem.to_string()),
            Error::Refused(problem) => {
                match problem.errors.len() {
                    // The detail says all.
                    0 | 1 => say_error(&without_route(&problem.to_string())),
                    count => {
                        say_error(&format!("the daemon refused the request for {count} mistakes ({})", problem.code));
                        say_field_errors(&problem.errors, str::to_owned);
                    }
                }
                say_channels(&problem.code);
                Self::Reported
            }
            Error::Subscription { ref code, .. } if code == FORBIDDEN => Self::Forbidden(error.to_string()),
            Error::Subscription { ref code, .. } => {
                say_error(&without_route(&error.to_string()));
                say_channels(code);
                Self::Reported
            }
            Error::Unauthenticated { cause, .. } => {
                let program = program::called();
                let advice = match cause {
                    AuthFailure::Missing => "\nGive one with --token-file FILE, or in TIDINGS_TOKEN.".into(),
                    AuthFailure::Refused => {
                        format!("\n`{program} token inspect` says what is in it, and until when it is valid.")
                    }
                    AuthFailure::Expired => {
                        "\nA file that was given with --token-file is read again before its token expires: \
                                             write a newer one there in time."
                            .into()
                    }
                    _ => String::new(),
                };
                Self::Message(format!("{error}{advice}"))
            }
            Error::Unconfirmed { cause, .. } => Self::from(*cause),
            other => Self::Message(other.to_string()),
        }
    }
}
