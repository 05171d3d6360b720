//! `[[issuer]]`: where the keys of an issuer are, what its tokens must claim, and its rules.

use super::{FileReader, GRANTS, ISSUER, IssuerTable, KeySource, NamespaceTable, RULE};
use crate::auth::claims::{ClaimTest, Pointer};
use crate::auth::jwks;
use crate::auth::jws::Algorithm;
use crate::auth::keys::KeySet;
use crate::auth::rules::Rule;
use crate::auth::sign::sha256;
use crate::config::read_error;
use crate::config::toml_tree::{Node, Table, Value};
use crate::event::{Scalar, Test};
use crate::secret::exposed;
use crate::suggest::{self, Known};

impl FileReader<'_> {
    pub(super) fn issuer(&mut self, node: &Node, path: &str) -> Option<IssuerTable> {
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
        if name == "secret_file"
            && let Some(warning) = exposed(&path, "the secret of an issuer")
        {
            self.reader.warning(at, &table.at(name), warning);
        }
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
