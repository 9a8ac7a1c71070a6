//! Documents in, decisions and problems out: every table feeds texts as operators write them.

mod beyond;
mod conditions;
mod held_back;
mod order;
mod services;
mod splits;
mod targets;

use std::path::Path as FilePath;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Compiled, Memory, compile};
use crate::decide::{Choice, Decision, PathBuffer, Request, Routed, Scratch, normalise_host};
use crate::documents::{DocumentId, DocumentSet, Raw};
use crate::vocab::Problem;

fn no_file(_: &FilePath) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn id(text: &str) -> DocumentId {
    DocumentId::parse(text).unwrap_or_else(|| panic!("no identity: {text}"))
}

/// A set of documents; what stands under `lists/` is a list.
fn set(documents: &[(&str, &str)]) -> DocumentSet {
    let raw = |name: &str, text: &str| match name.starts_with("lists/") {
        true => Raw::list(text),
        false => Raw::yaml(text),
    };
    let documents = documents.iter().map(|(name, text)| (id(name), Arc::new(raw(name, text))));
    DocumentSet { documents: documents.collect(), ..DocumentSet::default() }
}

fn compiled(documents: &[(&str, &str)]) -> Compiled {
    compile(&set(documents), &Memory::default(), &no_file)
}

/// Documents that have no problem.
pub(super) fn good(documents: &[(&str, &str)]) -> Compiled {
    let compiled = compiled(documents);
    assert_eq!(compiled.problems, [], "{documents:?}");
    compiled
}

/// The next set, after another one was compiled.
fn then(before: &Compiled, documents: &[(&str, &str)]) -> Compiled {
    compile(&set(documents), &before.memory, &no_file)
}

pub(super) fn show(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|found| format!("{}: {}: {}", found.document(), found.field, found.message)).collect()
}

/// A request as it arrives.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    scheme: &'static str,
    host: String,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    headers: HeaderMap,
    client: &'static str,
    trusted: bool,
    inherited: Option<&'static str>,
    now: i128,
    fresh: Option<&'static str>,
}

/// `host/path?query`; a GET from 203.0.113.7, which is not trusted.
fn get(target: &str) -> Ask {
    let (rest, query) = match target.split_once('?') {
        Some((rest, query)) => (rest, Some(query.as_bytes().to_vec())),
        None => (target, None),
    };
    let slash = rest.find('/').unwrap();
    Ask {
        method: "GET",
        scheme: "http",
        host: rest[..slash].into(),
        path: rest.as_bytes()[slash..].to_vec(),
        query,
        headers: HeaderMap::new(),
        client: "203.0.113.7",
        trusted: false,
        inherited: None,
        now: 0,
        fresh: None,
    }
}

impl Ask {
    fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    fn trusted(mut self) -> Ask {
        self.trusted = true;
        self
    }

    /// Calls `read` with the request and what was decided for it.
    fn with<T>(&self, compiled: &Compiled, read: impl FnOnce(&Request<'_>, Decision<'_>) -> T) -> T {
        let (mut buffer, mut host_buffer, mut scratch) =
            (PathBuffer::default(), String::new(), Scratch::default());
        let host = normalise_host(self.host.as_bytes(), &mut host_buffer).unwrap();
        let request = Request {
            method: self.method,
            scheme: self.scheme,
            host: host.name,
            port: host.port,
            path: buffer.normalise(&self.path).unwrap(),
            query: self.query.as_deref(),
            fields: (&self.headers).into(),
            client: self.client.parse().unwrap(),
            pins_trusted: self.trusted,
            inherited: self.inherited,
            now: self.now,
            tester: None,
            places: None,
            fresh_identity: self.fresh,
        };
        let decision = compiled.snapshot.decide(&request, &mut scratch);
        read(&request, decision)
    }

    /// The choice of a request that reaches a service.
    fn choice(&self, compiled: &Compiled) -> Choice {
        self.with(compiled, |_, decision| match decision {
            Decision::Version(_, choice) => choice,
            other => panic!("{self:?}: {other:?}"),
        })
    }

    /// `route service version reason`, with `:rule` and `@bucket` where there are some.
    fn verdict(&self, compiled: &Compiled) -> String {
        self.with(compiled, |_, decision| match decision {
            Decision::NoRoute => "no route".into(),
            Decision::Redirect(routed) => format!("{} redirect", routed.route.name),
            Decision::NoService(routed, service) => format!("{} no service {service}", routed.route.name),
            Decision::Version(routed, choice) => said(compiled, &routed, choice),
        })
    }

    /// The version's word.
    fn version(&self, compiled: &Compiled) -> String {
        let verdict = self.verdict(compiled);
        verdict.split(' ').nth(2).unwrap_or_default().to_string()
    }

    /// The route's name.
    fn route(&self, compiled: &Compiled) -> String {
        let verdict = self.verdict(compiled);
        verdict.split(' ').next().unwrap_or_default().to_string()
    }
}

fn said(compiled: &Compiled, routed: &Routed<'_>, choice: Choice) -> String {
    let service = compiled.snapshot.service(choice.service).unwrap();
    let version = choice.version.map_or("?".into(), |id| service.version(id).unwrap().word.to_string());
    let rule = choice.rule.map_or(String::new(), |id| format!(":{}", service.rules.get(id).unwrap().name));
    let bucket = choice.bucket.map_or(String::new(), |bucket| format!("@{}", bucket.number()));
    format!("{} {} {version} {}{rule}{bucket}", routed.route.name, service.name, choice.reason)
}
