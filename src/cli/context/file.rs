//! The file with the contexts of this user: `tidings/contexts.toml` in the folder of configurations.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config;
use crate::suggest::Known;

/// All contexts, and the one that commands use.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// A daemon, or several nodes of one bus, and how to get in. A token is only named by its file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub url: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_tls: bool,
}

impl Contexts {
    /// Reads the file. No file is no context.
    ///
    /// # Errors
    /// A sentence that names the file, and what is wrong.
    pub fn load() -> Result<Self, String> {
        let Ok(path) = path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("{}: {}", path.display(), config::read_error(&error))),
        };
        toml::from_str(&text).map_err(|error| {
            format!(
                "{} cannot be read: {}\nMend it, or remove it, or give the daemon with --url.",
                path.display(),
                error.to_string().trim_end()
            )
        })
    }

    /// Writes the file in one step, readable for this user alone.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn save(&self) -> Result<(), String> {
        let path = path()?;
        let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(failed)?;
        let text = toml::to_string(self).map_err(|error| format!("{}: {error}", path.display()))?;
        let draft = folder.join(format!(".contexts.toml.{}", std::process::id()));
        let written = write_private(&draft, &text).and_then(|()| fs::rename(&draft, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&draft);
            failed(error)
        })
    }

    /// The context of this name.
    ///
    /// # Errors
    /// A sentence with the nearest known name.
    pub fn get(&self, name: &str) -> Result<&Context, String> {
        let known = || Known::new("contexts", self.contexts.keys().map(String::as_str));
        self.contexts.get(name).ok_or_else(|| known().refuse(&format!("there is no context {name:?}"), name))
    }
}

/// The file: below `XDG_CONFIG_HOME`, or `.config` in the home folder (XDG Base Directory Specification).
fn path() -> Result<PathBuf, String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let folder = folder.ok_or("contexts need a home folder: set HOME or XDG_CONFIG_HOME to one")?;
    Ok(folder.join("tidings").join("contexts.toml"))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
