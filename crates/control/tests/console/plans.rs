//! A plan's whole life, by the keyboard alone, and what waits for a person.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::Browser;
use crate::stage::Stage;

/// Moves the focus by Tab until it is where it is wanted, as a person without a mouse does.
async fn tab_to(browser: &Browser, selector: &str) {
    for _ in 0..200 {
        let is_there =
            browser.run(&format!("return document.activeElement?.matches({selector:?}) ?? false")).await;
        if is_there == serde_json::json!(true) {
            return;
        }
        browser.press(Key::Tab.value().to_string()).await;
    }
    panic!("Tab never reaches {selector}");
}

async fn state(browser: &Browser, word: &str) {
    let condition = format!("document.querySelector('#plan-state .state')?.innerText.includes({word:?})");
    browser.until(&condition).await;
}

async fn press(browser: &Browser, action: &str) {
    tab_to(browser, &format!("button[value={action}]")).await;
    browser.press(Key::Enter.value().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_by_the_keyboard_alone() {
    let stage = Stage::start().await;
    // A rule that decides every request before the plan's would forbid its start.
    std::fs::remove_file(stage.file("rules/30-share.yaml")).unwrap();
    stage.person("li", Role::Admin).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.press("gp").await;
    browser.until("location.pathname === '/plans'").await;
    tab_to(&browser, "a[href='/plans/new']").await;
    browser.press(Key::Enter.value().to_string()).await;
    browser.until("location.pathname === '/plans/new'").await;
    tab_to(&browser, "#name").await;
    browser.press("patient-8").await;
    tab_to(&browser, "#title").await;
    browser.press("Patient 8 for pilots first").await;
    tab_to(&browser, "button[value=make]").await;
    browser.press(Key::Enter.value().to_string()).await;
    browser.until("document.querySelector('#checked') && document.querySelector('#text').value.includes('share: 25')").await;
    assert!(browser.text("#checked").await.contains("Who would move, step by step"));
    assert_eq!(browser.axe().await, Vec::<String>::new());
    press(&browser, "save").await;
    browser.until("location.pathname === '/plans/patient-8'").await;
    state(&browser, "draft").await;
    let found = browser.axe().await;
    assert!(found.is_empty(), "{found:#?}");

    press(&browser, "start").await;
    state(&browser, "active").await;
    assert!(stage.file("rules/plan.patient-8.share.yaml").exists());
    let sentence = browser.text(".verdict").await;
    assert!(sentence.contains("1.0 % of patient gets gray: step 1 of 4"), "{sentence}");
    let rollback = browser.text("form.rollback").await;
    assert!(
        rollback.contains("rolls back 1.0 % of patient, about") && rollback.contains("requests a minute"),
        "{rollback}"
    );
    assert!(
        browser.text("form.promote").await.contains("Not while it is active."),
        "what the state forbids is explained"
    );
    press(&browser, "pause").await;
    state(&browser, "paused").await;
    press(&browser, "resume").await;
    state(&browser, "active").await;
    press(&browser, "advance").await;
    browser.until("document.querySelector('.verdict')?.innerText.includes('step 2 of 4')").await;
    assert!(browser.text("#plan-steps .now").await.contains("5.0 %"));
    let found = browser.axe().await;
    assert!(found.is_empty(), "{found:#?}");

    // To complete takes the name, typed; the browser asks for it.
    tab_to(&browser, "#typed").await;
    browser.press("patient-8").await;
    press(&browser, "complete").await;
    state(&browser, "completed").await;
    press(&browser, "rollback").await;
    state(&browser, "rolled back").await;
    let proof = browser.text(".flash").await;
    assert!(proof.contains("Rolled back: ") && proof.contains("proxies confirmed"), "{proof}");
    assert!(!stage.file("rules/plan.patient-8.share.yaml").exists());
    assert!(stage.file("closures/patient.gray.yaml").exists());
    let runs = browser.text("main").await;
    assert!(runs.contains("Run 1") && runs.contains("ROLLBACK"));
    browser.go("/plans?state=ROLLBACK").await;
    assert!(browser.text("#plans").await.contains("patient-8"));
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_told_on_every_page() {
    let stage = Stage::with("four_eyes: [patient]\n").await;
    stage.person("li", Role::Editor).await;
    stage.person("wang", Role::Approver).await;
    let (li, wang) = (Browser::open(&stage.origin()).await, Browser::open(&stage.origin()).await);
    li.sign_in("li").await;
    wang.sign_in("wang").await;
    wang.go("/fleet").await;
    li.go("/lists/pilots").await;
    li.driver.find(By::Css("#add")).await.unwrap().send_keys("eve").await.unwrap();
    li.driver.find(By::Css("button[value=members]")).await.unwrap().click().await.unwrap();
    li.until("document.querySelector('.flash')?.innerText.includes('It waits for a second person')").await;
    assert!(li.text("main").await.contains("You proposed it yourself"));
    wang.go("/documents").await;
    wang.until("document.title.startsWith('(1) ') && document.querySelector('#waiting .banner')").await;
    wang.driver.find(By::Css("#waiting .banner a")).await.unwrap().click().await.unwrap();
    wang.until("document.querySelector('.diff')?.innerText.includes('+eve')").await;
    wang.driver.find(By::Css("button[value=approve]")).await.unwrap().click().await.unwrap();
    wang.until("document.querySelector('#proposal')?.innerText.includes('approved')").await;
    assert!(std::fs::read_to_string(stage.file("lists/pilots.txt")).unwrap().contains("eve"));
    wang.until("!document.title.startsWith('(')").await;
    li.is_content(&[]).await;
    wang.is_content(&[]).await;
}
