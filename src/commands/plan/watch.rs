//! `graygate plan watch`: a plan followed second by second.
//!
//! On a terminal one line is written over again, and what happens stays above it; elsewhere a line is written when something
//! happens, and every ten seconds. A control plane that does not answer for a while is asked again.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use graygate_control::client::Client;
use http::Method;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::line::{Figures, Plan};
use super::{Until, WatchArguments};

const EVERY: Duration = Duration::from_secs(1);
/// Between two lines where nothing happens, without a terminal.
const QUIET: Duration = Duration::from_secs(10);
/// The time given is over.
const LATE: u8 = 4;

/// Whether a watch ends here, and with which status.
fn verdict(until: Option<Until>, plan: Plan<'_>) -> Option<u8> {
    let (is_rolled_back, is_completed) = (plan.state() == "ROLLBACK", plan.state() == "COMPLETED");
    match until {
        None => (is_rolled_back || plan.is_promoted()).then_some(0),
        Some(Until::Completed) if is_completed => Some(0),
        Some(Until::Completed) => is_rolled_back.then_some(1),
        Some(Until::Rollback) if is_rolled_back => Some(0),
        // A promoted version is the release: nothing is left to roll back by itself.
        Some(Until::Rollback) => plan.is_promoted().then_some(1),
    }
}

pub async fn watch(client: &Client, arguments: &WatchArguments) -> anyhow::Result<ExitCode> {
    let end = arguments.timeout.map(|timeout| Instant::now() + timeout);
    let mut screen = Screen::new(arguments.json);
    loop {
        match client.ask(Method::GET, &super::path(&arguments.name), None).await {
            Ok(answer) => {
                let plan = Plan(&answer.body);
                // The figures are worth no failure of their own.
                let services = client.ask(Method::GET, "/services", None).await;
                let services = services.map(|answer| answer.body).unwrap_or_default();
                screen.show(plan, &Figures::of(plan, &services));
                if let Some(code) = verdict(arguments.until, plan) {
                    screen.end(plan);
                    return Ok(ExitCode::from(code));
                }
            }
            // Such as 401 and 404: asking again would not change it.
            Err(error) if error.starts_with("40") => anyhow::bail!(error),
            Err(error) => screen.note(&format!("no answer: {error}; trying again")),
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            screen.note("the time is over");
            return Ok(ExitCode::from(LATE));
        }
        tokio::time::sleep(EVERY).await;
    }
}

type Place = (String, u64, u64, Vec<String>);

/// Where a watch is written to.
struct Screen {
    is_json: bool,
    is_live: bool,
    place: Option<Place>,
    written: Option<Instant>,
}

impl Screen {
    fn new(is_json: bool) -> Screen {
        let is_live = !is_json && std::io::stdout().is_terminal();
        Screen { is_json, is_live, place: None, written: None }
    }

    fn show(&mut self, plan: Plan<'_>, figures: &Figures) {
        if self.is_json {
            let side = |side: super::line::Side| json!({"requests_per_second": side.rate, "error_share": side.error_share()});
            let mut whole = plan.0.clone();
            if let Some(fields) = whole.as_object_mut() {
                fields.remove("text");
                fields.remove("running");
                fields.insert(
                    "live".into(),
                    json!({"gray": side(figures.gray), "release": side(figures.others)}),
                );
            }
            say(&whole.to_string());
            return;
        }
        let place = plan.place();
        let is_news = self.place.as_ref() != Some(&place);
        let line = plan.line(figures);
        if self.is_live {
            if let Some(before) =
                self.place.as_ref().filter(|before| before.0 != place.0 || before.2 != place.2)
            {
                let why = if plan.why().is_empty() { String::new() } else { format!(": {}", plan.why()) };
                let now = clock();
                self.note(&format!("{now} {} -> {} (step {}){why}", before.0, place.0, place.2));
            }
            let width = width();
            let line: String = line.chars().take(width.saturating_sub(1)).collect();
            print!("\r\x1b[K{line}");
            let _ = std::io::stdout().flush();
        } else if is_news || self.written.is_none_or(|written| written.elapsed() >= QUIET) {
            say(&format!("{} {line}", clock()));
            self.written = Some(Instant::now());
        }
        self.place = Some(place);
    }

    fn note(&mut self, text: &str) {
        if self.is_live {
            print!("\r\x1b[K");
            let _ = std::io::stdout().flush();
        }
        match self.is_json {
            true => eprintln!("{text}"),
            false => say(text),
        }
    }

    fn end(&mut self, plan: Plan<'_>) {
        if self.is_json {
            return;
        }
        if self.is_live {
            println!();
        }
        if !plan.why().is_empty() {
            say(&format!("{}: {}", plan.state(), plan.why()));
        }
    }
}

/// A reader that went away is no error: it has seen what it wanted.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn clock() -> String {
    let now = OffsetDateTime::now_utc();
    format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_ends_where_it_should() {
        use Until::{Completed, Rollback};
        for (until, state, promoted, expected) in [
            (None, "ACTIVE", false, None),
            (None, "COMPLETED", false, None),
            (None, "COMPLETED", true, Some(0)),
            (None, "ROLLBACK", false, Some(0)),
            (Some(Completed), "ACTIVE", false, None),
            (Some(Completed), "PAUSED", false, None),
            (Some(Completed), "COMPLETED", false, Some(0)),
            (Some(Completed), "ROLLBACK", false, Some(1)),
            (Some(Rollback), "ROLLBACK", false, Some(0)),
            (Some(Rollback), "COMPLETED", false, None),
            (Some(Rollback), "COMPLETED", true, Some(1)),
        ] {
            let plan = json!({"state": state, "promoted": promoted});
            assert_eq!(verdict(until, Plan(&plan)), expected, "{until:?} {state} {promoted}");
        }
    }
}
