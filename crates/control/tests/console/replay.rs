//! An access log against a draft, in the editor and on a page of its own.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
use crate::plain::{send, sign_in};
use crate::stage::Stage;

const RULE: &str = "/documents/rules/30-share";

/// Lines as a proxy writes them, and one of another program.
fn log() -> String {
    let line = |number: u32| {
        format!(
            "{{\"time\": \"2026-11-20T08:00:00Z\", \"method\": \"GET\", \"host\": \"gray.example.com\", \"path\": \"/patient/{number}\", \
             \"client\": \"203.0.113.{}\", \"user_agent\": \"t\", \"status\": 200, \"version\": \"release\"}}\n",
            number % 250
        )
    };
    (0..40).map(line).chain(["a line of another program\n".to_owned()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_replayed_against_the_text_in_the_editor() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let file = stage.folder().join("access.log");
    std::fs::write(&file, log()).unwrap();
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go(RULE).await;
    browser
        .run("const field = document.getElementById('text'); field.value = field.value.replace('split: {gray: 20}', 'version: gray')")
        .await;
    browser.click("details.log summary").await;
    browser.driver.find(By::Css("#log-file")).await.unwrap().send_keys(file.to_str().unwrap()).await.unwrap();
    // Of each line only what a replay asks for.
    browser.until("document.getElementById('log').value.includes('/patient/39')").await;
    let taken = browser.run("return document.getElementById('log').value").await;
    assert!(!taken.as_str().unwrap().contains("status"), "{taken}");
    browser.click("#editor button[value=look]").await;
    browser.until("document.querySelector('#checked')?.innerText.includes('of the log')").await;
    let told = browser.text("#checked").await;
    assert!(told.contains("40 of 40 requests of the log would get another version"), "{told}");
    assert!(told.contains("1 lines are no request"), "{told}");
    let moved = browser.text("#checked table tbody").await;
    assert!(moved.contains("patient") && moved.contains("release") && moved.contains("gray"), "{moved}");
    let example = browser.text("#checked table.examples tbody tr").await;
    assert!(example.contains("GET gray.example.com/patient/") && example.contains("30-share"), "{example}");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());

    // Its own page takes all of it over.
    browser.click("#editor button[value=replay]").await;
    browser.until("document.querySelector('#replay') && document.querySelector('#checked')").await;
    assert_eq!(browser.run("return document.getElementById('document-0').value").await, "rules/30-share");
    assert!(browser.text("#checked").await.contains("40 of 40 requests of the log"));
    browser.click("#replay button[value=more]").await;
    browser.until("document.getElementById('document-1')").await;
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.go("/why").await;
    browser.click("a[href$='/replay']").await;
    browser.until("document.querySelector('#replay')").await;
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_that_move_are_had_as_a_table_without_a_script() {
    let stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let cookie = sign_in(&stage, "li").await;
    let page = send(&stage, ("GET", "/replay?document=rules/30-share"), (&cookie, &[])).await;
    assert!(page.text.contains("split: {gray: 20}"), "the text as it is now: {}", page.text);
    let (csrf, log) = (page.csrf(), log());
    let form = |what: &'static str, document: &'static str, text: &'static str| {
        vec![("do", what), ("document", document), ("text", text), ("log", log.as_str())]
    };
    let ask = async |fields: Vec<(&str, &str)>| {
        let fields = [vec![("csrf", csrf.as_str())], fields].concat();
        send(&stage, ("POST", "/replay?lang=zh"), (&cookie, &fields)).await
    };
    let whole = "services: [patient]\npriority: -10\nversion: gray\n";
    let told = ask(form("replay", "rules/30-share", whole)).await;
    assert!(told.text.contains("日志的 40 个请求中有 40 个会得到另一版本"), "{}", told.text);
    let table = ask(form("csv", "rules/30-share", whole)).await;
    assert_eq!((table.status, table.header("content-type")), (200, "text/csv; charset=utf-8"));
    let rows: Vec<&str> = table.text.lines().collect();
    assert_eq!(rows.len(), 41, "the heading, and every one of them: {rows:#?}");
    assert_eq!(
        rows[1],
        "\"GET\",\"gray.example.com\",\"/patient/0\",\"203.0.113.0\",\"\",\"patient\",\"release\",\"gray\",\"30-share\",\"30-share\""
    );
    // A plan moves people by its steps.
    let plan =
        "services: [patient]\nversion: gray\npriority: 100\nby: [ip]\nsteps: [{share: 10}, {share: 100}]\n";
    let told = ask(form("replay", "plans/next", plan)).await;
    assert!(told.text.contains("日志中各步骤会改变的请求") && told.text.contains("100 %"), "{}", told.text);
    assert_eq!(ask(form("replay", "", "")).await.status, 422);
}
