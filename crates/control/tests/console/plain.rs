//! Pages over HTTP, as they are without any script.

use bytes::Bytes;
use graygate_control::notices::{Event, Notice, Subject};
use graygate_control::people::Role;
use graygate_control::state::Transaction;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;

use crate::stage::{PASSWORD, Stage};

pub struct Answer {
    pub status: u16,
    headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn cookies(&self) -> Vec<String> {
        let set = self.headers.get_all("set-cookie").iter();
        set.map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
    }

    /// What a form of the page carries as proof.
    pub fn csrf(&self) -> String {
        let (_, rest) = self
            .text
            .split_once("name=\"csrf\" value=\"")
            .unwrap_or_else(|| panic!("no form: {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }
}

pub async fn send(
    stage: &Stage,
    (method, path): (&str, &str),
    (cookie, form): (&str, &[(&str, &str)]),
) -> Answer {
    ask(stage, (method, path), &[("cookie", cookie)], form).await
}

pub async fn ask(
    stage: &Stage,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Answer {
    let stream = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request =
        hyper::Request::builder().method(method).uri(path).header("host", stage.address.to_string());
    if method == "POST" {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
}

/// A session's cookie, by the form.
pub async fn sign_in(stage: &Stage, name: &str) -> String {
    let form = [("user", name), ("password", PASSWORD)];
    let answer = send(stage, ("POST", "/sign-in"), ("", &form)).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "{}", answer.text);
    answer.cookies().into_iter().find(|cookie| cookie.starts_with("graygate=")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_to_the_sign_in_and_back() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    for page in [
        "/",
        "/plans/x",
        "/documents",
        "/lists/x",
        "/why",
        "/configs",
        "/fleet",
        "/audit",
        "/messages",
        "/people",
    ] {
        let answer = send(&stage, ("GET", page), ("", &[])).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/sign-in"), "{page}");
    }
    let asked = send(&stage, ("GET", "/documents?kind=rule"), ("", &[])).await;
    let there = asked.cookies().pop().unwrap();
    let page = send(&stage, ("GET", "/sign-in"), ("", &[])).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("data:"),
        "{policy}"
    );
    assert!(
        !page.text.contains("<script>") && !page.text.contains(" style=") && !page.text.contains(" onclick=")
    );
    let form = [("user", "li"), ("password", PASSWORD)];
    let answer = send(&stage, ("POST", "/sign-in"), (&there, &form)).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/documents?kind=rule"));
    let wrong = send(
        &stage,
        ("POST", "/sign-in"),
        ("graygate-there=//evil.example", &[("user", "li"), ("password", "no")]),
    )
    .await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("The name or the password is wrong."));
    let elsewhere = send(&stage, ("POST", "/sign-in"), ("graygate-there=//evil.example", &form)).await;
    assert_eq!(elsewhere.header("location"), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_is_chosen_and_remembered() {
    let stage = Stage::start().await;
    let browser = ask(&stage, ("GET", "/sign-in"), &[("accept-language", "zh-CN,zh;q=0.9")], &[]).await;
    assert!(browser.text.contains("<html lang=\"zh-Hans\"") && browser.text.contains("登录"));
    let chosen = send(&stage, ("GET", "/sign-in?lang=en"), ("", &[])).await;
    assert!(chosen.text.contains("<html lang=\"en\""));
    let cookie = chosen.cookies().pop().unwrap();
    let headers = [("accept-language", "zh-CN"), ("cookie", cookie.as_str())];
    let again = ask(&stage, ("GET", "/sign-in"), &headers, &[]).await;
    assert!(again.text.contains("<html lang=\"en\""), "it is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_work_without_a_script_and_only_from_our_pages() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let cookie = sign_in(&stage, "li").await;
    let path = "/documents/rules/30-share";
    let page = send(&stage, ("GET", path), (&cookie, &[])).await;
    let etag = page
        .text
        .split_once("name=\"etag\" value=\"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap()
        .replace("&quot;", "\"");
    let text = "services: [patient]\r\npriority: -10\r\nsplit: {gray: 40}\r\n";
    let base = "services: [patient]\npriority: -10\nsplit: {gray: 20}\n";
    let fields = |csrf: &'static str| vec![("csrf", csrf), ("do", "look"), ("text", text), ("base", base)];
    for csrf in ["", "wrong"] {
        let answer = send(&stage, ("POST", path), (&cookie, &fields(csrf))).await;
        assert_eq!(answer.status, 403, "a form without proof");
    }
    let csrf = page.csrf();
    let mut form = vec![
        ("csrf", csrf.as_str()),
        ("do", "look"),
        ("text", text),
        ("base", base),
        ("etag", &page.text[..0]),
    ];
    form[4].1 = &etag;
    let shown = send(&stage, ("POST", path), (&cookie, &form)).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(
        shown.text.contains("+split: {gray: 40}")
            && shown.text.contains("made-up users would get another version")
    );
    let hash =
        shown.text.split_once("name=\"hash\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    form[1].1 = "save";
    form.push(("hash", &hash));
    let foreign =
        ask(&stage, ("POST", path), &[("cookie", &cookie), ("sec-fetch-site", "cross-site")], &form).await;
    assert_eq!(foreign.status, 403);
    let saved = send(&stage, ("POST", path), (&cookie, &form)).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    assert!(saved.header("location").starts_with("/documents/rules/30-share?done=saved"));
    assert_eq!(
        std::fs::read_to_string(stage.file("rules/30-share.yaml")).unwrap(),
        text.replace("\r\n", "\n")
    );
    // The same form again is over a text that is gone.
    let late = send(&stage, ("POST", path), (&cookie, &form)).await;
    assert_eq!(late.status, 412);
    // Without a reading of its fields, no call takes a form's word for anything.
    let call = send(&stage, ("POST", "/api/v1/changes"), (&cookie, &form)).await;
    assert_eq!(call.status, 403);
    let out = send(&stage, ("POST", "/sign-out"), (&cookie, &[("csrf", &csrf)])).await;
    assert_eq!(out.header("location"), "/sign-in");
    assert_eq!(send(&stage, ("GET", "/"), (&cookie, &[])).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_do_is_shown_and_explained() {
    let stage = Stage::start().await;
    stage.person("wang", Role::Viewer).await;
    let cookie = sign_in(&stage, "wang").await;
    for (page, role) in [
        ("/documents/rules/30-share", "editor"),
        ("/lists/pilots", "editor"),
        ("/people", "admin"),
        ("/documents", "editor"),
    ] {
        let page = send(&stage, ("GET", page), (&cookie, &[])).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains(" disabled"), "{role}: a button is there, and disabled");
        assert!(page.text.contains(&format!("It takes the role `{role}`.")), "{role}: {}", page.text);
        assert!(page.text.contains("read only"), "the header says so");
    }
    let page = send(&stage, ("GET", "/lists/pilots"), (&cookie, &[])).await;
    let csrf = page.csrf();
    let form = [("csrf", csrf.as_str()), ("do", "members"), ("add", "eve")];
    let refused = send(&stage, ("POST", "/lists/pilots"), (&cookie, &form)).await;
    assert_eq!(refused.status, 403, "the server decides");
    assert!(refused.text.contains("You may not do this"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_packed_kept_and_named_by_their_content() {
    let stage = Stage::start().await;
    let page = send(&stage, ("GET", "/sign-in"), ("", &[])).await;
    let mut count = 0;
    for link in page.text.split('"').filter(|text| text.starts_with("/static/")) {
        let packed = ask(&stage, ("GET", link), &[("accept-encoding", "gzip, br")], &[]).await;
        assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"), "{link}");
        assert!(packed.header("cache-control").contains("immutable"));
        let plain = ask(&stage, ("GET", link), &[], &[]).await;
        assert_eq!(plain.header("content-encoding"), "");
        assert!(!plain.text.contains("http://") || link.ends_with(".svg"), "{link} names another place");
        count += 1;
    }
    assert_eq!(count, 3);
    assert_eq!(send(&stage, ("GET", "/static/console.0.js"), ("", &[])).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_all_stands_under_a_prefix() {
    let stage = Stage::with("listen: {address: \"ADDRESS\", path: /gray}\n").await;
    stage.person("li", Role::Editor).await;
    let answer = send(&stage, ("GET", "/gray/documents"), ("", &[])).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/gray/sign-in"));
    let page = send(&stage, ("GET", "/gray/sign-in"), ("", &[])).await;
    for link in page.text.split(['"', ' ']).filter(|text| text.starts_with('/')) {
        assert!(link == "/gray" || link.starts_with("/gray/"), "{link} leads out of the prefix");
    }
    let form = [("user", "li"), ("password", PASSWORD)];
    let answer = send(&stage, ("POST", "/gray/sign-in"), (&answer.cookies().pop().unwrap(), &form)).await;
    assert_eq!(answer.header("location"), "/gray/documents");
    let cookie = answer.cookies().into_iter().find(|cookie| cookie.starts_with("graygate=")).unwrap();
    for page in ["/gray", "/gray/", "/gray/documents", "/gray/services/patient", "/gray/lists/pilots"] {
        let page = send(&stage, ("GET", page), (&cookie, &[])).await;
        assert_eq!(page.status, 200);
        for (_, rest) in page.text.match_indices("href=\"/").map(|(at, _)| page.text.split_at(at + 6)) {
            assert!(rest.starts_with("/gray"), "{}", rest.split('"').next().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_page_too() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let cookie = sign_in(&stage, "li").await;
    for path in [
        "/documents/rules/nothing",
        "/services/nothing",
        "/lists/nothing",
        "/proposals/nothing",
        "/documents/nonsense/x",
    ] {
        let page = send(&stage, ("GET", path), (&cookie, &[])).await;
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
    }
    for hostile in ["<script>alert(1)</script>", "\"><img src=x>", "'||1"] {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("q", hostile)
            .append_pair("filter", hostile)
            .finish();
        for path in ["/find", "/documents", "/audit"] {
            let page = send(&stage, ("GET", &format!("{path}?{query}")), (&cookie, &[])).await;
            assert!(!page.text.contains(hostile) || hostile == "'||1", "{path} repeats {hostile}");
        }
    }
}

/// Problems, reasons of rules and what a plan waits for are told in the language of the page.
#[tokio::test(flavor = "multi_thread")]
async fn chinese_pages_tell_problems_and_reasons_in_chinese() {
    let stage = Stage::start().await;
    stage.person("li", Role::Admin).await;
    std::fs::write(stage.file("rules/40-wrong.yaml"), "servces: [patient]\nversion: gray\n").unwrap();
    std::fs::write(stage.file("rules/41-lost.yaml"), "services: [nowhere]\nversion: gray\n").unwrap();
    let cookie = sign_in(&stage, "li").await;
    let begun = std::time::Instant::now();
    let page = loop {
        let page = send(&stage, ("GET", "/?lang=zh"), (&cookie, &[])).await;
        if page.text.contains("40-wrong") {
            break page;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{}", page.text);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(
        page.text.contains("未知字段 `servces`") && page.text.contains("服务 `nowhere` 不存在"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("unknown field"), "{}", page.text);
    let lang = format!("{cookie}; graygate-lang=zh");
    let document = send(&stage, ("GET", "/documents/rules/40-wrong"), (&lang, &[])).await;
    assert!(document.text.contains("是否指 `services`？"), "the remedy too: {}", document.text);
    let why =
        send(&stage, ("GET", "/why?url=http%3A%2F%2Fx%2Fpatient&headers=x-user%3A%20zed"), (&lang, &[]))
            .await;
    assert!(why.text.contains("不满足：在名单 `pilots` 中"), "{}", why.text);
    let english = send(
        &stage,
        ("GET", "/why?lang=en&url=http%3A%2F%2Fx%2Fpatient&headers=x-user%3A%20zed"),
        (&cookie, &[]),
    )
    .await;
    assert!(english.text.contains("in_list `pilots`"), "{}", english.text);
    // Refusals and notices, which have nothing to do with a plan or are told elsewhere as well.
    stage.person("wang", Role::Viewer).await;
    let viewer = format!("{}; graygate-lang=zh", sign_in(&stage, "wang").await);
    let csrf = send(&stage, ("GET", "/lists/pilots"), (&viewer, &[])).await.csrf();
    let form = [("csrf", csrf.as_str()), ("do", "members"), ("add", "eve")];
    let refused = send(&stage, ("POST", "/lists/pilots"), (&viewer, &form)).await;
    assert!(refused.text.contains("您的角色不允许此操作；需要 `editor`"), "{}", refused.text);
    let subject = Subject {
        services: vec!["patient".into()],
        version: "gray".into(),
        plan: "p8".into(),
        run: 3,
        step: Some(1),
        state: "ROLLBACK".into(),
        channels: Vec::new(),
    };
    let now = time::OffsetDateTime::now_utc();
    let notice = Notice::of_plan(&subject, Event::RolledBack, "by li", now);
    let mut transaction = Transaction::default();
    notice.queue(&mut transaction).unwrap();
    stage.control().state.commit(transaction).await.unwrap();
    let messages = send(&stage, ("GET", "/messages"), (&lang, &[])).await;
    assert!(
        messages.text.contains("patient gray：计划 `p8` 第 3 次运行，第 1 步（ROLLBACK）：已回滚：由 li"),
        "{}",
        messages.text
    );
    let audit = send(&stage, ("GET", "/audit"), (&lang, &[])).await;
    assert!(
        audit.text.contains("您的角色不允许此操作") && !audit.text.contains("does not allow"),
        "{}",
        audit.text
    );
}

/// The documents as they were, and what each proxy says by itself.
#[tokio::test(flavor = "multi_thread")]
async fn why_is_told_for_a_past_moment_and_for_each_proxy() {
    let stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let cookie = sign_in(&stage, "li").await;
    let then =
        time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap();
    std::fs::write(stage.file("rules/05-new.yaml"), "services: [patient]\npriority: 100\nversion: gray\n")
        .unwrap();
    let asked = "/why?url=http%3A%2F%2Fx%2Fpatient&headers=x-user%3A%20zed";
    let begun = std::time::Instant::now();
    let now = loop {
        let page = send(&stage, ("GET", asked), (&cookie, &[])).await;
        if page.text.contains("05-new") && page.text.contains("Made so by") {
            break page;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{}", page.text);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(now.text.contains("/documents/rules/05-new#history-title"), "{}", now.text);
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("at", &then).finish();
    let past = send(&stage, ("GET", &format!("{asked}&{query}")), (&cookie, &[])).await;
    assert!(past.text.contains("As it was at") && !past.text.contains("05-new"), "{}", past.text);
    assert!(past.text.contains("documents that were otherwise: 1"), "{}", past.text);
    let early = send(&stage, ("GET", &format!("{asked}&at=2001-01-01&lang=zh")), (&cookie, &[])).await;
    assert!(early.text.contains("之前的文档内容未保留"), "{}", early.text);
    let proxies = send(&stage, ("GET", &format!("{asked}&proxies=1")), (&cookie, &[])).await;
    assert!(
        proxies.text.contains("v-of-p1")
            && proxies.text.contains("another answer")
            && proxies.text.contains("<td>7</td>"),
        "{}",
        proxies.text
    );
}
