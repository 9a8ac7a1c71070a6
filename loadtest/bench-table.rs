//! Turns what `cargo bench` left in `target/criterion` into the README's table, between its two markers.
//!
//! A number that was not measured is a dash, and a row without numbers is left out. Asking one rule after another, measured in the same run, is the baseline.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a tool of the workshop")]

use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// What a row says, and the directories its numbers are in.
const ROWS: [(&str, &str); 6] = [
    ("rules of texts, the last matches", "rules_equality_last"),
    ("half of the rules patterns, the last matches", "rules_half_regex_last"),
    ("half of the rules patterns, none matches", "rules_half_regex_none"),
    ("rules of lists and texts, the last matches", "rules_list_last"),
    ("routes by path, the last matches", "routes_paths_last"),
    ("routes by pattern, the last matches", "routes_patterns_last"),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(&root.join("target/criterion"));
    print!("{table}");
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the README has the marker of the table");
    let (_, after) = rest.split_once(END).expect("the README has the marker behind the table");
    std::fs::write(&readme, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
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
