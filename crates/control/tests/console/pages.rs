//! Every page, in both languages and both looks, wide and narrow: axe-core finds nothing, nothing is complained of, nothing
//! is asked of another place.

use graygate_control::people::Role;

use crate::browser::Browser;
use crate::stage::Stage;

pub const PAGES: [&str; 21] = [
    "/",
    "/plans",
    "/plans/new",
    "/configs",
    "/services/patient",
    "/documents",
    "/documents?kind=rule&filter=20",
    "/documents/rules/30-share",
    "/documents/rules/new-one?new=1",
    "/lists/pilots?contains=alice",
    "/why",
    "/why?url=http%3A%2F%2Flocalhost%2Fpatient%2Flist&headers=x-user%3A%20alice&proxies=1",
    "/replay?document=rules/30-share",
    "/find?q=alice",
    "/fleet",
    "/audit",
    "/messages",
    "/channels",
    "/people",
    "/sign-in",
    "/documents/rules/30-share?done=saved&back=1",
];

async fn look_at_all(theme: &str) {
    let stage = Stage::with("channels: {ops: {webhook: \"http://127.0.0.1:1/\"}}\n").await;
    stage.person("li", Role::Admin).await;
    stage.person("wang", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    let mut found = Vec::new();
    for lang in ["en", "zh"] {
        browser.go(&format!("/sign-in?lang={lang}&theme={theme}")).await;
        found
            .extend(browser.axe().await.into_iter().map(|line| format!("signed out {lang} {theme}: {line}")));
    }
    browser.sign_in("li").await;
    for lang in ["en", "zh"] {
        for page in PAGES {
            let joint = if page.contains('?') { '&' } else { '?' };
            browser.go(&format!("{page}{joint}lang={lang}&theme={theme}")).await;
            found
                .extend(browser.axe().await.into_iter().map(|line| format!("{page} {lang} {theme}: {line}")));
            let wide = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            if wide.as_i64().unwrap_or(0) > 0 {
                found.push(format!("{page} {lang} {theme}: {wide} pixels wider than the window"));
            }
        }
    }
    browser.resize(390, 844).await;
    for page in PAGES {
        browser.go(page).await;
        let wide = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
        if wide.as_i64().unwrap_or(0) > 0 {
            found.push(format!("{page} on a telephone: {wide} pixels wider than the window"));
        }
    }
    for page in ["/", "/documents/rules/30-share"] {
        browser.go(page).await;
        found.extend(browser.axe().await.into_iter().map(|line| format!("{page} on a telephone: {line}")));
    }
    assert!(found.is_empty(), "{found:#?}");
    browser.is_content(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_light_page() {
    look_at_all("light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_dark_page() {
    look_at_all("dark").await;
}
