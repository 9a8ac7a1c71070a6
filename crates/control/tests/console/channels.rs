//! Channels of notices by their page.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_tested_from_its_page_and_the_log_says_what_became_of_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(async || "ok")).await });
    let channels = format!(
        "channels:\n  ops: {{webhook: \"http://{address}/\"}}\n  gone: {{webhook: \"http://127.0.0.1:1/\", language: zh}}\n"
    );
    let stage = Stage::with(&channels).await;
    stage.person("li", Role::Operator).await;
    stage.person("wang", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/messages").await;
    browser.click("a[href$='/channels']").await;
    browser.until("document.querySelectorAll('#channels tbody tr').length === 2").await;
    browser.click("#channels button[value=ops]").await;
    browser.until("document.querySelector('.flash')?.innerText.includes('ops took the test message')").await;
    browser.click("#channels button[value=gone]").await;
    browser.until("document.querySelector('.refusal')?.innerText.includes('gone did not take')").await;
    let rows = browser.text("#deliveries tbody").await;
    assert!(
        rows.contains("delivered") && rows.contains("failed") && rows.contains("cannot be reached"),
        "{rows}"
    );
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    // A column is put away and another one made wider, and this browser keeps both; by keys alone.
    browser.click("section .columns summary").await;
    browser.until("document.querySelectorAll('section .columns li').length === 6").await;
    browser.click("section .columns li:nth-child(5) input[type=checkbox]").await;
    let range =
        browser.driver.find(By::Css("section .columns li:nth-child(2) input[type=range]")).await.unwrap();
    range.send_keys(Key::End.value().to_string()).await.unwrap();
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.go("/channels").await;
    browser
        .until("getComputedStyle(document.querySelector('#log-table th:nth-child(5)')).display === 'none'")
        .await;
    let wide = browser
        .run("return document.querySelector('#log-table th:nth-child(2)').getBoundingClientRect().width")
        .await;
    assert!(wide.as_f64().unwrap() >= 590.0, "{wide}");
    browser.go("/channels?channel=ops").await;
    assert_eq!(browser.run("return document.querySelectorAll('#deliveries tbody tr').length").await, 1);
    browser.go("/channels?lang=zh").await;
    let rows = browser.text("main").await;
    assert!(rows.contains("投递记录") && rows.contains("已送达") && rows.contains("未送达"), "{rows}");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.is_content(&[]).await;

    let cookie = crate::plain::sign_in(&stage, "wang").await;
    let page = crate::plain::send(&stage, ("GET", "/channels"), (&cookie, &[])).await;
    assert!(page.text.contains("It takes the role `operator`."), "{}", page.text);
}
