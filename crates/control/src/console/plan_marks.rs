//! How a plan stands, in a shape, a word and a sentence.

use graygate_judge::plan::Waiting;
use maud::{Markup, html};

use crate::plans::PlanShown;
use crate::report::Language;

pub fn waited_for(lang: Language, waiting: &Waiting) -> String {
    match waiting {
        Waiting::Regression(guards) => lang.waits_regression(guards.join(", ")),
        Waiting::Person(why) => lang.waits_person(why),
        Waiting::NoGrayInstance => lang.waits_instance().to_owned(),
        Waiting::Fleet { behind, named } if named.is_empty() => lang.waits_fleet(behind),
        Waiting::Fleet { named, .. } => lang.waits_fleet_named(named.join(", ")),
        Waiting::Unreadable(proxies) => lang.waits_unreadable(proxies.join(", ")),
        Waiting::Hold { left } => lang.waits_hold(span_of(left.as_secs())),
        Waiting::Requests { seen, wanted } => lang.waits_requests(seen, wanted),
        Waiting::Evidence(guards) => lang.waits_evidence(guards.join(", ")),
        Waiting::Approval { step } => lang.waits_approval(step + 1),
        Waiting::Window(opens) => lang.waits_window(opens),
        Waiting::Lists(lists) => lang.waits_lists(lists.join(", ")),
        Waiting::Complete => lang.waits_complete().to_owned(),
        Waiting::Watch { left } => lang.waits_watch(span_of(left.as_secs())),
        Waiting::Promote => lang.waits_promote().to_owned(),
    }
}

/// The state, as a shape and a word.
pub fn state_mark(lang: Language, plan: &PlanShown) -> Markup {
    let (class, shape) = match plan.state.as_str() {
        "DRAFT" => ("none", "○"),
        "ACTIVE" => ("good", "▶"),
        "PAUSED" => ("warn", "▮▮"),
        "COMPLETED" => ("good", "●"),
        _ => ("bad", "■"),
    };
    html! {
        span class=(format!("state {class}")) { span.shape aria-hidden="true" { (shape) } " " (lang.state_name(&plan.state)) }
        @if plan.promoted { " " span.mark { (lang.promoted()) } }
        @if plan.edited { " " span.mark { (lang.edited()) } }
    }
}

/// A time as documents write it.
pub fn span_of(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}
