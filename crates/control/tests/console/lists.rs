//! A list by its page.

use graygate_control::people::Role;
use thirtyfour::prelude::*;

use crate::browser::{Browser, Rules};
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_searched_changed_and_replaced() {
    let stage = Stage::start().await;
    stage.person("li", Role::Editor).await;
    let browser = Browser::open(&stage.origin()).await;
    browser.sign_in("li").await;
    browser.go("/lists/pilots").await;
    assert!(browser.text("main").await.contains("rules/20-pilots"), "who uses it");
    let find = |selector: &'static str| browser.driver.find(By::Css(selector));
    find("#add").await.unwrap().send_keys("carol\ndave").await.unwrap();
    find("#remove").await.unwrap().send_keys("bob").await.unwrap();
    browser.click("button[value=members]").await;
    browser.until("document.querySelector('.flash')?.innerText.includes('2 members added, 1 removed')").await;
    find("#add").await.unwrap().send_keys("frank").await.unwrap();
    browser.click("button[value=members]").await;
    // The way back is offered for 30 s, and no longer.
    browser.until("document.querySelector('.flash')?.innerText.includes('1 members added')").await;
    browser.until("Number(document.querySelector('.flash').dataset.fade) < 30").await;
    assert_eq!(browser.text(".flash button").await, "Undo");
    browser.run("document.querySelector('.flash').dataset.fade = '1'").await;
    browser.until("!document.querySelector('.flash')").await;
    find("#remove").await.unwrap().send_keys("frank").await.unwrap();
    browser.click("button[value=members]").await;
    browser.until("document.querySelector('.flash')?.innerText.includes('1 removed')").await;
    let text = || std::fs::read_to_string(stage.file("lists/pilots.txt")).unwrap();
    assert_eq!(text(), "# pilot users\nalice\ncarol\ndave\n");
    browser.click(".flash button").await;
    browser.until("document.querySelector('main').innerText.includes('4 members')").await;
    find("#remove").await.unwrap().send_keys("frank").await.unwrap();
    browser.click("button[value=members]").await;
    browser.until("document.querySelector('.flash')?.innerText.includes('1 removed')").await;
    assert_eq!(text(), "alice\ncarol\ndave\n");

    // A file, or what is pasted: the difference in numbers first.
    let file = stage.folder().join("upload.txt");
    std::fs::write(&file, "alice\nerin\n").unwrap();
    find("#upload").await.unwrap().send_keys(file.display().to_string()).await.unwrap();
    browser.until("document.querySelector('#whole-text').value.includes('erin')").await;
    browser.click("button[value=compare]").await;
    browser.until("document.querySelector('.compared')").await;
    let compared = browser.text(".compared").await;
    assert!(
        compared.contains("3 members become 2")
            && compared.contains("adds 1: erin")
            && compared.contains("removes 2: carol, dave"),
        "{compared}"
    );
    assert!(text().contains("carol"), "comparing writes nothing");
    assert_eq!(browser.axe(Rules::All).await, Vec::<String>::new());
    browser.click("button[value=replace]").await;
    browser.until("document.querySelector('.flash')").await;
    assert_eq!(text(), "alice\nerin\n");
    browser.is_content(&[]).await;
}
