//! Lines over time as SVG, the same in the console and in a report.
//!
//! Answers: how did this go, and how near did it come to its limit? A chart is text that needs no script, no request and no
//! inline style: colours are classes of [`STYLE`], which the page that shows it carries, in light, dark and print. It has a
//! title and a description in words for those who do not see it, and lines differ by more than their colour. Start at
//! [`Chart::svg`].

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::language::Language;

/// Most points of a line as it is drawn; of more, the largest of each piece is kept, so that no peak is lost.
const POINTS: usize = 320;
/// The drawing, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
/// Where the lines are: room for figures on the left, times below, names above.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 24.0;
/// Parts of the axes, at most.
const TICKS: f64 = 4.0;
/// What the ids of charts of evidence begin with, and that of a share: their titles are known in every language.
const EVIDENCE: &str = "evidence-";
const SHARE: &str = "share";

/// The colours of every chart, for the style sheet of the page that shows them.
pub const STYLE: &str = "\
.chart { display: block; width: 100%; height: auto; color: #24292f; font: 11px system-ui, sans-serif; }
.chart text { fill: #57606a; stroke: none; }
.chart .grid { stroke: #d8dee4; }
.chart .mark { stroke: #8c959f; }
.chart .limit { stroke: #b42318; }
.chart text.limit-name { fill: #b42318; }
.chart .gray { stroke: #6f42c1; }
.chart .release { stroke: #0969da; }
.chart .third { stroke: #9a6700; }
@media (prefers-color-scheme: dark) {
.chart { color: #e6edf3; }
.chart text { fill: #9da7b3; }
.chart .grid { stroke: #30363d; }
.chart .mark { stroke: #6e7681; }
.chart .limit { stroke: #ff7b72; }
.chart text.limit-name { fill: #ff7b72; }
.chart .gray { stroke: #bc8cff; }
.chart .release { stroke: #58a6ff; }
.chart .third { stroke: #d29922; }
}
@media print {
.chart, .chart text { color: #000; fill: #000; }
.chart .grid { stroke: #ccc; }
.chart .limit { stroke: #000; }
.chart text.limit-name { fill: #000; }
.chart .gray { stroke: #4a148c; }
.chart .release { stroke: #0d47a1; }
.chart .third { stroke: #6d4c00; }
}
";

/// What a line is of; it decides colour and dashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The plan's version.
    Gray,
    Release,
    /// Anything else.
    Third,
}

impl Side {
    fn class(self) -> &'static str {
        match self {
            Side::Gray => "gray",
            Side::Release => "release",
            Side::Third => "third",
        }
    }

    /// So that lines differ without colours as well.
    fn dashes(self) -> &'static str {
        match self {
            Side::Gray => "none",
            Side::Release => "5 3",
            Side::Third => "2 2",
        }
    }
}

/// How figures are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Plain,
    /// A share of 100.
    Percent,
    Milliseconds,
    PerSecond,
    /// A logarithm to the base of ten.
    Log10,
}

impl Unit {
    /// A figure with its unit, as short as it is still told apart.
    pub fn say(self, value: f64) -> String {
        let figure = figure(value);
        match self {
            Unit::Plain | Unit::Log10 => figure,
            Unit::Percent => format!("{figure} %"),
            Unit::Milliseconds => format!("{figure} ms"),
            Unit::PerSecond => format!("{figure}/s"),
        }
    }
}

fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A second since 1970, and what was there; `None` breaks the line: nothing is known.
pub type Point = (i64, Option<f64>);

#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub name: String,
    pub side: Side,
    pub points: Vec<Point>,
}

impl Line {
    pub fn new(name: impl Into<String>, side: Side, points: Vec<Point>) -> Line {
        Line { name: name.into(), side, points }
    }
}

/// A height that means something, such as the evidence that rolls back.
#[derive(Clone, PartialEq, Debug)]
pub struct Limit {
    pub name: String,
    pub value: f64,
}

/// A moment that means something, such as the beginning of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct Mark {
    pub second: i64,
    pub name: String,
}

/// Everything that is drawn.
#[derive(Clone, PartialEq, Debug)]
pub struct Chart {
    /// Unique on its page: letters, digits and `-`.
    pub id: String,
    pub title: String,
    pub unit: Unit,
    pub lines: Vec<Line>,
    pub limit: Option<Limit>,
    pub marks: Vec<Mark>,
    pub language: Language,
}

impl Chart {
    pub fn new(id: impl Into<String>, title: impl Into<String>, unit: Unit) -> Chart {
        Chart {
            id: id.into(),
            title: title.into(),
            unit,
            lines: Vec::new(),
            limit: None,
            marks: Vec::new(),
            language: Language::English,
        }
    }

    pub fn with_line(mut self, name: impl Into<String>, side: Side, points: Vec<Point>) -> Chart {
        self.lines.push(Line::new(name, side, points));
        self
    }

    pub fn with_limit(mut self, name: impl Into<String>, value: f64) -> Chart {
        self.limit = Some(Limit { name: name.into(), value });
        self
    }

    pub fn with_marks(mut self, marks: Vec<Mark>) -> Chart {
        self.marks = marks;
        self
    }

    pub fn in_language(mut self, language: Language) -> Chart {
        self.language = language;
        if language == Language::Chinese {
            if let Some(guard) = self.id.strip_prefix(EVIDENCE) {
                self.title = format!("证据：{guard}（e 的常用对数）");
            } else if self.id == SHARE {
                self.title = "比例".to_owned();
            }
            if let Some(limit) = self.limit.as_mut().filter(|_| self.id.starts_with(EVIDENCE)) {
                limit.name = format!("达到 {} 即判定劣化", figure(limit.value));
            }
        }
        self
    }

    /// The evidence of a guard, against what makes it say regression: `points` are logarithms of e to the base of ten.
    pub fn evidence(guard: &str, points: Vec<Point>, alpha: f64) -> Chart {
        let limit = -alpha.log10();
        Chart::new(format!("{EVIDENCE}{guard}"), format!("Evidence: {guard} (log10 of e)"), Unit::Log10)
            .with_line(guard, Side::Gray, points)
            .with_limit(format!("regression at {}", figure(limit)), limit)
    }

    /// Which share of people the plan's version has, over time.
    pub fn share(points: Vec<Point>) -> Chart {
        Chart::new(SHARE, "Share", Unit::Percent).with_line("share", Side::Gray, points)
    }

    /// The picture as one `svg` element.
    pub fn svg(&self) -> String {
        let frame = Frame::around(self);
        let mut out = String::new();
        let id = escape(&self.id);
        let _ = write!(
            out,
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             xmlns=\"http://www.w3.org/2000/svg\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            escape(&self.title),
            escape(&self.description())
        );
        self.draw_axes(&frame, &mut out);
        self.draw_names(&mut out);
        for mark in &self.marks {
            let x = frame.x(mark.second);
            let _ = write!(
                out,
                "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"currentColor\" stroke-dasharray=\"1 3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{}</text>",
                HEIGHT - BOTTOM,
                (x + 2.0).min(WIDTH - 60.0),
                TOP + 9.0,
                escape(&mark.name)
            );
        }
        if let Some(limit) = &self.limit {
            let y = frame.y(limit.value);
            let _ = write!(
                out,
                "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{}\" stroke=\"currentColor\" stroke-dasharray=\"6 3\"/>\
                 <text class=\"limit-name\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"10\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT,
                y - 3.0,
                escape(&limit.name)
            );
        }
        for line in &self.lines {
            let path = frame.path(&line.points);
            let _ = write!(
                out,
                "<path class=\"{}\" d=\"{path}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" \
                 stroke-linecap=\"round\" stroke-dasharray=\"{}\"/>",
                line.side.class(),
                line.side.dashes()
            );
        }
        out.push_str("</svg>");
        out
    }

    /// The picture in words.
    pub fn description(&self) -> String {
        let mut said: Vec<String> = self.lines.iter().map(|line| self.describe(line)).collect();
        said.extend(self.limit.as_ref().map(|limit| limit.name.clone()));
        said.join("; ")
    }

    fn describe(&self, line: &Line) -> String {
        let known = || line.points.iter().filter_map(|(_, value)| *value);
        let (Some(last), Some(most)) = (known().next_back(), known().reduce(f64::max)) else {
            return match self.language {
                Language::English => format!("{}: nothing yet", line.name),
                Language::Chinese => format!("{}：暂无数据", line.name),
            };
        };
        let (last, most) = (self.unit.say(last), self.unit.say(most));
        match self.language {
            Language::English => format!("{}: {last} at the end, {most} at most", line.name),
            Language::Chinese => format!("{}：最后 {last}，最高 {most}", line.name),
        }
    }

    fn draw_axes(&self, frame: &Frame, out: &mut String) {
        for value in ticks(frame.low, frame.high) {
            let y = frame.y(value);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\" stroke=\"currentColor\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(&self.unit.say(value))
            );
        }
        let span = frame.last - frame.first;
        for part in 0..=4i64 {
            let second = frame.first + span * part / 4;
            let anchor = match part {
                0 => "start",
                4 => "end",
                _ => "middle",
            };
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\" font-size=\"11\">{}</text>",
                frame.x(second),
                HEIGHT - 6.0,
                clock(second, span)
            );
        }
    }

    fn draw_names(&self, out: &mut String) {
        let mut x = LEFT;
        for line in &self.lines {
            let _ = write!(
                out,
                "<path class=\"{}\" d=\"M{x:.1} 12h18\" stroke=\"currentColor\" stroke-width=\"2\" stroke-dasharray=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"16\" font-size=\"11\">{}</text>",
                line.side.class(),
                line.side.dashes(),
                x + 22.0,
                escape(&line.name)
            );
            // Wide letters take about twice the room of narrow ones.
            let width: f64 = line.name.chars().map(|c| if c.is_ascii() { 6.2 } else { 11.5 }).sum();
            x += 40.0 + width;
        }
    }
}

/// From seconds and values to places in the drawing.
struct Frame {
    first: i64,
    last: i64,
    low: f64,
    high: f64,
}

impl Frame {
    fn around(chart: &Chart) -> Frame {
        let seconds = || {
            let points = chart.lines.iter().flat_map(|line| line.points.iter().map(|(second, _)| *second));
            points.chain(chart.marks.iter().map(|mark| mark.second))
        };
        let first = seconds().min().unwrap_or_default();
        let last = seconds().max().unwrap_or_default().max(first + 1);
        let values = || {
            let values =
                chart.lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, value)| *value));
            values.chain(chart.limit.iter().map(|limit| limit.value)).filter(|value| value.is_finite())
        };
        let low = values().reduce(f64::min).unwrap_or_default().min(0.0);
        let high = values().reduce(f64::max).unwrap_or_default();
        let high = if high > low { high + (high - low) * 0.08 } else { low + 1.0 };
        Frame { first, last, low, high }
    }

    fn x(&self, second: i64) -> f64 {
        let part = (second - self.first) as f64 / (self.last - self.first) as f64;
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    fn path(&self, points: &[Point]) -> String {
        let mut path = String::new();
        let mut is_down = false;
        for (second, value) in thinned(points) {
            let Some(value) = value.filter(|value| value.is_finite()) else {
                is_down = false;
                continue;
            };
            let (x, y) = (self.x(second), self.y(value));
            // A point between two gaps is a line of no length, which the round ends show as a dot.
            let _ = match is_down {
                true => write!(path, "L{x:.1} {y:.1}"),
                false => write!(path, "M{x:.1} {y:.1}h0"),
            };
            is_down = true;
        }
        path
    }
}

fn thinned(points: &[Point]) -> Vec<Point> {
    let piece = points.len().div_ceil(POINTS).max(1);
    let largest = |piece: &[Point]| {
        let known = piece.iter().filter(|(_, value)| value.is_some_and(f64::is_finite));
        let most = known.max_by(|(_, a), (_, b)| a.unwrap_or_default().total_cmp(&b.unwrap_or_default()));
        most.or_else(|| piece.last()).copied()
    };
    points.chunks(piece).filter_map(largest).collect()
}

/// Round figures between two values.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil();
    (0..=10).map(|i| (first + f64::from(i)) * step).take_while(|value| *value <= high).collect()
}

/// A time of the axis: as fine as the span asks for, in UTC.
fn clock(second: i64, span: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(second) else { return String::new() };
    let (hour, minute) = (time.hour(), time.minute());
    match span {
        ..600 => format!("{hour:02}:{minute:02}:{:02}", time.second()),
        600..172_800 => format!("{hour:02}:{minute:02}"),
        _ => format!("{:02}-{:02} {hour:02}:{minute:02}", u8::from(time.month()), time.day()),
    }
}

/// Text of an element or of an attribute, in XML and HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[Option<f64>]) -> Vec<Point> {
        values.iter().enumerate().map(|(i, value)| (1_764_125_000 + i as i64, *value)).collect()
    }

    #[test]
    fn a_chart_is_said_in_words_and_needs_no_style_of_its_own() {
        let chart = Chart::evidence("errors", line(&[Some(0.0), Some(2.4), Some(1.5)]), 0.008);
        let svg = chart.svg();
        assert!(svg.starts_with("<svg class=\"chart\"") && svg.ends_with("</svg>"), "{svg}");
        assert!(
            svg.contains(
                "<desc id=\"evidence-errors-d\">errors: 1.5 at the end, 2.4 at most; regression at 2.1</desc>"
            ),
            "{svg}"
        );
        assert!(svg.contains("aria-labelledby=\"evidence-errors-t evidence-errors-d\""), "{svg}");
        for never in ["style=", "<script", "href", "url("] {
            assert!(!svg.contains(never), "{never}: {svg}");
        }
        for class in ["gray", "release", "third", "grid", "mark", "limit"] {
            assert!(STYLE.contains(&format!(".{class} {{")), "{class}");
        }
    }

    #[test]
    fn what_is_not_known_breaks_the_line() {
        let chart = Chart::share(line(&[Some(5.0), None, Some(f64::NAN), Some(25.0), Some(25.0)]));
        let svg = chart.svg();
        let path = svg.split("class=\"gray\" d=\"").last().unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_at_all_is_a_chart_too() {
        for chart in [Chart::new("x", "x", Unit::Plain), Chart::share(Vec::new())] {
            let svg = chart.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(Chart::share(Vec::new()).svg().contains("share: nothing yet"));
        assert!(Chart::share(Vec::new()).in_language(Language::Chinese).svg().contains("暂无数据"));
    }

    #[test]
    fn long_lines_are_thinned_and_keep_their_peak() {
        let mut points = line(&vec![Some(1.0); 100_000]);
        points[77_777].1 = Some(9.0);
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS, "{}", thin.len());
        assert!(thin.iter().any(|(_, value)| *value == Some(9.0)));
    }

    #[test]
    fn texts_of_strangers_are_texts() {
        let chart = Chart::new("x", "<script>alert(1)</script>", Unit::Plain)
            .with_line("a\" onload=\"x", Side::Third, line(&[Some(1.0)]))
            .with_marks(vec![Mark { second: 1_764_125_000, name: "</svg><b>".into() }]);
        let svg = chart.svg();
        assert!(!svg.contains("<script") && !svg.contains("onload=\"") && !svg.contains("<b>"), "{svg}");
    }

    #[test]
    fn axes_have_round_figures() {
        for (low, high, expected) in [
            (0.0, 1.0, vec![0.0, 0.5, 1.0]),
            (0.0, 108.0, vec![0.0, 50.0, 100.0]),
            (-1.0, 2.6, vec![-1.0, 0.0, 1.0, 2.0]),
        ] {
            assert_eq!(ticks(low, high), expected, "{low} {high}");
        }
        assert_eq!(clock(1_764_125_000, 60), "02:43:20");
        assert_eq!(clock(1_764_125_000, 86_400 * 7), "11-26 02:43");
    }
}
