//! Documents with rules of one kind, and the request they are asked about: what the benches and the instruction counts
//! have in common.
#![allow(dead_code, clippy::unwrap_used, reason = "each user takes some of it, and serves no client")]

use std::collections::BTreeMap;
use std::sync::Arc;

use graygate_rules::compile::{Compiled, Memory, compile};
use graygate_rules::decide::Request;
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Default)]
pub struct Documents(BTreeMap<DocumentId, Arc<Raw>>);

impl Documents {
    pub fn yaml(&mut self, id: &str, text: &str) {
        self.0.insert(DocumentId::parse(id).unwrap(), Arc::new(Raw::yaml(text)));
    }

    pub fn list(&mut self, name: &str, text: &str) {
        self.0.insert(DocumentId::parse(&format!("lists/{name}")).unwrap(), Arc::new(Raw::list(text)));
    }

    pub fn set(self) -> DocumentSet {
        DocumentSet { documents: self.0.into(), ..DocumentSet::default() }
    }

    pub fn compile(self) -> Compiled {
        let set = self.set();
        let compiled = compile(&set, &Memory::default(), &|_| Err(std::io::ErrorKind::NotFound.into()));
        assert_eq!(compiled.problems, []);
        compiled
    }
}

/// One service behind one route, with a rule for every number.
pub fn with_rules(count: usize, rule: impl Fn(usize) -> String) -> Compiled {
    rule_documents(count, rule).compile()
}

pub fn rule_documents(count: usize, rule: impl Fn(usize) -> String) -> Documents {
    let mut documents = Documents::default();
    documents.yaml("services/s", "identity: [header:x-user]");
    documents.yaml("routes/r", "service: s");
    for list in 0..10 {
        let members: String = (0..1_000).map(|member| format!("u{list}-{member}\n")).collect();
        documents.list(&format!("l{list}"), &members);
    }
    for i in 0..count {
        documents.yaml(&format!("rules/{i:05}"), &rule(i));
    }
    documents
}

/// Ten rules in a hundred have two equalities, one an `in`, the others one; half of them split.
pub fn equality(i: usize) -> String {
    let when = match i % 10 {
        0 => format!("in: [t{i}, x{i}, y{i}]"),
        _ => format!("equals: t{i}"),
    };
    let tenant = format!("{{attribute: header:x-tenant, {when}}}");
    let environment = "{attribute: header:x-env, equals: prod}";
    let outcome = if i.is_multiple_of(2) { "version: gray" } else { "split: {gray: 10}" };
    format!("when: {{all: [{environment}, {tenant}]}}\n{outcome}")
}

pub fn regex(i: usize) -> String {
    format!("when: {{attribute: header:x-tenant, regex: 't{i}|org-[a-z]+-{i}'}}\nversion: gray")
}

/// A mix as one meets it: half patterns, half texts.
pub fn half_regex(i: usize) -> String {
    if i.is_multiple_of(2) { regex(i) } else { equality(i) }
}

pub fn list(i: usize) -> String {
    let list = format!("{{attribute: header:x-user, in_list: l{}}}", i % 10);
    format!("when: {{all: [{list}, {{attribute: header:x-tenant, equals: t{i}}}]}}\nversion: gray")
}

pub fn prefix(i: usize) -> String {
    format!("when: {{attribute: header:x-tenant, prefix: t{i}, ignore_case: true}}\nversion: gray")
}

pub fn contains(i: usize) -> String {
    format!("when: {{attribute: header:x-tenant, contains: 't{i}.'}}\nversion: gray")
}

/// The shape of a path, as one meets it in a gateway.
pub fn path_regex(i: usize) -> String {
    format!("when: {{attribute: path, regex: '/(api|v1)/t{i}/[a-z]+/\\d+'}}\nversion: gray")
}

/// A piece of a long value, with anything before and behind it.
pub fn agent_regex(i: usize) -> String {
    format!("when: {{attribute: header:user-agent, regex: '.*MicroMessenger/8\\.{i}\\..*'}}\nversion: gray")
}

/// Ranges side by side.
pub fn semver(i: usize) -> String {
    format!("when: {{attribute: header:x-tenant, semver: '>=7.{i}, <7.{}'}}\nversion: gray", i + 1)
}

/// Thresholds of one attribute; a value below all of them matches none.
pub fn number(i: usize) -> String {
    format!("when: {{attribute: header:x-tenant, above: {i}}}\nversion: gray")
}

/// The headers of an ordinary request, for a tenant.
pub fn headers(tenant: &str, user: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "www.example.com"),
        ("accept", "text/html"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("x-request-id", "7f9c0e55-3f0c-4f55-9d0b-6f0d8a0a5b6e"),
        ("x-env", "prod"),
        ("x-tenant", tenant),
        ("x-user", user),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

pub fn request<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Request<'a> {
    Request {
        method: "GET",
        scheme: "https",
        host,
        port: None,
        path: graygate_rules::decide::Path { view: path, upstream: path },
        query: None,
        fields: headers.into(),
        client: "203.0.113.7".parse().unwrap(),
        pins_trusted: false,
        inherited: None,
        now: 0,
        tester: None,
        places: None,
        fresh_identity: None,
    }
}
