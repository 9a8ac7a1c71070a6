//! The report of a run: one page that needs nothing else, or Markdown.
//!
//! Answers: what was planned, what happened, on which figures, and who did what? Owns: the order of it all and its words in
//! English and Chinese. The page has no script, asks for nothing, prints on A4, and carries the end of the audit's chain, so
//! that a reader who keeps it would notice a history that was rewritten. Never: reads a store. Start at [`Story::html`].

use std::fmt::Write as _;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::charts::{self, Chart, escape};
use super::language::Language;

/// The page's own style; that of the charts follows.
const STYLE: &str = "\
@page { size: A4; margin: 16mm; }
:root { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8883; }
td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; white-space: pre-wrap; border: 1px solid #8886; padding: .6rem; }
.verdict { font-size: 1.1rem; }
.small { color: GrayText; overflow-wrap: anywhere; }
figure { margin: 1rem 0; break-inside: avoid; }
tr { break-inside: avoid; }
@media print { body { margin: 0; max-width: none; } }
";

/// Everything a report says.
#[derive(Clone, PartialEq, Debug)]
pub struct Story {
    pub plan: String,
    pub title: Option<String>,
    pub services: Vec<String>,
    pub version: String,
    pub run: u64,
    /// As it is now, such as `ROLLBACK` or `PROMOTED`.
    pub state: String,
    /// Why it is so, in one sentence with figures.
    pub why: String,
    /// RFC 3339.
    pub started: String,
    pub ended: Option<String>,
    pub steps: Vec<StepTold>,
    pub figures: Vec<Figure>,
    pub guards: Vec<GuardTold>,
    pub charts: Vec<Chart>,
    pub deeds: Vec<DeedTold>,
    /// The plan as it ran.
    pub text: String,
    /// The end of the audit's chain, `N:HASH`.
    pub audit: String,
    /// RFC 3339.
    pub made: String,
    pub language: Language,
}

/// A step, and when it began.
#[derive(Clone, PartialEq, Debug)]
pub struct StepTold {
    pub name: Option<String>,
    /// In percent; none where chosen people alone are added.
    pub share: Option<f64>,
    pub hold_seconds: u64,
    pub approval: bool,
    pub began: Option<String>,
}

/// A figure of both sides.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    pub of: Measured,
    pub gray: String,
    pub release: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measured {
    Requests,
    /// Those the figures below are of: seconds are kept for an hour.
    Counted,
    Errors,
    ErrorShare,
    SlowestOfHundred,
    Fallbacks,
}

#[derive(Clone, PartialEq, Debug)]
pub struct GuardTold {
    pub name: String,
    /// A logarithm to the base of ten; none of a measure.
    pub evidence: Option<f64>,
    pub limit: Option<f64>,
    pub is_regression: bool,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct DeedTold {
    pub time: String,
    pub who: String,
    pub action: String,
    pub state: String,
    pub why: String,
    pub reason: Option<String>,
}

/// What a page says itself.
#[derive(Clone, Copy)]
enum Word {
    Report,
    Run,
    Of,
    Services,
    Version,
    Started,
    Ended,
    GoesOn,
    Steps,
    Step,
    Share,
    Hold,
    Began,
    Chosen,
    Approval,
    Figures,
    Release,
    Guards,
    Guard,
    Evidence,
    Limit,
    Verdict,
    Regression,
    Fine,
    Charts,
    History,
    Time,
    Who,
    What,
    Why,
    Reason,
    Plan,
    Audit,
    Made,
    None,
}

impl Language {
    fn say(self, word: Word) -> &'static str {
        let (english, chinese) = match word {
            Word::Report => ("Report of a rollout", "发布报告"),
            Word::Run => ("Run", "运行"),
            Word::Of => ("State", "状态"),
            Word::Services => ("Services", "服务"),
            Word::Version => ("Version", "版本"),
            Word::Started => ("Started", "开始时间"),
            Word::Ended => ("Ended", "结束时间"),
            Word::GoesOn => ("it goes on", "进行中"),
            Word::Steps => ("Steps", "步骤"),
            Word::Step => ("Step", "步骤"),
            Word::Share => ("Share", "比例"),
            Word::Hold => ("Hold", "停留"),
            Word::Began => ("Began", "开始"),
            Word::Chosen => ("chosen people", "指定人群"),
            Word::Approval => ("approval", "需审批"),
            Word::Figures => ("Figures", "数据"),
            Word::Release => ("release", "基线版本"),
            Word::Guards => ("Verdicts", "判定"),
            Word::Guard => ("Guard", "守卫"),
            Word::Evidence => ("Evidence (log10 of e)", "证据（e 的常用对数）"),
            Word::Limit => ("Regression from", "判为劣化的阈值"),
            Word::Verdict => ("Verdict", "结论"),
            Word::Regression => ("regression", "劣化"),
            Word::Fine => ("no regression", "未见劣化"),
            Word::Charts => ("Charts", "图表"),
            Word::History => ("Who did what", "操作记录"),
            Word::Time => ("Time", "时间"),
            Word::Who => ("Who", "操作人"),
            Word::What => ("What", "操作"),
            Word::Why => ("Why", "原因"),
            Word::Reason => ("Reason given", "说明"),
            Word::Plan => ("The plan as it ran", "运行时的计划"),
            Word::Audit => ("End of the audit's chain", "审计链末端"),
            Word::Made => ("Made", "生成时间"),
            Word::None => ("none", "无"),
        };
        match self {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }

    fn measured(self, of: Measured) -> &'static str {
        let (english, chinese) = match of {
            Measured::Requests => ("Requests", "请求数"),
            Measured::Counted => ("Requests still kept second by second", "逐秒保留的请求数"),
            Measured::Errors => ("Errors", "错误数"),
            Measured::ErrorShare => ("Error share", "错误率"),
            Measured::SlowestOfHundred => ("99 % faster than", "P99 延迟"),
            Measured::Fallbacks => ("Answered by another version", "由其他版本应答"),
        };
        match self {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }
}

/// A table in either format: a heading, and cells as plain text.
struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// What the style of a report is allowed by, in a `Content-Security-Policy`: its hash, and nothing else.
pub fn policy() -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style().as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn style() -> String {
    format!("{STYLE}{}", charts::STYLE)
}

impl Story {
    fn say(&self, word: Word) -> &'static str {
        self.language.say(word)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let ended = self.ended.clone().unwrap_or_else(|| self.say(Word::GoesOn).to_owned());
        vec![
            (self.say(Word::Services), self.services.join(", ")),
            (self.say(Word::Version), self.version.clone()),
            (self.say(Word::Run), self.run.to_string()),
            (self.say(Word::Of), self.state.clone()),
            (self.say(Word::Started), self.started.clone()),
            (self.say(Word::Ended), ended),
        ]
    }

    fn steps(&self) -> Table {
        let row = |(number, step): (usize, &StepTold)| {
            let share = step.share.map(|share| format!("{share} %"));
            let named = step.name.as_ref().map(|name| format!("{number} {name}"));
            let approval =
                if step.approval { format!(" · {}", self.say(Word::Approval)) } else { String::new() };
            vec![
                named.unwrap_or_else(|| number.to_string()),
                share.unwrap_or_else(|| self.say(Word::Chosen).to_owned()),
                format!("{} s{approval}", step.hold_seconds),
                step.began.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        };
        Table {
            heading: [Word::Step, Word::Share, Word::Hold, Word::Began].map(|word| self.say(word)).to_vec(),
            rows: self.steps.iter().enumerate().map(row).collect(),
        }
    }

    fn figures(&self) -> Table {
        let row = |figure: &Figure| {
            vec![self.language.measured(figure.of).to_owned(), figure.gray.clone(), figure.release.clone()]
        };
        Table {
            heading: [Word::Figures, Word::Version, Word::Release].map(|word| self.say(word)).to_vec(),
            rows: self.figures.iter().map(row).collect(),
        }
    }

    fn guards(&self) -> Table {
        let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let row = |guard: &GuardTold| {
            let verdict = if guard.is_regression { Word::Regression } else { Word::Fine };
            vec![
                guard.name.clone(),
                figure(guard.evidence),
                figure(guard.limit),
                self.say(verdict).to_owned(),
            ]
        };
        let heading = [Word::Guard, Word::Evidence, Word::Limit, Word::Verdict];
        Table {
            heading: heading.map(|word| self.say(word)).to_vec(),
            rows: self.guards.iter().map(row).collect(),
        }
    }

    fn deeds(&self) -> Table {
        let row = |deed: &DeedTold| {
            vec![
                deed.time.clone(),
                deed.who.clone(),
                format!("{} → {}", deed.action, deed.state),
                deed.why.clone(),
                deed.reason.clone().unwrap_or_default(),
            ]
        };
        let heading = [Word::Time, Word::Who, Word::What, Word::Why, Word::Reason];
        Table {
            heading: heading.map(|word| self.say(word)).to_vec(),
            rows: self.deeds.iter().map(row).collect(),
        }
    }

    fn tables(&self) -> [(&'static str, Table); 4] {
        [
            (self.say(Word::Steps), self.steps()),
            (self.say(Word::Figures), self.figures()),
            (self.say(Word::Guards), self.guards()),
            (self.say(Word::History), self.deeds()),
        ]
    }

    fn heading(&self) -> String {
        let title = self.title.as_deref().map(|title| format!(": {title}")).unwrap_or_default();
        format!("{}{title}", self.plan)
    }

    /// One self-contained page.
    pub fn html(&self) -> String {
        let mut out = String::new();
        let heading = escape(&self.heading());
        let report = self.say(Word::Report);
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{heading} · {report}</title><style>{}</style></head><body><main>\
             <p class=\"small\">{report}</p><h1>{heading}</h1><p class=\"verdict\"><strong>{}</strong> {}</p><table>",
            self.language.code(),
            style(),
            escape(&self.state),
            escape(&self.why)
        );
        for (name, value) in self.facts() {
            let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
        }
        out.push_str("</table>");
        let [steps, figures, guards, deeds] = self.tables();
        for (name, table) in [steps, figures, guards] {
            self.write_table(&mut out, name, &table);
        }
        if !self.charts.is_empty() {
            let _ = write!(out, "<h2>{}</h2>", self.say(Word::Charts));
        }
        for chart in &self.charts {
            let _ = write!(
                out,
                "<figure><figcaption>{}</figcaption>{}</figure>",
                escape(&chart.title),
                chart.svg()
            );
        }
        self.write_table(&mut out, deeds.0, &deeds.1);
        let _ = writeln!(
            out,
            "<h2>{}</h2><pre>{}</pre><p class=\"small\">{} {}<br>{} {}</p></main></body></html>",
            self.say(Word::Plan),
            escape(&self.text),
            self.say(Word::Audit),
            escape(&self.audit),
            self.say(Word::Made),
            escape(&self.made)
        );
        out
    }

    fn write_table(&self, out: &mut String, name: &str, table: &Table) {
        let _ = write!(out, "<h2>{name}</h2>");
        if table.rows.is_empty() {
            let _ = write!(out, "<p>{}</p>", self.say(Word::None));
            return;
        }
        out.push_str("<table><thead><tr>");
        for cell in &table.heading {
            let _ = write!(out, "<th scope=\"col\">{cell}</th>");
        }
        out.push_str("</tr></thead><tbody>");
        for row in &table.rows {
            out.push_str("<tr>");
            for cell in row {
                let _ = write!(out, "<td>{}</td>", escape(cell));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table>");
    }

    /// The same without pictures: what they show is said.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# {}\n\n{}\n\n**{}** {}\n",
            plain(&self.heading()),
            self.say(Word::Report),
            self.state,
            plain(&self.why)
        );
        for (name, value) in self.facts() {
            let _ = writeln!(out, "- {name}: {}", plain(&value));
        }
        let [steps, figures, guards, deeds] = self.tables();
        for (name, table) in [steps, figures, guards] {
            self.mark_table(&mut out, name, &table);
        }
        if !self.charts.is_empty() {
            let _ = writeln!(out, "\n## {}\n", self.say(Word::Charts));
        }
        for chart in &self.charts {
            let _ = writeln!(out, "- {}: {}", plain(&chart.title), plain(&chart.description()));
        }
        self.mark_table(&mut out, deeds.0, &deeds.1);
        let text: String = self.text.lines().map(|line| format!("    {line}\n")).collect();
        let _ = writeln!(
            out,
            "\n## {}\n\n{text}\n{} `{}`\n\n{} {}",
            self.say(Word::Plan),
            self.say(Word::Audit),
            self.audit,
            self.say(Word::Made),
            self.made
        );
        out
    }

    fn mark_table(&self, out: &mut String, name: &str, table: &Table) {
        let _ = writeln!(out, "\n## {name}\n");
        if table.rows.is_empty() {
            let _ = writeln!(out, "{}", self.say(Word::None));
            return;
        }
        let _ = writeln!(out, "| {} |", table.heading.join(" | "));
        let _ = writeln!(out, "|{}", "---|".repeat(table.heading.len()));
        for row in &table.rows {
            let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
}

/// Text that Markdown takes for nothing else, on one line.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::charts::Mark;
    use super::*;

    fn story(language: Language) -> Story {
        let points = (0..120).map(|i| (1_764_125_000 + i, Some(i as f64 / 40.0))).collect();
        Story {
            plan: "patient-8".into(),
            title: Some("Patient <8>".into()),
            services: vec!["patient".into()],
            version: "gray".into(),
            run: 3,
            state: "ROLLBACK".into(),
            why: "errors: 31 of 1000 beside 4 of 19000".into(),
            started: "2026-11-26T09:00:00Z".into(),
            ended: Some("2026-11-26T09:02:00Z".into()),
            steps: vec![
                StepTold {
                    name: Some("pilots".into()),
                    share: None,
                    hold_seconds: 60,
                    approval: false,
                    began: Some("2026-11-26T09:00:00Z".into()),
                },
                StepTold { name: None, share: Some(5.0), hold_seconds: 600, approval: true, began: None },
            ],
            figures: vec![Figure { of: Measured::Requests, gray: "1000".into(), release: "19000".into() }],
            guards: vec![GuardTold {
                name: "errors".into(),
                evidence: Some(2.98),
                limit: Some(2.1),
                is_regression: true,
            }],
            charts: vec![
                Chart::evidence("errors", points, 0.008)
                    .with_marks(vec![Mark { second: 1_764_125_060, name: "step 1".into() }])
                    .in_language(language),
            ],
            deeds: vec![DeedTold {
                time: "2026-11-26T09:02:00Z".into(),
                who: "graygate".into(),
                action: "rollback".into(),
                state: "ROLLBACK".into(),
                why: "errors | latency".into(),
                reason: Some("<img src=x onerror=alert(1)>".into()),
            }],
            text: "services: [patient]\n</pre><script>\n".into(),
            audit: "812:abcdef".into(),
            made: "2026-11-26T10:00:00Z".into(),
            language,
        }
    }

    #[test]
    fn a_page_needs_nothing_else() {
        for language in [Language::English, Language::Chinese] {
            let page = story(language).html();
            for never in ["<script", "<img", "<link", "http:", "https:", "url(", "style=", "@import"] {
                let found = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
                assert!(!found.contains(never), "{never}");
            }
            for part in [
                "patient-8: Patient &lt;8&gt;",
                "812:abcdef",
                "<svg class=\"chart\"",
                "2.98",
                "errors: 31 of 1000",
            ] {
                assert!(page.contains(part), "{part}: {page}");
            }
            assert!(page.contains(&format!("<html lang=\"{}\">", language.code())));
        }
        assert!(story(Language::Chinese).html().contains("操作记录"));
    }

    #[test]
    fn the_policy_allows_its_style_and_nothing_else() {
        let page = story(Language::English).html();
        let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style.as_bytes()));
        assert!(policy().starts_with("default-src 'none'; ") && policy().contains(&hash), "{}", policy());
        assert!(!policy().contains("unsafe"));
    }

    #[test]
    fn markdown_says_what_the_charts_show() {
        let text = story(Language::English).markdown();
        for part in [
            "# patient-8: Patient \\<8\\>\n",
            "| errors | 2.98 | 2.10 | regression |\n",
            "- Evidence: errors (log10 of e): errors: 2.98 at the end, 2.98 at most; regression at 2.1\n",
            "| errors \\| latency | \\<img src=x onerror=alert(1)\\> |\n",
            "`812:abcdef`",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
