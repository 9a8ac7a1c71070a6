//! What the program itself makes of a request, in the words of a [`Verdict`], so that the two can be compared.

use std::sync::OnceLock;

use graygate_rules::compile::Compiled;
use graygate_rules::decide::{
    self, Decision, Groups, PathBuffer, Places, Request, Routed, Scratch, Tester, normalise_host,
};

use super::mmdb::{ROWS, database};
use super::{Ask, Headers, Served, Verdict};

/// For compiling documents that name no files.
pub fn no_file(_: &std::path::Path) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// The places that requests come from.
fn places() -> &'static Places {
    static PLACES: OnceLock<Places> = OnceLock::new();
    PLACES.get_or_init(|| Places::read(database(&ROWS)).unwrap())
}

/// Calls `read` with the request as the program sees it, unless it is refused.
fn asked<T>(ask: &Ask, read: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
    let (mut buffer, mut host_buffer) = (PathBuffer::default(), String::new());
    let path = buffer.normalise(&ask.path).ok()?;
    let host = normalise_host(ask.host.as_bytes(), &mut host_buffer)?;
    let request = Request {
        method: &ask.method,
        scheme: ask.scheme,
        host: host.name,
        port: host.port,
        path,
        query: ask.query.as_deref().map(str::as_bytes),
        fields: (&ask.headers).into(),
        client: ask.client,
        pins_trusted: ask.trusted,
        inherited: ask.inherited.as_deref(),
        now: ask.now,
        places: Some(places()).filter(|_| ask.located),
        tester: ask.word.as_deref().and_then(Tester::read),
        fresh_identity: ask.fresh.as_deref(),
    };
    Some(read(&request))
}

/// What every rule of every service says to a request, in their order.
#[allow(dead_code, reason = "not every user of the oracle asks")]
pub fn explained(compiled: &Compiled, ask: &Ask) -> Option<Vec<String>> {
    asked(ask, |request| {
        let mut scratch = Scratch::default();
        let rules = compiled
            .snapshot
            .services
            .iter()
            .flat_map(|service| service.rules.iter().map(move |rule| (service, rule)));
        let told = rules.map(|(service, rule)| {
            let said = rule.explain(service.sees(request), &mut scratch);
            format!("{} {} {said:?} {:?}", service.name, rule.name, rule.outcome)
        });
        told.collect()
    })
}

/// What the program does with a request.
pub fn decided(compiled: &Compiled, ask: &Ask) -> Verdict {
    asked(ask, |request| told(compiled, ask, request)).unwrap_or(Verdict::BadRequest)
}

fn told(compiled: &Compiled, ask: &Ask, request: &Request<'_>) -> Verdict {
    let mut scratch = Scratch::default();
    let named = |routed: &Routed<'_>| routed.route.name.to_string();
    match compiled.snapshot.decide(request, &mut scratch) {
        Decision::NoRoute => Verdict::NoRoute,
        Decision::NoService(routed, service) => {
            Verdict::NoService { route: named(&routed), service: service.to_string() }
        }
        Decision::Redirect(routed) => {
            let decide::Target::Redirect(redirect) = &routed.route.target else { panic!("no redirect") };
            let groups = Groups::of(&routed, request.path.view);
            let location = decide::location(redirect, &routed, request, &groups).ok();
            Verdict::Redirect { route: named(&routed), status: redirect.status, location }
        }
        Decision::Version(routed, choice) => served(compiled, ask, request, &routed, choice),
    }
}

fn served(
    compiled: &Compiled,
    ask: &Ask,
    request: &Request<'_>,
    routed: &Routed<'_>,
    choice: decide::Choice,
) -> Verdict {
    let service = compiled.snapshot.service(choice.service).unwrap();
    let groups = Groups::of(routed, request.path.view);
    // An unknown word has no plan: it falls back as every version does.
    let (version, chain) = match choice.version.and_then(|version| service.version(version)) {
        Some(plan) => {
            let word = |id: &usize| service.version(*id).unwrap().word.to_string();
            (plan.word.to_string(), plan.chain.iter().map(word).collect())
        }
        None => {
            let word = choice.brought(request).unwrap().to_string();
            (word.clone(), vec![word, "release".into()])
        }
    };
    let (path, host) = match decide::rewrite(routed, request.path, &groups) {
        Ok(rewritten) => (rewritten.path, rewritten.host.map(Ok)),
        Err(decide::BadTarget) => (None, Some(Err(()))),
    };
    let mut headers = ask.headers.clone();
    decide::apply(&decide::edits(&routed.route.request_headers, &groups), &mut headers);
    Verdict::Served(Box::new(Served {
        route: routed.route.name.to_string(),
        service: service.name.to_string(),
        version,
        reason: choice.reason.as_str(),
        rule: choice.rule.map(|id| service.rules.get(id).unwrap().name.to_string()),
        bucket: choice.bucket.map(|bucket| bucket.number()),
        issue_cookie: choice.issue_cookie,
        chain,
        path: path.unwrap_or_else(|| request.path.upstream.to_string()),
        host,
        headers: by_name(&headers),
    }))
}

fn by_name(headers: &http::HeaderMap) -> Headers {
    let mut found = Headers::new();
    for (name, value) in headers {
        found.entry(name.to_string()).or_default().push(value.as_bytes().escape_ascii().to_string());
    }
    found
}
