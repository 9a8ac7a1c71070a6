//! A plan's whole life, by the keyboard alone, and what waits for a person.

use std::sync::atomic::Ordering;

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
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
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    press(&browser, "save").await;
    browser.until("location.pathname === '/plans/patient-8'").await;
    state(&browser, "draft").await;
    let found = browser.axe(Rules::All).await;
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
    let found = browser.axe(Rules::All).await;
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
    li.click("button[value=members]").await;
    li.until("document.querySelector('.flash')?.innerText.includes('It waits for a second person')").await;
    assert!(li.text("main").await.contains("You proposed it yourself"));
    wang.go("/documents").await;
    wang.until("document.title.startsWith('(1) ') && document.querySelector('#waiting .banner')").await;
    wang.click("#waiting .banner a").await;
    wang.until("document.querySelector('.diff')?.innerText.includes('+eve')").await;
    wang.click("button[value=approve]").await;
    wang.until("document.querySelector('#proposal')?.innerText.includes('approved')").await;
    assert!(std::fs::read_to_string(stage.file("lists/pilots.txt")).unwrap().contains("eve"));
    wang.until("!document.title.startsWith('(')").await;
    li.is_content(&[]).await;
    wang.is_content(&[]).await;
}

const PLAN: &str = "services: [patient]\nversion: gray\nsteps: [{share: 5, hold: 1h, min_requests: 1}, {share: 100, hold: 1h}]\n";

/// A stage with a plan that was started, and requests that its rule draws.
pub async fn under_way() -> Stage {
    let stage = Stage::start().await;
    std::fs::remove_file(stage.file("rules/30-share.yaml")).unwrap();
    std::fs::create_dir_all(stage.file("plans")).unwrap();
    std::fs::write(stage.file("plans/p8.yaml"), PLAN).unwrap();
    *stage.proxy.said.drawn.lock().unwrap() = Some(("plan.p8.share".to_owned(), 5));
    stage.person("li", Role::Admin).await;
    stage
}

pub async fn start(browser: &Browser) {
    browser.go("/plans/p8").await;
    browser.until("document.querySelector('button[value=start]:not(:disabled)')").await;
    browser.click("button[value=start]").await;
    state(browser, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_countdown_and_verdict_move_until_the_plan_rolls_back_by_itself() {
    let stage = under_way().await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    start(&browser).await;
    // What the next step waits for, and a countdown that moves by itself.
    browser
        .until("document.querySelector('#plan-state .waits')?.innerText.includes('more of the hold')")
        .await;
    let held = "document.querySelector('#plan-steps .now [data-countdown]').dataset.countdown";
    let first = browser.run(&format!("return {held}")).await;
    browser.until(&format!("Number({held}) < Number({first})")).await;
    // A tile for each guard, its e beside its limit on a drawing with the steps.
    browser.until("document.querySelectorAll('#plan-evidence li').length >= 3").await;
    browser.until("document.querySelector('#evidence-errors-t') && document.querySelector('#plan-evidence svg .limit') && document.querySelector('#plan-evidence svg .mark')").await;
    assert!(browser.text("#plan-evidence").await.contains("pass"));
    browser.until("/%\\s*–\\s*/.test(document.querySelector('#plan-sides').innerText)").await;
    // Latency at each of the shares that the judge compares, as figures and as it went.
    browser.until("document.querySelectorAll('#plan-sides figure svg').length === 5").await;
    let sides = browser.text("#plan-sides").await;
    for said in ["p50", "p90", "p95", "p99", "p99.9", "Latency of patient: 99.9 % are faster"] {
        assert!(sides.contains(said), "{said}: {sides}");
    }
    let words = browser.text(".verdict").await;
    assert!(
        words.contains("5.0 % of patient gets gray: step 1 of 2") && words.contains("requests were judged"),
        "{words}"
    );
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    stage.proxy.said.errors.store(30, Ordering::Relaxed);
    state(&browser, "rolled back").await;
    browser.until("document.querySelector('#plan-evidence li.bad')?.innerText.includes('regression')").await;
    let because = browser.text("#plan-state").await;
    assert!(because.contains("`errors` says regression: e is 10^"), "{because}");
    // The same sentence on a Chinese page.
    browser.go("/plans/p8?lang=zh").await;
    let because = browser.text("#plan-state").await;
    assert!(
        because.contains("`errors` 判定劣化：e 为 10^") && !because.contains("says regression"),
        "{because}"
    );
    assert!(browser.text("#plan-evidence li.bad").await.contains("劣化"));
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_that_counts_stands_beside_the_edited_document_and_unsaved_changes_are_kept() {
    let stage = under_way().await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    start(&browser).await;
    std::fs::write(stage.file("plans/p8.yaml"), PLAN.replace("share: 100", "share: 50")).unwrap();
    browser.until("document.querySelector('#plan-state .diff')?.innerText.includes('share: 50')").await;
    let shown = browser.text("#plan-state").await;
    assert!(shown.contains("edited meanwhile") && shown.contains("The running copy counts"), "{shown}");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());

    let asks = "const leaving = new Event('beforeunload', {cancelable: true}); dispatchEvent(leaving); return leaving.defaultPrevented";
    browser.go("/documents/rules/20-pilots").await;
    browser.until("document.querySelector('form[data-unsaved] textarea')").await;
    assert_eq!(browser.run(asks).await, serde_json::json!(false));
    browser.driver.find(By::Css("#text")).await.unwrap().send_keys("# more").await.unwrap();
    assert_eq!(browser.run(asks).await, serde_json::json!(true));
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roll_back_is_one_press_far_from_complete_on_a_telephone_too() {
    let stage = under_way().await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    start(&browser).await;
    for (width, height) in [(1280, 720), (390, 844)] {
        browser.resize(width, height).await;
        browser.go("/plans/p8").await;
        // No edge of the one is near an edge of the other.
        let gap = browser.run(
            "const [one, other] = ['form.rollback', 'form.complete'].map((form) => document.querySelector(form).getBoundingClientRect());\
             return Math.max(other.top - one.bottom, other.left - one.right, one.top - other.bottom, one.left - other.right)",
        ).await;
        assert!(gap.as_f64().unwrap() > 40.0, "{width}: {gap}");
        let top = browser
            .run("return document.querySelector('form.rollback button').getBoundingClientRect().bottom")
            .await;
        assert!(top.as_f64().unwrap() <= f64::from(height), "{width}: no scrolling to roll back: {top}");
    }
    // Complete takes the name, for the server as well.
    let cookie = crate::plain::sign_in(&stage, "li").await;
    let csrf = crate::plain::send(&stage, ("GET", "/plans/p8"), (&cookie, &[])).await.csrf();
    let complete = [("csrf", csrf.as_str()), ("do", "complete"), ("typed", "p9")];
    let refused = crate::plain::send(&stage, ("POST", "/plans/p8"), (&cookie, &complete)).await;
    assert!(refused.status == 422 && refused.text.contains("type `p8` to complete it"), "{}", refused.text);
    // One press, no reason, no ETag, no script.
    let rollback = [("csrf", csrf.as_str()), ("do", "rollback")];
    let done = crate::plain::send(&stage, ("POST", "/plans/p8"), (&cookie, &rollback)).await;
    assert!(done.status == 200 && done.text.contains("Rolled back: "), "{}", done.text);
    assert!(!stage.file("rules/plan.p8.share.yaml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_every_action_and_what_it_takes() {
    let stage = under_way().await;
    stage.person("wang", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    start(&browser).await;
    let cookie = crate::plain::sign_in(&stage, "wang").await;
    let page = crate::plain::send(&stage, ("GET", "/plans/p8"), (&cookie, &[])).await;
    for action in
        ["start", "pause", "resume", "advance", "approve", "reject", "complete", "rollback", "promote"]
    {
        let button = page.text.split("<button").find(|text| text.contains(&format!("value=\"{action}\"")));
        let button = button.unwrap_or_else(|| panic!("{action} is not there"));
        assert!(button.split('>').next().unwrap().contains("disabled"), "{action}: {button}");
        let why = button.split("class=\"why\">").nth(1).unwrap_or_default();
        assert!(
            why.starts_with("It takes the role `")
                || why.starts_with("Not while it is")
                || why.starts_with("No approval"),
            "{action}: {why}"
        );
    }
    let form = [("csrf", page.csrf()), ("do", "rollback".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(crate::plain::send(&stage, ("POST", "/plans/p8"), (&cookie, &form)).await.status, 403);
}
