//! `tidings auth init`: writes an `auth.toml` and a key pair to begin with, and says what to do next.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};

use super::failure::{Failure, say};
use super::program;
use crate::auth::sign::SigningKey;
use crate::event::Json;

/// The file names that `auth init` writes.
pub const AUTH_FILE: &str = "auth.toml";
/// The private key, beside `auth.toml`.
pub const PRIVATE_KEY: &str = "auth-private.pem";
const PUBLIC_KEY: &str = "auth-public.pem";

/// Set up who may do what.
#[derive(Debug, Subcommand)]
pub enum Auth {
    Init(Init),
}

/// Write an auth.toml and an Ed25519 key pair to begin with.
///
/// Nobody may do anything then without a token, which `tidings token issue` makes with the private key. The daemon reads the
/// public key only: keep auth-private.pem where tokens are made, and nowhere else. Files that exist are never overwritten.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings auth init\n  tidings auth init --dir /etc/tidings --iss https://shop.example/ --aud https://bus.shop.example"
)]
pub struct Init {
    /// Folder to write the files to. It is made if it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// The issuer of the tokens: any name, or a URL of yours.
    #[arg(long, value_name = "NAME", default_value = "tidings", value_hint = ValueHint::Other)]
    iss: String,
    /// The audience of the tokens: a name of this bus. Tokens for another one are refused.
    #[arg(long, value_name = "NAME", default_value = "tidings", value_hint = ValueHint::Other)]
    aud: String,
}

impl Auth {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(),
        }
    }
}

impl Init {
    fn run(self) -> Result<(), Failure> {
        for (flag, name) in [("--iss", &self.iss), ("--aud", &self.aud)] {
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(format!("{flag} is empty or has control characters: give a name or a URL").into());
            }
        }
        let files = [PRIVATE_KEY, PUBLIC_KEY, AUTH_FILE].map(|name| self.dir.join(name));
        // Named before anything is written; `create_new` below still refuses one that comes meanwhile.
        let existing = files.iter().filter(|file| fs::symlink_metadata(file).is_ok());
        let existing: Vec<_> = existing.map(|file| file.display().to_string()).collect();
        if !existing.is_empty() {
            return Err(format!(
                "{}: nothing is overwritten, and nothing was written; remove what you do not need, or give another --dir",
                match existing.as_slice() {
                    [one] => format!("{one} exists"),
                    many => format!("{} exist", many.join(", ")),
                }
            )
            .into());
        }
        fs::create_dir_all(&self.dir)
            .map_err(|error| format!("cannot make the folder {}: {error}", self.dir.display()))?;
        let (private, public) = SigningKey::generate_ed25519().map_err(|error| error.to_string())?;
        let private = zeroize::Zeroizing::new(private);
        let [private_file, public_file, auth_file] = files;
        let texts = [
            (&private_file, 0o600, private.as_str()),
            (&public_file, 0o644, &public),
            (&auth_file, 0o644, &self.text()),
        ];
        for (index, (file, mode, text)) in texts.iter().enumerate() {
            if let Err(error) = create(file, *mode, text) {
                // Leave nothing behind that a second run would refuse to overwrite.
                for (written, ..) in &texts[..index] {
                    let _ = fs::remove_file(written);
                }
                return Err(format!("cannot write {}: {error}", file.display()).into());
            }
        }
        say(&format!(
            "wrote {} and {}, and {}, which only you can read: whoever has it can make tokens",
            auth_file.display(),
            public_file.display(),
            private_file.display()
        ));
        say(&next_steps(&auth_file));
        Ok(())
    }

    /// The text of `auth.toml`.
    fn text(&self) -> String {
        // A JSON string is a basic string of TOML, too.
        let (iss, aud) = (Json::from(self.iss.as_str()), Json::from(self.aud.as_str()));
        format!(
            "# Who may do what: `tidings serve --auth {AUTH_FILE}`. docs/security.md explains every line. The daemon reads the file
# again when it changes, and `tidings config check --auth {AUTH_FILE}` checks it before.

# What everybody may do without a token. As long as this is a comment, nobody may do anything without one.
# [anonymous]
# subscribe = [\"cache-invalidate\"]

# Tokens that are signed with {PRIVATE_KEY}. `tidings token issue` does that, and any JWT library can. What a token allows
# stands in its claim `tidings`.
[[issuer]]
iss = {iss}
audience = [{aud}]
key_file = \"{PUBLIC_KEY}\"
algorithms = [\"EdDSA\"]

# API keys, for programs that run for long: `tidings token api-key --name shop-backend --publish inventory-change` prints one,
# and the table to put here.
"
        )
    }
}

/// Writes a file that does not exist yet.
fn create(file: &Path, mode: u32, text: &str) -> Result<(), std::io::Error> {
    let mut created = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    let written = created.write_all(text.as_bytes()).and_then(|()| created.sync_all());
    if written.as_ref().is_err_and(|error| error.kind() != ErrorKind::AlreadyExists) {
        let _ = fs::remove_file(file);
    }
    written
}

/// The way from here to a page that receives its own orders.
fn next_steps(auth_file: &Path) -> String {
    let (program, file) = (program::called(), auth_file.display());
    // The files beside it are found by themselves if it is in the working directory.
    let auth = if auth_file == Path::new("./auth.toml") { String::new() } else { format!(" --auth {file}") };
    format!(
        "
Next:
1. Start the daemon. Name the origin of your pages, so that they may use it:
     {program} serve --auth {file} --allowed-origins http://localhost:3000
2. Make a token for yourself, which may do everything for an hour, and follow the bus:
     umask 077      # files with tokens are for you only
     {program} token issue{auth} --sub me --publish '*' --subscribe '*' --admin nodes,metrics,connections,revoke,flows > me.token
     {program} tail --token-file me.token
3. Make a token for a customer, who sees only their own orders, and look at it:
     {program} token issue{auth} --sub u42 --subscribe order-status:customerId=u42 > u42.token
     {program} token inspect{auth} --token-file u42.token
   In a page:  connect(\"http://127.0.0.1:7400\", {{ token: \"…\" }}).on(\"order-status\", console.log)
   Your server hands out such tokens: any JWT library makes them, and with `token: () => fetch(…)` the page renews its own.
4. Publish an order of this customer, and one of another. The page gets the first one:
     {program} publish --token-file me.token order-status orderId=1 newStatus=shipped customerId=u42
     {program} publish --token-file me.token order-status orderId=2 newStatus=shipped customerId=u43"
    )
}
