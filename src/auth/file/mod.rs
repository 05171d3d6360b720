//! `auth.toml`: who issues tokens, which API keys there are, and what all of them grant.
//!
//! The file is read as a whole. One mistake refuses all of it, and all mistakes are found at once, each with its line and
//! the path of its key. A misspelt name must not make a grant wider.

mod grants;
mod issuers;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::api_key::{self, SecretHash};
use super::claims::{ClaimTest, Pointer};
use super::issuer::Times;
use super::jws::Algorithm;
use super::keys::KeySet;
use super::rules::Rule;
use crate::access::GrantList;
use crate::config::duration_or_zero;
use crate::config::toml_tree::{Node, Reader, Table};
use crate::event::Catalog;

/// `clock_skew`, if the file does not have it.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(120);
/// `max_lifetime`, if the file does not have it.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The claim with a grants object, if an issuer does not say.
const GRANTS: &str = "tidings";
/// The longest name of a key, in characters. It is the `source` of events.
const MAX_NAME: usize = 128;
/// The longest name of a namespace.
const MAX_NAMESPACE: usize = 64;

const TOP: [&str; 5] = ["clock_skew", "max_lifetime", "anonymous", "issuer", "key"];
const ISSUER: [&str; 13] = [
    "iss",
    "audience",
    "audience_claim",
    "jwks",
    "key_file",
    "secret_file",
    "algorithms",
    "require",
    "grants",
    "namespace",
    "namespace_claim",
    "namespaces",
    "rule",
];
const RULE: [&str; 4] = ["when", "publish", "subscribe", "admin"];
const KEY: [&str; 7] = ["id", "hash", "name", "namespace", "publish", "subscribe", "admin"];
const ANONYMOUS: [&str; 3] = ["publish", "subscribe", "admin"];

/// The content of the file, checked.
#[derive(Debug)]
pub struct AuthFile {
    pub times: Times,
    pub anonymous: Option<GrantList>,
    pub issuers: Vec<IssuerTable>,
    pub keys: Vec<KeyTable>,
}

/// `[[issuer]]`.
#[derive(Debug)]
pub struct IssuerTable {
    pub iss: String,
    /// The whole table as JSON, to compare with that of the next reload.
    pub definition: String,
    pub audience: Vec<String>,
    pub audience_claim: Pointer,
    pub source: KeySource,
    pub algorithms: Vec<Algorithm>,
    pub require: Vec<ClaimTest>,
    pub grants: Option<Pointer>,
    pub namespace: NamespaceTable,
    pub rules: Vec<Rule>,
}

/// Where the keys of an issuer come from.
#[derive(Debug)]
pub enum KeySource {
    Jwks(Url),
    Fixed(KeySet),
}

/// The namespace of an issuer's tokens. `None` is the default one.
#[derive(Debug)]
pub enum NamespaceTable {
    Fixed(Option<String>),
    Claim(Pointer, Vec<String>),
}

/// `[[key]]`.
#[derive(Debug)]
pub struct KeyTable {
    pub id: String,
    pub definition: String,
    pub hash: SecretHash,
    pub name: String,
    pub namespace: Option<String>,
    pub grants: GrantList,
}

/// What came of reading the file.
#[derive(Debug)]
pub struct Read {
    pub file: Result<AuthFile, Vec<String>>,
    pub warnings: Vec<String>,
    /// The key files that it names, each with the SHA-256 of its content. `None` for one that cannot be read.
    pub files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

impl AuthFile {
    /// The namespaces that it names, each once, in the order of the file.
    pub fn namespaces(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for issuer in &self.issuers {
            names.extend(match &issuer.namespace {
                NamespaceTable::Fixed(name) => name.as_deref().into_iter().collect::<Vec<_>>(),
                NamespaceTable::Claim(_, names) => names.iter().map(String::as_str).collect(),
            });
        }
        names.extend(self.keys.iter().filter_map(|key| key.namespace.as_deref()));
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }
}

/// Reads the text of the file, and the key files that it names.
pub fn read(path: &Path, text: &str, catalog: &Catalog) -> Read {
    let mut reader = FileReader {
        reader: Reader::new(path, text),
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        catalog,
    };
    let file = match Node::parse(text) {
        Ok(root) => reader.file(&root),
        Err((at, message)) => {
            reader.reader.mistake(at, "", format!("not TOML: {message}"));
            None
        }
    };
    let Reader { mistakes, warnings, files, .. } = reader.reader;
    let file = match file {
        Some(file) if mistakes.is_empty() => Ok(file),
        _ => Err(mistakes),
    };
    Read { file, warnings, files }
}

struct FileReader<'a> {
    reader: Reader<'a>,
    /// The folder of the file: paths in it begin there.
    folder: PathBuf,
    catalog: &'a Catalog,
}

impl FileReader<'_> {
    fn file(&mut self, root: &Node) -> Option<AuthFile> {
        let table = self.reader.table(root, "", &TOP)?;
        let clock_skew = self.duration(table, "clock_skew", CLOCK_SKEW, Duration::ZERO..=MAX_CLOCK_SKEW);
        let max_lifetime = self.duration(
            table,
            "max_lifetime",
            MAX_LIFETIME,
            Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into()),
        );
        let anonymous = root.get("anonymous").and_then(|node| {
            let table = self.reader.table(node, "anonymous", &ANONYMOUS)?;
            if let Some(admin) = node.get("admin") {
                let text = "everybody who reaches the daemon has these rights, without a credential";
                self.reader.warning(admin.at, "anonymous.admin", text);
            }
            Some(self.grants(table))
        });
        let mut issuers: Vec<IssuerTable> = Vec::new();
        for (index, node) in self.reader.tables(table, "issuer").iter().enumerate() {
            let Some(issuer) = self.issuer(node, &format!("issuer[{index}]")) else { continue };
            if issuers.iter().any(|other| other.iss == issuer.iss) {
                let text = "another issuer has the same `iss`: its keys would sign for this one";
                self.reader.mistake(node.at, &format!("issuer[{index}]"), text);
            }
            issuers.push(issuer);
        }
        let mut keys: Vec<KeyTable> = Vec::new();
        for (index, node) in self.reader.tables(table, "key").iter().enumerate() {
            let Some(key) = self.key(node, &format!("key[{index}]")) else { continue };
            if keys.iter().any(|other| other.id == key.id) {
                self.reader.mistake(node.at, &format!("key[{index}]"), "another key has the same `id`");
            }
            keys.push(key);
        }
        if root.as_table().is_some_and(|members| !members.iter().any(|member| TOP[2..].contains(&member.name.as_str())))
        {
            self.reader.warning(0, "", "there is no issuer, no key and no [anonymous]: nobody may do anything");
        }
        Some(AuthFile { times: Times { clock_skew, max_lifetime }, anonymous, issuers, keys })
    }

    fn duration(
        &mut self,
        table: Table<'_>,
        name: &str,
        default: Duration,
        bounds: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = self.reader.string(table, name) else { return default };
        let at = table.node.place(&format!("/{name}"));
        match duration_or_zero(text) {
            Ok(duration) if bounds.contains(&duration) => return duration,
            Ok(_) => {
                let text = format!("this is from {} s to {} s", bounds.start().as_secs(), bounds.end().as_secs());
                self.reader.mistake(at, name, text);
            }
            Err(expected) => self.reader.mistake(at, name, format!("expected {expected}")),
        }
        default
    }

    fn pointer(&mut self, table: Table<'_>, name: &str) -> Option<Pointer> {
        let text = self.reader.string(table, name)?;
        self.parse_pointer(table.node.place(&format!("/{name}")), &table.at(name), text)
    }

    fn parse_pointer(&mut self, at: usize, path: &str, text: &str) -> Option<Pointer> {
        match Pointer::parse(text) {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                self.reader.mistake(at, path, error);
                None
            }
        }
    }

    fn namespace(&mut self, at: usize, path: &str, name: &str) {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_NAMESPACE).contains(&name.len()) || !name.bytes().all(is_letter) {
            let text = format!("the name of a namespace has 1 to {MAX_NAMESPACE} of the characters a-z, 0-9 and -");
            self.reader.mistake(at, path, text);
        }
    }

    fn fixed_namespace(&mut self, table: Table<'_>) -> Option<String> {
        let name = self.reader.string(table, "namespace")?;
        self.namespace(table.node.place("/namespace"), &table.at("namespace"), name);
        Some(name.to_owned())
    }

    fn key(&mut self, node: &Node, path: &str) -> Option<KeyTable> {
        let table = self.reader.table(node, path, &KEY)?;
        let id = self.reader.required_string(table, "id");
        if id.is_some_and(|id| !api_key::is_id(id)) {
            let text = "the id of a key has 1 to 64 letters (A-Z, a-z), digits, _ and -";
            self.reader.mistake(node.place("/id"), &table.at("id"), text);
        }
        let hash = self.reader.required_string(table, "hash").and_then(|text| {
            let hash = SecretHash::parse(text);
            if hash.is_none() {
                // It may be the secret: the text is not repeated.
                let text = "expected sha256: and 64 hex digits in lower case, which is the SHA-256 of the secret part of the key";
                self.reader.mistake(node.place("/hash"), &table.at("hash"), text);
            }
            hash
        });
        let name = self.reader.required_string(table, "name");
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/@+".contains(letter);
        if name.is_some_and(|name| name.len() > MAX_NAME || !name.chars().all(is_letter)) {
            let text = format!(
                "a key's name is the `source` of its events: at most {MAX_NAME} letters (A-Z, a-z), digits and - . _ ~ : / @ +"
            );
            self.reader.mistake(node.place("/name"), &table.at("name"), text);
        }
        let namespace = self.fixed_namespace(table);
        let grants = self.grants(table);
        let definition = node.to_json().to_string();
        Some(KeyTable { id: id?.to_owned(), definition, hash: hash?, name: name?.to_owned(), namespace, grants })
    }
}
