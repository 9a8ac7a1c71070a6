//! Configuration values by their page.

use graygate_control::configs::{ItemId, ItemPlace, PlanDone};
use graygate_control::control::Control;
use graygate_control::people::{Principal, Role, Via};
use graygate_judge::plan::Action;
use serde_json::json;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
use crate::plain::{ask, send, sign_in};
use crate::stage::Stage;

/// A running plan that gives some another size of the pool; answers its name.
async fn give(control: &Control) -> String {
    let root = Principal::own("test", Via::Command);
    let body = json!({"appName": "user-service", "environment": "prod", "grayValues": {"pool.size": "50"},
        "grayStrategy": "PERCENTAGE", "percentage": 30});
    let made = control.make_gray_plan(&root, body.as_object().unwrap().clone()).await.unwrap();
    let PlanDone::Written(plan) = made else { panic!("{made:?}") };
    let id = plan["planId"].as_str().unwrap().to_owned();
    control.act_on_gray_plan(&root, (&id, Action::Start), None).await.unwrap();
    id
}

/// Some values, of which a plan gives one otherwise.
pub async fn fill(control: &Control) {
    let root = Principal::own("test", Via::Command);
    let place = ItemPlace::of("user-service", "prod", None).unwrap();
    for (key, value) in
        [("pool.size", "10"), ("greeting", "你好"), ("feature.search", "{\"engine\": \"v2\"}")]
    {
        let id = ItemId::of(place.clone(), key).unwrap();
        control.put_config_item(&root, (&id, Some(value.to_owned())), None, None).await.unwrap();
    }
    give(control).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_written_shown_first_changed_and_taken_away() {
    let stage = Stage::start().await;
    stage.person("li", Role::Operator).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/configs").await;
    assert!(browser.text("main").await.contains("There are no such values."));
    let find = |selector: &'static str| browser.driver.find(By::Css(selector));
    for (field, text) in [
        ("#new-app", "user-service"),
        ("#new-environment", "prod"),
        ("#new-key", "pool.size"),
        ("#value", "10"),
    ] {
        find(field).await.unwrap().send_keys(text).await.unwrap();
    }
    browser.click("button[value=look]").await;
    browser.until("document.querySelector('.diff')?.innerText.includes('+10')").await;
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.click("button[value=save]").await;
    browser.until("document.querySelector('.flash')?.innerText.includes('Saved')").await;
    assert!(browser.text("h1").await.contains("user-service/prod/default/pool.size"));

    // A plan gives some another value: it stands beside the item's own.
    let id = give(stage.control()).await;
    browser.go("/configs?filter=pool").await;
    let row = browser.text("#configs tbody tr").await;
    assert!(row.contains("10") && row.contains("50") && row.contains(&id), "{row}");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.click("#configs a.open").await;
    browser.until("document.querySelector('form.apart')?.innerText.includes('Plans that give some another value: 1')").await;
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.run("document.getElementById('value').value = '20'").await;
    browser.click("form.item button[value=look]").await;
    browser.until("document.querySelector('.diff')?.innerText.includes('-10')").await;
    browser.click("form.item button[value=save]").await;
    browser
        .until("document.querySelector('.flash') && document.querySelector('#value').value === '20'")
        .await;
    browser.click("form.apart button[value=delete]").await;
    browser.until("document.querySelector('main')?.innerText.includes('There are no such values.')").await;
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_changed_without_a_script_and_never_over_another_change() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    stage.person("wang", Role::Viewer).await;
    let cookie = sign_in(&stage, "li").await;
    let csrf = send(&stage, ("GET", "/configs"), (&cookie, &[])).await.csrf();
    let new = [
        ("csrf", csrf.as_str()),
        ("app", "a"),
        ("environment", "prod"),
        ("key", "k"),
        ("value", "1"),
        ("shown", "1"),
        ("do", "save"),
    ];
    let made = send(&stage, ("POST", "/configs"), (&cookie, &new)).await;
    assert_eq!(made.status, 303, "{}", made.text);
    assert_eq!(made.header("location"), "/configs?item=a%2Fprod%2Fdefault%2Fk&done=saved");
    // It is there by now, so a new one of that name is refused.
    assert_eq!(send(&stage, ("POST", "/configs"), (&cookie, &new)).await.status, 412);
    // What was not shown is shown before it is saved.
    let unseen = [
        ("csrf", csrf.as_str()),
        ("item", "a/prod/default/k"),
        ("value", "2"),
        ("shown", "1"),
        ("do", "save"),
    ];
    let shown = send(&stage, ("POST", "/configs"), (&cookie, &unseen)).await;
    assert!(shown.status == 200 && shown.text.contains("<del>-1"), "{}", shown.text);
    let late =
        [("csrf", csrf.as_str()), ("item", "a/prod/default/k"), ("etag", "\"1-old\""), ("do", "delete")];
    assert_eq!(send(&stage, ("POST", "/configs"), (&cookie, &late)).await.status, 412);
    for path in ["/configs?item=a%2Fprod%2Fdefault%2Fnone", "/configs?item=nonsense"] {
        let status = send(&stage, ("GET", path), (&cookie, &[])).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    // A viewer sees the buttons, and why they are none of theirs.
    let viewer = sign_in(&stage, "wang").await;
    let page = send(&stage, ("GET", "/configs?item=a%2Fprod%2Fdefault%2Fk"), (&viewer, &[])).await;
    assert!(
        page.text.contains(" disabled") && page.text.contains("It takes the role `editor`."),
        "{}",
        page.text
    );
    let csrf = page.csrf();
    let form = [("csrf", csrf.as_str()), ("item", "a/prod/default/k"), ("do", "delete")];
    assert_eq!(send(&stage, ("POST", "/configs"), (&viewer, &form)).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_had_as_a_table() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let cookie = sign_in(&stage, "li").await;
    let csrf = send(&stage, ("GET", "/configs"), (&cookie, &[])).await.csrf();
    let new = [
        ("csrf", csrf.as_str()),
        ("app", "a"),
        ("environment", "prod"),
        ("key", "k"),
        ("value", "1"),
        ("shown", "1"),
        ("do", "save"),
        ("reason", "=cmd(\"x\")"),
    ];
    assert_eq!(send(&stage, ("POST", "/configs"), (&cookie, &new)).await.status, 303);
    let page = send(&stage, ("GET", "/audit?who=li"), (&cookie, &[])).await;
    assert!(page.text.contains("href=\"/audit/csv?who=li\""), "{}", page.text);
    let told = send(&stage, ("GET", "/audit/csv?who=li"), (&cookie, &[])).await;
    assert_eq!((told.status, told.header("content-type")), (200, "text/csv; charset=utf-8"));
    let lines: Vec<&str> = told.text.split("\r\n").collect();
    assert!(lines[0].starts_with("id,time,who,via,"), "{}", lines[0]);
    assert!(lines[1].contains("\"config.put\"") && lines[1].contains("\"'=cmd(\"\"x\"\")\""), "{}", lines[1]);
    assert!(lines[1..].iter().all(|line| line.is_empty() || line.contains(",\"li\",")), "{}", told.text);
    let stranger = ask(&stage, ("GET", "/audit/csv"), &[], &[]).await;
    assert_eq!(stranger.status, 303, "the account is for those who are signed in");
}
