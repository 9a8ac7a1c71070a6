//! A browser without a screen, and what it complained of.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::DesiredCapabilities;
use thirtyfour::prelude::*;

/// How long a page may take to become what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often a driver, and the browser behind it, are started: a machine that has much to do refuses one now and then.
const DRIVER_STARTS: usize = 5;

/// A browser of one test.
pub struct Browser {
    pub driver: WebDriver,
    process: Child,
    port: u16,
    session: String,
    origin: String,
}

/// What a page is held against.
#[derive(Clone, Copy)]
pub enum Rules {
    /// WCAG 2.2, levels A and AA, and what is good practice beside.
    All,
    /// Whether texts stand out from what is behind them.
    Colours,
}

impl Rules {
    fn of_axe(self) -> &'static str {
        match self {
            Rules::All => "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']",
            Rules::Colours => "['color-contrast']",
        }
    }
}

impl Browser {
    /// Opens a browser for the pages of an origin.
    pub async fn open(origin: &str) -> Browser {
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,720",
            "--hide-scrollbars",
            "--lang=en-GB",
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.set("goog:loggingPrefs", json!({"browser": "ALL", "performance": "ALL"})).unwrap();
        let mut refused = None;
        for _ in 0..DRIVER_STARTS {
            let (mut process, port) = start_driver();
            match WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities.clone()).await {
                Ok(driver) => {
                    let session = driver.session_id().to_string();
                    return Browser { driver, process, port, session, origin: origin.to_owned() };
                }
                Err(error) => {
                    let _ = process.kill();
                    let _ = process.wait();
                    refused = Some(error);
                }
            }
        }
        panic!("no browser starts: {refused:?}");
    }

    /// Clicks what a selector finds. A page that is asked again meanwhile may put another element in its place.
    #[track_caller]
    pub fn click<'b>(&'b self, selector: &'b str) -> impl Future<Output = ()> + 'b {
        let place = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            loop {
                let clicked = match self.driver.find(By::Css(selector)).await {
                    Ok(found) => found.click().await,
                    Err(error) => Err(error),
                };
                let Err(error) = clicked else { return };
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{place}: {selector}: {error}\n{}",
                    self.text("body").await
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    pub async fn go(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.origin)).await.unwrap();
    }

    pub async fn resize(&self, width: u32, height: u32) {
        self.driver.set_window_rect(0, 0, width, height).await.unwrap();
    }

    pub async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.unwrap().json().clone()
    }

    /// The text of an element; empty where there is none.
    pub async fn text(&self, selector: &str) -> String {
        let found = self.run(&format!("return document.querySelector({selector:?})?.innerText ?? ''")).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a script's condition holds.
    #[track_caller]
    pub fn until<'b>(&'b self, condition: &'b str) -> impl Future<Output = ()> + 'b {
        let place = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            let script = format!("return Boolean({condition})");
            while begun.elapsed() < PATIENCE {
                // In the middle of a navigation there is no page to ask.
                if let Ok(found) = self.driver.execute(script.as_str(), Vec::new()).await
                    && found.json() == &json!(true)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("{place}: not within {PATIENCE:?}: {condition}\n{}", self.text("body").await);
        }
    }

    /// Types into whatever has the focus.
    pub async fn press(&self, keys: impl Into<String>) {
        self.driver.action_chain().send_keys(keys.into()).perform().await.unwrap();
    }

    /// Signs in by the keyboard alone.
    pub async fn sign_in(&self, name: &str) {
        self.go("/sign-in").await;
        self.until("document.activeElement?.id === 'user'").await;
        self.press(name).await;
        self.press(Key::Tab.value().to_string()).await;
        self.press(crate::stage::PASSWORD).await;
        self.press(Key::Enter.value().to_string()).await;
        self.until("document.querySelector('nav.tabs') && location.pathname !== '/sign-in'").await;
    }

    /// What axe-core finds on the page as it is now.
    pub async fn axe(&self, rules: Rules) -> Vec<String> {
        let rules = rules.of_axe();
        let script = format!(
            "{}\nconst done = arguments[arguments.length - 1];\
             axe.run(document, {{resultTypes: ['violations'], runOnly: {rules}}})\
             .then((found) => done(found.violations.map((each) => `${{each.id}}: ${{each.help}}: ${{each.nodes.slice(0, 3).map((node) => node.html + ' ' + (node.any[0]?.message ?? '')).join(' | ')}}`)),\
             (error) => done(['axe failed: ' + error]))",
            axe_source()
        );
        let found = self.driver.execute_async(script.as_str(), Vec::new()).await.unwrap();
        serde_json::from_value(found.json().clone()).unwrap()
    }

    /// Lines of the browser's log that are worse than a remark, and requests that went elsewhere. `expected` are statuses of
    /// pages that the test provoked.
    pub async fn complaints(&self, expected: &[u16]) -> Vec<String> {
        let mut told = Vec::new();
        for entry in self.driver.get_log("browser").await.unwrap() {
            let entry = format!("{entry:?}");
            let is_expected = expected.iter().any(|status| entry.contains(&format!("status of {status} ")));
            if (entry.contains("Severe") || entry.contains("SEVERE") || entry.contains("Warning"))
                && !is_expected
            {
                told.push(entry);
            }
        }
        for entry in self.driver.get_log("performance").await.unwrap() {
            let Ok(entry) = serde_json::from_str::<Value>(&entry.message) else { continue };
            let message = &entry["message"];
            let Some(url) = message["params"]["request"]["url"].as_str() else { continue };
            let is_own = url.starts_with(&format!("{}/", self.origin))
                || url.starts_with("about:")
                || url.starts_with("data:");
            if message["method"] == "Network.requestWillBeSent" && !is_own {
                told.push(format!("a request left the origin: {url}"));
            }
        }
        told
    }

    pub async fn is_content(&self, expected: &[u16]) {
        let told = self.complaints(expected).await;
        assert!(told.is_empty(), "{told:#?}");
    }
}

impl Drop for Browser {
    /// Ends the browser before its driver, whatever the test did.
    fn drop(&mut self) {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
                self.session
            );
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 1024]);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A free port may be taken by another test between the driver's look and its listening, so it is asked again.
fn start_driver() -> (Child, u16) {
    for _ in 0..DRIVER_STARTS {
        if let Some(started) = try_driver() {
            return started;
        }
    }
    panic!("chromedriver said no port");
}

fn try_driver() -> Option<(Child, u16)> {
    let mut process = Command::new("chromedriver")
        .arg("--port=0")
        .env("TZ", "Asia/Shanghai")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("`chromedriver` is missing; `make test-tools` installs it");
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    for line in lines {
        if let Some((_, port)) = line.unwrap().split_once("successfully on port ") {
            return Some((process, port.trim().trim_end_matches('.').parse().unwrap()));
        }
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

fn axe_source() -> String {
    let tools = std::env::var_os("GRAYGATE_TOOLS").map(PathBuf::from);
    let tools = tools
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/graygate-tools"));
    let file = tools.join("axe-core/package/axe.min.js");
    std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}; `make test-tools` brings axe-core", file.display()))
}
