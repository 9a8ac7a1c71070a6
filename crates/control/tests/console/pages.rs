//! Every page, in both languages and both looks, wide and narrow: axe-core finds nothing, nothing is complained of, nothing
//! is asked of another place.

use graygate_control::people::Role;

use crate::browser::{Browser, Rules};
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

const LANGUAGES: [&str; 2] = ["en", "zh"];

/// Signed in on pages to come; what is found on those before.
async fn begin(browser: &Browser, theme: &str, rules: Rules) -> Vec<String> {
    let mut found = Vec::new();
    for lang in LANGUAGES {
        browser.go(&format!("/sign-in?lang={lang}&theme={theme}")).await;
        found.extend(named(&format!("signed out {lang} {theme}"), browser.axe(rules).await));
    }
    browser.sign_in("li").await;
    found
}

fn named(what: &str, found: Vec<String>) -> impl Iterator<Item = String> {
    found.into_iter().map(move |line| format!("{what}: {line}"))
}

/// Whether the page is wider than the window.
async fn is_wide(browser: &Browser, what: &str) -> Option<String> {
    let wide = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
    (wide.as_i64().unwrap_or(0) > 0).then(|| format!("{what}: {wide} pixels wider than the window"))
}

async fn stage() -> (Stage, Browser) {
    let stage = Stage::with("channels: {ops: {webhook: \"http://127.0.0.1:1/\"}}\n").await;
    stage.person("li", Role::Admin).await;
    stage.person("wang", Role::Viewer).await;
    let browser = Browser::open(&stage.origin()).await;
    (stage, browser)
}

async fn go(browser: &Browser, page: &str, lang: &str, theme: &str) -> String {
    let joint = if page.contains('?') { '&' } else { '?' };
    browser.go(&format!("{page}{joint}lang={lang}&theme={theme}")).await;
    format!("{page} {lang} {theme}")
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_any_page() {
    let (_stage, browser) = stage().await;
    let mut found = begin(&browser, "light", Rules::All).await;
    for lang in LANGUAGES {
        for page in PAGES {
            let what = go(&browser, page, lang, "light").await;
            found.extend(named(&what, browser.axe(Rules::All).await));
            found.extend(is_wide(&browser, &what).await);
        }
    }
    browser.resize(390, 844).await;
    for page in PAGES {
        browser.go(page).await;
        found.extend(is_wide(&browser, &format!("{page} on a telephone")).await);
    }
    for page in ["/", "/documents/rules/30-share"] {
        browser.go(page).await;
        found.extend(named(&format!("{page} on a telephone"), browser.axe(Rules::All).await));
    }
    assert!(found.is_empty(), "{found:#?}");
    browser.is_content(&[]).await;
}

/// The other look is the same page in other colours.
#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_no_weak_colour_on_any_dark_page() {
    let (_stage, browser) = stage().await;
    let mut found = begin(&browser, "dark", Rules::Colours).await;
    for page in PAGES {
        let what = go(&browser, page, "en", "dark").await;
        found.extend(named(&what, browser.axe(Rules::Colours).await));
    }
    assert!(found.is_empty(), "{found:#?}");
    browser.is_content(&[]).await;
}
