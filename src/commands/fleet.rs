//! `graygate fleet`: who runs what, and who lags behind.

use std::process::ExitCode;

use super::{StoreArguments, block_on};
use graygate_store::fleet::{Fleet, Proxy, look};

pub fn fleet(store: &StoreArguments, json: bool) -> anyhow::Result<ExitCode> {
    let settings = store.settings()?;
    let fleet = block_on(async { Ok(look(&settings).await?) })?;
    match json {
        true => println!("{}", serde_json::to_string(&fleet)?),
        false => print!("{}", table(&fleet)),
    }
    Ok(ExitCode::SUCCESS)
}

const TITLES: [&str; 7] = ["PROXY", "VERSION", "RUNNING", "OFFERED", "PROBLEMS", "STARTED", "STATE"];

fn table(fleet: &Fleet) -> String {
    let rows: Vec<[String; 7]> =
        std::iter::once(TITLES.map(String::from)).chain(fleet.proxies.iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows.iter().filter(|_| !fleet.proxies.is_empty()) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    let count = |holds: fn(&Proxy) -> bool| fleet.proxies.iter().filter(|proxy| holds(proxy)).count();
    text.push_str(&format!(
        "{}, {} behind, {} with problems; the store is at revision {}\n",
        proxies(fleet.proxies.len()),
        count(|proxy| proxy.lags),
        count(|proxy| proxy.report.problems > 0),
        fleet.revision
    ));
    for key in &fleet.unreadable {
        text.push_str(&format!("`{key}` is no proxy\n"));
    }
    text
}

fn proxies(count: usize) -> String {
    format!("{count} {}", if count == 1 { "proxy" } else { "proxies" })
}

fn row(proxy: &Proxy) -> [String; 7] {
    let report = &proxy.report;
    let state = match (report.documents, proxy.lags, report.problems) {
        (None, _, _) => "runs what it had before: the store's documents are held back or were never read",
        (_, true, _) => "behind: the store has changed",
        (_, false, 0) => "up to date",
        (_, false, _) => "up to date, with problems",
    };
    [
        proxy.id.clone(),
        report.version.clone(),
        report.running.to_string(),
        report.offered.to_string(),
        report.problems.to_string(),
        report.started.clone(),
        state.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_fleet_is_printed_as_well() {
        let empty = Fleet { revision: 7, proxies: Vec::new(), unreadable: vec!["/graygate/fleet/x".into()] };
        assert_eq!(
            table(&empty),
            "0 proxies, 0 behind, 0 with problems; the store is at revision 7\n`/graygate/fleet/x` is no proxy\n"
        );
    }
}
