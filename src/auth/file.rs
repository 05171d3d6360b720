//! `auth.toml`: who issues tokens, which API keys there are, and what all of them grant.
//!
//! The file is read as a whole. One mistake refuses all of it, and all mistakes are found at once, each with its line and
//! the path of its key. A file that a name in it misspells must not become a wider one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::api_key::{self, SecretHash};
use super::claims::{ClaimTest, Pointer};
use super::issuer::Times;
use super::jwks;
use super::jws::Algorithm;
use super::keys::KeySet;
use super::rules::{Rule, RuleEntry, RuleGrants};
use super::sign::sha256;
use crate::access::GrantList;
use crate::config::toml_tree::{Node, Reader, Table, Value};
use crate::config::{duration_or_zero, read_error};
use crate::event::{Catalog, Filter, FilterError, Json, Scalar, Test};
use crate::suggest::{self, Known};

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

    fn issuer(&mut self, node: &Node, path: &str) -> Option<IssuerTable> {
        let table = self.reader.table(node, path, &ISSUER)?;
        let iss = self.reader.required_string(table, "iss").map(str::to_owned);
        if iss.as_deref().is_some_and(|iss| iss.chars().any(char::is_control)) {
            self.reader.mistake(node.place("/iss"), &table.at("iss"), "this has control characters");
        }
        let audience = self.reader.strings(table, "audience");
        if audience.is_none() && node.get("audience").is_none() {
            let text = "`audience` is missing: without it, a token that the issuer made for another service would be good here";
            self.reader.mistake(node.at, path, text);
        }
        let audience_claim = match node.get("audience_claim") {
            Some(_) => self.pointer(table, "audience_claim"),
            None => Some(Pointer::of("aud")),
        };
        let source = self.key_source(table);
        let algorithms = self.algorithms(table, source.as_ref());
        let require = self.tests(table, "require");
        let grants = match self.reader.string(table, "grants") {
            Some("") => Some(None),
            Some(_) => self.pointer(table, "grants").map(Some),
            None => Some(Some(Pointer::of(GRANTS))),
        };
        let namespace = self.namespace_choice(table);
        let mut rules = Vec::new();
        for (index, node) in self.reader.tables(table, "rule").iter().enumerate() {
            rules.extend(self.rule(node, &format!("{path}.rule[{index}]")));
        }
        Some(IssuerTable {
            iss: iss?,
            definition: node.to_json().to_string(),
            audience: audience?.into_iter().map(|(_, text)| text.to_owned()).collect(),
            audience_claim: audience_claim?,
            source: source?,
            algorithms: algorithms?,
            require,
            grants: grants?,
            namespace: namespace?,
            rules,
        })
    }

    fn key_source(&mut self, table: Table<'_>) -> Option<KeySource> {
        const SOURCES: [&str; 3] = ["jwks", "key_file", "secret_file"];
        let given: Vec<&str> = SOURCES.into_iter().filter(|name| table.node.get(name).is_some()).collect();
        let [name] = given[..] else {
            let text = "exactly one of `jwks`, `key_file` and `secret_file` says where the keys are";
            self.reader.mistake(table.node.at, table.path, text);
            return None;
        };
        let text = self.reader.required_string(table, name)?;
        let at = table.node.place(&format!("/{name}"));
        if name == "jwks" {
            return match jwks::check_url(text) {
                Ok(url) => Some(KeySource::Jwks(url)),
                Err(error) => {
                    self.reader.mistake(at, &table.at(name), error);
                    None
                }
            };
        }
        let path = self.folder.join(text);
        let content = std::fs::read(&path);
        self.reader.files.push((path.clone(), content.as_ref().ok().map(|content| sha256(content))));
        let keys = content.map_err(|error| read_error(&error)).and_then(|content| {
            let keys = if name == "key_file" { KeySet::from_file(&content) } else { KeySet::from_secret(&content) };
            keys.map_err(|error| error.to_string())
        });
        match keys {
            Ok(keys) => Some(KeySource::Fixed(keys)),
            Err(error) => {
                self.reader.mistake(at, &table.at(name), format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// The algorithms of an issuer: by default those of its keys.
    fn algorithms(&mut self, table: Table<'_>, source: Option<&KeySource>) -> Option<Vec<Algorithm>> {
        let possible = match source? {
            KeySource::Fixed(keys) => keys.algorithms(),
            KeySource::Jwks(_) => vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        };
        if table.node.get("algorithms").is_none() {
            return Some(possible);
        }
        let names = possible.iter().map(|algorithm| algorithm.name());
        let known = Known::new("algorithms of these keys", names);
        let mut algorithms = Vec::new();
        for (at, name) in self.reader.strings(table, "algorithms")? {
            match Algorithm::of(name).filter(|algorithm| possible.contains(algorithm)) {
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    let refusal = format!("the keys cannot verify {}", suggest::quoted(name));
                    self.reader.mistake(at, &table.at("algorithms"), known.refuse(&refusal, name));
                }
            }
        }
        Some(algorithms)
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

    fn namespace_choice(&mut self, table: Table<'_>) -> Option<NamespaceTable> {
        let [claim, names, fixed] =
            ["namespace_claim", "namespaces", "namespace"].map(|name| table.node.get(name).is_some());
        if claim != names || (claim && fixed) {
            let text = "a namespace is chosen by `namespace`, or by `namespace_claim` together with `namespaces`";
            self.reader.mistake(table.node.at, table.path, text);
            return None;
        }
        if !claim {
            return Some(NamespaceTable::Fixed(self.fixed_namespace(table)));
        }
        let pointer = self.pointer(table, "namespace_claim");
        let names = self.reader.strings(table, "namespaces")?;
        for (at, name) in &names {
            self.namespace(*at, &table.at("namespaces"), name);
        }
        Some(NamespaceTable::Claim(pointer?, names.into_iter().map(|(_, name)| name.to_owned()).collect()))
    }

    /// The conditions on claims of `when` or `require`.
    fn tests(&mut self, table: Table<'_>, name: &str) -> Vec<ClaimTest> {
        let Some(node) = table.node.get(name) else { return Vec::new() };
        let path = table.at(name);
        let Some(members) = node.as_table() else {
            let text = "this is a table from claims to values, such as { \"/scope\" = \"orders:read\" }";
            self.reader.mistake(node.at, &path, text);
            return Vec::new();
        };
        if members.is_empty() {
            self.reader.mistake(node.at, &path, "this has no condition: leave it out");
        }
        let mut tests = Vec::new();
        for member in members {
            let path = format!("{path}.{}", suggest::quoted(&member.name));
            let pointer = self.parse_pointer(member.at, &path, &member.name);
            match claim_test(&member.node) {
                Ok(test) => tests.extend(pointer.map(|pointer| ClaimTest { pointer, test })),
                Err(text) => self.reader.mistake(member.node.at, &path, text),
            }
        }
        tests
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<Rule> {
        let table = self.reader.table(node, path, &RULE)?;
        let when = self.tests(table, "when");
        let grants = self.rule_grants(table, true);
        if RULE[1..].iter().all(|name| node.get(name).is_none()) {
            self.reader.mistake(
                node.at,
                path,
                "this rule grants nothing: it has neither `publish`, `subscribe` nor `admin`",
            );
        }
        Some(Rule { when, grants })
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

    /// The grants of a table without claims.
    fn grants(&mut self, table: Table<'_>) -> GrantList {
        let grants = self.rule_grants(table, false);
        // Its mistakes were found just now, and refuse the file.
        let list = Rule { when: Vec::new(), grants }.grants(&Json::Null);
        list.ok().flatten().unwrap_or_default()
    }

    /// The grants of a table, which may have values of claims in their pins.
    fn rule_grants(&mut self, table: Table<'_>, with_claims: bool) -> RuleGrants {
        let before = self.reader.mistakes.len();
        let mut grants = RuleGrants {
            publish: self.entries(table, "publish", with_claims),
            subscribe: self.entries(table, "subscribe", with_claims),
            admin: None,
        };
        if let Some(admin) = table.node.get("admin") {
            let json = admin.to_json();
            self.check(&Json::Object(vec![("admin".into(), json.clone())]), table);
            grants.admin = Some(json);
        }
        if self.reader.mistakes.len() == before {
            // What is wrong with the list as a whole: too many entries.
            let list = |entries: &[RuleEntry]| Json::Array(entries.iter().map(RuleEntry::without_claims).collect());
            let whole = vec![("publish".into(), list(&grants.publish)), ("subscribe".into(), list(&grants.subscribe))];
            self.check(&Json::Object(whole), table);
        }
        grants
    }

    fn entries(&mut self, table: Table<'_>, list: &str, with_claims: bool) -> Vec<RuleEntry> {
        let Some(node) = table.node.get(list) else { return Vec::new() };
        let Value::Array(elements) = &node.value else {
            self.reader.mistake(node.at, &table.at(list), "this is a list of channels");
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            entries.extend(self.entry(table, list, index, element, with_claims));
        }
        entries
    }

    fn entry(
        &mut self,
        table: Table<'_>,
        list: &str,
        index: usize,
        node: &Node,
        with_claims: bool,
    ) -> Option<RuleEntry> {
        let path = format!("{}[{index}]", table.at(list));
        let before = self.reader.mistakes.len();
        self.refuse_others(node, &path);
        let channel = node.as_str().or_else(|| node.get("channel")?.as_str());
        let catalog = self.catalog;
        let known = channel.and_then(|name| catalog.channel(name)).map(|channel| catalog.get(channel));
        let mut entry = RuleEntry { entry: node.to_json(), claims: Vec::new() };
        for member in node.get("where").and_then(Node::as_table).unwrap_or_default() {
            let [claim] = member.node.as_table().unwrap_or_default() else { continue };
            if claim.name != "claim" {
                continue;
            }
            let path = format!("{path}.where.{}", member.name);
            if !with_claims {
                self.reader.mistake(claim.at, &path, "only a rule of an issuer can use a claim");
                continue;
            }
            let Some(text) = claim.node.as_str() else {
                self.reader.mistake(claim.node.at, &path, "a claim is named by a JSON Pointer, such as \"/sub\"");
                continue;
            };
            // Whether the field can have the value of the claim shows when there is a token; whether it exists, now.
            let probe = Json::Object(vec![(member.name.as_str().into(), "x".into())]);
            if let Some(known) = known
                && let Err(error @ FilterError::UnknownField(_)) = Filter::parse(&probe, known)
            {
                self.reader.mistake(member.at, &path, error);
            }
            if let Some(pointer) = self.parse_pointer(claim.node.at, &path, text) {
                entry.claims.push((member.name.clone(), pointer));
                entry.remove(&member.name);
            }
        }
        if self.reader.mistakes.len() > before {
            return None;
        }
        let only = Json::Object(vec![(list.to_owned().into(), Json::Array(vec![entry.without_claims()]))]);
        self.check_entry(&only, node, &path, list);
        if let (None, Some(name)) = (known, channel)
            && !name.contains('*')
        {
            let names = self.catalog.types().iter().map(|known| &*known.name);
            let names = Known::new("channels", names);
            let refusal = format!("there is no channel {}, so this grants nothing", suggest::quoted(name));
            self.reader.warning(node.at, &path, names.refuse(&refusal, name));
        }
        (self.reader.mistakes.len() == before).then_some(entry)
    }

    /// Reads grants as those of a token are read, and reports the mistake.
    fn check(&mut self, grants: &Json<'_>, table: Table<'_>) {
        let result = GrantList::read(grants).and_then(|list| list.resolve(self.catalog));
        if let Err(error) = result {
            let text = error.to_string();
            let (pointer, text) = split_pointer(&text);
            self.reader.mistake(table.node.place(&pointer), &format!("{}{}", table.path, dotted(&pointer)), text);
        }
    }

    /// The same for one entry of a list, which has the index 0 there.
    fn check_entry(&mut self, grants: &Json<'_>, node: &Node, path: &str, list: &str) {
        let result = GrantList::read(grants).and_then(|list| list.resolve(self.catalog));
        if let Err(error) = result {
            let text = error.to_string();
            let (pointer, text) = split_pointer(&text);
            let within = pointer.strip_prefix(&format!("/{list}/0")).unwrap_or_default();
            self.reader.mistake(node.place(within), &format!("{path}{}", dotted(within)), text);
        }
    }

    /// What JSON does not have would become `null` in a pin.
    fn refuse_others(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Other(what) => self.reader.mistake(node.at, path, format!("a {what} is not possible here")),
            Value::Array(elements) => elements.iter().for_each(|element| self.refuse_others(element, path)),
            Value::Table(members) => members.iter().for_each(|member| self.refuse_others(&member.node, path)),
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
        }
    }
}

impl RuleEntry {
    /// Takes a field out of `where`.
    fn remove(&mut self, field: &str) {
        let Json::Object(members) = &mut self.entry else { return };
        for (_, pin) in members.iter_mut().filter(|(name, _)| name == "where") {
            if let Json::Object(fields) = pin {
                fields.retain(|(name, _)| name != field);
            }
        }
    }

    /// The entry to check: what it is without the fields whose values are claims.
    fn without_claims(&self) -> Json<'static> {
        let mut entry = self.entry.clone();
        if let Json::Object(members) = &mut entry
            && !self.claims.is_empty()
        {
            members.retain(|(name, pin)| name != "where" || pin.as_object().is_some_and(|fields| !fields.is_empty()));
        }
        entry
    }
}

/// A condition on one claim: a value, a list of values, or a prefix.
fn claim_test(node: &Node) -> Result<Test, String> {
    let scalar = |node: &Node| match &node.value {
        Value::String(text) => Ok(Scalar::String(text.as_str().into())),
        Value::Number(text) => Ok(Scalar::of_number(text).map(Box::from)),
        Value::Bool(value) => Ok(Scalar::Bool(*value)),
        _ => Err("the value of a claim is a string, a number, true or false".to_owned()),
    };
    match &node.value {
        Value::Array(elements) => {
            let mut scalars = elements.iter().map(scalar).collect::<Result<Vec<Scalar>, _>>()?;
            scalars.sort_unstable();
            scalars.dedup();
            match scalars.len() {
                0 => Err("an empty list of values never holds".into()),
                1 => Ok(Test::Is(scalars.remove(0))),
                _ => Ok(Test::AnyOf(scalars.into())),
            }
        }
        Value::Table(members) => match &members[..] {
            [only] if only.name == "prefix" => match only.node.as_str() {
                Some(prefix) if !prefix.is_empty() => Ok(Test::Prefix(prefix.into())),
                _ => Err("a prefix is a string that is not empty".into()),
            },
            _ => Err("write a value, a list of values, or { prefix = \"…\" }".into()),
        },
        _ => scalar(node).map(Test::Is),
    }
}

/// The pointers at the begin of a mistake in grants, as one, and the rest: the second one is that of a filter.
fn split_pointer(mut text: &str) -> (String, &str) {
    let mut pointer = String::new();
    while let Some((step, rest)) = text.split_once(": ").filter(|(step, _)| step.starts_with('/')) {
        pointer.push_str(step);
        text = rest;
    }
    (pointer, text)
}

/// A pointer as the path of a key: `/where/customerId` is `.where.customerId`.
fn dotted(pointer: &str) -> String {
    pointer.replace('/', ".")
}
