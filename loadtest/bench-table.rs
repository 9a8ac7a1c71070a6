//! Prints what `cargo bench` left in `target/criterion` as tables; `make bench` keeps them in `loadtest/results/bench.md`.
//!
//! A number that was not measured is a dash, and a row without numbers is left out. Asking one rule after another, measured in the same run, is the baseline.
#![expect(clippy::unwrap_used, reason = "a tool of the workshop")]

use std::fmt::Write as _;
use std::path::Path;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// What a row says, and the directories its numbers are in.
const ROWS: [(&str, &str); 12] = [
    ("rules of texts, the first matches", "rules_equality_first"),
    ("rules of texts, the last matches", "rules_equality_last"),
    ("rules of texts, none matches", "rules_equality_none"),
    ("half of the rules patterns, the last matches", "rules_half_regex_last"),
    ("half of the rules patterns, none matches", "rules_half_regex_none"),
    ("rules of lists and texts, the last matches", "rules_list_last"),
    ("patterns over paths, the last matches", "rules_path_regex_last"),
    ("patterns over user agents, the last matches", "rules_agent_regex_last"),
    ("version ranges, the last matches", "rules_semver_last"),
    ("routes by host, the last matches", "routes_hosts_last"),
    ("routes by path, the last matches", "routes_paths_last"),
    ("routes by pattern, the last matches", "routes_patterns_last"),
];

/// What else was measured: its unit, how many of the unit a nanosecond is, and the directories.
const OTHERS: [(&str, f64, &[&str]); 12] = [
    (
        "a list of 10,000 / 1 million / 10 million, a member, ns",
        1.0,
        &["list_hit_10000", "list_hit_1000000", "list_hit_10000000"],
    ),
    ("the same, not a member, ns", 1.0, &["list_miss_10000", "list_miss_1000000", "list_miss_10000000"]),
    ("a list of 10 million, bytes a member", 1.0, &["list_bytes_10000000"]),
    (
        "compile 10,000 rules: texts / half patterns / `contains`, ms",
        1e-6,
        &["compile_whole_equality_10000", "compile_whole_half_regex_10000", "compile_whole_contains_10000"],
    ),
    (
        "one condition among them changes, ms",
        1e-6,
        &[
            "compile_one_of_equality_10000",
            "compile_one_of_half_regex_10000",
            "compile_one_of_contains_10000",
        ],
    ),
    (
        "one share among them changes, ms",
        1e-6,
        &[
            "compile_share_of_equality_10000",
            "compile_share_of_half_regex_10000",
            "compile_share_of_contains_10000",
        ],
    ),
    (
        "one rule among them (texts) moves / comes / goes, ms",
        1e-6,
        &[
            "compile_moved_of_equality_10000",
            "compile_added_to_equality_10000",
            "compile_removed_from_equality_10000",
        ],
    ),
    (
        "decide with changes beside the index: texts / half patterns / `contains`, ns",
        1.0,
        &[
            "rules_equality_changed_10000_index",
            "rules_half_regex_changed_10000_index",
            "rules_contains_changed_10000_index",
        ],
    ),
    (
        "normalise a path: plain / encoded / with dots, ns",
        1.0,
        &["normalise_path_plain", "normalise_path_encoded", "normalise_path_dots"],
    ),
    ("normalise a host, ns", 1.0, &["normalise_host"]),
    (
        "pick one of 100 instances: in turn / fewest requests / by hash, ns",
        1.0,
        &["pick_round_robin_100", "pick_least_requests_100", "pick_hash_100"],
    ),
    ("pick one of 100 in turn, two threads at once, ns", 1.0, &["pick_round_robin_100_2_threads"]),
];

fn main() {
    print!("{}", table(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/criterion")));
}

fn table(criterion: &Path) -> String {
    let mut table = String::from(
        "| one decision, ns | 10 | 100 | 1,000 | 10,000 | 10,000 / 10 | 10,000 one by one, times as much |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (row, name) in ROWS {
        let measured = SIZES.map(|size| nanoseconds(criterion, &format!("{name}_{size}_index")));
        if measured.iter().all(Option::is_none) {
            continue;
        }
        write!(table, "| {row} |").unwrap();
        for number in measured {
            write!(table, " {} |", told(number, 0)).unwrap();
        }
        let [least, .., most] = measured;
        let growth = most.zip(least).map(|(most, least)| most / least);
        let linear = nanoseconds(criterion, &format!("{name}_10000_linear"));
        let ratio = linear.zip(most).map(|(linear, index)| linear / index);
        writeln!(table, " {} | {} |", told(growth, 1), told(ratio, 0)).unwrap();
    }
    table.push_str("\n| beside it | |\n|---|--:|\n");
    for (row, scale, names) in OTHERS {
        let measured: Vec<_> = names.iter().map(|name| nanoseconds(criterion, name)).collect();
        if measured.iter().all(Option::is_none) {
            continue;
        }
        let digits = |number: f64| usize::from(number < 20.0);
        let told = measured.into_iter().map(|number| {
            let number = number.map(|number| number * scale);
            told(number, number.map_or(0, digits))
        });
        writeln!(table, "| {row} | {} |", told.collect::<Vec<_>>().join(" / ")).unwrap();
    }
    table
}

fn told(number: Option<f64>, digits: usize) -> String {
    number.map_or("-".into(), |number| format!("{number:.digits$}"))
}

/// The median of a benchmark that was run.
fn nanoseconds(criterion: &Path, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(criterion.join(name).join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates.pointer("/median/point_estimate")?.as_f64()
}
