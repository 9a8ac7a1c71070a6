//! False alarms and delays of the judge beside others' documented settings, on the same made-up traffic, as Markdown.
//!
//! Arguments: how many runs of each kind (default 300), and the first seed (default 1). `make judge-table` keeps the result.

mod others;
mod runs;
mod traffic;

use std::fmt::Write;

use runs::{Outcome, Outcomes, delays, healthy, outcomes};
use traffic::Scenario;

const PREFACE: &str = "\
An hour of a thousand requests a second, 5 % of them gray, unless said otherwise; every request is drawn by itself, from a
seed. Release fails in 0.1 % and answers in 50 ms in the middle, 322 ms at the 99th percentile. Beside graygate with its
default guards, on the same requests: Flagger's documented example (every minute: 99 % succeed, 99th percentile below 500 ms;
ten failed checks; six good ones promote), Argo Rollouts' (every five minutes: 95 % succeed; `failureLimit: 3`), and a test of
two proportions at 1 % that is looked at each second.

Uneven people: some ask a hundred times as often as others, one in a hundred fails half of the time, middle times differ by a
fifth. 250 people are gray, and 300 more where there are pilots. Stalls: each of twenty instances stands still for two seconds
every ten minutes; gray has one of them. The outage: for a minute both versions fail fifty times as often and take three
times as long.
";

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let (Ok(runs), Ok(seed)) = (arguments.next().unwrap_or(Ok(300)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("judge-table [RUNS [SEED]]");
        std::process::exit(2);
    };
    println!("{PREFACE}");
    println!("## Rollbacks of a version with nothing wrong\n");
    println!("| traffic | runs | graygate | Flagger | Argo | a test looked at each second |");
    println!("|---|---|---|---|---|---|");
    for scenario in healthy() {
        println!("{}", healthy_row(&scenario, &outcomes(scenario, runs_of(&scenario, runs), seed)));
    }
    println!("\n## Requests until a worse version is rolled back\n");
    println!(
        "| what is wrong with gray | runs | graygate: rolled back | gray requests, median (90 %) \
         | seconds, median (90 %) | Flagger: rolled back, promoted | Argo: rolled back |"
    );
    println!("|---|---|---|---|---|---|---|");
    for scenario in delays() {
        println!("{}", delay_row(&scenario, &outcomes(scenario, runs, seed)));
    }
}

/// A week takes as long as many hours.
fn runs_of(scenario: &Scenario, runs: u64) -> u64 {
    if scenario.seconds > 7200 { (runs / 5).max(1) } else { runs }
}

fn healthy_row(scenario: &Scenario, outcomes: &Outcomes) -> String {
    let mut row = format!("| {} | {} |", scenario.name, outcomes.0.len());
    let rolled_back: [fn(&Outcome) -> bool; 4] = [
        |outcome| outcome.regression.is_some(),
        |outcome| outcome.flagger.rolled_back.is_some(),
        |outcome| outcome.argo.rolled_back.is_some(),
        |outcome| outcome.peeked.rolled_back.is_some(),
    ];
    for rolled_back in rolled_back {
        let _ = write!(row, " {} |", outcomes.part(rolled_back));
    }
    row
}

fn delay_row(scenario: &Scenario, outcomes: &Outcomes) -> String {
    let requests = outcomes.quantiles(|outcome| Some(outcome.regression?.requests));
    let seconds = outcomes.quantiles(|outcome| Some(outcome.regression?.seconds));
    format!(
        "| {} | {} | {} | {requests} | {seconds} | {}, {} | {} |",
        scenario.name,
        outcomes.0.len(),
        outcomes.part(|outcome| outcome.regression.is_some()),
        outcomes.part(|outcome| outcome.flagger.rolled_back.is_some()),
        outcomes.part(|outcome| outcome.flagger.promoted.is_some()),
        outcomes.part(|outcome| outcome.argo.rolled_back.is_some()),
    )
}
