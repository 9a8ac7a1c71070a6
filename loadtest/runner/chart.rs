//! Small multiples as one SVG: a column for what grows, a row for what is measured. Every axis up is logarithmic and shared
//! along its row, so a flat line means that nothing grew. Colours follow the reader's light or dark scheme.

use std::fmt::Write as _;

pub struct Column {
    pub name: &'static str,
    /// Whether neighbours are joined by a line.
    pub is_growth: bool,
    pub labels: Vec<String>,
    /// Processor time, p50, p99, MiB.
    pub values: Vec<[f64; 4]>,
}

/// A row's name, and which of a column's values are its lines.
const ROWS: [(&str, &[usize]); 3] =
    [("processor µs a request", &[0]), ("ms: p50, p99", &[1, 2]), ("MiB", &[3])];
/// Classes of the lines, by value.
const CLASSES: [&str; 4] = ["a", "a", "b", "a"];

const LEFT: f64 = 46.0;
const TOP: f64 = 38.0;
const WIDTH: f64 = 122.0;
const HEIGHT: f64 = 104.0;
/// Between columns, between rows for the next one's name, and between a cell's edge and its points.
const GAP: f64 = 10.0;
const NAME: f64 = 22.0;
const INSET: f64 = 14.0;

const STYLE: &str = "\
text{font:10px system-ui,sans-serif;fill:#59636e}.name{font-size:11px;font-weight:600;fill:#1f2328}.paper{fill:#fff}\
.grid{stroke:#d1d9e0}.cell{fill:none;stroke:#d1d9e0}polyline{stroke-width:1.6}\
.a{fill:#0969da}.b{fill:#bc4c00}polyline.a{fill:none;stroke:#0969da}polyline.b{fill:none;stroke:#bc4c00}.value{font-size:9px}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.name{fill:#f0f6fc}.paper{fill:#0d1117}.grid,.cell{stroke:#3d444d}\
.a{fill:#4493f8}.b{fill:#f0883e}polyline.a{fill:none;stroke:#4493f8}polyline.b{fill:none;stroke:#f0883e}}";

pub fn chart(columns: &[Column]) -> String {
    let (width, height) = (LEFT + columns.len() as f64 * WIDTH, TOP + ROWS.len() as f64 * (HEIGHT + NAME));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    for (index, (name, lines)) in ROWS.into_iter().enumerate() {
        let top = TOP + index as f64 * (HEIGHT + NAME);
        let scale = Scale::of(columns, lines, top);
        label(&mut svg, "name", "start", (4.0, top - 8.0), name);
        for decade in scale.decades() {
            label(&mut svg, "", "end", (LEFT - 4.0, scale.y(decade) + 3.0), &figure(decade));
        }
        for (column, left) in columns.iter().zip((0..).map(|n| LEFT + f64::from(n) * WIDTH)) {
            cell(&mut svg, column, lines, &scale, left);
        }
    }
    for (column, left) in columns.iter().zip((0..).map(|n| LEFT + f64::from(n) * WIDTH)) {
        label(&mut svg, "name", "middle", (left + (WIDTH - GAP) / 2.0, 16.0), column.name);
        for (place, text) in column.labels.iter().enumerate() {
            label(&mut svg, "", "middle", (x(column, left, place), height - 8.0), text);
        }
    }
    svg + "</svg>\n"
}

/// The height of a row's values, from one decade to another.
struct Scale {
    least: f64,
    most: f64,
    top: f64,
}

impl Scale {
    fn of(columns: &[Column], lines: &[usize], top: f64) -> Scale {
        let all = || {
            columns
                .iter()
                .flat_map(|column| &column.values)
                .flat_map(|values| lines.iter().map(|line| values[*line]))
        };
        let (least, most) =
            (all().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        let least = least.max(0.001).log10().floor();
        Scale { least, most: most.max(0.01).log10().ceil().max(least + 1.0), top }
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 10_f64.powi(power))
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (self.most - value.log10()) / (self.most - self.least)
    }
}

fn x(column: &Column, left: f64, place: usize) -> f64 {
    let step = (WIDTH - GAP - 2.0 * INSET) / (column.labels.len() - 1).max(1) as f64;
    left + INSET + place as f64 * step
}

fn cell(svg: &mut String, column: &Column, lines: &[usize], scale: &Scale, left: f64) {
    let (top, right) = (scale.top, left + WIDTH - GAP);
    let _ = writeln!(
        svg,
        "<rect class=\"cell\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{HEIGHT}\"/>",
        WIDTH - GAP
    );
    for y in scale.decades().map(|decade| scale.y(decade)) {
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>");
    }
    for line in lines {
        let (class, is_lower) = (CLASSES[*line], lines.len() > 1 && Some(line) == lines.first());
        // Nothing of a measurement that failed has a place on a logarithmic axis.
        let points: Vec<(f64, f64, f64)> = (column.values.iter().enumerate())
            .map(|(place, values)| (x(column, left, place), values[*line]))
            .filter(|(_, value)| *value > 0.0)
            .map(|(x, value)| (x, scale.y(value), value))
            .collect();
        if column.is_growth {
            let joined: Vec<_> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", joined.join(" "));
        }
        for (place, (x, y, value)) in points.iter().enumerate() {
            let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\"/>");
            // The ends say how much it grew; what stands between them is in the table.
            if !column.is_growth || place == 0 || place + 1 == points.len() {
                let y = y + if is_lower { 11.0 } else { -5.0 };
                label(svg, &format!("value {class}"), "middle", (*x, y), &figure(*value));
            }
        }
    }
}

fn label(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}

/// Two digits that count, more only where they stand before the point.
fn figure(value: f64) -> String {
    match value {
        1e6.. => format!("{:.0}M", value / 1e6),
        1e4.. => format!("{:.0}k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{:.1}", value).trim_end_matches(".0").to_owned(),
        _ => format!("{value:.2}").trim_end_matches('0').to_owned(),
    }
}
