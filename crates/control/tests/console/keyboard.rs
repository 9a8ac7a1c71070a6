//! The keyboard alone.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::Browser;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_rows_are_reached_by_keys_and_none_of_them_changes_anything() {
    let stage = Stage::start().await;
    stage.person("li", Role::Admin).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.press("gd").await;
    browser.until("location.pathname === '/documents'").await;
    browser.press("/").await;
    browser.until("document.activeElement?.id === 'filter'").await;
    browser.press(format!("share{}", Key::Enter.value())).await;
    browser.until("location.search.includes('filter=share')").await;
    browser.press("j").await;
    browser.until("document.activeElement?.classList.contains('open')").await;
    browser.press(Key::Enter.value().to_string()).await;
    browser.until("location.pathname === '/documents/rules/30-share'").await;
    browser.press("?").await;
    browser.until("document.getElementById('keys').open").await;
    browser.press(Key::Escape.value().to_string()).await;
    browser.until("!document.getElementById('keys').open").await;

    // The palette finds objects and members.
    let control_k = browser.driver.action_chain().key_down(Key::Control).send_keys("k").key_up(Key::Control);
    control_k.perform().await.unwrap();
    browser.until("document.activeElement?.id === 'palette-find'").await;
    browser.press("alice").await;
    browser.until("document.querySelector('#palette-found')?.innerText.includes('member of pilots')").await;
    browser.press(Key::Enter.value().to_string()).await;
    browser.until("location.pathname === '/lists/pilots'").await;
    browser.until("document.querySelector('main')?.innerText.includes('alice is in the list')").await;

    // No single key changes anything, whatever is pressed.
    let before = stage.control().audit_head().await.unwrap();
    browser.go("/documents/rules/30-share").await;
    browser.press("abcefhilnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789").await;
    assert_eq!(stage.control().audit_head().await.unwrap(), before);
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_keys_can_be_switched_off() {
    let stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.run("localStorage.setItem('graygate-keys', 'off')").await;
    browser.press("gd").await;
    browser.press("?").await;
    assert_eq!(
        browser.run("return [location.pathname, document.getElementById('keys').open]").await,
        serde_json::json!(["/", false])
    );
}
