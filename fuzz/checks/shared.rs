//! Documents around what the fuzzer writes, and an ordinary request.

use std::sync::Arc;

use crate::oracle::{Ask, program::no_file};
use graygate_rules::compile::{Compiled, Memory, compile};
use graygate_rules::decide::{Path, Request, Scratch};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use http::{HeaderMap, HeaderValue};

/// One service behind one route with a list, and these documents.
pub fn set(documents: &[(&str, Raw)]) -> DocumentSet {
    let around = [
        ("services/s", Raw::yaml("identity: [header:x-a, ip]")),
        ("routes/r", Raw::yaml("service: s")),
        ("lists/l", Raw::list("a\nab\n10.0.0.1\n")),
    ];
    let all = around.iter().chain(documents);
    let read = |(id, raw): &(&str, Raw)| (DocumentId::parse(id).unwrap(), Arc::new(raw.clone()));
    DocumentSet { documents: all.map(read).collect(), ..DocumentSet::default() }
}

pub fn compiled(set: &DocumentSet) -> Compiled {
    compile(set, &Memory::default(), &no_file)
}

pub fn ask() -> Ask {
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("ab"));
    Ask {
        method: "GET".into(),
        scheme: "https",
        host: "a.test".into(),
        path: b"/a/b".to_vec(),
        query: Some("q=a".into()),
        headers,
        client: "10.0.0.1".parse().unwrap(),
        trusted: true,
        inherited: None,
        now: 0,
        fresh: None,
        located: false,
        word: None,
    }
}

/// The index and the linear search say the same.
pub fn agree(compiled: &Compiled, ask: &Ask) {
    let path = str::from_utf8(&ask.path).unwrap();
    let request = Request {
        method: &ask.method,
        scheme: ask.scheme,
        host: &ask.host,
        port: None,
        path: Path { view: path, upstream: path },
        query: ask.query.as_deref().map(str::as_bytes),
        fields: (&ask.headers).into(),
        client: ask.client,
        pins_trusted: ask.trusted,
        inherited: None,
        now: ask.now,
        tester: None,
        places: None,
        fresh_identity: None,
    };
    let mut scratch = Scratch::default();
    let indexed = format!("{:?}", compiled.snapshot.decide(&request, &mut scratch));
    assert_eq!(indexed, format!("{:?}", compiled.snapshot.decide_linear(&request, &mut scratch)));
}
