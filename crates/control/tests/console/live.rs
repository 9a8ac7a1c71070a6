//! What moves by itself, and what is said when it does not.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use graygate_control::people::Role;
use serde_json::json;

use crate::browser::{Browser, PATIENCE, Rules};
use crate::proxy::Proxy;
use crate::stage::Stage;

/// Tabs of one browser; a browser's connections to one place are six.
const TABS: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn seven_tabs_of_a_browser_are_all_live_by_one_stream() {
    let stage = Stage::start().await;
    stage.person("li", Role::Admin).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    let mut tabs = vec![browser.driver.window().await.unwrap()];
    for _ in 1..TABS {
        let tab = browser.driver.new_tab().await.unwrap();
        browser.driver.switch_to_window(tab.clone()).await.unwrap();
        browser.go("/").await;
        tabs.push(tab);
    }
    for tab in &tabs {
        browser.driver.switch_to_window(tab.clone()).await.unwrap();
        browser.until("document.querySelector('#gray')?.innerText.includes('60.0/s') || document.querySelector('#gray')?.innerText.includes('60/s')").await;
        browser.until("document.querySelector('#live')?.innerText === 'live'").await;
    }
    stage.proxy.said.errors.store(30, Ordering::Relaxed);
    let begun = Instant::now();
    for tab in &tabs {
        browser.driver.switch_to_window(tab.clone()).await.unwrap();
        browser.until("/\\d\\d? %/.test(document.querySelector('#wrong')?.innerText ?? '')").await;
        assert!(begun.elapsed() < PATIENCE, "all of them follow at once");
    }
    assert_eq!(stage.control().events.open_streams("li"), 1, "one stream a browser");
    // The tab that listens goes: another one takes over.
    browser.driver.switch_to_window(tabs[0].clone()).await.unwrap();
    browser.driver.close_window().await.unwrap();
    stage.proxy.said.errors.store(0, Ordering::Relaxed);
    for tab in &tabs[1..] {
        browser.driver.switch_to_window(tab.clone()).await.unwrap();
        browser.until("document.querySelector('#live')?.innerText === 'live'").await;
        browser.until("!(document.querySelector('#wrong')?.innerText ?? '').includes('%')").await;
    }
    assert_eq!(stage.control().events.open_streams("li"), 1);
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_is_told_and_comes_back() {
    let mut stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/fleet").await;
    browser.until("document.querySelector('#proxies')?.innerText.includes('up to date')").await;
    let killed = std::mem::replace(&mut stage.proxy, Proxy::start().await);
    let (address, said) = killed.kill();
    browser.until("document.querySelector('#proxies')?.innerText.includes('down')").await;
    browser.go("/").await;
    browser
        .until("document.querySelector('#wrong')?.innerText.includes('proxies that do not answer: 1')")
        .await;
    stage.proxy = Proxy::again(address, said).await;
    browser.until("!document.querySelector('#wrong')?.innerText.includes('do not answer')").await;
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_that_starts_again_under_an_open_page_is_marked_and_found_again() {
    let mut stage = Stage::start().await;
    stage.person("li", Role::Admin).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.until("document.querySelector('#live')?.innerText === 'live'").await;
    stage.end().await;
    let begun = Instant::now();
    browser.until("document.querySelector('#live')?.classList.contains('stale')").await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it is marked after three seconds, and was after {:?}",
        begun.elapsed()
    );
    stage.begin().await;
    browser.until("document.querySelector('#live')?.innerText === 'live'").await;
    let text = "services: [patient]\npriority: -10\nsplit: {gray: 40}\n";
    std::fs::write(stage.file("rules/30-share.yaml"), text).unwrap();
    browser.go("/services/patient").await;
    browser.until("document.querySelector('#rules')?.innerText.includes('gray 40')").await;
    // What the browser says of a place that was away is expected.
    let told = browser.complaints(&[]).await;
    let others: Vec<_> = told.iter().filter(|line| !line.contains("net::ERR_")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_told_in_the_zone_of_the_browser_with_utc_beside() {
    let stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/audit").await;
    let shown = browser
        .run("const time = document.querySelector('time'); return [time.dateTime, time.textContent]")
        .await;
    let (utc, told) = (shown[0].as_str().unwrap(), shown[1].as_str().unwrap());
    let hour: u32 = utc[11..13].parse().unwrap();
    let local = format!("{:02}:{}", (hour + 8) % 24, &utc[14..16]);
    assert!(
        told.contains(&local) && told.contains(&format!("({} UTC)", &utc[11..16])),
        "{utc} is told as {told}"
    );
    assert_ne!(shown, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_a_service_move_with_every_second() {
    let stage = Stage::start().await;
    stage.person("li", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/services/patient").await;
    browser.until("document.querySelectorAll('#courses svg').length === 3").await;
    let drawing = "document.querySelector('#courses svg path.gray[fill=none]').getAttribute('d')";
    let before = browser.run(&format!("return {drawing}")).await;
    browser.until(&format!("{drawing} !== {before}")).await;
    let requests = browser.text("#courses").await;
    assert!(requests.contains("Requests a second") && requests.contains("Latency p99"), "{requests}");
    // What is drawn is told in words as well, and an error shows within seconds.
    stage.proxy.said.errors.store(30, Ordering::Relaxed);
    browser
        .until("/gray: [1-9][0-9.]* %/.test(document.querySelector('#course-errors-d').textContent)")
        .await;
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.go("/services/patient?lang=zh").await;
    browser.until("document.querySelector('#course-errors-t')?.textContent === '错误率'").await;
    browser.is_content(&[]).await;
}
