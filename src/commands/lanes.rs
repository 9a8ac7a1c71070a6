//! `graygate lanes`: how far each lane of messages is, who takes its messages, and how many wait.

use std::process::ExitCode;

use super::{StoreArguments, block_on};
use graygate_messages::board::View;
use graygate_messages::{LaneReport, reports};
use graygate_store::board::look;

pub fn lanes(store: &StoreArguments, json: bool) -> anyhow::Result<ExitCode> {
    let settings = store.settings()?;
    let entries = block_on(async { Ok(look(&settings).await?) })?;
    let lanes = reports(&View::read(&entries));
    match json {
        true => println!("{}", serde_json::to_string(&lanes)?),
        false => print!("{}", table(&lanes)),
    }
    Ok(ExitCode::SUCCESS)
}

const TITLES: [&str; 6] = ["GROUP", "LANE", "STATE", "CONSUMERS", "LAG", "DRAINED BY"];

fn table(lanes: &[LaneReport]) -> String {
    if lanes.is_empty() {
        return "no lanes\n".to_owned();
    }
    let row = |lane: &LaneReport| {
        [
            lane.group.clone(),
            lane.lane.clone(),
            lane.state.to_owned(),
            lane.consumers.to_string(),
            lane.lag.to_string(),
            lane.drained_by.join(", "),
        ]
    };
    let rows: Vec<[String; 6]> =
        std::iter::once(TITLES.map(String::from)).chain(lanes.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_a_table() {
        let lane = LaneReport {
            group: "provider".into(),
            lane: "feat1".into(),
            state: "draining",
            mark: "feat1.7".into(),
            drained_by: vec!["a".into(), "b".into()],
            consumers: 0,
            lag: 12,
        };
        let expected = "GROUP     LANE   STATE     CONSUMERS  LAG  DRAINED BY\n\
                        provider  feat1  draining  0          12   a, b\n";
        assert_eq!(table(&[lane]), expected);
        assert_eq!(table(&[]), "no lanes\n");
    }
}
