//! Manifests in, documents, decisions and verdicts out.
//!
//! Each sample is a shape that people write, in words of our own. All of them are held to the same: what is written has
//! no problem, requests get the answerer they get there, and what is not the same is said.

mod apisix;
mod ingress_nginx;
mod istio;
mod nginx;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::{Imported, Input, Source, import};
use crate::compile::{Memory, compile};
use crate::decide::{
    Arrival, Buffers, Decision, Groups, NetworkSet, Overrides, Peer, Scratch, Snapshot, Target, Trust,
    location, rewrite,
};
use crate::documents::{DocumentSet, Raw};

/// One test a shape: its text, requests and who answers them, and lines of the report.
macro_rules! shapes {
    ($source:expr; $($name:ident: $text:expr, [$($asked:expr => $expected:expr),* $(,)?], [$($said:expr),* $(,)?];)+) => {
        $(#[test]
        fn $name() {
            crate::import::tests::check($source, $text, &[$(($asked, $expected)),*], &[$($said),*]);
        })+
    };
}
pub(crate) use shapes;

pub fn imported(source: Source, text: &str) -> Imported {
    import(source, &[Input { name: "sample", text }])
}

/// What is written, running; it has no problem.
pub fn running(imported: &Imported) -> Snapshot {
    let documents: BTreeMap<_, _> = imported
        .documents
        .iter()
        .map(|(id, text)| (id.clone(), Arc::new(Raw::yaml(text.as_str()))))
        .collect();
    let set = DocumentSet { documents: documents.into(), ..DocumentSet::default() };
    let compiled = compile(&set, &Memory::default(), &|_| Err(std::io::ErrorKind::NotFound.into()));
    let shown: Vec<_> = compiled.problems.iter().map(|problem| problem.to_string()).collect();
    assert!(shown.is_empty(), "{shown:#?}\n{}", written(imported));
    compiled.snapshot
}

pub fn written(imported: &Imported) -> String {
    let texts = imported.documents.iter().map(|(id, text)| format!("# {id}\n{text}"));
    texts.chain([imported.report.to_string()]).collect()
}

/// Fields of one document as a test writes them.
pub fn has(source: Source, text: &str, document: &str, line: &str) {
    let imported = imported(source, text);
    running(&imported);
    let found = imported.documents.iter().find(|(id, _)| id.to_string() == document);
    let found = found.unwrap_or_else(|| panic!("no {document} in\n{}", written(&imported))).1;
    assert!(
        found.lines().any(|found| found.replace('"', "") == line),
        "no `{line}` in\n{}",
        written(&imported)
    );
}

pub fn check(source: Source, text: &str, asked: &[(&str, &str)], said: &[&str]) {
    let imported = imported(source, text);
    let snapshot = running(&imported);
    for (question, expected) in asked {
        let found = match expected.strip_suffix('%') {
            Some(share) => {
                let wanted: f64 = share.rsplit_once('=').unwrap().1.parse().unwrap();
                let word = share.rsplit_once('=').unwrap().0;
                assert_share(&snapshot, question, (word, wanted), &imported);
                continue;
            }
            None => answer(&snapshot, question),
        };
        assert_eq!(found, *expected, "{question}\n{}", written(&imported));
    }
    let report = imported.report.to_string();
    for line in said {
        assert!(report.contains(line), "no `{line}` in\n{}", written(&imported));
    }
    documents_are_told(&imported);
}

/// Whatever is written stands in the report, or is a part of what does.
fn documents_are_told(imported: &Imported) {
    let told: BTreeSet<&str> =
        imported.report.findings.iter().flat_map(|finding| &finding.documents).map(String::as_str).collect();
    for finding in &imported.report.findings {
        let written = |document: &String| imported.documents.keys().any(|id| id.to_string() == *document);
        assert!(finding.documents.iter().all(written), "{finding:?}\n{}", written_text(imported));
    }
    assert!(imported.documents.is_empty() || !told.is_empty(), "{}", written_text(imported));
}

fn written_text(imported: &Imported) -> String {
    written(imported)
}

/// Asks as many clients as make a share visible.
fn assert_share(snapshot: &Snapshot, question: &str, (word, wanted): (&str, f64), imported: &Imported) {
    const CLIENTS: u32 = 4_000;
    let hits = (0..CLIENTS)
        .filter(|number| {
            let address = Ipv4Addr::from(0x0b00_0000 + number * 7);
            let asked = question.replace('#', &number.to_string());
            answer(snapshot, &format!("{asked} | @{address}")) == word
        })
        .count();
    let found = f64::from(u32::try_from(hits).unwrap()) * 100.0 / f64::from(CLIENTS);
    assert!((found - wanted).abs() < 2.5, "{question}: {found} % and not {wanted} %\n{}", written(imported));
}

/// `METHOD [scheme://]host/path?query | header: value | @address`: who answers, and under which path if it is another.
pub fn answer(snapshot: &Snapshot, question: &str) -> String {
    let mut parts = question.split(" | ");
    let (method, url) = parts.next().unwrap().split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(host).unwrap());
    let mut address: IpAddr = "203.0.113.7".parse().unwrap();
    for part in parts {
        match part.strip_prefix('@') {
            Some(text) => address = text.parse().unwrap(),
            None => {
                let (name, value) = part.split_once(':').unwrap();
                let name = HeaderName::from_bytes(name.trim().as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
            }
        }
    }
    let scheme = if scheme == "https" { "https" } else { "http" };
    let arrival = Arrival {
        method,
        authority: None,
        path: path.as_bytes(),
        query: query.map(str::as_bytes),
        fields: (&headers).into(),
        peer: Peer { address, scheme, trusted: false },
        version: Version::HTTP_11,
        now: 0,
        fresh_identity: None,
    };
    let trust = Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    };
    let mut buffers = Buffers::default();
    let Ok(request) = arrival.admit(&trust, &mut buffers).request else { return "400".into() };
    match snapshot.decide(&request, &mut Scratch::default()) {
        Decision::NoRoute => "404".into(),
        Decision::NoService(_, name) => format!("503 {name}"),
        Decision::Redirect(routed) => {
            let Target::Redirect(redirect) = &routed.route.target else { panic!("no redirect") };
            let groups = Groups::of(&routed, request.path.view);
            format!("{} {}", redirect.status, location(redirect, &routed, &request, &groups).unwrap())
        }
        Decision::Version(routed, choice) => {
            let plan = snapshot.service(choice.service).unwrap();
            let word = plan.version(choice.version.unwrap()).unwrap().word.clone();
            let groups = Groups::of(&routed, request.path.view);
            let rewritten = rewrite(&routed, request.path, &groups).unwrap();
            match rewritten.path {
                Some(path) => format!("{}/{word} {path}", plan.name),
                None => format!("{}/{word}", plan.name),
            }
        }
    }
}
