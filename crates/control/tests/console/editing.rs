//! Two people and one document.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
use crate::stage::Stage;

const RULE: &str = "/documents/rules/30-share";

async fn type_over(browser: &Browser, from: &str, to: &str) {
    let script = format!(
        "const field = document.getElementById('text'); field.value = field.value.replace({from:?}, {to:?})"
    );
    browser.run(&script).await;
}

async fn press(browser: &Browser, what: &str) {
    let button = browser.driver.find(By::Css(format!("#editor button[value={what}]"))).await.unwrap();
    button.click().await.unwrap();
}

async fn save(browser: &Browser) {
    press(browser, "look").await;
    browser.until("document.querySelector('#editor button[value=save]')").await;
    press(browser, "save").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_two_people_are_put_together_or_shown_to_both() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    stage.person("wang", Role::Editor).await;
    let (li, wang) = (Browser::open(&stage.origin()).await, Browser::open(&stage.origin()).await);
    li.sign_in("li").await;
    wang.sign_in("wang").await;

    // Different fields: the later one is told, and gets both.
    li.go(RULE).await;
    wang.go(RULE).await;
    type_over(&li, "gray: 20", "gray: 40").await;
    save(&li).await;
    li.until("document.querySelector('.flash')?.innerText.includes('Saved')").await;
    type_over(&wang, "priority: -10", "priority: -20").await;
    press(&wang, "look").await;
    wang.until("document.querySelector('.refusal')?.innerText.includes('It has changed meanwhile')").await;
    let shown = wang.text("main").await;
    assert!(shown.contains("Changed by li") && shown.contains("Both edits fit together"), "{shown}");
    assert!(
        shown.contains("+split: {gray: 40}") && shown.contains("+priority: -20"),
        "both differences are shown: {shown}"
    );
    assert_eq!(wang.axe(Rules::All).await, Vec::<String>::new());
    save(&wang).await;
    wang.until("document.querySelector('.flash')?.innerText.includes('Saved')").await;
    let text = std::fs::read_to_string(stage.file("rules/30-share.yaml")).unwrap();
    assert_eq!(text, "services: [patient]\npriority: -20\nsplit: {gray: 40}\n");

    // The same field: nothing is chosen for either of them.
    li.go(RULE).await;
    wang.go(RULE).await;
    type_over(&li, "gray: 40", "gray: 50").await;
    save(&li).await;
    li.until("document.querySelector('.flash')").await;
    type_over(&wang, "gray: 40", "gray: 60").await;
    press(&wang, "look").await;
    wang.until("document.querySelector('table.contested')").await;
    let shown = wang.text("table.contested").await;
    for line in ["split: {gray: 40}", "split: {gray: 50}", "split: {gray: 60}"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let text = std::fs::read_to_string(stage.file("rules/30-share.yaml")).unwrap();
    assert!(text.contains("gray: 50"), "nothing is overwritten in silence");

    // One press leads to the way back, which is a new revision.
    li.click(".flash button[value=undo]").await;
    li.until("document.querySelector('button[value=undone]')").await;
    assert!(li.text(".diff").await.contains("+split: {gray: 40}"));
    li.click("button[value=undone]").await;
    li.until("document.querySelector('.flash')?.innerText.includes('It is as it was')").await;
    assert!(std::fs::read_to_string(stage.file("rules/30-share.yaml")).unwrap().contains("gray: 40"));
    li.is_content(&[412]).await;
    wang.is_content(&[412]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_stand_at_their_place_and_nothing_is_saved() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go(RULE).await;
    type_over(&browser, "split: {gray: 20}", "split: {gray: 120}").await;
    press(&browser, "look").await;
    browser.until("document.querySelector('#checked .problems')").await;
    assert!(browser.text("#checked .problems").await.contains("split"), "{}", browser.text("#checked").await);
    assert!(browser.text(".places").await.contains("line 3"));
    assert_eq!(
        browser.run("return document.querySelector('#editor button[value=save]')").await,
        serde_json::Value::Null
    );
    browser.click(".places button").await;
    let chosen = browser.run("const field = document.getElementById('text'); return field.value.slice(field.selectionStart, field.selectionEnd)").await;
    assert_eq!(chosen, "split: {gray: 120}");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.is_content(&[]).await;
}
