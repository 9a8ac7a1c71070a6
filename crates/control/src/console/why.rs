//! Which version a request, or a user, gets and why; who would move; and where something is.

use axum::response::Response;
use graygate_rules::documents::{DocumentId, Kind};
use maud::{Markup, html};
use serde_json::Value;

use super::shell::{Page, Tab};
use super::show::{known, moment, number, refusal, word};
use super::visit::Visit;
use crate::control::{ExplainAsked, HistoryShown};
use crate::error::Result;

/// Most objects a search names.
const FOUND: usize = 50;
/// Lists a value is looked for in: each of them may be large.
const LISTS: usize = 100;

pub async fn show(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let asked = asked(&visit);
    let told = match &asked {
        Some(asked) => Some(visit.control().explain(&visit.who, asked.clone()).await),
        None => None,
    };
    let main = html! {
        h1 { (lang.why()) }
        (form(&visit))
        p { a href=(visit.at("/replay")) { (lang.replay()) } }
        @match &told {
            None => p.none { (lang.ask_why()) },
            Some(Err(error)) => (refusal(&visit.look, error)),
            Some(Ok(told)) => { (answer(&visit, told, made_so(&visit, told).await)) },
        }
    };
    let calls = vec!["POST /explain".to_owned()];
    Ok(visit.page(Page { tab: Tab::Why, title: lang.why().to_owned(), calls, main }).await)
}

fn form(visit: &Visit) -> Markup {
    let lang = visit.lang();
    html! {
        form method="get" action=(visit.at("/why")) {
            div.two {
                div.fields {
                    label for="url" { (lang.url()) }
                    input #url name="url" value=(visit.asked("url")) placeholder="http://gray.example.com/patient/list" data-search autocomplete="off";
                    label for="headers" { (lang.headers()) }
                    textarea #headers name="headers" rows="4" spellcheck="false" placeholder="x-user: alice" { "\n" (visit.asked("headers")) }
                    label for="ip" { (lang.client_address()) }
                    input #ip name="ip" value=(visit.asked("ip")) placeholder="127.0.0.1" autocomplete="off";
                    label for="at" { (lang.at_moment()) }
                    input #at name="at" value=(visit.asked("at")) placeholder="2026-11-22 08:00" autocomplete="off" aria-describedby="at-note";
                    p #at-note .none { (lang.at_note()) }
                    p { label { input type="checkbox" name="proxies" value="1" checked[visit.asked("proxies") == "1"]; " " (lang.ask_proxies()) } }
                    p { label { input type="checkbox" name="trusted" value="1" checked[visit.asked("trusted") == "1"]; " " (lang.trusted_peer()) } }
                }
                div.fields {
                    label for="curl" { (lang.or_curl()) }
                    textarea #curl name="curl" rows="8" spellcheck="false" placeholder="curl 'http://…' -H 'x-user: alice'" { "\n" (visit.asked("curl")) }
                }
            }
            button.main type="submit" { (lang.ask()) }
        }
    }
}

fn asked(visit: &Visit) -> Option<ExplainAsked> {
    let curl = visit.asked("curl").trim();
    let mut asked = match curl {
        "" if visit.asked("url").is_empty() => return None,
        "" => ExplainAsked {
            method: "GET".to_owned(),
            url: visit.asked("url").to_owned(),
            headers: header_lines(visit.asked("headers")),
            ..ExplainAsked::default()
        },
        line => read_curl(line)?,
    };
    asked.ip = Some(visit.asked("ip").trim()).filter(|ip| !ip.is_empty()).map(str::to_owned);
    asked.trusted = visit.asked("trusted") == "1";
    asked.at = moment_of(visit.asked("at"));
    asked.proxies = visit.asked("proxies") == "1";
    Some(asked)
}

/// A revision, or a time of UTC as people type it; a day is its end.
fn moment_of(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches("UTC").trim_end();
    if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    let joined = text.replacen(' ', "T", 1);
    Some(match joined.len() {
        10 => format!("{joined}T23:59:59Z"),
        16 => format!("{joined}:00Z"),
        19 => format!("{joined}Z"),
        _ => joined,
    })
}

fn header_lines(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// A line for curl, as browsers copy it: address, method, headers, cookies.
fn read_curl(line: &str) -> Option<ExplainAsked> {
    let mut words = shell_words(line).into_iter();
    let mut asked = ExplainAsked::default();
    let mut has_body = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "curl" => {}
            "-H" | "--header" => asked.headers.extend(header_lines(&words.next()?)),
            "-X" | "--request" => asked.method = words.next()?,
            "-b" | "--cookie" => asked.headers.push(("cookie".to_owned(), words.next()?)),
            "-A" | "--user-agent" => asked.headers.push(("user-agent".to_owned(), words.next()?)),
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-urlencode" => {
                words.next()?;
                has_body = true;
            }
            "-o" | "--output" | "-w" | "--write-out" | "-u" | "--user" | "--resolve" | "-m"
            | "--max-time" => drop(words.next()?),
            "--url" => asked.url = words.next()?,
            "-I" | "--head" => asked.method = "HEAD".to_owned(),
            option if option.starts_with('-') => {}
            url => asked.url = url.to_owned(),
        }
    }
    if asked.method.is_empty() {
        asked.method = if has_body { "POST" } else { "GET" }.to_owned();
    }
    (!asked.url.is_empty()).then_some(asked)
}

/// Words as a shell makes them of quotes and backslashes; nothing else of a shell is understood.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            // A line that goes on.
            (None | Some('"'), '\\') => match letters.next() {
                Some('\n') | None => {}
                Some('\r') => drop(letters.next_if_eq(&'\n')),
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            // `$'…'`, as browsers write values with odd characters.
            (None, '$') if letters.peek() == Some(&'\'') => {}
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Changes of a rule that are looked through for the one that counted.
const CHANGES: usize = 100;

/// The change that made the deciding rule what it was.
async fn made_so(visit: &Visit, told: &Value) -> Option<HistoryShown> {
    let id = DocumentId::of(Kind::Rule, word(told, "rule"))?;
    let then = told.get("at").map(|at| word(at, "time"));
    let (items, _) = visit.control().history(&visit.who, &id, (CHANGES, None)).await.ok()?;
    // Times are written alike, so their texts sort as they do.
    items.into_iter().find(|item| then.is_none_or(|then| item.time.as_str() <= then))
}

/// Of which moment the answer is, and what is not known of it.
fn of_moment(visit: &Visit, told: &Value) -> Markup {
    let lang = visit.lang();
    let Some(at) = told.get("at") else { return html! {} };
    let unknown: Vec<&str> =
        at.get("unknown").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        p #of-moment { strong { (lang.as_it_was()) " " (moment(word(at, "time"))) } " · "
            (lang.otherwise_then(number(at, "changed").unwrap_or(0.0))) }
        @if !unknown.is_empty() { p.warn { (lang.unknown_then(unknown.join(", "))) } }
    }
}

/// What each proxy says, from what it runs.
fn by_proxies(visit: &Visit, told: &Value) -> Markup {
    let lang = visit.lang();
    let Some(proxies) = told.get("proxies").and_then(Value::as_array) else { return html! {} };
    html! {
        h3 { (lang.on_each_proxy()) }
        @if proxies.is_empty() { p.none { (lang.no_proxies()) } }
        @else {
            div.scroll tabindex="0" role="group" aria-label=(lang.on_each_proxy()) { table.rows #proxies {
                caption.unseen { (lang.on_each_proxy()) }
                thead { tr {
                    th scope="col" { (lang.proxy()) } th scope="col" { (lang.running()) } th scope="col" { (lang.version()) }
                    th scope="col" { (lang.reason_is()) } th scope="col" { (lang.rule()) } th scope="col" { (lang.result()) }
                } }
                tbody { @for proxy in proxies { (by_proxy(visit, proxy)) } }
            } }
        }
    }
}

fn by_proxy(visit: &Visit, proxy: &Value) -> Markup {
    let lang = visit.lang();
    let (class, shape, said) = match proxy.get("agrees").and_then(Value::as_bool) {
        Some(true) => ("good", "●", lang.the_same()),
        Some(false) => ("warn", "▲", lang.another_answer()),
        None => ("bad", "■", lang.down()),
    };
    let answer = proxy.get("answer").cloned().unwrap_or_default();
    let running = proxy.get("running").filter(|running| !running.is_null()).map(ToString::to_string);
    html! {
        tr {
            td { code { (word(proxy, "id")) } }
            td { (known(running)) @if proxy.get("lags").and_then(Value::as_bool) == Some(true) { " " span.mark { (lang.lags()) } } }
            td { (known(Some(word(&answer, "version").to_owned()).filter(|text| !text.is_empty()))) }
            td { code { (word(&answer, "reason")) } }
            td { code { (word(&answer, "rule")) } }
            td { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (said) }
                @if !word(proxy, "error").is_empty() { " " span.none { (lang.tell(word(proxy, "error"))) } } }
        }
    }
}

fn answer(visit: &Visit, told: &Value, made_so: Option<HistoryShown>) -> Markup {
    let lang = visit.lang();
    let text = |key: &str| Some(word(told, key)).filter(|text| !text.is_empty());
    let chain: Vec<&str> =
        told.get("chain").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let rows = [
        (lang.status(), number(told, "status").map(|status| status.to_string())),
        (lang.route(), text("route").map(str::to_owned)),
        (lang.service(), text("service").map(str::to_owned)),
        (lang.identity(), text("identity").map(str::to_owned)),
        (lang.bucket(), number(told, "bucket").map(|bucket| bucket.to_string())),
        (lang.fallback_chain(), (!chain.is_empty()).then(|| chain.join(" → "))),
        (lang.pin(), text("pin").map(str::to_owned)),
        (lang.path_sent(), text("path").map(str::to_owned)),
        (lang.client_address(), text("ip").map(str::to_owned)),
        (lang.redirects_to(), text("location").map(str::to_owned)),
    ];
    html! {
        section.answer aria-labelledby="answer-title" {
            h2 #answer-title tabindex="-1" data-focus { (lang.answer()) }
            p.verdict {
                @match text("version") {
                    Some(version) => { (lang.gets()) " " strong { (version) } },
                    None => strong { (lang.gets_nothing()) },
                }
                " · " (lang.reason_is()) " " code { (word(told, "reason")) }
                @if let Some(rule) = text("rule") {
                    " · " (lang.by_rule()) " " a href=(visit.at(&format!("/documents/rules/{rule}"))) { code { (rule) } }
                }
            }
            (of_moment(visit, told))
            @if let Some(change) = made_so {
                p { (lang.made_so()) " " (visit.person(&change.who)) ", " (moment(&change.time)) " · "
                    a href=(visit.at(&format!("/documents/rules/{}#history-title", word(told, "rule")))) { (lang.history()) } }
            }
            dl.facts { @for (name, value) in rows { @if let Some(value) = value { dt { (name) } dd { (value) } } } }
            (by_proxies(visit, told))
            h3 { (lang.rule_by_rule()) }
            (trace(visit, told))
        }
    }
}

fn trace(visit: &Visit, told: &Value) -> Markup {
    let lang = visit.lang();
    let steps = told.get("trace").and_then(Value::as_array).cloned().unwrap_or_default();
    html! {
        @if steps.is_empty() { p.none { (lang.no_rules()) } }
        @else {
            ol.trace { @for step in &steps {
                @let matched = step.get("matched").and_then(Value::as_bool) == Some(true);
                li class=(if matched { "matched" } else { "" }) {
                    span.shape aria-hidden="true" { (if matched { "●" } else { "○" }) } " "
                    span.unseen { (if matched { lang.matched() } else { lang.not_matched() }) ": " }
                    a href=(visit.at(&format!("/documents/rules/{}", word(step, "rule")))) { code { (word(step, "rule")) } }
                    ": " (lang.tell(word(step, "because")))
                }
            } }
        }
    }
}

pub async fn find(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let text = visit.asked("q").trim().to_owned();
    let found = if text.is_empty() { Vec::new() } else { matching(&visit, &text).await? };
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("url", "/")
        .append_pair("headers", &format!("x-user: {text}"))
        .finish();
    let main = html! {
        h1 { (lang.find()) }
        form.filters method="get" action=(visit.at("/find")) role="search" aria-label=(lang.find()) {
            label for="q" { (lang.find_hint()) }
            input #q type="search" name="q" value=(text) data-search maxlength="1024";
            button type="submit" { (lang.find()) }
        }
        div #found {
            @if !text.is_empty() {
                ul.found {
                    @for (path, what, kind) in &found { li { a.open href=(visit.at(path)) { (what) } " " span.none { (kind) } } }
                    li { a.open href=(visit.at(&format!("/why?{query}"))) { (lang.why_for(&text)) } }
                }
                @if found.is_empty() { p.none { (lang.nothing_found()) } }
            }
        }
    };
    Ok(visit
        .page(Page {
            tab: Tab::Why,
            title: lang.find().to_owned(),
            calls: vec!["GET /documents?filter=X".to_owned()],
            main,
        })
        .await)
}

/// Objects whose name contains a text, and lists that have it as a member.
async fn matching(visit: &Visit, text: &str) -> Result<Vec<(String, String, &'static str)>> {
    let lang = visit.lang();
    let control = visit.control();
    let mut found = Vec::new();
    for id in control.documents(&visit.who, None, Some(text))?.into_iter().take(FOUND) {
        let (path, kind) = match id.kind {
            Kind::Service => (format!("/services/{}", id.name), lang.service()),
            Kind::List => (format!("/lists/{}", id.name), lang.list()),
            Kind::Plan => (format!("/plans/{}", id.name), lang.plan()),
            _ => (format!("/documents/{id}"), lang.document()),
        };
        found.push((path, id.to_string(), kind));
    }
    for id in control.documents(&visit.who, Some(Kind::List), None)?.into_iter().take(LISTS) {
        if control.list_contains(&visit.who, &id.name, text).await.is_ok_and(|answer| answer.contains) {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("contains", text).finish();
            found.push((format!("/lists/{}?{query}", id.name), lang.member_of(&id.name), lang.list()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_typed_as_people_do() {
        for (text, moment) in [
            ("", None),
            ("812", Some("812")),
            ("2026-11-22", Some("2026-11-22T23:59:59Z")),
            ("2026-11-22 08:00", Some("2026-11-22T08:00:00Z")),
            ("2026-11-22 08:00:30 UTC", Some("2026-11-22T08:00:30Z")),
            ("2026-11-22T08:00:30+08:00", Some("2026-11-22T08:00:30+08:00")),
        ] {
            assert_eq!(moment_of(text).as_deref(), moment, "{text}");
        }
    }

    #[test]
    fn a_pasted_line_is_a_request() {
        let line = "curl 'http://gray.example.com/patient/list?x=1' \\\n  -H 'x-user: alice' -H \"Accept: */*\" --compressed -b 'a=b; c=d' --data-raw '{\"a\":1}'";
        let asked = read_curl(line).unwrap();
        assert_eq!(
            (asked.method.as_str(), asked.url.as_str()),
            ("POST", "http://gray.example.com/patient/list?x=1")
        );
        let headers = [("x-user", "alice"), ("Accept", "*/*"), ("cookie", "a=b; c=d")];
        assert_eq!(asked.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(read_curl("curl -s http://h/ -X PUT").unwrap().method, "PUT");
        assert!(read_curl("curl").is_none());
    }
}
